#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod board;
mod cpu;
mod fingerprint;
mod first_stage;
mod flash;
pub mod host;
mod machine;
mod peripherals;
mod report;
mod time;
mod trace;
mod uart;

pub use board::{Board, HostBus};
pub use cpu::{Armv4t, Cpu, CpuBus};
pub use first_stage::FirstStage;
pub use flash::{FlashCounts, FlashTimes, FlashUnit, Touch};
pub use machine::{Limit, Machine, Observer, Point};
pub use peripherals::Gpio;
pub use report::{Access, Fault, FaultReport, ResetCause, Stop};
pub use time::Time;
pub use trace::{Event, Trace};
pub use uart::{FIFO_LEN, Uart};

/// Loads `plain` code at logical `address`, coded into lines.
///
/// # Panics
/// When `address` is no multiple of 32 or the code does not fit the flash.
pub fn load_code<C>(machine: &mut Machine<C>, address: u32, plain: &[u8]) {
    assert!(address.is_multiple_of(hal_mk3060::line_code::LINE as u32));
    let offset = hal_mk3060::line_code::flash_offset(address).expect("address in flash");
    let coded: Vec<u8> = hal_mk3060::line_code::encode(plain).flatten().collect();
    machine.board.flash.load(offset, &coded);
}
