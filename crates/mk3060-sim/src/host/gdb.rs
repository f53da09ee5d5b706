//! GDB's remote protocol: a debugger in place of the JTAG probe.

use super::Session;
use crate::cpu::Cpu;
use crate::machine::Limit;
use crate::report::{ResetCause, Stop};
use gdbstub::common::Signal;
use gdbstub::conn::{Connection, ConnectionExt};
use gdbstub::outputln;
use gdbstub::stub::run_blocking::{BlockingEventLoop, Event, WaitForStopReasonError};
use gdbstub::stub::{GdbStub, SingleThreadStopReason};
use gdbstub::target::ext::base::BaseOps;
use gdbstub::target::ext::base::singlethread::{
    SingleThreadBase, SingleThreadResume, SingleThreadResumeOps, SingleThreadSingleStep,
    SingleThreadSingleStepOps,
};
use gdbstub::target::ext::breakpoints::{
    Breakpoints, BreakpointsOps, HwBreakpoint, HwBreakpointOps, HwWatchpoint, HwWatchpointOps,
    SwBreakpoint, SwBreakpointOps, WatchKind,
};
use gdbstub::target::ext::monitor_cmd::{ConsoleOutput, MonitorCmd, MonitorCmdOps};
use gdbstub::target::{Target, TargetError, TargetResult};
use gdbstub_arch::arm::reg::ArmCoreRegs;
use gdbstub_arch::arm::{ArmBreakpointKind, Armv4t};
use hal_mk3060::memory::{FLASH_LEN, RAM_START, SECTOR_LEN};
use std::io;
use std::marker::PhantomData;
use std::net::TcpStream;

/// Where a debugger sees the bytes of the flash chip, line CRCs included. The
/// board itself has nothing there.
pub const CHIP: u32 = 0x9000_0000;

/// What the debugger's user can type behind `monitor`.
const HELP: &str = "monitor reset   the chip is reset; the loader's first instruction is next
monitor time    virtual time, instructions, flash operations
The flash chip is at 0x90000000: read it, or watch it for erases and programs.";

/// Called now and then while the board runs, so that its console goes on.
pub type Look<'a> = &'a mut dyn FnMut(&mut Session) -> io::Result<()>;

/// Serves one debugger until it goes. The board stands still until it says
/// `continue`.
///
/// # Errors
/// When the connection breaks, or `look` fails.
pub fn serve(session: &mut Session, connection: TcpStream, look: Look<'_>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let connection: Box<dyn ConnectionExt<Error = io::Error>> = Box::new(connection);
    let mut target = Debugged {
        session,
        look,
        breakpoints: Vec::new(),
        watched: Vec::new(),
        step: false,
    };
    let end = GdbStub::new(connection).run_blocking::<Loop<'_>>(&mut target);
    for address in target.breakpoints {
        target.session.machine.remove_breakpoint(address);
    }
    target.session.machine.clear_watchpoints();
    end.map(|_| ()).map_err(|e| io::Error::other(e.to_string()))
}

struct Debugged<'a> {
    session: &'a mut Session,
    look: Look<'a>,
    breakpoints: Vec<u32>,
    watched: Vec<Watch>,
    /// The next run is one instruction.
    step: bool,
}

#[derive(Clone, Copy, PartialEq)]
struct Watch {
    address: u32,
    len: u32,
    kind: WatchKind,
}

impl Watch {
    /// Whether a stop because of `seen` is its stop: a bus address, or the
    /// flash offset of an operation.
    fn covers(&self, seen: u32) -> bool {
        if self.address >= CHIP {
            let offset = self.address - CHIP;
            let operation = seen..seen
                + if seen.is_multiple_of(SECTOR_LEN) {
                    SECTOR_LEN
                } else {
                    32
                };
            seen < FLASH_LEN && operation.start < offset + self.len && offset < operation.end
        } else {
            (self.address & !3..self.address + self.len).contains(&seen)
        }
    }
}

struct Loop<'a>(PhantomData<&'a ()>);

type Reason = SingleThreadStopReason<u32>;

impl<'a> BlockingEventLoop for Loop<'a> {
    type Target = Debugged<'a>;
    type Connection = Box<dyn ConnectionExt<Error = io::Error>>;
    type StopReason = Reason;

