//! PWM block, 0x0080_2A00; the chip's only timers.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_2A00;
/// Channels.
pub const CHANNELS: u32 = 6;
/// Length of the block.
pub const BLOCK_LEN: u32 = 0x08 + 8 * CHANNELS;
/// Fast clock of a channel.
pub const CLOCK_HZ: u32 = 26_000_000;
/// Slow clock of a channel.
pub const SLOW_CLOCK_HZ: u32 = 32_000;

/// Four bits per channel, see [`ChannelControl`].
pub const CONTROL: Reg<u32> = Reg::at(BASE);
/// Bit n: channel n has reached its end; write 1 and read again until clear.
pub const INT_STATUS: Reg<u32> = Reg::at(BASE + 0x04);

/// End value (low half) and duty (high half) of `channel`.
#[must_use]
pub const fn counter(channel: u32) -> Reg<Counter> {
    Reg::at(BASE + 0x08 + 8 * channel)
}

/// Captured count of `channel`.
#[must_use]
pub const fn capture(channel: u32) -> Reg<u32> {
    Reg::at(BASE + 0x0C + 8 * channel)
}

/// The four bits of a channel in [`CONTROL`].
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct ChannelControl {
    /// Counts.
    pub enable: bool,
    /// Interrupts at the end value.
    pub int_enable: bool,
    /// 0 PWM, 1 timer, 2 and 3 capture.
    #[bits(2)]
    pub mode: u8,
    #[bits(4)]
    __: u8,
}

/// Counter register.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Counter {
    /// Ticks per period.
    pub end: u16,
    /// Ticks of high level (PWM mode).
    pub duty: u16,
}
