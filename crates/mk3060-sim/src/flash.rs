//! The flash chip, its controller, and the code window.

use crate::fingerprint::Fingerprint;
use crate::report::{Access, Fault};
use crate::time::Time;
use crate::trace::{Event, Trace};
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use hal_mk3060::line_code::{self, CODED_LINE, LINE};
use hal_mk3060::memory::{FLASH_LEN, SECTOR_LEN, UNIT_LEN};
use hal_mk3060::regs::flash::{ChipStatus, Config, LineMode, Op, Operate, Status};
use ota_flash::sim::{SimError, SimFlash};
use std::sync::Arc;

/// Lines the code window shows.
const LINES: usize = FLASH_LEN as usize / CODED_LINE;
/// Lines of a page of the decoded window.
const PAGE_LINES: usize = 128;
/// Bytes of a page of the decoded window.
const PAGE: usize = PAGE_LINES * LINE;
/// Logical addresses the code window shows.
pub const WINDOW_LEN: u32 = (LINES * LINE) as u32;

/// How long commands take (typical values of a GD25Q16-class chip).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashTimes {
    /// Erase of a sector.
    pub erase: Time,
    /// Program of a unit.
    pub program: Time,
    /// Write of the status register.
    pub write_status: Time,
    /// Read of a unit through the controller.
    pub read: Time,
}

impl Default for FlashTimes {
    fn default() -> Self {
        Self {
            erase: Time::millis(50),
            program: Time::micros(110),
            write_status: Time::millis(10),
            read: Time::micros(3),
        }
    }
}

/// Commands carried out since power-on of the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlashCounts {
    /// Units read through the controller.
    pub reads: u64,
    /// Sectors erased.
    pub erases: u64,
    /// Units programmed.
    pub programs: u64,
    /// Status-register writes.
    pub status_writes: u64,
    /// Time the chip was busy erasing.
    pub erase_time: Time,
    /// Time the chip was busy programming.
    pub program_time: Time,
}

/// Decoded lines, and which of them are valid. Pages are shared between
/// snapshots until one of them changes.
#[derive(Clone)]
struct Page {
    bytes: [u8; PAGE],
    decoded: [bool; PAGE_LINES],
}

fn blank_window() -> Vec<Arc<Page>> {
    let page = Arc::new(Page {
        bytes: [0; PAGE],
        decoded: [false; PAGE_LINES],
    });
    vec![page; LINES.div_ceil(PAGE_LINES)]
}

/// What the controller did with the chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// It read a unit, and found this.
    Read(u32, [u8; UNIT_LEN as usize]),
    /// It programmed a unit.
    Program(u32, [u8; UNIT_LEN as usize]),
    /// It erased a sector.
    Erase(u32),
}

/// The chip and its controller.
#[derive(Clone)]
pub struct FlashUnit {
    /// What the chip holds.
    pub chip: SimFlash,
    /// Durations.
    pub times: FlashTimes,
    /// What was done.
    pub counts: FlashCounts,
    /// Sectors changed since somebody last took this list.
    pub dirty: Vec<u32>,
    status: ChipStatus,
    operate: Operate,
    config: Config,
    last_status: u8,
    crc_errors: u8,
    to_flash: Vec<u32>,
    from_flash: [u32; 8],
    from_next: usize,
    busy_until: Time,
    window: Vec<Arc<Page>>,
    /// Flash offsets (range of) whose change somebody waits for, and the one
    /// that changed.
    log: Option<Vec<Touch>>,
    pub(crate) watched: Vec<core::ops::Range<u32>>,
    pub(crate) seen: Option<u32>,
}

