//! The boot state: what is kept, and where it lies in the state image.
//!
//! `docs/journal.md` gives the layout; this file is its only implementation.
//! The state is a block of [`CELLS`] cells of [`CELL`] bytes, so that a cell is
//! the payload of one journal record and fields that change together lie in one
//! cell. A cell of zeros is the default and is not written in snapshots.

/// Bytes of a cell: the payload of one journal record.
pub const CELL: usize = 20;
/// Cells of the state image.
pub const CELLS: usize = 20;
/// Longest version text the journal keeps, in bytes.
pub const VERSION_LEN: usize = 40;
/// Most bits of the changed-sector map. With more sectors a bit stands for a
/// group of 2, 4, ... sectors.
pub const MAP_BITS: u32 = 320;
/// Failed offers that are remembered.
pub const OFFERS: usize = 4;

/// Where each group of fields starts, in cells.
pub(crate) mod cell {
    pub const CORE: u8 = 0;
    pub const PACKAGE: u8 = 1;
    pub const MAP: u8 = 2; // 2 cells
    pub const OLD: u8 = 4; // 2 cells: SHA-256 of the old image
    pub const NEW: u8 = 6; // 2 cells: SHA-256 of the new image
    pub const VERSION: u8 = 8; // 2 cells
    pub const FLOOR: u8 = 10; // 2 cells
    pub const OFFERS: u8 = 12; // 4 cells
    pub const RESUME: u8 = 16; // 2 cells: identity
    pub const OFFSET: u8 = 18; // how far a download got
    pub const OFFER: u8 = 19; // identity of the offer in hand
}

/// Bits of the flags byte.
pub(crate) mod flag {
    /// The active slot was verified and not touched since.
    pub const VERDICT: u8 = 1;
    /// The mailbox holds a request that the journal has; to be erased.
    pub const MAILBOX: u8 = 2;
    /// `Switch`: the second slot is the active one.
    pub const SECOND: u8 = 8;
    /// Serial recovery has begun to write the active slot.
    pub const WRITING: u8 = 16;
    /// The last failure has not been acknowledged.
    pub const REPORT: u8 = 32;
}

/// What the loader is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Nothing: the active image is confirmed.
    Idle = 0,
    /// An update was asked for; nothing was changed yet.
    Requested = 1,
    /// `PatchSwap`, `InPlace`: the stored patch is moved to the end of its slot.
    Moving = 2,
    /// `PatchSwap`, `InPlace`: slices are rebuilt.
    Rebuilding = 3,
    /// The new image goes into the active slot.
    Installing = 4,
    /// The new image is installed and not confirmed.
    Trial = 5,
    /// The old image goes back into the active slot.
    Reverting = 6,
    /// The active slot holds no image that may run.
    ActiveInvalid = 7,
}

impl Phase {
    /// All phases, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Idle,
        Self::Requested,
        Self::Moving,
        Self::Rebuilding,
        Self::Installing,
        Self::Trial,
        Self::Reverting,
        Self::ActiveInvalid,
    ];

    const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            0 => Self::Idle,
            1 => Self::Requested,
            2 => Self::Moving,
            3 => Self::Rebuilding,
            4 => Self::Installing,
            5 => Self::Trial,
            6 => Self::Reverting,
            7 => Self::ActiveInvalid,
            _ => return None,
        })
    }
}

/// How an update is installed. The number is what the journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Strategy {
    /// New image into the active slot, old one kept in the update slot.
    Swap = 1,
    /// Rebuild from a stored patch in the update slot, then [`Swap`](Self::Swap).
    PatchSwap = 2,
    /// Copy over the active slot; no way back.
    Overwrite = 3,
    /// Rebuild from a stored patch over the active slot; no way back.
    InPlace = 4,
    /// Two executable slots: start the other one.
    Switch = 5,
}

impl Strategy {
    /// All strategies, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Swap,
        Self::PatchSwap,
        Self::Overwrite,
        Self::InPlace,
        Self::Switch,
    ];

    const fn from_raw(raw: u8) -> Option<Self> {
        Some(match raw {
            1 => Self::Swap,
            2 => Self::PatchSwap,
            3 => Self::Overwrite,
            4 => Self::InPlace,
            5 => Self::Switch,
            _ => return None,
        })
    }

    /// `swap`, `patch-swap`, `overwrite`, `in-place` or `switch`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Swap => "swap",
            Self::PatchSwap => "patch-swap",
            Self::Overwrite => "overwrite",
            Self::InPlace => "in-place",
            Self::Switch => "switch",
        }
    }
}

