//! Flash controller, 0x0080_3000.

use super::Reg;
use bitfield_struct::bitfield;

/// First address of the block.
pub const BASE: u32 = 0x0080_3000;

/// Command register.
pub const OPERATE: Reg<Operate> = Reg::at(BASE);
/// Words on their way to the flash; write eight before [`Op::PageProgram`].
pub const DATA_TO_FLASH: Reg<u32> = Reg::at(BASE + 0x04);
/// Words read by [`Op::Read`]; eight reads give 32 bytes.
pub const DATA_FROM_FLASH: Reg<u32> = Reg::at(BASE + 0x08);
/// Identification after [`Op::ReadId`]. Drivers take the upper half for the
/// short identifier and the whole value for the manufacturer.
pub const READ_ID: Reg<u32> = Reg::at(BASE + 0x10);
/// Status byte and CRC error count.
pub const STATUS: Reg<Status> = Reg::at(BASE + 0x14);
/// Clock, line mode, status-register data, CRC check.
pub const CONFIG: Reg<Config> = Reg::at(BASE + 0x1C);

/// Command register.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Operate {
    /// Flash address; the low five bits are ignored by read and program.
    #[bits(24)]
    pub address: u32,
    /// What to do, an [`Op`].
    #[bits(5)]
    pub op: u8,
    /// Write 1 to start.
    pub start: bool,
    /// Level of the write-protect pin.
    pub write_protect_pin: bool,
    /// Read only: a command is running.
    pub busy: bool,
}

/// Commands of the controller. It sends write-enable by itself before
/// programming and erasing (no known driver does).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Sets the write-enable latch.
    WriteEnable = 1,
    /// Clears the write-enable latch.
    WriteDisable = 2,
    /// Reads the low status byte.
    ReadStatus = 3,
    /// Writes the low status byte.
    WriteStatus = 4,
    /// Reads 32 bytes.
    Read = 5,
    /// Reads the high status byte.
    ReadStatus2 = 6,
    /// Writes both status bytes.
    WriteStatus2 = 7,
    /// Programs 32 bytes.
    PageProgram = 12,
    /// Erases 4 KiB.
    SectorErase = 13,
    /// Erases 32 KiB (by name; size not confirmed).
    BlockErase1 = 14,
    /// Erases 64 KiB (by name; size not confirmed).
    BlockErase2 = 15,
    /// Erases everything.
    ChipErase = 16,
    /// Deep power-down.
    DeepPowerDown = 17,
    /// Leaves deep power-down.
    ReleasePowerDown = 18,
    /// Reads the identification.
    ReadId = 20,
    /// High performance mode.
    HighPerformance = 21,
    /// Leaves continuous read in standard mode.
    ModeReset = 22,
    /// Leaves continuous read in dual mode.
    ModeReset2 = 23,
}

impl Op {
    /// The command with number `op`, if it is known.
    #[must_use]
    pub const fn from_bits(op: u8) -> Option<Self> {
        Some(match op {
            1 => Self::WriteEnable,
            2 => Self::WriteDisable,
            3 => Self::ReadStatus,
            4 => Self::WriteStatus,
            5 => Self::Read,
            6 => Self::ReadStatus2,
            7 => Self::WriteStatus2,
            12 => Self::PageProgram,
            13 => Self::SectorErase,
            14 => Self::BlockErase1,
            15 => Self::BlockErase2,
            16 => Self::ChipErase,
            17 => Self::DeepPowerDown,
            18 => Self::ReleasePowerDown,
            20 => Self::ReadId,
            21 => Self::HighPerformance,
            22 => Self::ModeReset,
            23 => Self::ModeReset2,
            _ => return None,
        })
    }
}

/// Status register.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// Byte of the last read-status command.
    pub status: u8,
    /// Code lines fetched with a wrong CRC (wraps).
    pub crc_errors: u8,
    /// Words left in the read FIFO.
    #[bits(3)]
    pub read_fifo: u8,
    /// Words left in the write FIFO.
    #[bits(3)]
    pub write_fifo: u8,
    #[bits(10)]
    __: u16,
}

/// Configuration register.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Config {
    /// Clock selection; 5 is "60 MHz", 9 for the DCO.
    #[bits(4)]
    pub clock: u8,
    /// A [`LineMode`].
    #[bits(5)]
    pub line_mode: u8,
    /// Lets the CPU hand data to the flash (status-register writes).
    pub cpu_write: bool,
    /// What write-status writes: low byte first.
    pub status_data: u16,
    /// Checks line CRCs while fetching.
    pub crc_enable: bool,
    #[bits(5)]
    __: u8,
}

/// How many data lines the controller uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LineMode {
    /// One; programming needs it.
    Standard = 0,
    /// Two; the usual mode for fetching.
    Dual = 1,
    /// Four.
    Quad = 2,
    /// Four with a mode byte.
    QuadContinuous = 0x0A,
}

/// The flash chip's own status register (both bytes).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct ChipStatus {
    /// Write or erase in progress.
    pub busy: bool,
    /// Write-enable latch.
    pub write_enabled: bool,
    /// Block protection BP0..BP4; 0 protects nothing (unless `complement`).
    #[bits(5)]
    pub block_protect: u8,
    /// Status-register protection 0.
    pub protect0: bool,
    /// Status-register protection 1.
    pub protect1: bool,
    /// Quad lines enabled; keep as it is.
    pub quad_enable: bool,
    /// One-time lock.
    pub lock: bool,
    #[bits(2)]
    __: u8,
    /// High performance.
    pub high_performance: bool,
    /// Protects what `block_protect` leaves open, and the other way round.
    pub complement: bool,
    /// An erase or program is suspended.
    pub suspended: bool,
}

impl ChipStatus {
    /// Whether some sector may be protected.
    #[must_use]
    pub const fn is_protected(self) -> bool {
        self.block_protect() != 0 || self.complement()
    }

    /// The same, with nothing protected.
    #[must_use]
    pub const fn unprotected(self) -> Self {
        self.with_block_protect(0).with_complement(false)
    }
}
