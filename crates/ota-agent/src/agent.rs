//! The agent: two loops (broker, download) around one session, in one future.

use core::cell::{Cell, RefCell};
use core::pin::{Pin, pin};

use embassy_futures::select::{Either, Either3, select, select3};
use ota_proto::mqtt::Client;
use ota_proto::session::{Action, BootError, Cause, CheckError, Session, StartUp, State};
use ota_verify::Digest;

use crate::broker::Line;
use crate::control::{Control, Notify};
use crate::download::Job;
use crate::event::{Event, Observer};
use crate::judge;
use crate::seams::{
    BootRequest, Clock, Connect, PackageId, ResumeStore, Rng, UpdateSink, Verified, VerifyImage,
};
use crate::settings::{Buffers, Settings};

/// Why [`Agent::run`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Restart the device: the boot loader has something to do.
    Reboot,
    /// [`Control::stop`] was called.
    Stopped,
}

/// What an agent works with: the seams of one device.
pub struct Parts<'a, C, K, R, S, B, O> {
    /// Network.
    pub net: &'a C,
    /// Time.
    pub clock: &'a K,
    /// Randomness.
    pub rng: R,
    /// Where package bytes go, and what judges them there.
    pub sink: S,
    /// Boot state and resume record.
    pub boot: B,
    /// Logs and progress.
    pub observer: O,
}

/// The device's side of over-the-air updates.
///
/// See the [crate documentation](crate) for an example.
pub struct Agent<'a, C, K, R, S, B, O> {
    settings: Settings<'a>,
    parts: Parts<'a, C, K, R, S, B, O>,
    control: &'a Control,
}

impl<'a, C, K, R, S, B, O> Agent<'a, C, K, R, S, B, O>
where
    C: Connect,
    K: Clock,
    R: Rng,
    S: UpdateSink + VerifyImage,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    /// Puts a device together.
    pub fn new(
        settings: Settings<'a>,
        parts: Parts<'a, C, K, R, S, B, O>,
        control: &'a Control,
    ) -> Self {
        Self {
            settings,
            parts,
            control,
        }
    }

    /// Signs on and serves updates until the device is to restart. Never gives
    /// up: what can be tried again is tried again, with back-off.
    ///
    /// The future may be dropped at any time; that is like a power cut.
    pub async fn run(&mut self, buffers: Buffers<'_>) -> Outcome {
        let Parts {
            net,
            clock,
            rng,
            sink,
            boot,
            observer,
        } = &mut self.parts;
        let Buffers { rx, tx, body } = buffers;
        let start = match start_up(&self.settings, boot, observer) {
            Ok(start) => start,
            Err(outcome) => return outcome,
        };
        let expires = {
            let limit = u64::from(self.settings.confirm_within_ms);
            let ends = start.trial && limit > 0;
            ends.then(|| clock.now_ms().saturating_add(limit))
        };
        let session = Session::new(self.settings.session(), start, rng.next_u32());
        let state = Running {
            settings: &self.settings,
            net: *net,
            clock: *clock,
            control: self.control,
            expires,
            session: RefCell::new(session),
            client: RefCell::new(Client::new(rx, tx, self.settings.mqtt)),
            device: RefCell::new(Device {
                rng,
                sink,
                boot,
                observer,
            }),
            job: Cell::new(None),
            computed: Cell::new(None),
            for_download: Notify::default(),
            aborted: Notify::default(),
        };
        // Pinned where they stand: moved futures take their room twice.
        let broker = pin!(state.broker());
        let downloads = pin!(state.downloads(body));
        match select(broker, downloads).await {
            Either::First(outcome) => outcome,
            Either::Second(never) => match never {},
        }
    }
}

