//! System control, 0x0080_0000.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_0000;
/// Length of the block.
pub const BLOCK_LEN: u32 = 0x134;

/// Chip identifier, 0x7111 by default.
pub const CHIP_ID: Reg<u32> = Reg::at(BASE);
/// Device identifier.
pub const DEVICE_ID: Reg<u32> = Reg::at(BASE + 0x04);
/// Clock selection.
pub const CONTROL: Reg<Control> = Reg::at(BASE + 0x08);
/// Reset of subsystems (no bit for the CPU is known).
pub const RESET: Reg<u32> = Reg::at(BASE + 0x10);
/// Oscillators and other analogue blocks; the top 12 bits must be
/// [`BLOCK_ENABLE_KEY`] in a write.
pub const BLOCK_ENABLE: Reg<BlockEnable> = Reg::at(BASE + 0x12C);

/// Key of [`BLOCK_ENABLE`].
pub const BLOCK_ENABLE_KEY: u16 = 0xA5C;

/// Clock selection.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// 0 DCO, 1 26 MHz, 2 PLL, 3 32 kHz.
    #[bits(2)]
    pub source: u8,
    #[bits(2)]
    __: u8,
    /// Divides by one more than this. PLL (480 MHz) and 3 is taken as 120 MHz.
    #[bits(4)]
    pub divider: u8,
    /// Flash clock from the PLL side.
    pub flash_pll: bool,
    /// Bus at half the core clock.
    pub half_bus: bool,
    /// The rest, kept as found.
    #[bits(22)]
    pub rest: u32,
}

/// Analogue blocks.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct BlockEnable {
    /// Flash.
    pub flash: bool,
    /// Digitally controlled oscillator.
    pub dco: bool,
    /// Ring oscillator.
    pub rosc: bool,
    /// 26 MHz crystal.
    pub crystal: bool,
    /// 32 kHz.
    pub slow: bool,
    /// PLL.
    pub pll: bool,
    /// The rest, kept as found.
    #[bits(14)]
    pub rest: u16,
    /// Must be [`BLOCK_ENABLE_KEY`].
    #[bits(12)]
    pub key: u16,
}
