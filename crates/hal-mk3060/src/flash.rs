//! The flash controller as a NOR flash.

use crate::interrupt;
use crate::memory::{FLASH_LEN, SECTOR_LEN, UNIT_LEN};
use crate::regs::Bus;
use crate::regs::flash::{
    CONFIG, ChipStatus, DATA_FROM_FLASH, DATA_TO_FLASH, LineMode, OPERATE, Op, Operate, STATUS,
};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

const UNIT: usize = UNIT_LEN as usize;

/// What went wrong, and at which flash offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashError {
    /// Flash offset of the unit or sector.
    pub offset: u32,
    /// What.
    pub kind: FlashErrorKind,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlashErrorKind {
    /// Offset or length is no multiple of the unit or sector.
    NotAligned,
    /// The range ends past the flash.
    OutOfBounds,
    /// The flash does not hold what was programmed, or is not blank after an
    /// erase: worn out, or write-protected.
    ReadBack,
    /// The status register still protects sectors after it was written.
    Protected,
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self.kind {
            FlashErrorKind::NotAligned => NorFlashErrorKind::NotAligned,
            FlashErrorKind::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            FlashErrorKind::ReadBack | FlashErrorKind::Protected => NorFlashErrorKind::Other,
        }
    }
}

/// The flash behind the controller: 2 MiB, 4 KiB sectors, 32-byte units.
///
/// Reads may start and end anywhere. Erase and program run with interrupts
/// masked and are read back. Write protection is lifted before the first of
/// them, and stays lifted until [`Flash::restore_protection`].
pub struct Flash<B> {
    bus: B,
    /// Status register found when protection was lifted.
    found: Option<ChipStatus>,
}

impl<B: Bus> Flash<B> {
    /// Takes the controller as the first stage left it.
    pub const fn new(bus: B) -> Self {
        Self { bus, found: None }
    }

    /// The chip's status register.
    pub fn status(&self) -> ChipStatus {
        interrupt::free(|| status(&self.bus))
    }

    fn write_status(&self, status: ChipStatus) {
        interrupt::free(|| write_status(&self.bus, status));
    }

    /// Lifts write protection if there is any. The status register wears like
    /// flash, so it is written only when it must change.
    fn unprotect(&mut self) -> Result<(), FlashError> {
        if self.found.is_some() {
            return Ok(());
        }
        let found = self.status();
        if found.is_protected() {
            self.write_status(found.unprotected());
            if self.status().is_protected() {
                return Err(error(0, FlashErrorKind::Protected));
            }
        }
        self.found = Some(found);
        Ok(())
    }

    /// Puts write protection back as it was found. Without effect when nothing
    /// was written since, or nothing was protected.
    pub fn restore_protection(&mut self) {
        if let Some(found) = self.found.take()
            && found.is_protected()
        {
            self.write_status(found);
        }
    }

    fn read_unit(&self, address: u32) -> [u8; UNIT] {
        let mut unit = [0; UNIT];
        interrupt::free(|| {
            command(&self.bus, Op::Read, address);
            for word in unit.chunks_exact_mut(4) {
                word.copy_from_slice(&DATA_FROM_FLASH.read(&self.bus).to_le_bytes());
            }
        });
        unit
    }

    /// Programs one unit. The controller programs in standard line mode only.
    fn program_unit(&self, address: u32, unit: &[u8; UNIT]) {
        interrupt::free(|| {
            wait(&self.bus);
            let mode = CONFIG.read(&self.bus).line_mode();
            CONFIG.modify(&self.bus, |old| {
                old.with_line_mode(LineMode::Standard as u8)
            });
            command(&self.bus, Op::ModeReset, 0);
            for word in unit.chunks_exact(4) {
                if let Ok(word) = word.try_into() {
                    DATA_TO_FLASH.write(&self.bus, u32::from_le_bytes(word));
                }
            }
            command(&self.bus, Op::PageProgram, address);
            CONFIG.modify(&self.bus, |old| old.with_line_mode(mode));
        });
    }
}

