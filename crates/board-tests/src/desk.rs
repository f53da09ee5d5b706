//! A board on a desk: console, network, power.

use hal_mk3060::PARTITIONS;
use hal_mk3060::memory::{APP_START, LOADER_START, RAM_END, RAM_START};
use mk3060_sim::host::{Net, Session};
use mk3060_sim::{Machine, ResetCause, Stop, Time, load_code};
use ota_flash::PartitionId;
use std::time::{Duration, Instant};

/// Nothing a board waits for takes longer, on any machine.
const WALL: Duration = Duration::from_secs(600);

const PAINT: u8 = 0xA5;

/// An emulated board with the shipped images in its flash.
pub struct Desk {
    /// The board and its cables.
    pub session: Session,
    /// What the console has shown.
    pub shown: String,
    /// How much of it was looked at.
    seen: usize,
    /// Resets other than power-on.
    pub resets: Vec<ResetCause>,
    /// Instructions executed when a breakpoint was reached.
    pub stops: Vec<u64>,
    /// Whose RAM is painted at its start, if anybody's: where its statics end.
    painted: Option<u32>,
    stack: StackUse,
    running: bool,
}

/// What the application has used of its stacks, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StackUse {
    /// Bytes of the program's stack.
    pub program: u32,
    /// Bytes of the stack of interrupts.
    pub interrupts: u32,
    /// Bytes of the stack of exceptions.
    pub exceptions: u32,
}

impl StackUse {
    /// Bytes that the start code sets aside for interrupts, at the end of RAM.
    pub const INTERRUPTS: u32 = 0x400;
    /// The same for other exceptions, below.
    pub const EXCEPTIONS: u32 = 0x200;
    /// Where the program's stack begins.
    const PROGRAM_TOP: u32 = RAM_END - Self::INTERRUPTS - Self::EXCEPTIONS;

    /// Bytes that a program whose statics end there has left for its stack.
    #[must_use]
    pub fn room(statics_end: u32) -> u32 {
        Self::PROGRAM_TOP - statics_end
    }

    /// What is no longer painted.
    fn of(machine: &Machine, statics_end: u32) -> Self {
        let used = |bottom: u32, top: u32| {
            let at = |address: u32| (address - RAM_START) as usize;
            let ram = &machine.board.ram()[at(bottom)..at(top)];
            let untouched = ram.iter().take_while(|byte| **byte == PAINT).count();
            top - bottom - untouched as u32
        };
        Self {
            program: used(statics_end, Self::PROGRAM_TOP),
            interrupts: used(RAM_END - Self::INTERRUPTS, RAM_END),
            exceptions: used(Self::PROGRAM_TOP, RAM_END - Self::INTERRUPTS),
        }
    }

    fn deepest(self, other: Self) -> Self {
        Self {
            program: self.program.max(other.program),
            interrupts: self.interrupts.max(other.interrupts),
            exceptions: self.exceptions.max(other.exceptions),
        }
    }
}

impl Desk {
    /// Switches a board on. `map`: where the names it looks up lead.
    ///
    /// # Panics
    /// When `map` cannot be read.
    #[must_use]
    pub fn new(loader: &[u8], app: &[u8], map: &str) -> Self {
        Self::with_net(loader, app, Net::new(map.parse().expect("a map")))
    }

    /// Switches a board on, with this behind its line.
    ///
    /// # Panics
    /// When the first stage does not start the loader.
    #[must_use]
    pub fn with_net(loader: &[u8], app: &[u8], net: Net) -> Self {
        let mut machine = Machine::new();
        load_code(&mut machine, LOADER_START, loader);
        let flash = &mut machine.board.flash;
        flash.load(start(PartitionId::Application), app);
        machine.stop_at_reset = true;
        let mut session = Session::new(machine, Some(net), None);
        session
            .power_on()
            .expect("the first stage starts the loader");
        Self {
            session,
            shown: String::new(),
            seen: 0,
            resets: Vec::new(),
            stops: Vec::new(),
            painted: None,
            stack: StackUse::default(),
            running: false,
        }
    }

    /// Watches the stacks of applications whose statics end there, from their next
    /// start on.
    pub fn watch_stack(&mut self, statics_end: u32) {
        self.painted = Some(statics_end);
        self.session.machine.add_breakpoint(APP_START);
    }