impl FlashUnit {
    /// A blank chip.
    pub fn new() -> Self {
        Self {
            chip: SimFlash::new(FLASH_LEN as usize),
            times: FlashTimes::default(),
            counts: FlashCounts::default(),
            dirty: Vec::new(),
            // The vendor's first stage leaves everything protected.
            status: ChipStatus::new().with_complement(true),
            operate: Operate::new(),
            config: reset_config(),
            last_status: 0,
            crc_errors: 0,
            to_flash: Vec::new(),
            from_flash: [0; 8],
            from_next: 8,
            busy_until: Time::ZERO,
            window: blank_window(),
            log: None,
            watched: Vec::new(),
            seen: None,
        }
    }

    /// The controller after a chip reset; chip contents and status stay.
    pub fn reset(&mut self) {
        self.operate = Operate::new();
        self.config = reset_config();
        self.to_flash.clear();
        self.from_next = 8;
        self.busy_until = Time::ZERO;
        self.crc_errors = 0;
        self.window = blank_window();
    }

    /// The chip's status register.
    pub fn chip_status(&self) -> ChipStatus {
        self.status
    }

    /// Sets the chip's status register, as whoever had the board before.
    pub fn set_chip_status(&mut self, status: ChipStatus) {
        self.status = status;
    }

    /// Loads `bytes` at flash `offset`, behind the program's back.
    pub fn load(&mut self, offset: u32, bytes: &[u8]) {
        self.chip.load(offset, bytes);
        self.window = blank_window();
    }

    /// Puts another chip in, powered.
    pub fn replace_chip(&mut self, chip: SimFlash) {
        self.chip = chip;
        self.chip.power_on();
        self.window = blank_window();
    }

    /// As [`FlashUnit::replace_chip`], for one that went through another life
    /// since it was cloned from this one: what is still the same stays decoded.
    /// Nothing may have changed this one's chip but the board's own commands.
    pub fn replace_fork(&mut self, chip: SimFlash) {
        let old = std::mem::replace(&mut self.chip, chip);
        self.chip.power_on();
        for sector in 0..self.chip.sectors() {
            let offset = sector as u32 * SECTOR_LEN;
            let same = self.chip.same_bytes(&old, offset, SECTOR_LEN as usize)
                && self.chip.unstable_bits_in(sector) == 0;
            if !same {
                self.forget_lines(offset, SECTOR_LEN);
            }
        }
    }

    /// The word at logical `address` as code or constant data.
    #[inline]
    pub fn window_word(&mut self, address: u32, access: Access) -> Result<u32, Fault> {
        let at = address as usize & !3;
        let Some(page) = self.window.get(at / PAGE) else {
            return Err(Fault::Unmapped { access, address });
        };
        if page.decoded[at % PAGE / LINE] {
            let [bytes, ..] = page.bytes[at % PAGE..].as_chunks::<4>().0 else {
                return Ok(0);
            };
            return Ok(u32::from_le_bytes(*bytes));
        }
        self.decode(address, access)
    }

    #[cold]
    fn decode(&mut self, address: u32, access: Access) -> Result<u32, Fault> {
        let line = address as usize / LINE;
        if line >= LINES {
            return Err(Fault::Unmapped { access, address });
        }
        let offset = (line * CODED_LINE) as u32;
        let mut coded = [0; CODED_LINE];
        // Power may be off in the middle of a cut; then nothing matters.
        if self.chip.read(offset, &mut coded).is_err() {
            return Ok(0);
        }
        match line_code::decode_line(&coded) {
            Some(plain) => {
                let page = Arc::make_mut(&mut self.window[line / PAGE_LINES]);
                let line = line % PAGE_LINES;
                page.bytes[line * LINE..(line + 1) * LINE].copy_from_slice(&plain);
                page.decoded[line] = true;
                self.window_word(address, access)
            }
            None => {
                self.crc_errors = self.crc_errors.wrapping_add(1);
                Err(Fault::LineCrc {
                    address,
                    offset,
                    blank: coded == [0xFF; CODED_LINE],
                })
            }
        }
    }