/// Why an update failed or was taken back. The number is what the journal
/// holds and what a cloud may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum FailCode {
    /// Written by a newer program.
    Unknown = 0,
    /// The image has no descriptor or no trailer where one must be.
    Format = 1,
    /// A digest does not match.
    Digest = 2,
    /// The signature is missing or wrong.
    Signature = 3,
    /// The image is for another module or format.
    Module = 4,
    /// The version is below the floor, or not the one that was offered.
    Version = 5,
    /// The image does not fit the slot, or is not as long as requested.
    Size = 6,
    /// This loader was built without the strategy.
    Strategy = 7,
    /// The patch is damaged or does not fit the old image.
    Patch = 8,
    /// Patch and rebuilt image do not fit the update slot together.
    Space = 9,
    /// The new image was started as often as allowed and never confirmed.
    NotConfirmed = 10,
    /// The application asked to go back.
    AppRevert = 11,
    /// The image to go back to is damaged; the new one stays.
    BackupLost = 12,
    /// The flash did not do what it was told.
    Flash = 13,
    /// The request makes no sense.
    Request = 14,
}

impl FailCode {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Unknown,
        Self::Format,
        Self::Digest,
        Self::Signature,
        Self::Module,
        Self::Version,
        Self::Size,
        Self::Strategy,
        Self::Patch,
        Self::Space,
        Self::NotConfirmed,
        Self::AppRevert,
        Self::BackupLost,
        Self::Flash,
        Self::Request,
    ];

    // Not looked up in `ALL`: as a match it is one comparison.
    pub(crate) const fn from_raw(raw: u8) -> Self {
        match raw {
            1 => Self::Format,
            2 => Self::Digest,
            3 => Self::Signature,
            4 => Self::Module,
            5 => Self::Version,
            6 => Self::Size,
            7 => Self::Strategy,
            8 => Self::Patch,
            9 => Self::Space,
            10 => Self::NotConfirmed,
            11 => Self::AppRevert,
            12 => Self::BackupLost,
            13 => Self::Flash,
            14 => Self::Request,
            _ => Self::Unknown,
        }
    }

    /// One word in ASCII, for a console with little room; [`text`](Self::text)
    /// says more.
    pub fn name(self) -> &'static [u8] {
        // One text for all: no table of addresses and lengths.
        const NAMES: &[u8] = b"unknown format digest signature module version size strategy patch \
                               space not-confirmed app-revert backup-lost flash request";
        let mut rest = NAMES;
        let mut skip = self as u8;
        loop {
            let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
            let (word, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            let ([_, next @ ..], 1..) = (behind, skip) else {
                return word;
            };
            rest = next;
            skip -= 1;
        }
    }

    /// A short text for logs and clouds.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Format => "no descriptor or trailer",
            Self::Digest => "digest mismatch",
            Self::Signature => "signature missing or wrong",
            Self::Module => "image for another module",
            Self::Version => "version below the floor or not the one offered",
            Self::Size => "image size",
            Self::Strategy => "strategy not in this loader",
            Self::Patch => "patch does not apply",
            Self::Space => "patch and image do not fit the slot",
            Self::NotConfirmed => "never confirmed, reverted",
            Self::AppRevert => "reverted at the application's request",
            Self::BackupLost => "cannot revert, backup damaged",
            Self::Flash => "flash failed",
            Self::Request => "bad request",
        }
    }
}

/// Why the last update failed or was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What the loader was doing.
    pub phase: Phase,
    /// What went wrong.
    pub code: FailCode,
    /// Byte offset in the slot or patch where it went wrong, 0 when it has none.
    pub offset: u32,
}

/// An offer that failed, as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedOffer {
    /// First 16 bytes of the package digest.
    pub digest: [u8; 16],
    /// How often it failed.
    pub count: u8,
    /// It must not be tried again.
    pub permanent: bool,
}

/// Identity of a download that can be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeIdentity {
    /// Digest method, as the caller numbers it (not 0).
    pub method: u8,
    /// Length of the package in bytes.
    pub size: u32,
    /// Digest of the package; 16-byte digests are padded with zeros.
    pub digest: [u8; 32],
}

