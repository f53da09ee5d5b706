//! Everything around the core.

use crate::cpu::CpuBus;
use crate::fingerprint::Fingerprint;
use crate::first_stage;
use crate::flash::{FlashUnit, WINDOW_LEN};
use crate::peripherals::{Gpio, Icu, Pwm, System, Watchdog};
use crate::report::{Access, Fault, ResetCause};
use crate::time::Time;
use crate::trace::{Event, Trace};
use crate::uart::Uart;
use hal_mk3060::memory::{RAM_END, RAM_START};
use hal_mk3060::regs;

/// `mcr p15, 0, rX, c7, c0, 4`: wait for interrupt.
const WAIT_FOR_INTERRUPT: u32 = 0xEE07_0F90;
const NOP: u32 = 0xE1A0_0000;

/// Memory and peripherals.
#[derive(Clone)]
pub struct Board {
    /// Flash chip and controller.
    pub flash: FlashUnit,
    /// UART1 and UART2.
    pub uarts: [Uart; 2],
    /// Pins.
    pub gpio: Gpio,
    /// What happened.
    pub trace: Trace,
    ram: Vec<u8>,
    icu: Icu,
    watchdog: Watchdog,
    pwm: Pwm,
    system: System,
    now: Time,
    next_event: Time,
    pub(crate) irq: bool,
    pub(crate) fiq: bool,
    pub(crate) waiting: bool,
    pub(crate) fault: Option<Box<Fault>>,
    /// Something happened that the machine has to look at before it executes
    /// the next instruction.
    pub(crate) attention: bool,
    /// RAM and registers whose stores (`true`) or loads somebody waits for,
    /// and what was hit.
    pub(crate) watched: Vec<(core::ops::Range<u32>, bool)>,
    pub(crate) seen: Option<u32>,
    /// Address of the instruction in hand.
    pub(crate) pc: u32,
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

impl Board {
    /// A board with blank flash. Programs need a [`Machine`](crate::Machine)
    /// around it; drivers can also run on the host, through
    /// a [`HostBus`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            flash: FlashUnit::new(),
            uarts: [Uart::new(1), Uart::new(2)],
            gpio: Gpio::default(),
            trace: Trace::default(),
            ram: vec![0; (RAM_END - RAM_START) as usize],
            icu: Icu::new(),
            watchdog: Watchdog::default(),
            pwm: Pwm::default(),
            system: System::default(),
            now: Time::ZERO,
            next_event: Time::NEVER,
            irq: false,
            fiq: false,
            waiting: false,
            fault: None,
            attention: true,
            watched: Vec::new(),
            seen: None,
            pc: 0,
        }
    }

    /// Virtual time since the machine was made.
    pub fn now(&self) -> Time {
        self.now
    }

    /// RAM, from [`RAM_START`].
    pub fn ram(&self) -> &[u8] {
        &self.ram
    }

    /// RAM, from [`RAM_START`].
    pub fn ram_mut(&mut self) -> &mut [u8] {
        &mut self.ram
    }

    pub(crate) fn reset(&mut self, cause: ResetCause) {
        self.trace.push(self.now, Event::Reset(cause));
        self.flash.reset();
        for uart in &mut self.uarts {
            uart.reset();
        }
        self.icu = Icu::new();
        self.watchdog = Watchdog::default();
        self.pwm = Pwm::default();
        self.gpio.reset();
        self.system = System::default();
        self.waiting = false;
        self.fault = None;
        self.refresh();
    }

    /// Puts bytes on the line to UART 1 or 2.
    pub fn send(&mut self, uart: u8, bytes: &[u8]) {
        let now = self.now;
        if let Some(uart) = self.uarts.get_mut(usize::from(uart).wrapping_sub(1)) {
            uart.send_to_board(bytes, now);
        }
        self.refresh();
    }

    /// Lets `span` pass.
    #[inline]
    pub(crate) fn pass(&mut self, span: Time) {
        self.now += span;
        if self.now >= self.next_event {
            self.advance();
        }
    }

    /// An instruction's time passes; what is due waits for [`Board::pass`].
    #[inline]
    pub(crate) fn tick(&mut self) {
        self.now += Time::INSTRUCTION;
    }

    /// As [`Board::tick`] for so many.
    pub(crate) fn ticks(&mut self, count: u64) {
        self.now += Time::instructions(count);
    }

    /// The watchpoint that was hit, if one was: a bus address or flash offset.
    pub(crate) fn take_seen(&mut self) -> Option<u32> {
        let flash = self.flash.seen.take();
        self.seen.take().or(flash)
    }

    /// The next moment at which something happens by itself.
    pub(crate) fn next_event(&self) -> Time {
        self.next_event
    }

    /// A copy without RAM and flash chip.
    pub(crate) fn without_memory(&self) -> Self {
        Self {
            flash: self.flash.without_chip(),
            uarts: self.uarts.clone(),
            gpio: self.gpio.clone(),
            trace: Trace::default(),
            ram: Vec::new(),
            icu: self.icu.clone(),
            watchdog: self.watchdog.clone(),
            pwm: self.pwm.clone(),
            system: self.system.clone(),
            fault: self.fault.clone(),
            watched: self.watched.clone(),
            ..*self
        }
    }

    /// Takes RAM and flash chip of `other`.
    pub(crate) fn take_memory(&mut self, other: &mut Self) {
        self.flash.take_chip(&mut other.flash);
        std::mem::swap(&mut self.ram, &mut other.ram);
        std::mem::swap(&mut self.trace, &mut other.trace);
    }

    /// What decides how the board goes on, apart from RAM and flash chip.
    pub(crate) fn fingerprint(&self, print: &mut Fingerprint) {
        let now = self.now;
        self.flash.fingerprint(print, now);
        for uart in &self.uarts {
            uart.fingerprint(print, now);
        }
        self.icu.fingerprint(print);
        self.watchdog.fingerprint(print, now);
        self.pwm.fingerprint(print, now);
        self.gpio.fingerprint(print);
        self.system.fingerprint(print);
        print.word(u64::from(self.irq) | u64::from(self.fiq) << 1 | u64::from(self.waiting) << 2);
    }

    /// Whether an interrupt could end a wait.
    pub(crate) fn can_wake(&self) -> bool {
        self.icu.listens()
    }

    #[cold]
    fn advance(&mut self) {
        for uart in &mut self.uarts {
            uart.advance(self.now, &mut self.trace);
        }
        self.pwm
            .advance(self.now, self.icu.pwm_mux, self.icu.power_down.pwm());
        self.refresh();
    }

    /// Whether the watchdog has run out.
    pub fn watchdog_bites(&self) -> bool {
        self.watchdog.next_event() <= self.now
    }

    /// Recomputes what depends on registers.
    fn refresh(&mut self) {
        let raw = u32::from(self.uarts[0].asks())
            | u32::from(self.uarts[1].asks()) << 1
            | u32::from(self.pwm.asks()) << 9;
        self.icu.raw = raw;
        self.irq = self.icu.irq();
        self.fiq = self.icu.fiq();
        if self.icu.pending() {
            self.waiting = false;
        }
        self.next_event = self.uarts[0]
            .next_event()
            .min(self.uarts[1].next_event())
            .min(self.pwm.next_event())
            .min(self.watchdog.next_event());
        self.attention = true;
    }

    #[cold]
    fn fail(&mut self, fault: Fault) {
        self.attention = true;
        self.fault.get_or_insert(Box::new(fault));
    }

    fn peripheral_read(&mut self, address: u32) -> Option<u32> {
        // What is read may depend on what became due a moment ago.
        let offset = address & 0xFF;
        let value = match address & !0xFF {
            regs::icu::BASE => self.icu.read(offset),
            regs::uart::UART1 => self.uarts[0].read(offset),
            regs::uart::UART2 => self.uarts[1].read(offset),
            regs::gpio::BASE => self.gpio.read(offset),
            regs::watchdog::BASE => self.watchdog.read(offset),
            regs::pwm::BASE => self.pwm.read(offset),
            regs::flash::BASE => self.flash.read(offset, self.now),
            _ if (regs::system::BASE..regs::system::BASE + regs::system::BLOCK_LEN)
                .contains(&address) =>
            {
                self.system.read(address - regs::system::BASE)
            }
            _ => None,
        };
        self.refresh();
        value
    }

    fn peripheral_write(&mut self, address: u32, value: u32) -> Option<()> {
        let offset = address & 0xFF;
        let now = self.now;
        let done = match address & !0xFF {
            regs::icu::BASE => {
                let done = self.icu.write(offset, value);
                self.watchdog.clock(!self.icu.power_down.watchdog(), now);
                done
            }
            base @ (regs::uart::UART1 | regs::uart::UART2) => {
                let n = usize::from(base == regs::uart::UART2);
                match self.uarts[n].write(offset, value, now) {
                    Some(Err(fault)) => {
                        self.fail(fault);
                        Some(())
                    }
                    Some(Ok(())) => Some(()),
                    None => None,
                }
            }
            regs::gpio::BASE => self.gpio.write(offset, value),
            regs::watchdog::BASE => self.watchdog.write(offset, value, now),
            regs::pwm::BASE => self.pwm.write(offset, value, now, self.icu.pwm_mux),
            regs::flash::BASE => match self.flash.write(offset, value, now, &mut self.trace) {
                Some(Ok(span)) => {
                    // A program that runs from flash stands still meanwhile.
                    if self.pc < RAM_START {
                        self.refresh();
                        self.pass(span);
                    }
                    Some(())
                }
                Some(Err(fault)) => {
                    self.fail(fault);
                    Some(())
                }
                None => None,
            },
            _ if (regs::system::BASE..regs::system::BASE + regs::system::BLOCK_LEN)
                .contains(&address) =>
            {
                self.system.write(address - regs::system::BASE, value)
            }
            _ => None,
        };
        self.refresh();
        done
    }

    fn window(&mut self, address: u32, access: Access) -> u32 {
        if address < first_stage::LEN {
            return match first_stage::word(address) {
                Some(word) => word,
                None => {
                    self.fail(Fault::FirstStage { address });
                    NOP
                }
            };
        }
        match self.flash.window_word(address, access) {
            Ok(word) => word,
            Err(fault) => {
                self.fail(fault);
                NOP
            }
        }
    }
}

