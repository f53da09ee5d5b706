//! Interrupt and clock unit, 0x0080_2000.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_2000;
/// Length of the block.
pub const BLOCK_LEN: u32 = 0x54;

/// Bit 0: peripherals run on the 26 MHz crystal (0: DCO).
pub const CLOCK_MUX: Reg<u32> = Reg::at(BASE);
/// Bit n: PWM channel n runs on the 32 kHz oscillator (0: 26 MHz).
pub const PWM_CLOCK_MUX: Reg<u32> = Reg::at(BASE + 0x04);
/// 1 powers a peripheral's clock down.
pub const CLOCK_POWER_DOWN: Reg<ClockPowerDown> = Reg::at(BASE + 0x08);
/// 1 keeps a peripheral's clock from being gated.
pub const CLOCK_GATE_DISABLE: Reg<u32> = Reg::at(BASE + 0x0C);
/// Divider of the 26 MHz clock: 0..3 is 1, 2, 4, 8.
pub const DIVIDER_26M: Reg<u32> = Reg::at(BASE + 0x14);
/// Which core JTAG reaches; see [`JTAG_ARM`].
pub const JTAG_SELECT: Reg<u32> = Reg::at(BASE + 0x18);
/// Sources that may interrupt.
pub const INT_ENABLE: Reg<Sources> = Reg::at(BASE + 0x40);
/// Master switch.
pub const GLOBAL_ENABLE: Reg<GlobalEnable> = Reg::at(BASE + 0x44);
/// Sources that ask, enabled or not.
pub const RAW_STATUS: Reg<Sources> = Reg::at(BASE + 0x48);
/// Sources that ask and are enabled; write 1 to clear.
pub const INT_STATUS: Reg<Sources> = Reg::at(BASE + 0x4C);
/// Sources that end wait-for-interrupt.
pub const WAKE_ENABLE: Reg<Sources> = Reg::at(BASE + 0x50);

/// Value of [`JTAG_SELECT`] for the ARM core.
pub const JTAG_ARM: u32 = 0x7111_E968;

/// 1 powers the clock down.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ClockPowerDown {
    /// UART1.
    pub uart1: bool,
    /// UART2.
    pub uart2: bool,
    /// I2C1, infrared, I2S, I2C2, SPI, ADC.
    #[bits(6)]
    pub serial: u8,
    /// Watchdog of this core.
    pub watchdog: bool,
    /// PWM channels 0 to 5.
    #[bits(6)]
    pub pwm: u8,
    /// Audio, second core's watchdog, SDIO, USB, FFT.
    #[bits(5)]
    pub rest: u8,
    #[bits(12)]
    __: u16,
}

/// Interrupt sources: 0 to 15 raise IRQ, 16 to 31 FIQ.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Sources {
    /// UART1.
    pub uart1: bool,
    /// UART2.
    pub uart2: bool,
    /// I2C1, infrared, I2S, I2C2, SPI.
    #[bits(5)]
    pub serial: u8,
    /// GPIO.
    pub gpio: bool,
    /// Second core's watchdog.
    pub watchdog2: bool,
    /// PWM block.
    pub pwm: bool,
    /// Audio, ADC, SDIO, USB, FFT, DMA.
    #[bits(6)]
    pub rest: u8,
    /// Radio and DMA; FIQ.
    pub fiq: u16,
}

/// Master switch.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GlobalEnable {
    /// IRQ reaches the core.
    pub irq: bool,
    /// FIQ reaches the core.
    pub fiq: bool,
    #[bits(30)]
    __: u32,
}
