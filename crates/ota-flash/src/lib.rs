#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "sim")]
extern crate std;

mod guard;
mod id;
mod partition;
#[cfg(feature = "sim")]
pub mod sim;
mod table;
mod trace;
mod writer;

pub use guard::{BeforeErase, GuardError, GuardedPartition};
pub use id::PartitionId;
pub use partition::{Cause, Partition, PartitionError};
pub use table::{PartitionEntry, PartitionTable, Permissions};
pub use trace::{FlashOp, TraceFlash};
pub use writer::{StreamWriter, WriteError, WriteErrorKind};
