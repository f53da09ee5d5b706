//! UART1 (0x0080_2100) and UART2 (0x0080_2200).

use super::Reg;
use bitfield_struct::bitfield;

/// First address of UART1, the console.
pub const UART1: u32 = 0x0080_2100;
/// First address of UART2.
pub const UART2: u32 = 0x0080_2200;
/// Length of a block.
pub const BLOCK_LEN: u32 = 0x20;
/// Clock that the divider divides.
pub const CLOCK_HZ: u32 = 26_000_000;

/// Registers of one UART.
#[derive(Clone, Copy)]
pub struct Block {
    /// Format and baud rate.
    pub config: Reg<Config>,
    /// FIFO thresholds.
    pub fifo_config: Reg<FifoConfig>,
    /// FIFO fill.
    pub fifo_status: Reg<FifoStatus>,
    /// Data.
    pub port: Reg<Port>,
    /// Interrupt enable.
    pub int_enable: Reg<Interrupts>,
    /// Interrupt status; write 1 to clear.
    pub int_status: Reg<Interrupts>,
    /// Flow control: low and high watermark, bit 16 enables.
    pub flow: Reg<u32>,
    /// Wake-up.
    pub wake: Reg<u32>,
}

impl Block {
    /// The block at `base` ([`UART1`] or [`UART2`]).
    #[must_use]
    pub const fn at(base: u32) -> Self {
        Self {
            config: Reg::at(base),
            fifo_config: Reg::at(base + 0x04),
            fifo_status: Reg::at(base + 0x08),
            port: Reg::at(base + 0x0C),
            int_enable: Reg::at(base + 0x10),
            int_status: Reg::at(base + 0x14),
            flow: Reg::at(base + 0x18),
            wake: Reg::at(base + 0x1C),
        }
    }
}

/// Format and baud rate.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Config {
    /// Transmitter on.
    pub tx_enable: bool,
    /// Receiver on.
    pub rx_enable: bool,
    /// Infrared coding.
    pub irda: bool,
    /// Data bits minus five; 3 is eight bits.
    #[bits(2)]
    pub data_len: u8,
    /// Parity bit sent and checked.
    pub parity: bool,
    /// Odd parity.
    pub parity_odd: bool,
    /// Two stop bits.
    pub two_stop_bits: bool,
    /// `CLOCK_HZ / baud - 1`.
    #[bits(13)]
    pub divider: u16,
    #[bits(11)]
    __: u16,
}

impl Config {
    /// 8N1, both directions on, at `baud`.
    #[must_use]
    pub const fn eight_n_one(baud: u32) -> Self {
        Self::new()
            .with_tx_enable(true)
            .with_rx_enable(true)
            .with_data_len(3)
            .with_divider((CLOCK_HZ / baud - 1) as u16)
    }

    /// Baud rate of the divider.
    #[must_use]
    pub const fn baud(self) -> u32 {
        CLOCK_HZ / (self.divider() as u32 + 1)
    }
}

/// FIFO thresholds.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FifoConfig {
    /// "needs write" below this many bytes.
    pub tx_threshold: u8,
    /// "needs read" from this many bytes.
    pub rx_threshold: u8,
    /// Silence that ends a burst: 32, 64, 128 or 256 bit times.
    #[bits(2)]
    pub rx_stop: u8,
    #[bits(14)]
    __: u16,
}

/// FIFO fill.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FifoStatus {
    /// Bytes waiting to be sent.
    pub tx_count: u8,
    /// Bytes received and not yet read.
    pub rx_count: u8,
    /// Transmit FIFO full.
    pub tx_full: bool,
    /// Transmit FIFO empty.
    pub tx_empty: bool,
    /// Receive FIFO full.
    pub rx_full: bool,
    /// Receive FIFO empty.
    pub rx_empty: bool,
    /// A byte may be written.
    pub write_ready: bool,
    /// A byte may be read.
    pub read_ready: bool,
    #[bits(10)]
    __: u16,
}

/// Data port.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Port {
    /// Byte to send.
    pub tx: u8,
    /// Byte received. The chip vendor's driver and the module's first stage
    /// read it here; another known loader reads bits 0 to 7. See
    /// `docs/hardware-unknowns.md`.
    pub rx: u8,
    __: u16,
}

/// Interrupt bits.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Interrupts {
    /// Transmit FIFO below its threshold.
    pub tx_need_write: bool,
    /// Receive FIFO at its threshold.
    pub rx_need_read: bool,
    /// A received byte was lost.
    pub rx_overflow: bool,
    /// Parity error.
    pub parity_error: bool,
    /// Stop bit error.
    pub stop_error: bool,
    /// The last byte has left.
    pub tx_end: bool,
    /// A burst has ended.
    pub rx_end: bool,
    /// Woken by the line.
    pub wake: bool,
    #[bits(24)]
    __: u32,
}
