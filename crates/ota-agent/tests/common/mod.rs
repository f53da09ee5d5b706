//! A device and everything around it, in memory and in virtual time.

#![allow(dead_code)] // Each test file uses its part.

pub mod broker;
pub mod exec;
pub mod net;
pub mod server;

use std::cell::{Cell, RefCell};

use ota_agent::{
    Agent, BootJournal, Broker as BrokerAt, Buffers, Clock, Control, Decoders, Event, ImageSlot,
    Outcome, PackageSlot, Parts, PatchSlot, Rng, Security, Settings, UpdateSink, VerifyImage,
};
use ota_bootlib::{Config, Decision, ImageCheck, Journal, Partitions, Strategy, start_up};
use ota_flash::sim::{CutVariant, SimFlash};
use ota_flash::{
    FlashOp, Partition, PartitionEntry, PartitionId, PartitionTable, Permissions, TraceFlash,
};
use ota_proto::signon::Credentials;
use ota_verify::build::{Layout, PackOptions, PrivateKey, pack};
use ota_verify::{
    Coding, ImageKind, Module, NorReader, Policy, RsaPublicKey, Version, read_descriptor, sha256,
};
use serde_json::{Value, json};

use self::exec::{Rest, Time};
use self::net::Net;
/// Program unit of the flash.
use super::UNIT;

pub const PK: &str = "a1TestPK001";
pub const DN: &str = "dev001";
pub const SECTOR: usize = 4096;
pub type Flash = SimFlash<SECTOR, UNIT>;
pub type View<'a> = Partition<'a, Flash>;

pub const MINUTE: u64 = 60_000;

/// An image of about `len` bytes with a descriptor.
pub fn image(version: &str, len: usize, key: Option<&PrivateKey>) -> Vec<u8> {
    let seed = version
        .bytes()
        .fold(7u32, |h, b| h.wrapping_mul(31) + u32::from(b));
    let mut x = seed;
    let data: Vec<u8> = (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect();
    packed(version, &data, key)
}

/// An image of this data.
pub fn packed(version: &str, data: &[u8], key: Option<&PrivateKey>) -> Vec<u8> {
    let version = Version::new(version).unwrap();
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Host,
        version: Some(&version),
        module: Module::default(),
        key,
    };
    pack(data, &options).unwrap().bytes
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A good offer of `file` at `url`.
pub fn offer(version: &str, file: &[u8], url: &str) -> Value {
    json!({"code": "1000", "id": 1, "message": "success", "data": {
        "size": file.len(), "version": version, "url": url,
        "signMethod": "SHA256", "sign": hex(&sha256(file)),
    }})
}

pub fn key() -> PrivateKey {
    let pem = include_str!("../../../ota-verify/tests/vectors/rsa-2048.key.pem");
    PrivateKey::from_pem(pem).unwrap()
}

/// How a time of power ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The agent asked for a restart.
    Reboot,
    /// The user stopped it.
    Stopped,
    /// The flash lost power.
    Cut,
    /// Nothing of that within the time given.
    Idle,
    /// The boot loader starts nothing.
    Recovery,
}

type OnStart = Box<dyn FnMut(&World, bool)>;

pub struct World {
    pub net: Net,
    pub time: Time,
    pub flash: RefCell<Flash>,
    pub policy: Policy,
    pub keys: Vec<RsaPublicKey>,
    pub active: u32,
    pub update: u32,
    pub control: Control,
    /// What the observer saw, as text.
    pub log: RefCell<Vec<String>>,
    /// Cancels when this text shows up in the log.
    pub cancel_at: RefCell<Option<String>>,
    pub confirm_within_ms: u32,
    pub window: u32,
    /// The application starts and does nothing.
    pub app_hangs: Cell<bool>,
    pub rx: usize,
    /// What an image on trial takes for its version, if not what its descriptor says.
    pub says: RefCell<Option<Version>>,
    /// How long the erase of a sector stops everything.
    pub erase_ms: u64,
    random: Cell<u32>,
    /// Memory of the decoders; without it whole images only.
    pub decoders: RefCell<Option<Box<Decoders>>>,
    /// Erases while bytes of a package were on their way.
    pub erases_in_flight: Cell<usize>,
    /// The application starts without the boot loader.
    pub no_loader: Cell<bool>,
    /// Power goes when this text shows up in the log for the n-th time.
    pub off_at: RefCell<Option<(String, usize)>>,
    /// Called with each start: whether it is on trial.
    pub on_start: RefCell<Option<OnStart>>,
}

struct Dice<'a>(&'a Cell<u32>);

impl Rng for Dice<'_> {
    fn next_u32(&mut self) -> u32 {
        let x = self
            .0
            .get()
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.0.set(x);
        x
    }
}

impl Rest for World {
    fn step(&self, now: u64) -> Option<u64> {
        self.net.step(now)
    }

    fn off(&self) -> bool {
        !self.flash.borrow().is_powered()
    }
}

