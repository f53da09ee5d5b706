//! The application: console commands, and the agent with what it works on.

use super::command::{Command, CommandError, HELP, parse};
use super::console::{Console, last_words};
#[cfg(not(feature = "vendor-link"))]
use super::hardware::Line;
use super::hardware::{self, Millis};
#[cfg(not(feature = "vendor-link"))]
use super::link::SlipLink;
use super::log::{Level, Log, Reporter};
use super::net::{Memory, Net};
use super::rng::XorShift;
use super::saved::Saved;
use super::store::{Store, StoreError};
use boot2::{LoaderInfo, capability};
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::pin::pin;
use core::task::Poll;
use embedded_storage::nor_flash::ReadNorFlash;
use hal_mk3060::PARTITIONS;
use hal_mk3060::flash::Flash;
use hal_mk3060::regs::Mmio;
use hal_mk3060::watchdog::Watchdog;
use ota_agent::{
    Agent, BootJournal, BootRequest, Broker, Buffers, Clock, Control, Event, ImageSlot, Outcome,
    Parts, Security, Settings,
};
use ota_bootlib::{Hooks, Strategy};
use ota_flash::{Partition, PartitionId};
use ota_proto::signon::{Credentials, Endpoint, SecureMode};
use ota_verify::{Coding, DESCRIPTOR_LEN, ImageDescriptor, Policy, Version};

/// Image slot without the last sector, which belongs to the boot loader.
const USABLE: u32 = 0xE_4000;
/// Region of the platform when no broker is named.
const REGION: &str = "cn-shanghai";
/// Erased ahead and asked for at a time, and recorded then: no byte of a
/// download is in flight while flash erases.
const WINDOW: u32 = 64 * 1024;

/// A new image must have reported within this time after its start.
const CONFIRM_WITHIN_MS: u32 = 600_000;
/// Longest time between two looks at the network, in milliseconds.
const LOOK: u64 = 100;

const POLICY: Policy = Policy {
    max_image_len: USABLE,
    ..Policy::DEFAULT
};

type Part<'a> = Partition<'a, Flash<Mmio>>;

#[cfg(not(feature = "vendor-link"))]
type DeviceLink = SlipLink<Line>;
#[cfg(feature = "vendor-link")]
type DeviceLink = super::vendor::VendorLink;

/// Feeds the watchdog during work on flash.
struct Feed;

impl Hooks for Feed {
    fn tick(&mut self) {
        Watchdog::new(Mmio).feed();
    }
}

struct App<'a> {
    console: &'a Console,
    flash: &'a RefCell<Flash<Mmio>>,
    net: &'a Net<'a, DeviceLink>,
    control: Control,
    /// `None` on a loader that is not ours.
    loader: Option<LoaderInfo>,
    version: Option<Version>,
    store: Option<RefCell<Store<Part<'a>>>>,
    /// What is in force, saved or not.
    saved: RefCell<Saved>,
    /// Waits to be saved.
    unsaved: Cell<bool>,
    /// The running image is confirmed: flash beside the slots may be changed.
    confirmed: Cell<bool>,
    /// The agent runs.
    running: Cell<bool>,
    had_address: Cell<bool>,
    /// When the network has something to do by itself.
    net_due: Cell<u64>,
    /// An image on trial that has not even a network by then gives up its turn.
    trial_ends: Cell<Option<u64>>,
}

/// Runs the application. `descriptor`: that of the running image.
pub fn run(descriptor: &'static [u8; DESCRIPTOR_LEN as usize], seed: u64) -> ! {
    hardware::start();
    let console = Console::new();
    let flash = RefCell::new(Flash::new(Mmio));
    let mut memory = Memory::new();
    #[cfg(not(feature = "vendor-link"))]
    let link = SlipLink::new(Line);
    #[cfg(feature = "vendor-link")]
    let link = super::vendor::VendorLink::new();
    let net = Net::new(link, &mut memory, seed);
    let app = App::new(&console, &flash, &net, descriptor);
    let (mut rx, mut tx, mut body) = ([0; 4608], [0; 512], [0; 1024]);
    let buffers = Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    };
    let work = pin!(app.work(buffers, seed));
    app.hello();
    hardware::block_on(work, |polled| app.turn(polled));
    app.reboot()
}

fn open(flash: &RefCell<Flash<Mmio>>, id: PartitionId) -> Option<Part<'_>> {
    PARTITIONS.open(flash, id).ok()
}

fn loader(flash: &RefCell<Flash<Mmio>>) -> Option<LoaderInfo> {
    let mut coded = [0; LoaderInfo::CODED_LEN];
    flash
        .borrow_mut()
        .read(LoaderInfo::FLASH_OFFSET, &mut coded)
        .ok()?;
    LoaderInfo::parse_coded(&coded)
}