    fn forget_lines(&mut self, offset: u32, len: u32) {
        let first = offset as usize / CODED_LINE;
        let last = ((offset + len).div_ceil(CODED_LINE as u32) as usize).min(LINES);
        for line in first..last {
            let page = &mut self.window[line / PAGE_LINES];
            if page.decoded[line % PAGE_LINES] {
                Arc::make_mut(page).decoded[line % PAGE_LINES] = false;
            }
        }
    }

    /// Bytes of the code window for somebody who looks from outside: nothing
    /// is counted and nothing fails but a wrong CRC.
    pub fn peek(&self, address: u32) -> Option<u8> {
        let line = address as usize / LINE;
        if line >= LINES {
            return None;
        }
        let coded = self.chip.dump((line * CODED_LINE) as u32, CODED_LINE);
        let plain = line_code::decode_line(&coded.try_into().ok()?)?;
        plain.get(address as usize % LINE).copied()
    }

    fn note(&mut self, touch: Touch) {
        if let Some(log) = &mut self.log {
            log.push(touch);
        }
    }

    /// Notes from now on what is done with the chip.
    pub fn start_log(&mut self) {
        self.log = Some(Vec::new());
    }

    /// What was noted.
    pub fn take_log(&mut self) -> Vec<Touch> {
        self.log.take().unwrap_or_default()
    }

    /// Does with the chip what another one has seen, if every read finds the
    /// same; otherwise nothing.
    pub fn replay(&mut self, log: &[Touch]) -> bool {
        // Unstable bits read differently each time.
        if self.chip.unstable_bits() > 0 {
            return false;
        }
        let mut chip = self.chip.clone();
        let same = log.iter().all(|touch| match touch {
            Touch::Read(at, unit) => {
                let mut found = [0; UNIT_LEN as usize];
                chip.read(*at, &mut found).is_ok() && found == *unit
            }
            Touch::Program(at, unit) => chip.write(*at, unit).is_ok(),
            Touch::Erase(at) => chip.erase(*at, at + SECTOR_LEN).is_ok(),
        });
        if same {
            self.chip = chip;
            for touch in log {
                match touch {
                    Touch::Read(..) => {}
                    Touch::Program(at, _) => self.changed(*at, UNIT_LEN),
                    Touch::Erase(at) => self.changed(*at, SECTOR_LEN),
                }
            }
        }
        same
    }

    /// Takes chip and window of `other`, and keeps the controller.
    pub(crate) fn take_chip(&mut self, other: &mut Self) {
        std::mem::swap(&mut self.chip, &mut other.chip);
        std::mem::swap(&mut self.window, &mut other.window);
        std::mem::swap(&mut self.dirty, &mut other.dirty);
        self.counts = other.counts;
        self.log = other.log.take();
    }

    /// Forgets chip and window.
    pub(crate) fn without_chip(&self) -> Self {
        Self {
            chip: SimFlash::new(0),
            window: Vec::new(),
            dirty: Vec::new(),
            log: None,
            ..self.clone()
        }
    }