/// What the boot state says. An image on trial that is not what was offered goes.
fn start_up<B: BootRequest, O: Observer>(
    settings: &Settings<'_>,
    boot: &mut B,
    observer: &mut O,
) -> Result<StartUp, Outcome> {
    if boot.pending() {
        // Whatever is downloaded now would be written over what was asked for.
        observer.event(Event::Reboot);
        return Err(Outcome::Reboot);
    }
    let trial = boot.trial();
    let offered = trial.and_then(|t| t.version);
    if offered.is_some_and(|v| v != settings.version) {
        observer.event(match boot.reject(BootError::Version) {
            Ok(()) => Event::Rejected,
            Err(cause) => Event::BootState(cause),
        });
        return Err(Outcome::Reboot);
    }
    Ok(StartUp {
        trial: trial.is_some(),
        failure: boot.last_failure(),
    })
}

/// What is borrowed for the time of one synchronous step.
pub(crate) struct Device<'r, R, S, B, O> {
    pub rng: &'r mut R,
    pub sink: &'r mut S,
    pub boot: &'r mut B,
    pub observer: &'r mut O,
}

/// The state that both loops share. Nothing in a `RefCell` stays borrowed
/// across an `await`.
pub(crate) struct Running<'r, 's, C, K, R, S, B, O> {
    pub settings: &'r Settings<'s>,
    pub net: &'r C,
    pub clock: &'r K,
    pub control: &'r Control,
    /// End of the trial's time.
    expires: Option<u64>,
    pub session: RefCell<Session<'r>>,
    /// Holds the URL of the package in hand, too.
    pub client: RefCell<Client<'r>>,
    pub device: RefCell<Device<'r, R, S, B, O>>,
    /// Handed to the download loop.
    pub job: Cell<Option<Job>>,
    /// Digest of the bytes of the last complete download.
    pub computed: Cell<Option<Digest>>,
    pub for_download: Notify,
    pub aborted: Notify,
}