impl CpuBus for Board {
    #[inline]
    fn fetch32(&mut self, address: u32) -> u32 {
        let word = if address < WINDOW_LEN {
            self.window(address, Access::Fetch)
        } else if let Some(bytes) = self
            .ram
            .get(address.wrapping_sub(RAM_START) as usize..)
            .and_then(<[u8]>::first_chunk)
        {
            u32::from_le_bytes(*bytes)
        } else {
            self.fail(Fault::Unmapped {
                access: Access::Fetch,
                address,
            });
            NOP
        };
        // Coprocessor register transfers: cond 1110 ... 1.
        if word & 0x0F00_0010 == 0x0E00_0010 {
            if word & !0xF000 == WAIT_FOR_INTERRUPT & !0xF000 {
                self.waiting = true;
                self.attention = true;
            } else {
                self.fail(Fault::Coprocessor {
                    address,
                    instruction: word,
                });
            }
            return NOP;
        }
        word
    }

    fn fetch16(&mut self, address: u32) -> u16 {
        let word = if address < WINDOW_LEN {
            self.window(address, Access::Fetch)
        } else if let Some(bytes) = self
            .ram
            .get((address & !3).wrapping_sub(RAM_START) as usize..)
            .and_then(<[u8]>::first_chunk)
        {
            u32::from_le_bytes(*bytes)
        } else {
            self.fail(Fault::Unmapped {
                access: Access::Fetch,
                address,
            });
            // A Thumb no-operation.
            return 0x46C0;
        };
        (word >> (8 * (address & 2))) as u16
    }

