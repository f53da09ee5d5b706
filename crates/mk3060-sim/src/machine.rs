//! The machine: core, board, power.

use crate::board::Board;
use crate::cpu::{Armv4t, Cpu};
use crate::first_stage::FirstStage;
use crate::report::{Fault, FaultReport, ResetCause, Stop};
use crate::time::Time;
use hal_mk3060::memory::{LOADER_START, RAM_END};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How far [`Machine::run`] may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Stop at this time.
    pub time: Time,
    /// Stop when this many instructions have been executed since the machine
    /// was made.
    pub instructions: u64,
}

impl Limit {
    /// Runs on.
    pub const NONE: Self = Self {
        time: Time::NEVER,
        instructions: u64::MAX,
    };

    /// Stop at `time`.
    #[must_use]
    pub const fn until(time: Time) -> Self {
        Self { time, ..Self::NONE }
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
        let spaces = self.board.uarts[1].pending_to_board();
        let now = self.board.now();
        let spent =
            self.first_stage
                .run(&mut self.board.flash, spaces, now, &mut self.board.trace)?;
        self.board.pass(spent);
        self.cpu.start(LOADER_START);
        Ok(())
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
        // The interpreter panics on what a core calls unpredictable.
        match catch_unwind(AssertUnwindSafe(|| self.run_inner(limit))) {
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

    fn run_inner(&mut self, limit: Limit) -> Stop {
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
            if self.board.now() >= limit.time {
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
            let pc = self.cpu.pc();
            if !self.breakpoints.is_empty()
                && self.passed != Some(pc)
                && self.breakpoints.contains(&pc)
            {
                self.passed = Some(pc);
                return Stop::Breakpoint { address: pc };
            }
            self.passed = None;
            self.board.pc = pc;
            let defined = self.cpu.step(&mut self.board);
            self.instructions += 1;
            self.board.pass(Time::INSTRUCTION);
            if !self.board.flash.chip.is_powered() {
                self.powered = false;
                return Stop::PowerCut;
            }
            if let Some(fault) = self.board.fault.take() {
                return self.report(*fault);
            }
            if !defined {
                return self.report(Fault::Undefined { address: pc });
            }
            if let Some(stop) = self.check_watchdog() {
                return stop;
            }
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
