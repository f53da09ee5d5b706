//! The machine: core, board, power.

use crate::board::Board;
use crate::cpu::{Armv4t, Cpu, CpuBus};
use crate::fingerprint::Fingerprint;
use crate::first_stage::FirstStage;
use crate::report::{Fault, FaultReport, ResetCause, Stop};
use crate::time::Time;
use hal_mk3060::memory::{LOADER_START, RAM_END, RAM_START};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Bit of the status register: Thumb state.
const THUMB: u32 = 1 << 5;

/// How far [`Machine::run`] may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Stop at this time.
    pub time: Time,
    /// Stop when this many instructions have been executed since the machine
    /// was made.
    pub instructions: u64,
    /// Stop when the flash chip has begun this many operations (see
    /// [`SimFlash::ops`](ota_flash::sim::SimFlash::ops)): right behind the last
    /// of them.
    pub flash_ops: u64,
}

impl Limit {
    /// Runs on.
    pub const NONE: Self = Self {
        time: Time::NEVER,
        instructions: u64::MAX,
        flash_ops: u64::MAX,
    };

    /// Stop at `time`.
    #[must_use]
    pub const fn until(time: Time) -> Self {
        Self { time, ..Self::NONE }
    }

    /// Stop behind flash operation `flash_ops` - 1.
    #[must_use]
    pub const fn flash_ops(flash_ops: u64) -> Self {
        Self {
            flash_ops,
            ..Self::NONE
        }
    }
}

/// A machine at some moment, without flash chip and unused RAM.
pub struct Point<C = Armv4t> {
    machine: Machine<C>,
    statics: Box<[u8]>,
    stack: Box<[u8]>,
}

/// Somebody who looks at each instruction before it is executed.
pub trait Observer<C> {
    /// Whether it looks at all.
    const LOOKS: bool = true;

    /// The instruction at `pc` is next; `count` were executed before it.
    fn instruction(&mut self, pc: u32, cpu: &C, count: u64);
}

/// Nobody.
impl<C> Observer<C> for () {
    const LOOKS: bool = false;

    #[inline(always)]
    fn instruction(&mut self, _: u32, _: &C, _: u64) {}
}

impl<C, F: FnMut(u32, &C, u64)> Observer<C> for F {
    #[inline]
    fn instruction(&mut self, pc: u32, cpu: &C, count: u64) {
        self(pc, cpu, count);
    }
}

/// An emulated board. A clone is a snapshot of all of it.
#[derive(Clone)]
pub struct Machine<C = Armv4t> {
    /// Memory and peripherals.
    pub board: Board,
    /// The core.
    pub cpu: C,
    /// What runs before the loader.
    pub first_stage: FirstStage,
    /// Return from [`Machine::run`] at each reset.
    pub stop_at_reset: bool,
    /// Power fails before this instruction (counted since the machine was
    /// made).
    pub cut_at_instruction: Option<u64>,
    breakpoints: Vec<u32>,
    passed: Option<u32>,
    instructions: u64,
    resets: u64,
    last_reset: ResetCause,
    powered: bool,
    noise: u64,
}