impl<C, K, R, S, B, O> Running<'_, '_, C, K, R, S, B, O>
where
    C: Connect,
    K: Clock,
    R: Rng,
    S: UpdateSink + VerifyImage,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    pub(crate) fn observe(&self, event: Event<'_>) {
        self.device.borrow_mut().observer.event(event);
    }

    /// The package in hand.
    pub(crate) fn with_package<T>(&self, f: impl FnOnce(&PackageId<'_>) -> T) -> Option<T> {
        let session = self.session.borrow();
        let offer = session.offer()?;
        Some(f(&PackageId {
            size: offer.size,
            digest: judge::digest(&offer.digest)?,
            version: &offer.version,
            diff: offer.diff,
        }))
    }

    /// Runs `future` and serves the session meanwhile, without a broker.
    pub(crate) async fn meanwhile<F: Future>(
        &self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Outcome> {
        loop {
            if let Some(outcome) = self.serve(None) {
                return Err(outcome);
            }
            let change = self.control.notify.wait();
            let timer = self.clock.sleep_until(self.deadline(None));
            if let Either3::First(value) = select3(future.as_mut(), change, timer).await {
                return Ok(value);
            }
        }
    }

    /// When something is due next, at the latest.
    pub(crate) fn deadline(&self, other: Option<u64>) -> u64 {
        let session = self.session.borrow();
        // Once the trial is over, its end has no meaning any more.
        let expires = self.expires.filter(|_| session.on_trial());
        let all = [session.next_deadline(), expires, other];
        all.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Does what the session asks for, until something is to be sent on `line`.
    pub(crate) fn serve(&self, line: Option<&mut Line>) -> Option<Outcome> {
        let outcome = self.act(line);
        let session = self.session.borrow();
        // A URL that has expired gives way to the message with the fresh one.
        if session.offer().is_none() || session.state() == State::AwaitUrl {
            self.client.borrow_mut().forget();
        }
        outcome
    }

    fn act(&self, mut line: Option<&mut Line>) -> Option<Outcome> {
        let now = self.clock.now_ms();
        if self.expires.is_some_and(|at| now >= at) && self.session.borrow().on_trial() {
            self.observe(Event::TrialExpired);
            return Some(Outcome::Reboot);
        }
        loop {
            // Each time: what an action shows to the observer may change its mind.
            let wishes = self.control.take();
            if wishes.stop {
                return Some(Outcome::Stopped);
            }
            if wishes.cancel && self.session.borrow_mut().cancel(now) {
                self.observe(Event::Failed(Cause::Cancelled));
            }
            if wishes.check {
                self.session.borrow_mut().check(now);
            }
            // One packet at a time, so that there is room for each.
            if line.is_some() && !self.client.borrow().transmit().is_empty() {
                return None;
            }
            let action = self.session.borrow_mut().poll(now)?;
            match action {
                Action::Subscribe => {
                    if line.is_some() {
                        self.subscribe();
                    }
                }
                Action::Publish { report, token } => {
                    if let Some(line) = &mut line {
                        self.publish(line, report, token);
                    }
                }
                Action::StartDownload { offset, fresh } => {
                    self.job.set(Some(Job { offset, fresh }));
                    self.for_download.notify();
                }
                Action::AbortDownload => {
                    self.job.set(None);
                    self.client.borrow_mut().give_back();
                    self.aborted.notify();
                }
                Action::Verify => {
                    let result = self.verify();
                    self.tell(result.map_err(Cause::Check));
                    self.session.borrow_mut().verified(now, result);
                }
                Action::Install => {
                    let result = self.install();
                    self.tell(result);
                    self.session.borrow_mut().installed(now, result);
                }
                Action::Remember {
                    digest: offered,
                    cause,
                } => {
                    if let Some(digest) = judge::digest(&offered) {
                        self.boot_state(|boot| boot.remember(&digest, cause));
                        let known = self.device.borrow_mut().boot.failed_before(&digest);
                        if known.is_some() {
                            self.session.borrow_mut().give_up(&offered, cause);
                        }
                    }
                }
                Action::Confirm => {
                    if self.boot_state(|boot| boot.confirm()) {
                        self.session.borrow_mut().confirmed(now);
                        self.observe(Event::Confirmed);
                    }
                }
                Action::FailureReported => {
                    self.boot_state(|boot| boot.failure_reported());
                }
                Action::Reboot => {
                    self.observe(Event::Reboot);
                    return Some(Outcome::Reboot);
                }
            }
        }
    }

    fn tell(&self, result: Result<(), Cause>) {
        if let Err(cause) = result {
            self.observe(Event::Failed(cause));
        }
    }

    /// A write to the boot state; whether it succeeded.
    fn boot_state(&self, f: impl FnOnce(&mut B) -> Result<(), Cause>) -> bool {
        let mut device = self.device.borrow_mut();
        let result = f(device.boot);
        if let Err(cause) = result {
            device.observer.event(Event::BootState(cause));
        }
        result.is_ok()
    }

    fn verify(&self) -> Result<(), CheckError> {
        let computed = self.computed.get();
        self.with_package(|package| {
            let computed = computed.ok_or(CheckError::Digest)?;
            let device = &mut *self.device.borrow_mut();
            device.observer.event(Event::Digest {
                offered: package.digest.to_hex(&mut [0; 64]),
                computed: computed.to_hex(&mut [0; 64]),
            });
            if computed != package.digest {
                return Err(CheckError::Digest);
            }
            match &check(device.sink, package)? {
                Verified::Image(image) => device.observer.event(Event::Verified(image)),
                Verified::Patch(patch) => device.observer.event(Event::PatchStored(patch)),
            }
            Ok(())
        })
        .unwrap_or(Err(CheckError::Digest))
    }

    fn install(&self) -> Result<(), Cause> {
        self.with_package(|package| {
            let device = &mut *self.device.borrow_mut();
            // What flash says now is what is asked for.
            let verified = check(device.sink, package).map_err(Cause::Check)?;
            device.boot.request(package, &verified)?;
            device.observer.event(Event::Requested);
            Ok(())
        })
        .unwrap_or(Err(Cause::Cancelled))
    }
}

/// Verifies what lies in flash, as the package that was offered.
fn check<S: VerifyImage>(sink: &mut S, package: &PackageId<'_>) -> Result<Verified, CheckError> {
    let verified = sink.verify_image(package)?;
    match &verified {
        Verified::Image(image)
            if image
                .version()
                .is_some_and(|v| v.as_str() != package.version) =>
        {
            Err(CheckError::Version)
        }
        _ => Ok(verified),
    }
}