    /// What was used of them since.
    ///
    /// # Panics
    /// When they are not watched, or the application has not started.
    #[must_use]
    pub fn stack_use(&self) -> StackUse {
        let end = self.painted.expect("the stack is watched");
        let mut found = self.stack;
        if self.running {
            found = found.deepest(StackUse::of(&self.session.machine, end));
        }
        assert_ne!(found, StackUse::default(), "an application has started");
        found
    }

    /// Prints what was used of the stacks, and checks it.
    ///
    /// # Panics
    /// When it is more than half of what there is, or an exception was taken.
    pub fn check_stack(&self, what: &str) {
        let (found, end) = (self.stack_use(), self.painted.unwrap_or_default());
        let room = StackUse::room(end);
        println!("otaapp, {what}: {found:?}, room {room}");
        assert!(found.program <= room / 2);
        assert!(found.interrupts <= StackUse::INTERRUPTS / 2);
        assert_eq!(found.exceptions, 0);
    }

    /// The application starts: what lies above its statics is nobody's.
    fn paint(&mut self) {
        let Some(end) = self.painted else { return };
        self.session.machine.paint_ram(end, PAINT);
        self.running = true;
    }

    /// It has ended, and the loader has not begun.
    fn look_at_stack(&mut self) {
        let Some(end) = self.painted else { return };
        if std::mem::take(&mut self.running) {
            let found = StackUse::of(&self.session.machine, end);
            self.stack = self.stack.deepest(found);
        }
    }

    /// Lets the board run for a moment.
    ///
    /// # Panics
    /// When the board does what hardware would not survive.
    pub fn step(&mut self) {
        match self.session.step().expect("no file to write to") {
            None => {}
            Some(Stop::Reset(cause)) => {
                // RAM is as the program has left it.
                self.look_at_stack();
                self.resets.push(cause);
            }
            Some(Stop::Breakpoint { address: APP_START }) => self.paint(),
            Some(Stop::Breakpoint { .. }) => self.stops.push(self.session.machine.instructions()),
            Some(Stop::Fault(report)) => panic!("{report}\n{}", self.shown),
            Some(other) => panic!("{other:?}\n{}", self.shown),
        }
        let console = self.session.console();
        self.shown.push_str(&String::from_utf8_lossy(&console));
    }

    /// Virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.session.machine.board.now()
    }

    /// Runs until the console shows `text`, behind what was waited for before.
    ///
    /// # Panics
    /// When that takes more than two virtual minutes.
    pub fn expect(&mut self, text: &str) {
        self.expect_within(text, Time::millis(120_000));
    }

    /// The same with another limit of virtual time.
    ///
    /// # Panics
    /// When it takes longer.
    pub fn expect_within(&mut self, text: &str, limit: Time) {
        let (begin, wall) = (self.now(), Instant::now());
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            let late = self.now().since(begin) > limit || wall.elapsed() > WALL;
            assert!(!late, "no {text:?} on the console:\n{}", self.shown);
            self.step();
        }
    }

    /// Runs until somebody else says so.
    ///
    /// # Panics
    /// When that never comes.
    pub fn until(&mut self, mut there: impl FnMut() -> bool) {
        let wall = Instant::now();
        while !there() {
            assert!(wall.elapsed() < WALL, "{}", self.shown);
            for _ in 0..100 {
                self.step();
            }
        }
    }

    /// Types a line on UART1.
    pub fn type_in(&mut self, line: &str) {
        self.session.type_in(line.as_bytes());
        self.session.type_in(b"\r");
    }

    /// What the tutorial types; `more` is the broker, if it is not the platform's.
    pub fn sign_on(&mut self, [pk, dn, ds, ps]: [&str; 4], more: &str) {
        self.expect("# ");
        self.type_in("netmgr connect ssid passwd");
        self.expect("Got ip : 10.0.2.15");
        self.type_in(&format!("ota_app {pk} {dn} {ds} {ps} {more}"));
        self.expect("init mqtt success");
    }

    /// The first `len` bytes of a partition.
    #[must_use]
    pub fn slot(&self, id: PartitionId, len: usize) -> Vec<u8> {
        self.session.machine.board.flash.chip.dump(start(id), len)
    }

    /// Bytes that overflowed the receive FIFO of UART2.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.session.machine.board.uarts[1].lost
    }
}

fn start(id: PartitionId) -> u32 {
    PARTITIONS.get(id).expect("in the table").start()
}