impl<'a> App<'a> {
    fn new(
        console: &'a Console,
        flash: &'a RefCell<Flash<Mmio>>,
        net: &'a Net<'a, DeviceLink>,
        descriptor: &'static [u8; DESCRIPTOR_LEN as usize],
    ) -> Self {
        // `ota image pack` has filled it in: the compiler does not know it.
        let descriptor = core::hint::black_box(descriptor);
        let version = ImageDescriptor::parse(descriptor).ok().flatten();
        let store = open(flash, PartitionId::Parameter2)
            .and_then(|part| Store::open(part).ok())
            .map(RefCell::new);
        let saved = store.as_ref().map(|s| s.borrow().saved().clone());
        Self {
            console,
            flash,
            net,
            control: Control::new(),
            loader: loader(flash),
            version: version.map(|d| d.version),
            store,
            saved: RefCell::new(saved.unwrap_or_default()),
            unsaved: Cell::new(false),
            confirmed: Cell::new(false),
            running: Cell::new(false),
            had_address: Cell::new(false),
            net_due: Cell::new(0),
            trial_ends: Cell::new(None),
        }
    }

    fn log(&self, level: Level, text: core::fmt::Arguments<'_>) {
        let mut console = self.console;
        console.line(level, text);
    }

    /// What the device says at start, and what it goes on with.
    #[inline(never)]
    fn hello(&self) {
        hardware::show(b"\r\n");
        self.log(Level::Info, format_args!("Hello OTA."));
        self.version();
        match self.journal() {
            Some(mut journal) => {
                let trial = journal.trial().is_some();
                self.confirmed.set(!trial);
                self.trial_ends
                    .set(trial.then_some(CONFIRM_WITHIN_MS.into()));
                let state = if trial { "on trial" } else { "confirmed" };
                self.log(Level::Info, format_args!("running image: {state}"));
                if let Some(cause) = journal.last_failure() {
                    self.log(Level::Error, format_args!("last update: {cause}"));
                }
            }
            None => self.cannot_update(),
        }
        if self.saved.borrow().has_network() {
            self.join();
        }
    }

    fn version(&self) {
        match &self.version {
            Some(version) => {
                self.log(
                    Level::Info,
                    format_args!("app_version: {}", version.as_str()),
                );
            }
            None => self.log(Level::Error, format_args!("image without version")),
        }
        if let Some(loader) = &self.loader {
            self.log(Level::Info, format_args!("loader: {}", loader.version()));
        }
    }

    /// Says why this device takes no updates.
    fn cannot_update(&self) {
        let why = match (&self.loader, &self.version) {
            (None, _) => {
                "the boot loader is not boot2: it would not know what to do with a request"
            }
            (Some(l), _) if l.capabilities & capability::SWAP == 0 => {
                "the boot loader cannot swap images"
            }
            (_, None) => "this image was not packed: it has no version",
            _ => "the boot journal cannot be read",
        };
        self.log(Level::Error, format_args!("no updates: {why}"));
    }

