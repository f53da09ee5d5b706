//! What the simulator speaks of: operations, cuts, faults, counts, errors.

use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};

use super::cut::CutVariant;

/// The two operations that change flash. Reads are not numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Erase of one sector.
    Erase,
    /// Program of one unit.
    Program,
}

/// One numbered operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// Which of the two.
    pub kind: OpKind,
    /// Flash address of the sector or unit.
    pub offset: u32,
}

/// A power cut that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiredCut {
    /// Number of the operation in hand.
    pub number: u64,
    /// The operation in hand.
    pub op: Op,
    /// What was left of it.
    pub variant: CutVariant,
}

/// Why the simulated flash refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimError {
    /// Power is off since a cut: see [`SimFlash::power_on`](super::SimFlash::power_on).
    PoweredOff,
    /// Offset or length is not aligned.
    NotAligned {
        /// Where.
        offset: u32,
    },
    /// Past the end.
    OutOfBounds {
        /// Where.
        offset: u32,
    },
    /// A fault that the test asked for.
    Fault {
        /// Where.
        offset: u32,
    },
    /// A unit was programmed twice without an erase, and
    /// [`SimFlash::refuse_reprogram`](super::SimFlash::refuse_reprogram) is on.
    Reprogram {
        /// Where.
        offset: u32,
    },
}

impl NorFlashError for SimError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned { .. } => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds { .. } => NorFlashErrorKind::OutOfBounds,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl core::fmt::Display for SimError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("power is off"),
            Self::NotAligned { offset } => write!(f, "not aligned (flash {offset:#x})"),
            Self::OutOfBounds { offset } => write!(f, "past the end (flash {offset:#x})"),
            Self::Fault { offset } => write!(f, "injected fault (flash {offset:#x})"),
            Self::Reprogram { offset } => write!(f, "programmed twice (flash {offset:#x})"),
        }
    }
}

impl core::error::Error for SimError {}

/// What has been done to the flash since it was made or
/// [`SimFlash::reset_stats`](super::SimFlash::reset_stats) was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Sectors erased, interrupted ones included.
    pub erases: u64,
    /// Units programmed, interrupted ones included.
    pub programs: u64,
    /// Units programmed a second time without a whole erase in between
    /// (also: programmed into a sector whose erase was interrupted).
    pub reprograms: u64,
    /// Address of the latest of those.
    pub last_reprogram: Option<u32>,
    /// Read calls.
    pub reads: u64,
    /// Program units touched by reads, counted per call.
    pub read_units: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// A defect of one sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Erases report success and change nothing.
    EraseIgnored,
    /// Programs report success and change nothing.
    ProgramIgnored,
    /// Erases fail with [`SimError::Fault`] and change nothing.
    EraseFails,
    /// Programs fail with [`SimError::Fault`] and change nothing.
    ProgramFails,
    /// Reads fail with [`SimError::Fault`].
    ReadFails,
}
