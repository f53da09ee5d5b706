//! A device from power-on to the end of the process.

use std::cell::{OnceCell, RefCell};
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ota_agent::{
    Agent, BootJournal, Broker, Buffers, Clock, Control, Decoders, Event, Observer, Outcome,
    PackageSlot, Parts, PatchSlot, Rng, Security, Settings,
};
use ota_bootlib::{
    Config, Decision, Fault, ImageCheck, Nbdiff, Partitions, Slot, Strategy, start_up_with_patch,
};
use ota_delta::nbdiff::Workspace;
use ota_flash::sim::CutVariant;
use ota_flash::{Partition, PartitionId};
use ota_proto::mqtt;
use ota_proto::session::{Cause, Received};
use ota_proto::signon::{Credentials, SignMethod};
use ota_verify::{Coding, NorReader, Policy, RsaPublicKey, Version, read_descriptor};
use tokio_rustls::TlsConnector;

use super::flash::{Flash, MAX_IMAGE, SECTOR, UNIT};
use super::help::Topic;
use super::net::{self, Net, Roots};
use super::{Error, error};

/// Who the device is.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// Product key.
    pub pk: String,
    /// Device name.
    pub dn: String,
    /// Device secret.
    pub ds: String,
    /// Product secret; not needed to sign on.
    pub ps: String,
}

/// What a device is told when it is switched on.
#[derive(Clone)]
pub struct Options {
    /// The flash file.
    pub flash: PathBuf,
    /// Who it is.
    pub identity: Identity,
    /// How it signs on.
    pub method: SignMethod,
    /// Host of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// Plain or TLS.
    pub security: Security,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// What is accepted, by app and boot loader.
    pub policy: Policy,
    /// Keys that may sign packages and images.
    pub keys: Vec<RsaPublicKey>,
    /// How updates are installed; nbdiff patches are taken with `PatchSwap` and `InPlace`.
    pub strategy: Strategy,
    /// End after one update, or a sign-on that is refused for good.
    pub once: bool,
    /// Lose power in this flash operation, counted from the start of the process.
    pub cut: Option<(u64, CutVariant)>,
    /// A download on which nothing happens for so long is tried again.
    pub stall: Duration,
    /// A new version that could not report within this time restarts; zero: never.
    pub confirm_within: Duration,
    /// How often a new version is started before it is reverted.
    pub tries: u8,
    /// A version whose self-test fails: on trial it restarts before it reports.
    pub failing: Option<Version>,
}

impl Options {
    /// A device with default policy that signs on without TLS.
    pub fn new(flash: impl Into<PathBuf>, identity: Identity, host: &str, port: u16) -> Self {
        Self {
            flash: flash.into(),
            identity,
            method: SignMethod::HmacSha256,
            host: host.into(),
            port,
            security: Security::Plain,
            roots: Roots::System,
            policy: Policy::DEFAULT,
            keys: Vec::new(),
            strategy: Strategy::Swap,
            once: false,
            cut: None,
            stall: Duration::from_secs(30),
            confirm_within: Duration::from_secs(600),
            tries: 3,
            failing: None,
        }
    }
}

/// How a device ended that was to end after one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// This version is confirmed.
    Updated(Version),
}

