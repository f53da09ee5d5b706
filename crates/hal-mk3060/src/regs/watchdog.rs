//! Watchdog, 0x0080_2900.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_2900;

/// Period and key.
pub const CONTROL: Reg<Control> = Reg::at(BASE);

/// First key of the sequence.
pub const KEY1: u8 = 0x5A;
/// Second key: the period takes effect and the count starts again.
pub const KEY2: u8 = 0xA5;
/// Ticks per second that drivers assume (not confirmed, see
/// `docs/hardware-unknowns.md`).
pub const TICK_HZ: u32 = 1000;

/// Period and key; write with [`KEY1`], then with [`KEY2`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// Ticks until reset.
    pub period: u16,
    /// Key.
    pub key: u8,
    __: u8,
}
