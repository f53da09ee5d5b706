//! What can go wrong with flash.

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
#[non_exhaustive]
pub enum FaultKind {
    /// The driver reported an error.
    Driver,
    /// Offset or length is no multiple of what the flash wants.
    NotAligned,
    /// Past the end of the partition.
    OutOfBounds,
    /// What was read back is not what was written.
    ReadBack,
    /// The partition is too small, or its sectors and program units cannot be used.
    Geometry,
}

/// A flash operation that failed: where and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fault {
    /// The partition.
    pub part: Part,
    /// Byte offset in it.
    pub offset: u32,
    /// Why.
    pub kind: FaultKind,
}

impl Fault {
    #[inline(never)]
    pub(crate) fn from_driver<E: NorFlashError>(part: Part, offset: u32, e: &E) -> Self {
        let kind = match e.kind() {
            NorFlashErrorKind::NotAligned => FaultKind::NotAligned,
            NorFlashErrorKind::OutOfBounds => FaultKind::OutOfBounds,
            _ => FaultKind::Driver,
        };
        Self { part, offset, kind }
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self.kind {
            FaultKind::Driver => "flash driver failed",
            FaultKind::NotAligned => "not aligned",
            FaultKind::OutOfBounds => "past the end",
            FaultKind::ReadBack => "read back differs from what was written",
            FaultKind::Geometry => "partition too small or sectors of an unusable size",
        };
        let part = match self.part {
            Part::Active => "active slot",
            Part::Update => "update slot",
            Part::Journal => "journal",
            Part::Mailbox => "mailbox",
        };
        write!(f, "{what} ({part}, offset {:#x})", self.offset)
    }
}

impl core::error::Error for Fault {}