/// Something to show.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note<'a> {
    /// Power is on; the boot loader begins.
    PowerOn,
    /// The boot loader starts an image.
    Start {
        /// Its version, from its descriptor.
        version: &'a Version,
        /// Whether it is on trial.
        trial: bool,
        /// Why the last update failed, if the journal says so.
        failure: Option<Cause>,
    },
    /// The planned power cut happened in this flash operation.
    PowerCut {
        /// Number of the operation.
        operation: u64,
    },
    /// The device restarts or ends.
    PowerOff {
        /// Flash operations since the start of the process.
        operations: u64,
    },
    /// The flash file failed.
    FlashFault(&'a str),
    /// What the system said about a connection that failed.
    Network(&'a str),
    /// From the agent.
    Agent(Event<'a>),
}

/// Looks on.
pub trait Watch {
    /// Called from inside the device: return soon.
    fn note(&mut self, note: Note<'_>);
}

impl<F: FnMut(Note<'_>)> Watch for F {
    fn note(&mut self, note: Note<'_>) {
        self(note);
    }
}

/// Runs a device until it ends; without [`Options::once`] only errors end it.
///
/// Dropping the future is a power cut.
///
/// # Errors
/// [`Error`] says what stands in the way.
pub async fn run(options: &Options, watch: &mut dyn Watch) -> Result<End, Error> {
    let identity = &options.identity;
    Credentials::new(&identity.pk, &identity.dn, &identity.ds, &identity.ps)
        .map_err(Error::Credentials)?;
    let tls = OnceCell::new();
    if options.security == Security::Tls || options.roots != Roots::System {
        // Better now than at the first connection.
        let _ = tls.set(net::connector(&options.roots)?);
    }
    let mut cut = options.cut;
    let mut done = 0;
    loop {
        watch.note(Note::PowerOn);
        let mut flash = Flash::open(&options.flash)?;
        if let Some((at, variant)) = cut {
            flash.cut_at(at.saturating_sub(done), variant);
        }
        let flash = RefCell::new(flash);
        let end = power_on(options, &flash, &tls, watch).await;
        let flash = flash.into_inner();
        done += flash.ops();
        if !flash.is_powered() {
            watch.note(Note::PowerCut {
                operation: done.saturating_sub(1),
            });
            cut = None;
            continue;
        }
        watch.note(Note::PowerOff { operations: done });
        match (end, cut) {
            (Ok(None), _) => {}
            // Both are the end that was to come.
            (Ok(Some(_)), Some((asked, _))) => return Err(Error::CutNotFired { asked, done }),
            (Err(Error::Update { .. }), Some((asked, _))) if options.failing.is_some() => {
                return Err(Error::CutNotFired { asked, done });
            }
            (Ok(Some(end)), None) => return Ok(end),
            (Err(e), _) => return Err(e),
        }
    }
}

type Part<'f> = Partition<'f, Flash>;

fn open<'f>(flash: &'f RefCell<Flash>, id: PartitionId) -> Result<Part<'f>, Error> {
    let part = hal_mk3060::PARTITIONS.open(flash, id);
    part.map_err(|e| Error::Layout(e.to_string()))
}

/// From the boot loader to the next restart (`None`) or the end.
async fn power_on(
    options: &Options,
    flash: &RefCell<Flash>,
    tls: &OnceCell<TlsConnector>,
    watch: &mut dyn Watch,
) -> Result<Option<End>, Error> {
    let application = open(flash, PartitionId::Application)?;
    let ota_temp = open(flash, PartitionId::OtaTemp)?;
    let journal = open(flash, PartitionId::RecoveryBackPara)?;
    let mut partitions = Partitions {
        active: application,
        update: ota_temp,
        journal,
        // No C firmware runs here.
        mailbox: None,
    };
    let mut judge = ImageCheck {
        policy: &options.policy,
        keys: &options.keys,
        coding: Coding::Plain,
    };
    let config = Config {
        secure_boot: options.policy.secure_boot,
    };
    let mut buf = vec![0; SECTOR];
    let mut room = Box::new(Workspace::new());
    let decision = start_up_with_patch(
        &mut partitions,
        &mut judge,
        &mut Nbdiff::new(&mut room),
        &mut (),
        &config,
        &mut buf,
    );
    if let Some(fault) = flash.borrow_mut().take_fault() {
        watch.note(Note::FlashFault(&fault));
    }
    let (slot, trial) = match decision {
        Decision::Start { slot, trial } => (slot, trial),
        Decision::Recovery { reason } => return Err(Error::Recovery(reason)),
    };
    // The app begins: all it knows of itself is what lies in its slot.
    let (mut own, other) = match slot {
        Slot::First => (application.read_only(), ota_temp),
        Slot::Second => (ota_temp.read_only(), application),
    };
    let descriptor = read_descriptor(&mut NorReader(&mut own), Coding::Plain);
    let descriptor = descriptor.map_err(Error::Image)?.ok_or(Error::NoVersion)?;
    let layout = |fault: Fault| Error::Layout(fault.to_string());
    let mut boot = BootJournal::open(journal, options.strategy, ())
        .map_err(layout)?
        .tries(options.tries);
    watch.note(Note::Start {
        version: &descriptor.version,
        trial,
        failure: ota_agent::BootRequest::last_failure(&mut boot),
    });
    if trial && options.failing == Some(descriptor.version) {
        return Ok(None);
    }
    app(
        options,
        flash,
        tls,
        watch,
        (own, other, boot, descriptor.version),
    )
    .await
}

/// The app: everything is the agent's work.
async fn app(
    options: &Options,
    flash: &RefCell<Flash>,
    tls: &OnceCell<TlsConnector>,
    watch: &mut dyn Watch,
    (own, update, boot, version): (Part<'_>, Part<'_>, BootJournal<Part<'_>>, Version),
) -> Result<Option<End>, Error> {
    let identity = &options.identity;
    let credentials = Credentials::new(&identity.pk, &identity.dn, &identity.ds, &identity.ps)
        .map_err(Error::Credentials)?;
    let broker = Broker {
        host: &options.host,
        port: options.port,
        security: options.security,
    };
    let mut settings = Settings::new(credentials, broker, version, &options.policy, &options.keys);
    settings.method = options.method;
    settings.stall_ms = millis(options.stall);
    settings.confirm_within_ms = millis(options.confirm_within);
    let net = Net {
        flash,
        roots: &options.roots,
        tls,
        trouble: RefCell::new(None),
    };
    let end = RefCell::new(None);
    let patches = matches!(options.strategy, Strategy::PatchSwap | Strategy::InPlace);
    let slot = PatchSlot::<_, 256>::new(
        update,
        MAX_IMAGE,
        &options.policy,
        &options.keys,
        Coding::Plain,
    )
    .take_diffs(patches);
    let mut decoders = Box::new(Decoders::new());
    let parts = Parts {
        net: &net,
        clock: &Time(tokio::time::Instant::now()),
        rng: Random,
        // ptr patches and .xz images are decoded here, whatever the strategy.
        sink: PackageSlot::new(slot, own, &mut decoders),
        boot,
        observer: Observed {
            net: &net,
            watch,
            once: options.once,
            version,
            failing: None,
            end: &end,
        },
    };
    let control = Control::new();
    let mut agent = Agent::new(settings, parts, &control);
    let (mut rx, mut tx) = (vec![0; 16_384], vec![0; 1024]);
    let mut body = vec![0; 4096];
    let buffers = Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    };
    const _: () = assert!(256 % UNIT == 0);
    let mut running = pin!(agent.run(buffers));
    poll_fn(|cx| {
        let polled = running.as_mut().poll(cx);
        if !flash.borrow().is_powered() {
            return Poll::Ready(Ok(None));
        }
        if let Some(end) = end.take() {
            return Poll::Ready(end);
        }
        polled.map(|outcome| match outcome {
            Outcome::Reboot | Outcome::Stopped => Ok(None),
        })
    })
    .await
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// Shows events, and sees when the one update is over.
struct Observed<'a, 'f> {
    net: &'a Net<'f>,
    watch: &'a mut dyn Watch,
    once: bool,
    version: Version,
    /// A failure was published and waits for its acknowledgement.
    failing: Option<(Option<Cause>, i32, String)>,
    end: &'a RefCell<Option<Result<Option<End>, Error>>>,
}

impl Observed<'_, '_> {
    fn once(&mut self, event: &Event<'_>) {
        let end = match event {
            Event::Failed(cause) | Event::Offer(Received::Refused(cause)) => {
                self.failing = Some((Some(*cause), 0, String::new()));
                return;
            }
            Event::Published { topic, payload } if topic.starts_with("/ota/device/progress/") => {
                if let Some((step, desc)) = error::failure_report(payload) {
                    let cause = self.failing.take().and_then(|f| f.0);
                    self.failing = Some((cause, step, desc));
                }
                return;
            }
            Event::Acknowledged => match self.failing.take() {
                Some((cause, step, desc)) if step < 0 => Err(Error::Update {
                    step,
                    desc,
                    topic: cause.as_ref().map_or(Topic::Boot, Topic::of_cause),
                }),
                other => {
                    self.failing = other;
                    return;
                }
            },
            Event::Confirmed => Ok(Some(End::Updated(self.version))),
            Event::Disconnected(Some(mqtt::Error::Refused(refusal))) if refusal.is_permanent() => {
                Err(Error::SignOn(*refusal))
            }
            _ => return,
        };
        *self.end.borrow_mut() = Some(end);
    }
}

impl Observer for Observed<'_, '_> {
    fn event(&mut self, event: Event<'_>) {
        // What a device says while its power fails nobody sees.
        let Ok(mut flash) = self.net.flash.try_borrow_mut() else {
            return;
        };
        if !flash.is_powered() {
            return;
        }
        if let Some(fault) = flash.take_fault() {
            self.watch.note(Note::FlashFault(&fault));
        }
        drop(flash);
        if self.once {
            self.once(&event);
        }
        if matches!(event, Event::Unreachable(_) | Event::DownloadEnded(Err(_)))
            && let Some(why) = self.net.trouble.borrow_mut().take()
        {
            self.watch.note(Note::Network(&why));
        }
        self.watch.note(Note::Agent(event));
    }
}

struct Time(tokio::time::Instant);

impl Clock for Time {
    fn now_ms(&self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    async fn sleep_until(&self, deadline: u64) {
        // Beyond a year nobody waits, and the clock's arithmetic holds.
        let wait = deadline.min(self.now_ms().saturating_add(365 * 86_400_000));
        tokio::time::sleep_until(self.0 + Duration::from_millis(wait)).await;
    }
}

struct Random;

impl Rng for Random {
    fn next_u32(&mut self) -> u32 {
        // Jitter only: without the system's randomness any number will do.
        getrandom::u32().unwrap_or(0x5EED_5EED)
    }
}