impl World {
    /// A device that runs `image` in slots of `sectors` (and one spare).
    pub fn new(image: &[u8], sectors: u32) -> Self {
        let (active, update) = (sectors, sectors + 1);
        let mut flash = Flash::new((active + update + 2) as usize * SECTOR);
        flash.load(0, image);
        Self {
            net: Net::default(),
            time: Time::default(),
            flash: RefCell::new(flash),
            policy: Policy::DEFAULT,
            keys: Vec::new(),
            active,
            update,
            control: Control::new(),
            log: RefCell::default(),
            cancel_at: RefCell::default(),
            confirm_within_ms: 600_000,
            window: 64 * 1024,
            app_hangs: Cell::new(false),
            rx: 4096 + 96,
            says: RefCell::default(),
            erase_ms: 0,
            random: Cell::new(1),
            decoders: RefCell::default(),
            erases_in_flight: Cell::new(0),
            no_loader: Cell::new(false),
            off_at: RefCell::default(),
            on_start: RefCell::default(),
        }
    }

    fn table(&self) -> PartitionTable<3> {
        let rw = Permissions::READ_WRITE;
        let sector = SECTOR as u32;
        let (active, update) = (self.active * sector, self.update * sector);
        let journal = active + update;
        PartitionTable::new(
            journal + 2 * sector,
            sector,
            [
                PartitionEntry::new(PartitionId::Application, 0, active, rw),
                PartitionEntry::new(PartitionId::OtaTemp, active, update, rw),
                PartitionEntry::new(PartitionId::RecoveryBackPara, journal, 2 * sector, rw),
            ],
        )
    }

    /// Power on until something ends it, or for `ms`.
    pub fn power(&self, ms: u64) -> Stop {
        self.flash.borrow_mut().power_on();
        self.net.forget();
        let table = self.table();
        let open = |id| -> View<'_> { table.open(&self.flash, id).unwrap() };
        let mut parts = Partitions {
            active: open(PartitionId::Application),
            update: open(PartitionId::OtaTemp),
            journal: open(PartitionId::RecoveryBackPara),
            mailbox: None,
        };
        let mut judge = ImageCheck {
            policy: &self.policy,
            keys: &self.keys,
            coding: Coding::Plain,
        };
        let mut buf = [0; SECTOR];
        let decision = if self.no_loader.get() {
            Decision::Start {
                slot: ota_bootlib::Slot::First,
                trial: false,
            }
        } else {
            start_up(
                &mut parts,
                &mut judge,
                &mut (),
                &Config::default(),
                &mut buf,
            )
        };
        if self.off() {
            return Stop::Cut;
        }
        let Decision::Start { trial, .. } = decision else {
            return Stop::Recovery;
        };
        if let Some(look) = &mut *self.on_start.borrow_mut() {
            look(self, trial);
        }
        let descriptor = read_descriptor(&mut NorReader(&mut parts.active), Coding::Plain);
        let version = descriptor.unwrap().unwrap().version;
        let version = match *self.says.borrow() {
            Some(says) if trial => says,
            _ => version,
        };
        if self.app_hangs.get() && trial {
            return Stop::Reboot;
        }
        let credentials = Credentials::new(PK, DN, "secret", "").unwrap();
        let broker = BrokerAt {
            host: "broker",
            port: 1883,
            security: Security::Plain,
        };
        let settings = Settings {
            confirm_within_ms: self.confirm_within_ms,
            window: self.window,
            ..Settings::new(credentials, broker, version, &self.policy, &self.keys)
        };
        let usable = self.active * SECTOR as u32;
        let Ok(boot) = BootJournal::open(parts.journal, Strategy::Swap, ()) else {
            return if self.off() {
                Stop::Cut
            } else {
                Stop::Recovery
            };
        };
        let update = TraceFlash::new(parts.update, |op| {
            if matches!(op, FlashOp::Erase { .. }) {
                self.time.pass(self.erase_ms);
                let flying = self.net.in_flight();
                let before = self.erases_in_flight.get();
                self.erases_in_flight.set(before + usize::from(flying));
            }
        });
        let (policy, keys) = (&self.policy, &self.keys);
        let limit = self.time.now_ms() + ms;
        let mut decoders = self.decoders.borrow_mut();
        let outcome = match &mut *decoders {
            None => {
                let slot = ImageSlot::<_, UNIT>::new(update, usable, policy, keys, Coding::Plain);
                self.run(settings, slot, boot, limit)
            }
            Some(memory) => {
                let slot = PatchSlot::<_, UNIT>::new(update, usable, policy, keys, Coding::Plain)
                    .take_diffs(false);
                let slot = PackageSlot::new(slot, parts.active.read_only(), memory);
                self.run(settings, slot, boot, limit)
            }
        };
        match outcome {
            _ if self.off() => Stop::Cut,
            Some(Outcome::Reboot) => Stop::Reboot,
            Some(Outcome::Stopped) => Stop::Stopped,
            None => Stop::Idle,
        }
    }

