//! The application: what it says at start, and the loop beside the agent.

mod answer;
mod serve;

use crate::board::command::parse;
use crate::board::console::{Console, last_words};
#[cfg(not(feature = "vendor-link"))]
use crate::board::hardware::Line;
use crate::board::hardware::{self, Millis};
#[cfg(not(feature = "vendor-link"))]
use crate::board::link::SlipLink;
use crate::board::log::{Level, Log};
use crate::board::net::{Memory, Net};
use crate::board::saved::Saved;
use crate::board::store::{Store, StoreError};
use boot2::{KEYS, LoaderInfo, capability};
use core::cell::{Cell, RefCell};
use core::pin::pin;
use embedded_storage::nor_flash::ReadNorFlash;
use hal_mk3060::PARTITIONS;
use hal_mk3060::flash::Flash;
use hal_mk3060::regs::Mmio;
use hal_mk3060::watchdog::Watchdog;
use ota_agent::{BootJournal, BootRequest, Buffers, Clock, Control, Decoders};
use ota_bootlib::{Hooks, Strategy};
use ota_flash::{Partition, PartitionId};
use ota_verify::{DESCRIPTOR_LEN, ImageDescriptor, Policy, Requirement, Version};

/// Image slot without the last sector, which belongs to the boot loader.
const USABLE: u32 = 0xE_4000;
/// A new image must have reported within this time after its start.
const CONFIRM_WITHIN_MS: u32 = 600_000;
/// Longest time between two looks at the network, in milliseconds.
const LOOK: u64 = 100;

/// Built with a key, neither package nor image may be unsigned.
const SIGNATURE: Requirement = if KEYS.is_empty() {
    Requirement::Optional
} else {
    Requirement::Required
};

const POLICY: Policy = Policy {
    max_image_len: USABLE,
    package_signature: SIGNATURE,
    image_signature: SIGNATURE,
    ..Policy::DEFAULT
};

type Part<'a> = Partition<'a, Flash<Mmio>>;

#[cfg(not(feature = "vendor-link"))]
type DeviceLink = SlipLink<Line>;
#[cfg(feature = "vendor-link")]
type DeviceLink = crate::board::vendor::VendorLink;

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

/// Runs the application. `descriptor`: that of the running image; `decoders`:
/// memory for packages that are decoded.
pub fn run(
    descriptor: &'static [u8; DESCRIPTOR_LEN as usize],
    decoders: &'static mut Decoders,
    seed: u64,
) -> ! {
    hardware::start();
    let console = Console::new();
    let flash = RefCell::new(Flash::new(Mmio));
    let mut memory = Memory::new();
    #[cfg(not(feature = "vendor-link"))]
    let link = SlipLink::new(Line);
    #[cfg(feature = "vendor-link")]
    let link = crate::board::vendor::VendorLink::new();
    let net = Net::new(link, &mut memory, seed);
    let app = App::new(&console, &flash, &net, descriptor);
    let (mut rx, mut tx, mut body) = ([0; 4608], [0; 512], [0; 1024]);
    let buffers = Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    };
    let work = pin!(app.work(buffers, decoders, seed));
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
        #[cfg(feature = "version-2")]
        if self.misbehaves() {
            return;
        }
        if self.saved.borrow().has_network() {
            self.join();
        }
    }

    /// Fails its trial as the end of its version text says; `-mute` keeps off
    /// the network.
    #[cfg(feature = "version-2")]
    fn misbehaves(&self) -> bool {
        let version = self.version.as_ref().map_or("", Version::as_str);
        if version.ends_with("-hang") {
            // Interrupts go on, but nobody feeds the watchdog.
            loop {
                hal_mk3060::interrupt::wait();
            }
        }
        if version.ends_with("-reset") {
            self.reboot();
        }
        version.ends_with("-mute")
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

    /// Whether the loader is ours and can do this.
    fn loader_can(&self, what: u32) -> bool {
        let can = self.loader.as_ref().map_or(0, |loader| loader.capabilities);
        can & what != 0
    }

    /// The boot state, on a loader that keeps it.
    fn journal(&self) -> Option<BootJournal<Part<'a>, Feed>> {
        if !self.loader_can(capability::SWAP) || self.version.is_none() {
            return None;
        }
        let strategy = if self.loader_can(capability::PATCH_SWAP) {
            Strategy::PatchSwap
        } else {
            Strategy::Swap
        };
        let part = open(self.flash, PartitionId::RecoveryBackPara)?;
        BootJournal::open(part, strategy, Feed).ok()
    }

    fn join(&self) {
        let saved = self.saved.borrow();
        if !self.net.join(&saved.ssid, &saved.password) {
            self.log(Level::Error, format_args!("network refused"));
        }
    }

    /// One turn of the loop beside the agent; when the next one is due.
    #[inline(never)]
    fn turn(&self, polled: bool) -> u64 {
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
        let trial_ends = self.trial_ends.get().filter(|_| !self.running.get());
        self.net_due.get().min(trial_ends.unwrap_or(u64::MAX))
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

    /// Settings have changed: the agent begins again, and they are saved as soon
    /// as that is allowed.
    fn changed(&self) {
        self.unsaved.set(true);
        if self.running.get() {
            self.control.stop();
        }
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
