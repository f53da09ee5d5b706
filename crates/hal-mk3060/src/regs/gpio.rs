//! GPIO, 0x0080_2800.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_2800;
/// Pins.
pub const PINS: u32 = 32;
/// Length of the block.
pub const BLOCK_LEN: u32 = 0xB8;

/// Configuration of `pin`.
#[must_use]
pub const fn config(pin: u32) -> Reg<Pin> {
    Reg::at(BASE + 4 * pin)
}

/// Bit n: second function of pin n is peripheral mode 2 (0: mode 1).
pub const FUNCTION: Reg<u32> = Reg::at(BASE + 0x80);
/// Interrupt enable, one bit a pin.
pub const INT_ENABLE: Reg<u32> = Reg::at(BASE + 0x84);
/// Interrupt status; write 1 to clear.
pub const INT_STATUS: Reg<u32> = Reg::at(BASE + 0x90);

/// One pin.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Pin {
    /// Level at the pin.
    pub input: bool,
    /// Level to drive.
    pub output: bool,
    /// Input buffer on.
    pub input_enable: bool,
    /// 1: not driven.
    pub output_disable: bool,
    /// Pull up (0: down).
    pub pull_up: bool,
    /// Pull on.
    pub pull_enable: bool,
    /// The pin belongs to a peripheral.
    pub second_function: bool,
    /// Monitor.
    pub monitor: bool,
    #[bits(24)]
    __: u32,
}

impl Pin {
    /// Push-pull output, low.
    pub const OUTPUT: Self = Self::new();
    /// Floating input.
    pub const INPUT: Self = Self::new()
        .with_input_enable(true)
        .with_output_disable(true);
    /// Input with pull-up.
    pub const INPUT_PULL_UP: Self = Self::INPUT.with_pull_enable(true).with_pull_up(true);
    /// Peripheral pin with pull-up, as the UARTs use it.
    pub const PERIPHERAL: Self = Self::new()
        .with_second_function(true)
        .with_pull_enable(true)
        .with_pull_up(true);
}
