#![doc = include_str!("../README.md")]
#![no_std]

pub mod flash;
pub mod gpio;
pub mod interrupt;
pub mod line_code;
pub mod memory;
mod partitions;
pub mod regs;
#[cfg(target_os = "none")]
pub mod start;
pub mod timer;
pub mod uart;
pub mod watchdog;
mod window;

pub use partitions::PARTITIONS;
pub use window::Window;