/// A version text of at most [`VERSION_LEN`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VersionText([u8; VERSION_LEN]);

impl VersionText {
    /// No version.
    pub const NONE: Self = Self([0; VERSION_LEN]);

    /// Takes `text`; `None` when it is longer than [`VERSION_LEN`] or holds a NUL.
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut out = Self::NONE;
        // `contains` is a word-wise search, ten times as long.
        #[allow(clippy::manual_contains)]
        if text.iter().any(|b| *b == 0) {
            return None;
        }
        out.0.get_mut(..text.len())?.copy_from_slice(text);
        Some(out)
    }

    /// Takes a field that is filled up with zeros.
    pub(crate) fn of_field(field: &[u8; 32]) -> Self {
        let mut out = Self::NONE;
        if let Some(text) = out.0.first_chunk_mut() {
            *text = *field;
        }
        out
    }

    /// The text without padding.
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&b| b == 0).unwrap_or(VERSION_LEN);
        self.0.get(..len).unwrap_or(&[])
    }

    /// No version is known.
    pub fn is_empty(&self) -> bool {
        self.0.first() == Some(&0)
    }
}

impl core::fmt::Debug for VersionText {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{:?}",
            core::str::from_utf8(self.as_bytes()).unwrap_or("(not text)")
        )
    }
}

/// The content of a cell.
pub(crate) type Cell = [u8; CELL];

/// The state image. Accessors know the layout; nobody else does.
///
/// Aligned, so that a little-endian field is read and written at once instead of
/// byte by byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub struct State {
    bytes: [u8; CELL * CELLS],
}

macro_rules! field {
    ($get:ident, $set:ident, $type:ty, $cell:expr, $at:expr) => {
        pub(crate) const fn $get(&self) -> $type {
            <$type>::from_le_bytes(*self.at($cell, $at))
        }
        pub(crate) const fn $set(&mut self, v: $type) {
            self.put($cell, $at, v.to_le_bytes());
        }
    };
}

#[allow(dead_code)] // Some fields belong to strategies that are switched off.
impl State {
    /// A state of zeros: idle, nothing known.
    pub const fn new() -> Self {
        Self {
            bytes: [0; CELL * CELLS],
        }
    }

    /// `N` bytes that lie inside the state.
    const fn at<const N: usize>(&self, cell: u8, at: usize) -> &[u8; N] {
        let (_, rest) = self.bytes.split_at(cell as usize * CELL + at);
        match rest.first_chunk() {
            Some(bytes) => bytes,
            None => &[0; N],
        }
    }

    /// Sets `N` bytes that lie inside the state.
    const fn put<const N: usize>(&mut self, cell: u8, at: usize, bytes: [u8; N]) {
        let (_, rest) = self.bytes.split_at_mut(cell as usize * CELL + at);
        if let Some(field) = rest.first_chunk_mut() {
            *field = bytes;
        }
    }

    pub(crate) fn cell(&self, cell: usize) -> Option<&Cell> {
        self.bytes.as_chunks().0.get(cell)
    }

    pub(crate) fn cell_mut(&mut self, cell: usize) -> Option<&mut Cell> {
        self.bytes.as_chunks_mut().0.get_mut(cell)
    }

    /// Whether a cell holds nothing but zeros (or does not exist).
    #[inline(never)]
    pub(crate) fn is_clear(&self, cell: u8) -> bool {
        let cell = self.cell(usize::from(cell)).unwrap_or(&[0; CELL]);
        cell.iter().all(|b| *b == 0)
    }

