//! A board on a desk: console, network, power.

use hal_mk3060::PARTITIONS;
use hal_mk3060::memory::LOADER_START;
use mk3060_sim::host::{Net, Session};
use mk3060_sim::{Machine, ResetCause, Stop, Time, load_code};
use ota_flash::PartitionId;
use std::time::{Duration, Instant};

/// Nothing a board waits for takes longer, on any machine.
const WALL: Duration = Duration::from_secs(600);

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
        }
    }

    /// Lets the board run for a moment.
    ///
    /// # Panics
    /// When the board does what hardware would not survive.
    pub fn step(&mut self) {
        match self.session.step().expect("no file to write to") {
            None => {}
            Some(Stop::Reset(cause)) => self.resets.push(cause),
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