impl Machine {
    /// A machine with blank flash, powered off.
    #[must_use]
    pub fn new() -> Self {
        Self::with_cpu(Armv4t::default())
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Cpu> Machine<C> {
    /// A machine around `cpu`.
    pub fn with_cpu(cpu: C) -> Self {
        Self {
            board: Board::new(),
            cpu,
            first_stage: FirstStage::None,
            stop_at_reset: false,
            cut_at_instruction: None,
            breakpoints: Vec::new(),
            passed: None,
            instructions: 0,
            resets: 0,
            last_reset: ResetCause::PowerOn,
            powered: false,
            noise: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// Instructions executed since the machine was made.
    pub fn instructions(&self) -> u64 {
        self.instructions
    }

    /// Resets other than power-on.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// Cause of the last reset.
    pub fn last_reset(&self) -> ResetCause {
        self.last_reset
    }

    /// Stops before the instruction at `address` is executed.
    pub fn add_breakpoint(&mut self, address: u32) {
        if !self.breakpoints.contains(&address) {
            self.breakpoints.push(address);
        }
    }

    /// Forgets a breakpoint.
    pub fn remove_breakpoint(&mut self, address: u32) {
        self.breakpoints.retain(|at| *at != address);
    }

    /// Switches power off. RAM is lost, flash stays.
    pub fn power_off(&mut self) {
        self.powered = false;
        self.board.flash.chip.power_off();
    }

    /// Switches power on (off first, if it was on): RAM holds noise.
    ///
    /// # Errors
    /// When the first stage does not start the loader.
    pub fn power_on(&mut self) -> Result<(), Fault> {
        self.board.flash.chip.power_on();
        self.powered = true;
        for chunk in self.board.ram_mut().chunks_mut(8) {
            self.noise ^= self.noise << 13;
            self.noise ^= self.noise >> 7;
            self.noise ^= self.noise << 17;
            for (to, from) in chunk.iter_mut().zip(self.noise.to_le_bytes()) {
                *to = from;
            }
        }
        self.start(ResetCause::PowerOn)
    }

    fn start(&mut self, cause: ResetCause) -> Result<(), Fault> {
        self.last_reset = cause;
        self.board.reset(cause);
        let now = self.board.now();
        let Board {
            flash,
            uarts: [_, uart2],
            trace,
            ..
        } = &mut self.board;
        let spent = self.first_stage.run(flash, uart2.line_in(), now, trace)?;
        self.board.pass(spent);
        self.cpu.start(LOADER_START);
        Ok(())
    }

    /// Goes on from a breakpoint at the next instruction, whatever stopped there.
    pub fn pass_breakpoint(&mut self) {
        self.passed = Some(self.cpu.pc());
    }

    /// Stops behind an instruction that stores to (`store`) or loads from
    /// `range` of RAM or registers.
    pub fn add_watchpoint(&mut self, range: core::ops::Range<u32>, store: bool) {
        self.board.watched.push((range, store));
    }

    /// Stops behind an operation that changes flash offsets of `range`.
    pub fn add_flash_watchpoint(&mut self, range: core::ops::Range<u32>) {
        self.board.flash.watched.push(range);
    }

    /// Forgets all watchpoints.
    pub fn clear_watchpoints(&mut self) {
        self.board.watched.clear();
        self.board.flash.watched.clear();
    }

    /// The reset line: chip reset, power stays on.
    ///
    /// # Errors
    /// When the first stage does not start the loader.
    pub fn reset(&mut self) -> Result<(), Fault> {
        self.resets += 1;
        self.start(ResetCause::Line)
    }

    /// Fills RAM from `from` on with `pattern`, to see later how deep the
    /// stack went.
    pub fn paint_ram(&mut self, from: u32, pattern: u8) {
        let at = from.saturating_sub(hal_mk3060::memory::RAM_START) as usize;
        if let Some(ram) = self.board.ram_mut().get_mut(at..) {
            ram.fill(pattern);
        }
    }

    /// Bytes at the top of RAM since the lowest one that no longer holds
    /// `pattern`, looking up from `from`.
    pub fn painted_depth(&self, from: u32, pattern: u8) -> u32 {
        let at = from.saturating_sub(hal_mk3060::memory::RAM_START) as usize;
        let untouched = self.board.ram().get(at..).map_or(0, |ram| {
            ram.iter().take_while(|byte| **byte == pattern).count()
        });
        RAM_END - from - untouched as u32
    }

    /// Runs until something stops it.
    pub fn run(&mut self, limit: Limit) -> Stop {
        self.run_observed(limit, &mut ())
    }

    /// Runs until something stops it, and shows `observer` each instruction.
    pub fn run_observed<O: Observer<C>>(&mut self, limit: Limit, observer: &mut O) -> Stop {
        // The interpreter panics on what a core calls unpredictable.
        match catch_unwind(AssertUnwindSafe(|| self.run_inner(limit, observer))) {
            Ok(stop) => stop,
            Err(panic) => {
                let what = panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                    .unwrap_or_default();
                let address = self.board.pc;
                Stop::Fault(Box::new(FaultReport {
                    fault: Fault::Unpredictable { address, what },
                    pc: address,
                    registers: [0; 16],
                    cpsr: self.cpu.cpsr(),
                    time: self.board.now(),
                    instructions: self.instructions,
                }))
            }
        }
    }

    fn run_inner<O: Observer<C>>(&mut self, limit: Limit, observer: &mut O) -> Stop {
        if !self.powered {
            return Stop::PowerCut;
        }
        let last = limit
            .instructions
            .min(self.cut_at_instruction.unwrap_or(u64::MAX));
        loop {
            if self.instructions >= last {
                if self.cut_at_instruction == Some(self.instructions) {
                    self.cut_at_instruction = None;
                    self.power_off();
                    return Stop::PowerCut;
                }
                return Stop::Limit;
            }
            if self.board.now() >= limit.time || self.board.flash.chip.ops() >= limit.flash_ops {
                return Stop::Limit;
            }
            if self.board.waiting {
                if let Some(stop) = self.idle(limit.time) {
                    return stop;
                }
                continue;
            }
            if self.board.irq {
                self.cpu.irq();
            }
            if self.board.fiq {
                self.cpu.fiq();
            }
            // One instruction when each has to be looked at, else as many as
            // nothing else happens.
            let single = self.board.irq || self.board.fiq;
            let pc = self.cpu.pc();
            if self.passed != Some(pc) && self.breakpoints.contains(&pc) {
                self.passed = Some(pc);
                return Stop::Breakpoint { address: pc };
            }
            self.passed = None;
            let until = limit.time.min(self.board.next_event());
            self.board.attention = false;
            let (mut pc, mut defined) = (pc, true);
            loop {
                self.board.pc = pc;
                observer.instruction(pc, &self.cpu, self.instructions);
                defined &= self.cpu.step(&mut self.board);
                self.instructions += 1;
                self.board.tick();
                let next = self.cpu.pc();
                if next == pc && !O::LOOKS {
                    self.spin(until, last);
                }
                if self.board.attention
                    || single
                    || !defined
                    || self.instructions >= last
                    || self.board.now() >= until
                    || !self.breakpoints.is_empty() && self.breakpoints.contains(&next)
                {
                    break;
                }
                pc = next;
            }
            self.board.pass(Time::ZERO);
            if !self.board.flash.chip.is_powered() {
                self.powered = false;
                return Stop::PowerCut;
            }
            if let Some(fault) = self.board.fault.take() {
                return self.report(*fault);
            }
            if !defined {
                return self.report(Fault::Undefined {
                    address: self.board.pc,
                });
            }
            if let Some(stop) = self.check_watchdog() {
                return stop;
            }
            if let Some(address) = self.board.take_seen() {
                return Stop::Watchpoint { address };
            }
        }
    }

    /// A branch to itself is executed until something else happens: at once.
    #[cold]
    fn spin(&mut self, until: Time, last: u64) {
        let pc = self.cpu.pc();
        let branches = if self.cpu.cpsr() & THUMB != 0 {
            self.board.fetch16(pc) == 0xE7FE
        } else {
            self.board.fetch32(pc) == 0xEAFF_FFFE
        };
        if branches && !self.board.attention && until != Time::NEVER {
            let span = until.since(self.board.now());
            let count = span.as_instructions().min(last - self.instructions);
            self.instructions += count;
            self.board.ticks(count);
        }
    }

    #[inline]
    fn check_watchdog(&mut self) -> Option<Stop> {
        if self.board.watchdog_bites() {
            self.resets += 1;
            if let Err(fault) = self.start(ResetCause::Watchdog) {
                return Some(self.report(fault));
            }
            if self.stop_at_reset {
                return Some(Stop::Reset(ResetCause::Watchdog));
            }
        }
        None
    }

    /// The core waits for an interrupt: time jumps to what happens next.
    fn idle(&mut self, limit: Time) -> Option<Stop> {
        let next = self.board.next_event();
        if next == Time::NEVER || !self.board.can_wake() {
            if limit != Time::NEVER {
                // Somebody outside may have something to say until then.
                self.board.pass(limit - self.board.now());
                return Some(Stop::Limit);
            }
            self.board.waiting = false;
            return Some(self.report(Fault::Deadlock));
        }
        let until = next.min(limit);
        self.board.pass(until - self.board.now());
        self.check_watchdog()
    }

    /// Where RAM in use ends and begins again, as indices.
    fn live(&self, statics_end: u32) -> (usize, usize) {
        let ram = self.board.ram();
        let at = |address: u32| (address.saturating_sub(RAM_START) as usize).min(ram.len());
        let statics = at(statics_end);
        (statics, at(self.cpu.register(13)).max(statics))
    }

    /// Digest of all that decides how the machine goes on but for the flash
    /// chip, for programs with one stack that grows down from the end of RAM:
    /// registers, peripherals, RAM up to `statics_end`, the stack in use. What
    /// lies between is not looked at, and moments count as spans from now.
    pub fn fingerprint(&self, statics_end: u32) -> u128 {
        let mut print = Fingerprint::new();
        self.cpu.all_registers(&mut |word| print.word(word.into()));
        self.board.fingerprint(&mut print);
        let (statics, stack) = self.live(statics_end);
        let ram = self.board.ram();
        print.word(statics as u64);
        print.bytes(ram.get(..statics).unwrap_or_default());
        print.word(stack as u64);
        print.bytes(ram.get(stack..).unwrap_or_default());
        print.word(self.noise);
        print.word(self.cut_at_instruction.unwrap_or(u64::MAX));
        print.finish()
    }

    /// What [`Machine::fingerprint`] looks at, to go there later.
    pub fn point(&self, statics_end: u32) -> Point<C> {
        let (statics, stack) = self.live(statics_end);
        let ram = self.board.ram();
        Point {
            statics: ram.get(..statics).unwrap_or_default().into(),
            stack: ram.get(stack..).unwrap_or_default().into(),
            machine: Machine {
                board: self.board.without_memory(),
                cpu: self.cpu.clone(),
                breakpoints: self.breakpoints.clone(),
                ..*self
            },
        }
    }

    /// Goes on from `point` with the flash chip as it is.
    pub fn go_to(&mut self, point: &Point<C>) {
        let mut next = point.machine.clone();
        next.board.take_memory(&mut self.board);
        let ram = next.board.ram_mut();
        let stack = ram.len() - point.stack.len();
        for (to, from) in ram.iter_mut().zip(&point.statics) {
            *to = *from;
        }
        for (to, from) in ram.iter_mut().skip(stack).zip(&point.stack) {
            *to = *from;
        }
        *self = next;
    }

    /// Whether the core waits for an interrupt.
    pub fn is_idle(&self) -> bool {
        self.board.waiting
    }

    fn report(&mut self, fault: Fault) -> Stop {
        Stop::Fault(Box::new(FaultReport {
            fault,
            pc: self.board.pc,
            registers: core::array::from_fn(|n| self.cpu.register(n as u8)),
            cpsr: self.cpu.cpsr(),
            time: self.board.now(),
            instructions: self.instructions,
        }))
    }
}
