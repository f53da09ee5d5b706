//! Planted bugs: each is a mistake found in a shipped loader. Tests switch one
//! on and show that the power-cut harness catches it. Without the feature
//! `planted-bugs` every question is answered "no" at compile time.

/// A mistake that can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Bug {
    /// AliOS: the scratch sector is written at one place and read back from another.
    ScratchElsewhere = 1,
    /// AliOS: a cut within the first slice starts the swap again from its beginning.
    FirstSliceRestarts = 2,
    /// AliOS: the first sector of a slice is not resumed.
    FirstSectorNotResumed = 3,
    /// AliOS: a state that cannot be read means "normal start".
    LostStateIsNormal = 4,
    /// AliOS: the request is cleared before it is carried out.
    RequestClearedFirst = 5,
    /// AliOS: only whole slices are swapped, the tail of the image is not.
    TailNotSwapped = 6,
    /// AliOS: torn state is written over the good copy.
    TornStateSaved = 7,
    /// embassy-boot: a new image that was never started counts as failed.
    NeverRanReverts = 8,
    /// A sector that reads blank is taken as erased.
    BlankIsEvidence = 9,
    /// A record is acted upon although it may read differently next time.
    UnstableRecordTrusted = 10,
    /// The verdict on the active slot survives an erase of it.
    VerdictKept = 11,
    /// Boot state is kept in `PARAMETER_1`, which an application may erase.
    StateInMailbox = 12,
    /// Journal rows that an interrupted write may have touched are used again.
    RowsNotClosed = 13,
    /// A half of the journal is erased while a state can still be read from it.
    ErasedWhileReadable = 14,
    /// A half of the journal begins with the record that makes it count.
    RowZeroHole = 15,
    /// The only sure state in the journal is erased on the word of an unstable record.
    LastSureStateErased = 16,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::ScratchElsewhere,
        Self::FirstSliceRestarts,
        Self::FirstSectorNotResumed,
        Self::LostStateIsNormal,
        Self::RequestClearedFirst,
        Self::TailNotSwapped,
        Self::TornStateSaved,
        Self::NeverRanReverts,
        Self::BlankIsEvidence,
        Self::UnstableRecordTrusted,
        Self::VerdictKept,
        Self::StateInMailbox,
        Self::RowsNotClosed,
        Self::ErasedWhileReadable,
        Self::RowZeroHole,
        Self::LastSureStateErased,
    ];
}

#[cfg(feature = "planted-bugs")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);

/// Switches one bug on, or all off. Process-wide: for tests that run alone.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(
        bug.map_or(0, |b| b as u8),
        core::sync::atomic::Ordering::SeqCst,
    );
}

/// Not a bug: whether the journal is that of the smallest loaders, without the
/// feature `full-journal`. Here a test says so.
#[cfg(feature = "planted-bugs")]
static SMALL: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);

/// Makes journals work as without the feature `full-journal`, or as with it.
/// Process-wide: for tests that run alone.
#[cfg(feature = "planted-bugs")]
pub fn small_journal(on: bool) {
    SMALL.store(on, core::sync::atomic::Ordering::SeqCst);
}

/// Whether the journal is built without `full-journal`.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is_small() -> bool {
    SMALL.load(core::sync::atomic::Ordering::Relaxed)
}

/// Whether the journal is built without `full-journal`.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn is_small() -> bool {
    !cfg!(feature = "full-journal")
}

/// Whether this bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub(crate) const fn has(_: Bug) -> bool {
    false
}