    /// The boot state, on a loader that keeps it.
    fn journal(&self) -> Option<BootJournal<Part<'a>, Feed>> {
        let loader = self.loader.as_ref()?;
        if loader.capabilities & capability::SWAP == 0 || self.version.is_none() {
            return None;
        }
        let part = open(self.flash, PartitionId::RecoveryBackPara)?;
        BootJournal::open(part, Strategy::Swap, Feed).ok()
    }

    fn join(&self) {
        let saved = self.saved.borrow();
        if !self.net.join(&saved.ssid, &saved.password) {
            self.log(Level::Error, format_args!("network refused"));
        }
    }

    /// One turn of the loop beside the agent.
    #[inline(never)]
    fn turn(&self, polled: bool) {
        let now = Millis.now_ms();
        if polled || hardware::incoming() || now >= self.net_due.get() {
            self.net.poll(now);
            self.net_due.set(self.net.due().min(now + LOOK));
            self.address();
        }
        if self.trial_ends.get().is_some_and(|end| now >= end) && !self.running.get() {
            self.log(
                Level::Error,
                format_args!("on trial, and nobody to report to in time: restart"),
            );
            self.reboot();
        }
        if let Some(line) = self.console.next_line() {
            match parse(&line) {
                Ok(Some(command)) => self.command(command),
                Ok(None) => {}
                Err(e) => self.complain(e),
            }
            self.console.prompt();
            hardware::wake();
        }
        if self.unsaved.get() && self.confirmed.get() {
            self.unsaved.set(false);
            self.save();
        }
    }

    /// Tells when the network comes and goes.
    fn address(&self) {
        let addresses = self.net.addresses();
        if addresses.is_some() != self.had_address.replace(addresses.is_some()) {
            hardware::wake();
            match addresses {
                Some(a) => {
                    let (ip, mask) = (a.own.address(), a.own.netmask());
                    let gateway = a.gateway.unwrap_or(core::net::Ipv4Addr::UNSPECIFIED);
                    let got = format_args!("Got ip : {ip}, gw : {gateway}, mask : {mask}");
                    self.log(Level::Info, got);
                }
                None => self.log(Level::Warning, format_args!("network lost")),
            }
        }
    }

    fn save(&self) {
        let Some(store) = &self.store else { return };
        match store.borrow_mut().save(&self.saved.borrow()) {
            Ok(()) => self.log(Level::Info, format_args!("settings saved")),
            Err(StoreError::Foreign) => self.log(
                Level::Warning,
                format_args!("settings not saved: PARAMETER_2 holds data of another firmware"),
            ),
            Err(StoreError::Flash) => {
                self.log(
                    Level::Error,
                    format_args!("settings not saved: flash failed"),
                );
            }
        }
    }

    fn complain(&self, e: CommandError<'_>) {
        match e {
            CommandError::Unknown(name) => {
                let text = format_args!("{name}: no such command; try help");
                self.console.answer(text);
            }
            CommandError::Usage(usage) => self.console.answer(format_args!("usage: {usage}")),
            CommandError::Quote => self.console.answer(format_args!("a \" is not closed")),
        }
    }

    /// Settings have changed: the agent begins again, and they are saved as soon
    /// as that is allowed.
    fn changed(&self) {
        self.unsaved.set(true);
        if self.running.get() {
            self.control.stop();
        }
    }

    #[inline(never)]
    fn command(&self, command: Command<'_>) {
        let console = self.console;
        match command {
            Command::Help => {
                for (name, what) in HELP {
                    console.answer(format_args!("{name:28} {what}"));
                }
            }
            Command::Version => self.show_version(),
            Command::Reboot => self.reboot(),
            Command::NetConnect { ssid, password } => {
                let (Ok(ssid), Ok(password)) = (ssid.try_into(), password.try_into()) else {
                    return console.answer(format_args!("ssid: at most 32 bytes, passwd: 64"));
                };
                {
                    let saved = &mut *self.saved.borrow_mut();
                    (saved.ssid, saved.password) = (ssid, password);
                }
                self.unsaved.set(true);
                self.join();
            }
            Command::NetStart if self.saved.borrow().has_network() => self.join(),
            Command::NetStart => {
                console.answer(format_args!("no network saved: netmgr connect ssid passwd"));
            }
            Command::NetStats => self.stats(),
            Command::NetClear => {
                {
                    let saved = &mut *self.saved.borrow_mut();
                    (saved.ssid, saved.password) = Default::default();
                }
                self.net.leave();
                self.changed();
            }
            Command::OtaApp {
                product_key,
                device_name,
                device_secret,
                product_secret,
                broker,
            } => {
                let texts = [product_key, device_name, device_secret, product_secret];
                self.identify(texts, broker.unwrap_or_default());
            }
            Command::OtaClear => {
                let saved = &mut *self.saved.borrow_mut();
                *saved = Saved {
                    ssid: saved.ssid.clone(),
                    password: saved.password.clone(),
                    ..Saved::default()
                };
                self.changed();
            }
            Command::OtaCheck if self.running.get() => self.control.check(),
            Command::OtaCancel if self.running.get() => self.control.cancel(),
            Command::OtaCheck | Command::OtaCancel => {
                console.answer(format_args!("not signed on: ota_app comes first"));
            }
            Command::OtaDiff => console.answer(format_args!(
                "full images only; differential packages are refused (-1)"
            )),
        }
    }

    fn show_version(&self) {
        let version = self.version.as_ref().map_or("none", Version::as_str);
        self.console.answer(format_args!("app_version: {version}"));
        match &self.loader {
            Some(loader) => {
                let (name, bits) = (loader.version(), loader.capabilities);
                let text = format_args!("loader: {name}, capabilities {bits:#x}");
                self.console.answer(text);
            }
            None => self.console.answer(format_args!("loader: not boot2")),
        }
        let state = if self.confirmed.get() {
            "confirmed"
        } else {
            "not confirmed"
        };
        self.console.answer(format_args!("image: {state}"));
    }

    fn stats(&self) {
        match self.net.addresses() {
            Some(a) => self.console.answer(format_args!("ip : {}", a.own)),
            None => self.console.answer(format_args!("no address")),
        }
        let (counts, lost) = (self.net.counts(), hardware::lost());
        self.console.answer(format_args!(
            "connections : {}, packets in : {}, out : {}, line overruns : {lost}",
            self.net.open(),
            counts.incoming,
            counts.outgoing,
        ));
    }

    fn identify(&self, texts: [&str; 4], broker: &str) {
        let [pk, dn, ds, ps] = texts;
        if let Err(e) = Credentials::new(pk, dn, ds, ps) {
            return self.console.answer(format_args!("{e}"));
        }
        let taken = (
            pk.try_into(),
            dn.try_into(),
            ds.try_into(),
            ps.try_into(),
            broker.try_into(),
        );
        let (Ok(pk), Ok(dn), Ok(ds), Ok(ps), Ok(broker)) = taken else {
            return self.console.answer(format_args!("an argument is too long"));
        };
        {
            let saved = &mut *self.saved.borrow_mut();
            saved.product_key = pk;
            saved.device_name = dn;
            saved.device_secret = ds;
            saved.product_secret = ps;
            saved.broker = broker;
        }
        if !self.had_address.get() {
            let text = "no network yet: netmgr connect ssid passwd";
            self.console.answer(format_args!("{text}"));
        }
        self.changed();
    }

    /// The agent, whenever there is a network and somebody to sign on.
    async fn work(&self, buffers: Buffers<'_>, seed: u64) {
        let Buffers { rx, tx, body } = buffers;
        loop {
            poll_fn(|_| {
                if self.had_address.get() && self.saved.borrow().has_credentials() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            let saved = self.saved.borrow().clone();
            let Some(outcome) = self.serve(&saved, rx, tx, body, seed).await else {
                // Nothing to do until something else is typed.
                self.wait_for_change(&saved).await;
                continue;
            };
            match outcome {
                Outcome::Reboot => return,
                Outcome::Stopped => {}
            }
        }
    }

    async fn wait_for_change(&self, saved: &Saved) {
        poll_fn(|_| {
            if *self.saved.borrow() == *saved {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    async fn serve(
        &self,
        saved: &Saved,
        rx: &mut [u8],
        tx: &mut [u8],
        body: &mut [u8],
        seed: u64,
    ) -> Option<Outcome> {
        let credentials = Credentials::new(
            &saved.product_key,
            &saved.device_name,
            &saved.device_secret,
            &saved.product_secret,
        )
        .map_err(|e| self.log(Level::Error, format_args!("{e}")))
        .ok()?;
        let endpoint = Endpoint::new(&credentials, REGION).ok()?;
        let (host, port) = match saved.broker.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (saved.broker.as_str(), Some(SecureMode::Tcp.port())),
        };
        let host = if host.is_empty() {
            endpoint.host()
        } else {
            host
        };
        let Some(port) = port else {
            self.log(Level::Error, format_args!("broker: port is no number"));
            return None;
        };
        let (Some(version), Some(boot)) = (self.version, self.journal()) else {
            self.cannot_update();
            return None;
        };
        let broker = Broker {
            host,
            port,
            security: Security::Plain,
        };
        let settings = Settings {
            window: WINDOW,
            checkpoint: WINDOW,
            confirm_within_ms: CONFIRM_WITHIN_MS,
            ..Settings::new(credentials, broker, version, &POLICY, &[])
        };
        let mut reporter = Reporter::default();
        let observer = |event: Event<'_>| {
            if let Event::Confirmed = event {
                self.confirmed.set(true);
                self.trial_ends.set(None);
            }
            reporter.event(event, &mut { self.console });
        };
        let slot = open(self.flash, PartitionId::OtaTemp)?;
        let parts = Parts {
            net: self.net,
            clock: &Millis,
            rng: XorShift::new(seed ^ Millis.now_ms() << 32),
            sink: ImageSlot::<_, 256>::new(slot, USABLE, &POLICY, &[], Coding::MK3060),
            boot,
            observer,
        };
        let mut agent = Agent::new(settings, parts, &self.control);
        self.running.set(true);
        let outcome = agent.run(Buffers { rx, tx, body }).await;
        self.running.set(false);
        Some(outcome)
    }

    fn reboot(&self) -> ! {
        if let Ok(mut flash) = self.flash.try_borrow_mut() {
            flash.restore_protection();
        }
        hardware::reset()
    }
}

/// An exception that nobody expects: vector number 1 to 7.
pub fn fault(kind: u32) -> ! {
    last_words(format_args!("exception {kind}, restart"));
    hardware::reset()
}

/// A panic: says where, and restarts.
pub fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    last_words(format_args!("{info}, restart"));
    hardware::reset()
}