    field!(raw_phase, set_raw_phase, u8, cell::CORE, 0);
    field!(raw_strategy, set_raw_strategy, u8, cell::CORE, 1);
    field!(flags, set_flags, u8, cell::CORE, 2);
    field!(started, set_started, u8, cell::CORE, 3);
    field!(tries, set_tries, u8, cell::CORE, 4);
    field!(fail_phase, set_fail_phase, u8, cell::CORE, 5);
    field!(fail_code, set_fail_code, u8, cell::CORE, 6);
    field!(progress, set_progress, u16, cell::CORE, 8);
    field!(fail_offset, set_fail_offset, u32, cell::CORE, 12);
    field!(image_len, set_image_len, u32, cell::CORE, 16);
    field!(package_len, set_package_len, u32, cell::PACKAGE, 0);
    field!(package_at, set_package_at, u32, cell::PACKAGE, 4);
    field!(slice_len, set_slice_len, u32, cell::PACKAGE, 8);
    field!(rebuilt, set_rebuilt, u32, cell::PACKAGE, 12);
    field!(resume_size, set_resume_size, u32, cell::RESUME, 0);
    field!(resume_method, set_resume_method, u8, cell::RESUME, 4);
    field!(
        raw_resume_offset,
        set_raw_resume_offset,
        u32,
        cell::OFFSET,
        0
    );

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags() & flag != 0
    }

    pub(crate) fn set(&mut self, flag: u8, on: bool) {
        let rest = self.flags() & !flag;
        self.set_flags(if on { rest | flag } else { rest });
    }

    /// What the loader is in the middle of; `None` for a phase that this
    /// version does not know.
    pub fn phase(&self) -> Option<Phase> {
        Phase::from_raw(self.raw_phase())
    }

    pub(crate) fn set_phase(&mut self, phase: Phase) {
        self.set_raw_phase(phase as u8);
        self.set_progress(0);
    }

    /// The strategy of the update in hand.
    pub fn strategy(&self) -> Option<Strategy> {
        Strategy::from_raw(self.raw_strategy())
    }

    pub(crate) fn set_failure(&mut self, failure: Failure) {
        self.set_fail_phase(failure.phase as u8);
        self.set_fail_code(failure.code as u8);
        self.set_fail_offset(failure.offset);
        self.set(flag::REPORT, true);
    }

    /// Why the last update failed, until it is acknowledged.
    pub fn failure(&self) -> Option<Failure> {
        self.has(flag::REPORT).then(|| Failure {
            phase: Phase::from_raw(self.fail_phase()).unwrap_or(Phase::Idle),
            code: FailCode::from_raw(self.fail_code()),
            offset: self.fail_offset(),
        })
    }

    /// SHA-256 of what the active slot held before the update in hand.
    pub fn old_sha256(&self) -> [u8; 32] {
        *self.old_sum()
    }

    pub(crate) fn old_sum(&self) -> &[u8; 32] {
        self.at(cell::OLD, 0)
    }

    pub(crate) fn set_old_sha256(&mut self, digest: &[u8; 32]) {
        self.put(cell::OLD, 0, *digest);
    }

    /// SHA-256 of the image in hand; zeros when the request did not say.
    pub fn new_sha256(&self) -> [u8; 32] {
        *self.new_sum()
    }

    pub(crate) fn new_sum(&self) -> &[u8; 32] {
        self.at(cell::NEW, 0)
    }

    pub(crate) fn set_new_sha256(&mut self, digest: &[u8; 32]) {
        self.put(cell::NEW, 0, *digest);
    }

    /// Whether the text is the version of the image in hand.
    pub(crate) fn is_version(&self, version: &VersionText) -> bool {
        *self.at(cell::VERSION, 0) == version.0
    }

    /// Version of the image in hand.
    pub fn version(&self) -> VersionText {
        VersionText(*self.at(cell::VERSION, 0))
    }

    pub(crate) fn set_version(&mut self, v: &VersionText) {
        self.put(cell::VERSION, 0, v.0);
    }

    /// Lowest version that may be installed.
    pub fn floor(&self) -> VersionText {
        VersionText(*self.at(cell::FLOOR, 0))
    }

    pub(crate) fn set_floor(&mut self, v: &VersionText) {
        self.put(cell::FLOOR, 0, v.0);
    }

    pub(crate) fn map_bit(&self, bit: u32) -> bool {
        let map: &[u8; 2 * CELL] = self.at(cell::MAP, 0);
        map.get((bit / 8) as usize)
            .is_some_and(|b| b >> (bit % 8) & 1 != 0)
    }

    pub(crate) fn set_map_bit(&mut self, bit: u32) {
        let at = usize::from(cell::MAP) * CELL + (bit / 8) as usize;
        if let Some(b) = self.bytes.get_mut(at) {
            *b |= 1 << (bit % 8);
        }
    }

    pub(crate) fn clear_cells(&mut self, first: u8, count: u8) {
        let from = usize::from(first) * CELL;
        let cells = self.bytes.get_mut(from..from + usize::from(count) * CELL);
        cells.unwrap_or_default().fill(0);
    }

    /// Forgets the update in hand; floor, failure and failed offers stay.
    pub(crate) fn forget_update(&mut self) {
        self.set_raw_strategy(0);
        self.set_started(0);
        self.set_image_len(0);
        self.set(flag::MAILBOX | flag::WRITING, false);
        self.clear_cells(cell::PACKAGE, cell::VERSION - cell::PACKAGE);
    }

    /// Bytes of the stored patch; 0 when the request is for a whole image.
    pub const fn patch_len(&self) -> u32 {
        self.package_len()
    }

    /// First 16 bytes of the digest of the offer in hand.
    pub fn offer(&self) -> [u8; 16] {
        *self.at(cell::OFFER, 0)
    }

    pub(crate) fn set_offer(&mut self, digest: &[u8; 16]) {
        self.put(cell::OFFER, 0, *digest);
    }

    /// The download that can be resumed.
    pub fn resume(&self) -> Option<ResumeIdentity> {
        if self.resume_method() == 0 {
            return None;
        }
        let digest = *self.at(cell::RESUME, 8);
        Some(ResumeIdentity {
            method: self.resume_method(),
            size: self.resume_size(),
            digest,
        })
    }

    pub(crate) fn set_resume(&mut self, id: &ResumeIdentity) {
        self.clear_cells(cell::RESUME, 2);
        self.put(cell::RESUME, 8, id.digest);
        self.set_resume_size(id.size);
        self.set_resume_method(id.method);
    }

    /// Bytes of the resumable download that are in the slot.
    pub fn resume_offset(&self) -> u32 {
        self.raw_resume_offset()
    }

    /// The failed offers, newest first.
    pub fn failed_offers(&self) -> impl Iterator<Item = FailedOffer> + '_ {
        (cell::OFFERS..).take(OFFERS).filter_map(|c| {
            let [count, permanent] = *self.at(c, 16);
            (count != 0).then_some(FailedOffer {
                digest: *self.at(c, 0),
                count,
                permanent: permanent != 0,
            })
        })
    }

    /// Counts a failure of the offer with this digest and puts it in front.
    /// From the `after`-th failure on it counts as permanent.
    pub(crate) fn remember_offer(&mut self, digest: &[u8; 16], permanent: bool, after: u8) {
        let mut offers = [None; OFFERS];
        for (to, from) in offers.iter_mut().zip(self.failed_offers()) {
            *to = Some(from);
        }
        let found = offers
            .iter()
            .position(|o| o.is_some_and(|o| o.digest == *digest));
        let before = found.and_then(|i| offers.get(i).copied().flatten());
        let count = before.map_or(0, |o| o.count).saturating_add(1);
        let entry = FailedOffer {
            digest: *digest,
            count,
            permanent: permanent || before.is_some_and(|o| o.permanent) || count >= after,
        };
        if let Some(shifted) = offers.get_mut(..=found.unwrap_or(OFFERS - 1)) {
            shifted.rotate_right(1);
            shifted[0] = Some(entry);
        }
        for (c, offer) in (cell::OFFERS..).zip(offers) {
            self.clear_cells(c, 1);
            if let Some(o) = offer {
                self.put(c, 0, o.digest);
                self.put(c, 16, [o.count, o.permanent.into()]);
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::FailCode;

    #[test]
    fn each_failure_has_its_own_number() {
        for (raw, code) in FailCode::ALL.into_iter().enumerate() {
            assert_eq!(FailCode::from_raw(raw as u8), code);
        }
        assert_eq!(FailCode::from_raw(15), FailCode::Unknown);
    }

    #[test]
    fn each_failure_has_its_own_word() {
        let names = FailCode::ALL.map(FailCode::name);
        assert_eq!(names[FailCode::Unknown as usize], b"unknown");
        assert_eq!(names[FailCode::Version as usize], b"version");
        assert_eq!(names[FailCode::BackupLost as usize], b"backup-lost");
        assert_eq!(names[FailCode::Request as usize], b"request");
        for (i, name) in names.iter().enumerate() {
            assert!(!name.is_empty() && !names[..i].contains(name));
            assert!(name.iter().all(|c| c.is_ascii_lowercase() || *c == b'-'));
        }
    }
}
