//! What can go wrong with flash.

use core::num::NonZeroU32;

use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};

/// A partition the boot loader works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Part {
    /// The slot the image runs from (`Switch`: the first slot).
    Active = 0,
    /// The slot a download goes to (`Switch`: the second slot).
    Update = 1,
    /// The boot journal.
    Journal = 2,
    /// `PARAMETER_1`, where C firmware leaves requests.
    Mailbox = 3,
}

/// Why an operation on flash failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
// In the order of `NorFlashErrorKind`: one becomes the other without a table.
pub enum FaultKind {
    /// Offset or length is no multiple of what the flash wants.
    NotAligned = 1,
    /// Past the end of the partition.
    OutOfBounds = 2,
    /// The driver reported an error.
    Driver = 3,
    /// What was read back is not what was written.
    ReadBack = 4,
    /// The partition is too small, or its sectors and program units cannot be used.
    Geometry = 5,
}

/// A flash operation that failed: where and why.
///
/// One machine word, for a boot loader passes it through every call.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault(NonZeroU32);

/// Offsets are kept up to this one.
const OFFSET: u32 = (1 << 27) - 1;

impl Fault {
    /// A fault of `kind` at byte `offset` of `part`. Offsets from 128 MiB on
    /// are kept as the last below.
    #[inline(never)]
    pub const fn new(part: Part, offset: u32, kind: FaultKind) -> Self {
        let offset = if offset > OFFSET { OFFSET } else { offset };
        let low = NonZeroU32::MIN.saturating_add(kind as u32 - 1);
        Self(low.saturating_add((part as u32) << 3 | offset << 5))
    }

    /// The partition.
    pub const fn part(self) -> Part {
        match (self.0.get() >> 3) & 3 {
            0 => Part::Active,
            1 => Part::Update,
            2 => Part::Journal,
            _ => Part::Mailbox,
        }
    }

    /// Byte offset in it.
    pub const fn offset(self) -> u32 {
        self.0.get() >> 5
    }

    /// Why.
    pub const fn kind(self) -> FaultKind {
        match self.0.get() & 7 {
            1 => FaultKind::NotAligned,
            2 => FaultKind::OutOfBounds,
            4 => FaultKind::ReadBack,
            5 => FaultKind::Geometry,
            _ => FaultKind::Driver,
        }
    }

    /// No fault: the update is given up for a reason that is kept elsewhere.
    pub(crate) const GIVEN_UP: Self = Self(NonZeroU32::MAX);

    pub(crate) fn from_driver<E: NorFlashError>(part: Part, offset: u32, e: &E) -> Self {
        let kind = match e.kind() {
            NorFlashErrorKind::NotAligned => FaultKind::NotAligned,
            NorFlashErrorKind::OutOfBounds => FaultKind::OutOfBounds,
            _ => FaultKind::Driver,
        };
        Self::new(part, offset, kind)
    }
}

impl core::fmt::Debug for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Fault")
            .field("part", &self.part())
            .field("offset", &self.offset())
            .field("kind", &self.kind())
            .finish()
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.kind() {
            FaultKind::Driver => "flash driver failed",
            FaultKind::NotAligned => "not aligned",
            FaultKind::OutOfBounds => "past the end",
            FaultKind::ReadBack => "read back differs from what was written",
            FaultKind::Geometry => "partition too small or sectors of an unusable size",
        };
        let part = match self.part() {
            Part::Active => "active slot",
            Part::Update => "update slot",
            Part::Journal => "journal",
            Part::Mailbox => "mailbox",
        };
        write!(f, "{what} ({part}, offset {:#x})", self.offset())
    }
}

impl core::error::Error for Fault {}
