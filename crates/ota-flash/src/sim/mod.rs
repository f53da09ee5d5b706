//! A NOR flash for tests and host devices: bits only clear, sectors erase,
//! power fails in the middle (feature `sim`, needs `std`).
//!
//! [`SimFlash`] lives in memory, counts everything and forks cheaply;
//! [`FileFlash`] is a file, for a device that is a process.

mod cut;
mod file;
mod nor;
mod sector;
mod types;

pub use cut::CutVariant;
pub use file::{FileFlash, FileFlashError};
pub use nor::SimFlash;
pub use types::{Fault, FiredCut, Op, OpKind, SimError, Stats};