    fn run<S: UpdateSink + VerifyImage>(
        &self,
        settings: Settings<'_>,
        sink: S,
        boot: BootJournal<View<'_>>,
        limit: u64,
    ) -> Option<Outcome> {
        let device = Parts {
            net: &self.net,
            clock: &self.time,
            rng: Dice(&self.random),
            sink,
            boot,
            observer: |event: Event<'_>| self.note(event),
        };
        let mut agent = Agent::new(settings, device, &self.control);
        let (mut rx, mut tx, mut body) = (vec![0; self.rx], [0; 384], [0; 256]);
        let buffers = Buffers {
            rx: &mut rx,
            tx: &mut tx,
            body: &mut body,
        };
        exec::run(agent.run(buffers), &self.time, self, limit)
    }

    fn note(&self, event: Event<'_>) {
        if matches!(event, Event::Progress { .. }) && self.cancel_at.borrow().is_none() {
            return;
        }
        let text = format!("{event:?}");
        let cancel = self
            .cancel_at
            .borrow()
            .as_ref()
            .is_some_and(|t| text.contains(t.as_str()));
        if cancel {
            self.control.cancel();
            self.cancel_at.replace(None);
        }
        if let Some((wanted, n)) = &mut *self.off_at.borrow_mut()
            && text.contains(wanted.as_str())
        {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.flash.borrow_mut().power_off();
            }
        }
        self.log.borrow_mut().push(text);
    }

    /// Power on, and on again after each restart, until the device has been
    /// quiet for `quiet` milliseconds.
    pub fn live(&self, quiet: u64) -> Stop {
        for _ in 0..20 {
            match self.power(quiet) {
                Stop::Reboot | Stop::Cut => {}
                end => return end,
            }
        }
        panic!("restarts for ever: {}", self.tail());
    }

    /// As `live`, until power is cut.
    pub fn live_until_cut(&self, quiet: u64) -> Stop {
        loop {
            match self.power(quiet) {
                Stop::Reboot => {}
                end => return end,
            }
        }
    }

    /// Cuts power again and again, at each start behind so many flash operations,
    /// until it ends by itself; then once more without. The number of cuts, 40 at most.
    pub fn cut_in_a_row(&self, operations: u64) -> usize {
        let mut cuts = 0;
        for seed in 0..40 {
            self.flash
                .borrow_mut()
                .cut_after(operations, CutVariant::Random { seed });
            if self.live_until_cut(5 * MINUTE) == Stop::Idle {
                break;
            }
            cuts += 1;
        }
        self.flash.borrow_mut().cancel_cut();
        self.live(5 * MINUTE);
        cuts
    }

    /// Lends a partition.
    pub fn with<T>(&self, id: PartitionId, f: impl FnOnce(View<'_>) -> T) -> T {
        f(self.table().open(&self.flash, id).unwrap())
    }

    pub fn journal<T>(&self, f: impl FnOnce(&Journal<View<'_>>) -> T) -> T {
        self.flash.borrow_mut().power_on();
        let table = self.table();
        let view = table
            .open(&self.flash, PartitionId::RecoveryBackPara)
            .unwrap();
        f(&Journal::open(view).unwrap())
    }

    /// Whether the active slot begins with `image`.
    pub fn runs(&self, image: &[u8]) -> bool {
        self.flash.borrow().dump(0, image.len()) == image
    }

    /// Whether the running image is confirmed and nothing is in hand.
    pub fn is_settled(&self) -> bool {
        self.journal(|j| j.boot_state() == ota_bootlib::BootState::Idle)
    }

    /// Puts a file on the server and makes the cloud push it.
    pub fn publish(&self, version: &str, file: &[u8]) {
        let path = format!("/{version}.bin");
        let url = format!("http://files.example{path}");
        self.publish_as(version, file, offer(version, file, &url));
    }

    pub fn publish_as(&self, version: &str, file: &[u8], push: Value) {
        let mut server = self.net.server.borrow_mut();
        server
            .files
            .insert(format!("/{version}.bin"), file.to_vec());
        let mut broker = self.net.broker.borrow_mut();
        broker.pushes = true;
        broker.offer = Some((version.into(), push.to_string().into_bytes()));
    }

    pub fn asked(&self) -> usize {
        self.net.server.borrow().asked.len()
    }

    /// Most bytes of an image that an attempt found in flash.
    pub fn kept(&self) -> u32 {
        let log = self.log.borrow();
        let kept = log.iter().filter_map(|l| {
            let text = l.split_once("kept: ")?.1;
            text.split(' ').next()?.parse().ok()
        });
        kept.max().unwrap_or(0)
    }

    pub fn saw(&self, text: &str) -> bool {
        self.log.borrow().iter().any(|l| l.contains(text))
    }

    pub fn tail(&self) -> String {
        let log = self.log.borrow();
        let from = log.len().saturating_sub(25);
        format!(
            "{}\nsteps {:?}",
            log[from..].join("\n"),
            self.net.broker.borrow().steps
        )
    }
}