    fn wait_for_stop_reason(
        target: &mut Debugged<'a>,
        connection: &mut Self::Connection,
    ) -> Result<
        Event<Reason>,
        WaitForStopReasonError<io::Error, <Self::Connection as Connection>::Error>,
    > {
        use WaitForStopReasonError as Failed;
        if std::mem::take(&mut target.step) {
            return Ok(Event::TargetStopped(target.single()));
        }
        loop {
            // A connection that is gone shows as a byte that cannot be read.
            if !matches!(connection.peek(), Ok(None)) {
                return connection
                    .read()
                    .map(Event::IncomingData)
                    .map_err(Failed::Connection);
            }
            let stop = target.session.step().map_err(Failed::Target)?;
            (target.look)(target.session).map_err(Failed::Target)?;
            if let Some(reason) = stop.and_then(|stop| target.reason(&stop)) {
                return Ok(Event::TargetStopped(reason));
            }
        }
    }

    fn on_interrupt(_: &mut Debugged<'a>) -> io::Result<Option<Reason>> {
        Ok(Some(SingleThreadStopReason::Signal(Signal::SIGINT)))
    }
}

impl Debugged<'_> {
    fn single(&mut self) -> Reason {
        let machine = &mut self.session.machine;
        let limit = Limit {
            instructions: machine.instructions() + 1,
            ..Limit::NONE
        };
        machine.pass_breakpoint();
        let stop = machine.run(limit);
        self.reason(&stop)
            .unwrap_or(SingleThreadStopReason::DoneStep)
    }

    /// What the debugger is told, if it is anything of its concern.
    fn reason(&self, stop: &Stop) -> Option<Reason> {
        match stop {
            Stop::Limit | Stop::Reset(ResetCause::PowerOn) => None,
            Stop::Breakpoint { .. } => Some(SingleThreadStopReason::SwBreak(())),
            Stop::Watchpoint { address } => {
                let watch = self.watched.iter().find(|watch| watch.covers(*address));
                Some(
                    watch.map_or(SingleThreadStopReason::Signal(Signal::SIGTRAP), |watch| {
                        SingleThreadStopReason::Watch {
                            tid: (),
                            kind: watch.kind,
                            addr: watch.address,
                        }
                    }),
                )
            }
            Stop::Reset(_) => Some(SingleThreadStopReason::Signal(Signal::SIGHUP)),
            Stop::PowerCut => Some(SingleThreadStopReason::Terminated(Signal::SIGPWR)),
            Stop::Fault(report) => {
                eprintln!("\r\nboard: {report}");
                Some(SingleThreadStopReason::Signal(Signal::SIGSEGV))
            }
        }
    }

    /// Where RAM holds `address`.
    fn ram_at(&self, address: u32) -> Option<usize> {
        let at = address.checked_sub(RAM_START)? as usize;
        (at < self.session.machine.board.ram().len()).then_some(at)
    }

    fn set_watches(&mut self) {
        let machine = &mut self.session.machine;
        machine.clear_watchpoints();
        for watch in &self.watched {
            let range = watch.address..watch.address.saturating_add(watch.len);
            if watch.address >= CHIP {
                machine.add_flash_watchpoint(range.start - CHIP..range.end - CHIP);
                continue;
            }
            if watch.kind != WatchKind::Read {
                machine.add_watchpoint(range.clone(), true);
            }
            if watch.kind != WatchKind::Write {
                machine.add_watchpoint(range, false);
            }
        }
    }
}

impl Target for Debugged<'_> {
    type Arch = Armv4t;
    type Error = io::Error;

    fn base_ops(&mut self) -> BaseOps<'_, Armv4t, io::Error> {
        BaseOps::SingleThread(self)
    }

    fn support_breakpoints(&mut self) -> Option<BreakpointsOps<'_, Self>> {
        Some(self)
    }

    fn support_monitor_cmd(&mut self) -> Option<MonitorCmdOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadBase for Debugged<'_> {
    fn read_registers(&mut self, registers: &mut ArmCoreRegs) -> TargetResult<(), Self> {
        let cpu = &self.session.machine.cpu;
        for (number, register) in registers.r.iter_mut().enumerate() {
            *register = cpu.register(number as u8);
        }
        registers.sp = cpu.register(13);
        registers.lr = cpu.register(14);
        registers.pc = cpu.pc();
        registers.cpsr = cpu.cpsr();
        Ok(())
    }

    fn write_registers(&mut self, registers: &ArmCoreRegs) -> TargetResult<(), Self> {
        let cpu = &mut self.session.machine.cpu;
        // The mode first: it chooses which registers these are.
        cpu.set_cpsr(registers.cpsr);
        let values = registers
            .r
            .iter()
            .chain([&registers.sp, &registers.lr, &registers.pc]);
        for (number, value) in values.enumerate() {
            cpu.set_register(number as u8, *value);
        }
        Ok(())
    }

    fn read_addrs(&mut self, start: u32, data: &mut [u8]) -> TargetResult<usize, Self> {
        let board = &self.session.machine.board;
        let mut count = 0;
        for (address, to) in (start..).zip(data.iter_mut()) {
            let byte = match self.ram_at(address) {
                Some(at) => board.ram().get(at).copied(),
                None if (CHIP..CHIP + FLASH_LEN).contains(&address) => {
                    board.flash.chip.dump(address - CHIP, 1).first().copied()
                }
                // Registers of peripherals would change by being read.
                None => board.flash.peek(address),
            };
            let Some(byte) = byte else { break };
            *to = byte;
            count += 1;
        }
        if count == 0 && !data.is_empty() {
            return Err(TargetError::NonFatal);
        }
        Ok(count)
    }

    fn write_addrs(&mut self, start: u32, data: &[u8]) -> TargetResult<(), Self> {
        let at = self.ram_at(start).ok_or(TargetError::NonFatal)?;
        let ram = self.session.machine.board.ram_mut();
        let to = ram
            .get_mut(at..at + data.len())
            .ok_or(TargetError::NonFatal)?;
        to.copy_from_slice(data);
        Ok(())
    }

    fn support_resume(&mut self) -> Option<SingleThreadResumeOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadResume for Debugged<'_> {
    fn resume(&mut self, _: Option<Signal>) -> io::Result<()> {
        self.session.machine.pass_breakpoint();
        self.step = false;
        Ok(())
    }

    fn support_single_step(&mut self) -> Option<SingleThreadSingleStepOps<'_, Self>> {
        Some(self)
    }
}