    #[inline]
    fn load(&mut self, address: u32, bytes: u32) -> u32 {
        let mask = u32::MAX >> (32 - 8 * bytes);
        if !self.watched.is_empty() {
            self.look(address, bytes, false);
        }
        let word = if let Some(ram) = self
            .ram
            .get((address & !3).wrapping_sub(RAM_START) as usize..)
            .and_then(<[u8]>::first_chunk)
        {
            u32::from_le_bytes(*ram)
        } else if address < WINDOW_LEN {
            self.window(address & !3, Access::Read)
        } else {
            return self.load_register(address, bytes);
        };
        word >> (8 * (address & 3)) & mask
    }

    #[inline]
    fn store(&mut self, address: u32, bytes: u32, value: u32) {
        if !self.watched.is_empty() {
            self.look(address, bytes, true);
        }
        let at = address.wrapping_sub(RAM_START) as usize;
        if let Some(ram) = self.ram.get_mut(at..at.saturating_add(bytes as usize)) {
            for (to, from) in ram.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
            return;
        }
        self.store_register(address, bytes, value);
    }
}

/// A board without a core: drivers run on the host and reach its registers.
pub struct HostBus(core::cell::RefCell<Board>);

impl HostBus {
    /// Takes `board`.
    #[must_use]
    pub fn new(board: Board) -> Self {
        Self(core::cell::RefCell::new(board))
    }

    /// The board. Drivers must not run while the reference lives.
    pub fn board(&self) -> core::cell::RefMut<'_, Board> {
        self.0.borrow_mut()
    }
}

impl hal_mk3060::regs::Bus for HostBus {
    fn read(&self, address: u32) -> u32 {
        let mut board = self.board();
        board.pass(Time::INSTRUCTION);
        board.load_register(address, 4)
    }
    fn write(&self, address: u32, value: u32) {
        let mut board = self.board();
        board.pass(Time::INSTRUCTION);
        board.store_register(address, 4, value);
    }
}

impl Board {
    /// What went wrong since the last call, when drivers run on the host.
    pub fn take_fault(&mut self) -> Option<Fault> {
        self.fault.take().map(|fault| *fault)
    }

    #[cold]
    fn look(&mut self, address: u32, bytes: u32, store: bool) {
        let hit = self.watched.iter().any(|(range, stores)| {
            *stores == store && range.start < address + bytes && address < range.end
        });
        if hit {
            self.seen = Some(address);
            self.attention = true;
        }
    }

    #[cold]
    fn load_register(&mut self, address: u32, bytes: u32) -> u32 {
        let access = Access::Read;
        if bytes != 4 {
            self.fail(Fault::Width {
                access,
                address,
                bytes,
            });
            return 0;
        }
        self.peripheral_read(address).unwrap_or_else(|| {
            self.fail(Fault::Unmapped { access, address });
            0
        })
    }

    #[cold]
    fn store_register(&mut self, address: u32, bytes: u32, value: u32) {
        let access = Access::Write;
        if address < WINDOW_LEN {
            self.fail(Fault::FlashWindow { address });
        } else if bytes != 4 {
            self.fail(Fault::Width {
                access,
                address,
                bytes,
            });
        } else if self.peripheral_write(address, value).is_none() {
            self.fail(Fault::Unmapped { access, address });
        }
    }
}