    /// What decides how the controller behaves from now on.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint, now: Time) {
        print.word(u64::from(self.status.into_bits()));
        print.word(u64::from(u32::from(self.operate)));
        print.word(u64::from(u32::from(self.config)));
        print.word(u64::from(self.last_status) << 8 | u64::from(self.crc_errors));
        print.word(self.to_flash.len() as u64);
        for word in self.to_flash.iter().chain(&self.from_flash) {
            print.word(u64::from(*word));
        }
        print.word(self.from_next as u64);
        print.span(self.busy_until, now);
    }

    /// First sector offset range that the status register protects, as
    /// `start..end` (GD25Q16; `complement` turns it round).
    fn is_protected(&self, offset: u32) -> bool {
        let bp = self.status.block_protect();
        let low3 = u32::from(bp & 7);
        let (bottom, small) = (bp & 8 != 0, bp & 16 != 0);
        let len = match (small, low3) {
            (_, 0) => 0,
            (_, 7) => FLASH_LEN,
            (false, 6) => FLASH_LEN,
            (false, n) => 0x1_0000 << (n - 1),
            (true, n @ 1..=3) => 0x1000 << (n - 1),
            (true, 4 | 5) => 0x8000,
            (true, _) => FLASH_LEN,
        };
        let inside = if bottom {
            offset < len
        } else {
            offset >= FLASH_LEN - len
        };
        inside != self.status.complement()
    }

    /// Reads a register of the controller.
    pub fn read(&mut self, register: u32, now: Time) -> Option<u32> {
        Some(match register {
            0x00 => self.operate.with_busy(now < self.busy_until).into(),
            0x04 => 0,
            0x08 => {
                let word = self.from_flash.get(self.from_next).copied();
                self.from_next += 1;
                word.unwrap_or(0)
            }
            0x10 => 0x00C8_4015,
            0x14 => Status::new()
                .with_status(self.last_status)
                .with_crc_errors(self.crc_errors)
                .into(),
            0x1C => self.config.into(),
            _ => return None,
        })
    }

    /// Writes a register of the controller. `Some(Ok(span))` is how long the
    /// chip is busy with what was started.
    pub fn write(
        &mut self,
        register: u32,
        value: u32,
        now: Time,
        trace: &mut Trace,
    ) -> Option<Result<Time, Fault>> {
        match register {
            0x00 => {
                let operate = Operate::from_bits(value);
                if now < self.busy_until && operate.start() {
                    return Some(Err(fault(
                        "command",
                        operate.address(),
                        "the controller is busy",
                    )));
                }
                self.operate = operate.with_start(false).with_busy(false);
                if !operate.start() {
                    return Some(Ok(Time::ZERO));
                }
                let result = self.command(operate, now, trace);
                if let Ok(span) = result {
                    self.busy_until = now + span;
                }
                Some(result)
            }
            0x04 => {
                if self.to_flash.len() == 8 {
                    return Some(Err(fault("data", 0, "more than eight words")));
                }
                self.to_flash.push(value);
                Some(Ok(Time::ZERO))
            }
            0x1C => {
                self.config = Config::from_bits(value);
                Some(Ok(Time::ZERO))
            }
            _ => None,
        }
    }

    fn command(&mut self, operate: Operate, now: Time, trace: &mut Trace) -> Result<Time, Fault> {
        let address = operate.address();
        let Some(op) = Op::from_bits(operate.op()) else {
            return Err(fault("command", address, "no such command"));
        };
        match op {
            Op::Read => self.read_unit(address),
            Op::PageProgram => self.program(address, now, trace),
            Op::SectorErase => self.erase(address, now, trace),
            Op::ReadStatus => {
                self.last_status = self.status.into_bits() as u8;
                Ok(Time::micros(1))
            }
            Op::ReadStatus2 => {
                self.last_status = (self.status.into_bits() >> 8) as u8;
                Ok(Time::micros(1))
            }
            Op::WriteStatus | Op::WriteStatus2 => {
                if !self.config.cpu_write() {
                    return Err(fault("write status", 0, "CPU writes are not enabled"));
                }
                let data = self.config.status_data();
                let old = self.status.into_bits();
                self.status = ChipStatus::from_bits(if op == Op::WriteStatus {
                    old & 0xFF00 | data & 0xFF
                } else {
                    data
                });
                self.counts.status_writes += 1;
                trace.push(now, Event::WriteStatus(self.status.into_bits()));
                Ok(self.times.write_status)
            }
            Op::WriteEnable | Op::WriteDisable | Op::ReadId | Op::ModeReset | Op::ModeReset2 => {
                Ok(Time::micros(1))
            }
            Op::BlockErase1 | Op::BlockErase2 | Op::ChipErase => Err(fault(
                "erase",
                address,
                "sizes of block erases are not confirmed",
            )),
            Op::DeepPowerDown | Op::ReleasePowerDown | Op::HighPerformance => {
                Err(fault("command", address, "not modelled"))
            }
        }
    }

    fn read_unit(&mut self, address: u32) -> Result<Time, Fault> {
        let mut unit = [0; UNIT_LEN as usize];
        match self.chip.read(address & !(UNIT_LEN - 1), &mut unit) {
            Ok(()) | Err(SimError::PoweredOff) => {}
            Err(_) => return Err(fault("read", address, "past the end of the flash")),
        }
        for (word, bytes) in self.from_flash.iter_mut().zip(unit.chunks(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        self.from_next = 0;
        self.counts.reads += 1;
        self.note(Touch::Read(address & !(UNIT_LEN - 1), unit));
        Ok(self.times.read)
    }

    fn program(&mut self, address: u32, now: Time, trace: &mut Trace) -> Result<Time, Fault> {
        if !address.is_multiple_of(UNIT_LEN) {
            return Err(fault("program", address, "not at a multiple of 32 bytes"));
        }
        if self.config.line_mode() != LineMode::Standard as u8 {
            return Err(fault("program", address, "not in standard line mode"));
        }
        if self.is_protected(address) {
            return Err(fault("program", address, "the sector is write protected"));
        }
        let Ok(words) = <[u32; 8]>::try_from(self.to_flash.as_slice()) else {
            return Err(fault("program", address, "fewer than eight words"));
        };
        self.to_flash.clear();
        let mut unit = [0; UNIT_LEN as usize];
        for (bytes, word) in unit.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        trace.push(now, Event::Program(address));
        self.note(Touch::Program(address, unit));
        self.changed(address, UNIT_LEN);
        self.counts.programs += 1;
        self.counts.program_time += self.times.program;
        match self.chip.write(address, &unit) {
            Ok(()) | Err(SimError::PoweredOff) => Ok(self.times.program),
            Err(SimError::Reprogram { .. }) => {
                Err(fault("program", address, "the unit was programmed before"))
            }
            Err(_) => Err(fault("program", address, "past the end of the flash")),
        }
    }

    fn erase(&mut self, address: u32, now: Time, trace: &mut Trace) -> Result<Time, Fault> {
        let sector = address & !(SECTOR_LEN - 1);
        if self.is_protected(sector) {
            return Err(fault("erase", address, "the sector is write protected"));
        }
        trace.push(now, Event::Erase(sector));
        self.note(Touch::Erase(sector));
        self.changed(sector, SECTOR_LEN);
        self.counts.erases += 1;
        self.counts.erase_time += self.times.erase;
        match self.chip.erase(sector, sector + SECTOR_LEN) {
            Ok(()) | Err(SimError::PoweredOff) => Ok(self.times.erase),
            Err(_) => Err(fault("erase", address, "past the end of the flash")),
        }
    }

    fn changed(&mut self, offset: u32, len: u32) {
        self.forget_lines(offset, len);
        if self
            .watched
            .iter()
            .any(|watched| watched.start < offset + len && offset < watched.end)
        {
            self.seen = Some(offset);
        }
        let sector = offset & !(SECTOR_LEN - 1);
        if self.dirty.last() != Some(&sector) {
            self.dirty.push(sector);
        }
    }

    /// Erases `sector` as the first stage does it, past its own protection.
    pub fn first_stage_erase(&mut self, sector: u32, now: Time, trace: &mut Trace) -> Time {
        trace.push(now, Event::Erase(sector));
        self.changed(sector, SECTOR_LEN);
        self.counts.erases += 1;
        // Power may fail here too; the caller looks.
        let _ = self.chip.erase(sector, sector + SECTOR_LEN);
        self.times.erase
    }
}

impl Default for FlashUnit {
    fn default() -> Self {
        Self::new()
    }
}

fn reset_config() -> Config {
    Config::new()
        .with_clock(5)
        .with_line_mode(LineMode::Dual as u8)
        .with_crc_enable(true)
}

const fn fault(command: &'static str, offset: u32, why: &'static str) -> Fault {
    Fault::FlashCommand {
        command,
        offset,
        why,
    }
}
