//! One partition as a NOR flash, for boot loaders: as little code as possible.

use crate::flash;
use crate::memory::{SECTOR_LEN, UNIT_LEN};
use crate::regs::Bus;
use crate::regs::flash::{CONFIG, ChipStatus, DATA_FROM_FLASH, DATA_TO_FLASH, LineMode, Op};
use crate::watchdog::Watchdog;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use ota_flash::PartitionEntry;

/// A partition of the flash behind the controller, for a program that runs
/// with interrupts masked and so has the controller to itself.
///
/// The same flash as [`Flash`](flash::Flash), with these differences: an erase
/// is read back, a program is **not** (whoever writes compares); nothing is
/// remembered, so [`Window::chip_status`] is to be called before the first
/// write and [`Window::restore`] after the last; and each operation feeds
/// the watchdog, if that runs.
#[derive(Debug, Clone, Copy)]
pub struct Window<B> {
    bus: B,
    start: u32,
    len: u32,
}

impl<B: Bus> Window<B> {
    /// The partition at `entry`, whatever its permissions.
    pub const fn new(bus: B, entry: PartitionEntry) -> Self {
        Self {
            bus,
            start: entry.start(),
            len: entry.len(),
        }
    }

    /// The chip's status register.
    pub fn chip_status(bus: &B) -> ChipStatus {
        flash::status(bus)
    }

    /// Writes the chip's status register back, if it is not as it was `found`.
    pub fn restore(bus: &B, found: ChipStatus) {
        if flash::status(bus) != found {
            flash::write_status(bus, found);
        }
    }

    /// Whether a range lies inside and is whole units of `unit` bytes, a power
    /// of two.
    #[inline(never)]
    fn check(&self, offset: u32, len: usize, unit: u32) -> Result<(), NorFlashErrorKind> {
        Watchdog::new(&self.bus).feed();
        match self.len.checked_sub(offset) {
            Some(room) if len <= room as usize => {}
            _ => return Err(NorFlashErrorKind::OutOfBounds),
        }
        // No `is_multiple_of`: `unit` is no constant here, and there is no divider.
        if (offset | len as u32) & (unit - 1) != 0 {
            return Err(NorFlashErrorKind::NotAligned);
        }
        Ok(())
    }

    /// Checks a range that is to be changed, and lifts write protection.
    #[inline(never)]
    fn change(&self, offset: u32, len: usize, unit: u32) -> Result<(), NorFlashErrorKind> {
        self.check(offset, len, unit)?;
        let found = flash::status(&self.bus);
        if found.is_protected() {
            flash::write_status(&self.bus, found.unprotected());
            if flash::status(&self.bus).is_protected() {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }
}

impl<B: Bus> ErrorType for Window<B> {
    type Error = NorFlashErrorKind;
}

impl<B: Bus> ReadNorFlash for Window<B> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.check(offset, bytes.len(), 1)?;
        let address = self.start.wrapping_add(offset);
        let end = address.wrapping_add(bytes.len() as u32);
        let mut at = address & !(UNIT_LEN - 1);
        let mut word = 0;
        while at < end {
            if at.is_multiple_of(UNIT_LEN) {
                flash::command(&self.bus, Op::Read, at);
            }
            if at.is_multiple_of(4) {
                word = DATA_FROM_FLASH.read(&self.bus);
            }
            // Below `address` the index wraps, and is none.
            if let Some(byte) = bytes.get_mut(at.wrapping_sub(address) as usize) {
                *byte = word as u8;
            }
            word >>= 8;
            at += 1;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.len as usize
    }
}

impl<B: Bus> NorFlash for Window<B> {
    const WRITE_SIZE: usize = UNIT_LEN as usize;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let len = to.wrapping_sub(from);
        self.change(from, len as usize, SECTOR_LEN)?;
        let mut at = self.start.wrapping_add(from);
        let end = at.wrapping_add(len);
        while at < end {
            if at.is_multiple_of(SECTOR_LEN) {
                flash::command(&self.bus, Op::SectorErase, at);
            }
            if at.is_multiple_of(UNIT_LEN) {
                flash::command(&self.bus, Op::Read, at);
            }
            if DATA_FROM_FLASH.read(&self.bus) != !0 {
                return Err(NorFlashErrorKind::Other);
            }
            at += 4;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.change(offset, bytes.len(), UNIT_LEN)?;
        let mut at = self.start.wrapping_add(offset);
        let mode = CONFIG.read(&self.bus);
        // The controller programs in standard line mode only.
        CONFIG.write(&self.bus, mode.with_line_mode(LineMode::Standard as u8));
        flash::command(&self.bus, Op::ModeReset, 0);
        let mut word = 0;
        for byte in bytes {
            word = word >> 8 | u32::from(*byte) << 24;
            at += 1;
            if at.is_multiple_of(4) {
                DATA_TO_FLASH.write(&self.bus, word);
            }
            if at.is_multiple_of(UNIT_LEN) {
                flash::command(&self.bus, Op::PageProgram, at - UNIT_LEN);
            }
        }
        CONFIG.write(&self.bus, mode);
        Ok(())
    }
}