impl SingleThreadSingleStep for Debugged<'_> {
    fn step(&mut self, _: Option<Signal>) -> io::Result<()> {
        self.step = true;
        Ok(())
    }
}

impl Breakpoints for Debugged<'_> {
    fn support_sw_breakpoint(&mut self) -> Option<SwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_breakpoint(&mut self) -> Option<HwBreakpointOps<'_, Self>> {
        Some(self)
    }

    fn support_hw_watchpoint(&mut self) -> Option<HwWatchpointOps<'_, Self>> {
        Some(self)
    }
}

/// Code is in flash: nothing is patched, the emulator compares addresses.
impl SwBreakpoint for Debugged<'_> {
    fn add_sw_breakpoint(
        &mut self,
        address: u32,
        _: ArmBreakpointKind,
    ) -> TargetResult<bool, Self> {
        self.session.machine.add_breakpoint(address & !1);
        self.breakpoints.push(address & !1);
        Ok(true)
    }

    fn remove_sw_breakpoint(
        &mut self,
        address: u32,
        _: ArmBreakpointKind,
    ) -> TargetResult<bool, Self> {
        self.session.machine.remove_breakpoint(address & !1);
        self.breakpoints.retain(|at| *at != address & !1);
        Ok(true)
    }
}

impl HwBreakpoint for Debugged<'_> {
    fn add_hw_breakpoint(
        &mut self,
        address: u32,
        kind: ArmBreakpointKind,
    ) -> TargetResult<bool, Self> {
        self.add_sw_breakpoint(address, kind)
    }

    fn remove_hw_breakpoint(
        &mut self,
        address: u32,
        kind: ArmBreakpointKind,
    ) -> TargetResult<bool, Self> {
        self.remove_sw_breakpoint(address, kind)
    }
}

impl HwWatchpoint for Debugged<'_> {
    fn add_hw_watchpoint(
        &mut self,
        address: u32,
        len: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        if address >= CHIP && (address - CHIP >= FLASH_LEN || kind != WatchKind::Write) {
            return Ok(false);
        }
        self.watched.push(Watch { address, len, kind });
        self.set_watches();
        Ok(true)
    }

    fn remove_hw_watchpoint(
        &mut self,
        address: u32,
        len: u32,
        kind: WatchKind,
    ) -> TargetResult<bool, Self> {
        let watch = Watch { address, len, kind };
        self.watched.retain(|other| *other != watch);
        self.set_watches();
        Ok(true)
    }
}

impl MonitorCmd for Debugged<'_> {
    fn handle_monitor_cmd(
        &mut self,
        command: &[u8],
        mut out: ConsoleOutput<'_>,
    ) -> Result<(), io::Error> {
        let machine = &mut self.session.machine;
        match command {
            b"reset" => match machine.reset() {
                Ok(()) => outputln!(out, "reset: next is {:#010x}", machine.cpu.pc()),
                Err(fault) => outputln!(out, "{fault}"),
            },
            b"time" => outputln!(
                out,
                "{}, {} instructions, {} flash operations",
                machine.board.now(),
                machine.instructions(),
                machine.board.flash.chip.ops()
            ),
            _ => outputln!(out, "{HELP}"),
        }
        Ok(())
    }
}