/// Waits for the controller, runs one command, waits for its end. The caller
/// has masked interrupts.
pub(crate) fn command(bus: &impl Bus, op: Op, address: u32) {
    start(bus, |old| {
        old.with_address(address & (FLASH_LEN - 1))
            .with_op(op as u8)
    });
}

fn start(bus: &impl Bus, what: impl FnOnce(Operate) -> Operate) {
    wait(bus);
    OPERATE.modify(bus, |old| what(old).with_start(true).with_busy(false));
    wait(bus);
}

fn wait(bus: &impl Bus) {
    while OPERATE.read(bus).busy() {}
}

/// The chip's status register. The caller has masked interrupts.
pub(crate) fn status(bus: &impl Bus) -> ChipStatus {
    command(bus, Op::ReadStatus, 0);
    let low = STATUS.read(bus).status();
    command(bus, Op::ReadStatus2, 0);
    let high = STATUS.read(bus).status();
    ChipStatus::from_bits(u16::from_le_bytes([low, high]))
}

/// Writes the chip's status register. The caller has masked interrupts.
pub(crate) fn write_status(bus: &impl Bus, status: ChipStatus) {
    CONFIG.modify(bus, |old| {
        old.with_status_data(status.into_bits())
            .with_cpu_write(true)
    });
    // With the pin high the chip accepts the write whatever SRP says.
    start(bus, |old| {
        old.with_op(Op::WriteStatus2 as u8)
            .with_write_protect_pin(true)
    });
    CONFIG.modify(bus, |old| old.with_cpu_write(false));
}

const fn error(offset: u32, kind: FlashErrorKind) -> FlashError {
    FlashError { offset, kind }
}

fn check(offset: u32, len: usize, align: u32) -> Result<(), FlashError> {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    if len > FLASH_LEN || offset > FLASH_LEN - len {
        Err(error(offset, FlashErrorKind::OutOfBounds))
    } else if !(offset | len).is_multiple_of(align) {
        Err(error(offset, FlashErrorKind::NotAligned))
    } else {
        Ok(())
    }
}

impl<B: Bus> ErrorType for Flash<B> {
    type Error = FlashError;
}

impl<B: Bus> ReadNorFlash for Flash<B> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, mut bytes: &mut [u8]) -> Result<(), FlashError> {
        check(offset, bytes.len(), 1)?;
        let mut unit_at = offset & !(UNIT_LEN - 1);
        let mut skip = (offset % UNIT_LEN) as usize;
        while !bytes.is_empty() {
            let unit = self.read_unit(unit_at);
            let count = bytes.len().min(UNIT - skip);
            let (now, rest) = bytes.split_at_mut(count);
            for (to, from) in now.iter_mut().zip(unit.iter().skip(skip)) {
                *to = *from;
            }
            bytes = rest;
            skip = 0;
            unit_at += UNIT_LEN;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        FLASH_LEN as usize
    }
}

impl<B: Bus> NorFlash for Flash<B> {
    const WRITE_SIZE: usize = UNIT;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        check(from, to.wrapping_sub(from) as usize, SECTOR_LEN)?;
        self.unprotect()?;
        let mut sector = from;
        while sector < to {
            interrupt::free(|| command(&self.bus, Op::SectorErase, sector));
            let mut at = sector;
            while at < sector + SECTOR_LEN {
                if self.read_unit(at) != [0xFF; UNIT] {
                    return Err(error(at, FlashErrorKind::ReadBack));
                }
                at += UNIT_LEN;
            }
            sector += SECTOR_LEN;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check(offset, bytes.len(), UNIT_LEN)?;
        self.unprotect()?;
        let mut at = offset;
        for unit in bytes.chunks_exact(UNIT) {
            if let Ok(unit) = unit.try_into() {
                self.program_unit(at, unit);
                if self.read_unit(at) != *unit {
                    return Err(error(at, FlashErrorKind::ReadBack));
                }
            }
            at += UNIT_LEN;
        }
        Ok(())
    }
}
