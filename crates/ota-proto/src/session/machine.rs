//! The state and its inputs. What is put out is in `output`.

use super::cause::Remedy;
use super::{
    Action, Cause, CheckError, Config, DownloadError, DownloadEvent, Judge, Received, Refusal,
    Report, StartUp, State,
};
use crate::backoff::{Backoff, Ended};
use crate::http::HttpError;
use crate::messages::{Offer, OfferError, OfferRef, Push};
use crate::topics::Topic;

/// Things to put out at the next `poll`, one bit each.
pub(super) mod todo {
    pub const SUBSCRIBE: u16 = 1;
    pub const INFORM: u16 = 1 << 1;
    pub const GET: u16 = 1 << 2;
    pub const START: u16 = 1 << 3;
    pub const ABORT: u16 = 1 << 4;
    pub const VERIFY: u16 = 1 << 5;
    pub const INSTALL: u16 = 1 << 6;
    pub const CONFIRM: u16 = 1 << 7;
    pub const BOOT_REPORTED: u16 = 1 << 8;
    pub const DONE: u16 = 1 << 9;
    pub const REBOOT: u16 = 1 << 10;
    /// Belong to the update in hand and end with it.
    pub const UPDATE: u16 = GET | START | VERIFY | INSTALL | DONE | REBOOT;
}

/// The report that waits for its PUBACK.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub report: Report,
    pub token: u16,
    pub until: u64,
}

/// Times that one offer is begun anew because the file changed or its stored part was lost.
const RESTARTS_MAX: u8 = 3;

/// What is to be done when a back-off is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Download,
    AskUrl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// `None` until the question has gone out.
    AwaitUrl(Option<u64>),
    BackOff(u64, Next),
    Downloading,
    Verifying,
    Installing,
    Rebooting(u64),
}

/// The update session. See the [module](super) for how it is driven.
pub struct Session<'a> {
    pub(super) config: Config<'a>,
    pub(super) offer: Option<Offer>,
    pub(super) phase: Phase,
    pub(super) todo: u16,
    pub(super) connected: bool,
    pub(super) trial: bool,
    pub(super) boot_failure: Option<Cause>,
    pub(super) failure: Option<Cause>,
    pub(super) remember: Option<(crate::messages::Digest, Cause)>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) token: u16,
    pub(super) percent: Option<u8>,
    next_percent: u8,
    /// An offer was put off: ask for it when there is time.
    pub(super) ask_later: bool,
    pub(super) done: u32,
    attempts: u8,
    backoff: Backoff,
    mismatches: u8,
    restarts: u8,
    /// Status with which the URL was refused last.
    expired: u16,
    /// The bytes in hand come from one run that began at 0.
    from_zero: bool,
    pub(super) fresh: bool,
    random: u32,
}

impl<'a> Session<'a> {
    /// A session at power-on. `seed` is for jitter.
    pub fn new(config: Config<'a>, start: StartUp, seed: u32) -> Self {
        Session {
            config,
            offer: None,
            phase: Phase::Idle,
            todo: 0,
            connected: false,
            trial: start.trial,
            boot_failure: start.failure,
            failure: None,
            remember: None,
            in_flight: None,
            token: 0,
            percent: None,
            next_percent: 0,
            ask_later: false,
            done: 0,
            attempts: 0,
            backoff: Backoff::new(),
            mismatches: 0,
            restarts: 0,
            expired: 403,
            from_zero: false,
            fresh: false,
            random: seed | 1,
        }
    }

    /// Where the session stands.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Idle => State::Idle,
            Phase::AwaitUrl(_) => State::AwaitUrl,
            Phase::BackOff(..) => State::BackOff,
            Phase::Downloading => State::Downloading,
            Phase::Verifying => State::Verifying,
            Phase::Installing => State::Installing,
            Phase::Rebooting(_) => State::Rebooting,
        }
    }

    /// Whether the running image still awaits confirmation.
    pub fn on_trial(&self) -> bool {
        self.trial
    }

    /// The offer in hand, from its acceptance to its end.
    pub fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// The broker has accepted the connection.
    pub fn connected(&mut self, _now: u64) {
        self.connected = true;
        self.in_flight = None;
        self.todo |= todo::SUBSCRIBE | todo::INFORM;
        if let Phase::AwaitUrl(until) = &mut self.phase {
            *until = None;
            self.todo |= todo::GET;
        }
    }

    /// The connection to the broker is lost. A download goes on.
    pub fn disconnected(&mut self, now: u64) {
        self.connected = false;
        self.reboot_by(now);
        if let Phase::AwaitUrl(until) = &mut self.phase {
            *until = None;
            self.todo |= todo::GET;
        }
        self.in_flight = None;
        self.todo &= !todo::SUBSCRIBE;
    }

    /// Nothing more is waited for before the reboot, unless that was put out already.
    fn reboot_by(&mut self, now: u64) {
        if let Phase::Rebooting(until) = &mut self.phase
            && *until < u64::MAX
        {
            *until = now.min(*until);
        }
    }

    /// The PUBACK for `token` has come. Others than the one awaited are ignored.
    pub fn acknowledged(&mut self, now: u64, token: u16) {
        let Some(sent) = self.in_flight.filter(|s| s.token == token) else {
            return;
        };
        self.in_flight = None;
        match sent.report {
            Report::Inform => {
                self.todo &= !todo::INFORM;
                if self.trial {
                    self.todo |= todo::CONFIRM;
                }
            }
            Report::Failure(cause) if self.boot_failure == Some(cause) => {
                self.boot_failure = None;
                self.todo |= todo::BOOT_REPORTED;
            }
            Report::Failure(cause) if self.failure == Some(cause) => self.failure = None,
            Report::Percent(_) => {
                self.reboot_by(now);
                self.todo &= !todo::DONE;
            }
            _ => {}
        }
    }

    /// A message has come on a topic of this device (see [`Topic::of_device`]).
    pub fn received(
        &mut self,
        _now: u64,
        topic: Topic,
        payload: &[u8],
        judge: &mut impl Judge,
    ) -> Received {
        let reply = topic == Topic::FirmwareGetReply;
        if !reply && topic != Topic::Upgrade {
            return Received::NotOurs;
        }
        match Push::parse(payload) {
            Ok(Push::Offer(offer)) => self.offered(&offer, judge),
            Ok(Push::Nothing) => {
                if let Phase::AwaitUrl(_) = self.phase {
                    // The cloud has withdrawn the job.
                    self.end();
                }
                Received::Nothing
            }
            // The refusal of a question is no failure of an update.
            Err(OfferError::Refused(code)) if reply => {
                Received::Refused(Cause::Offer(OfferError::Refused(code)))
            }
            Err(e) => self.refuse(Cause::Offer(e)),
        }
    }

    /// A message was lost that may have been an offer, because an update is in hand:
    /// the cloud is asked again after it.
    pub fn missed(&mut self) {
        if self.phase != Phase::Idle || self.trial {
            self.ask_later = true;
        }
    }

    /// Refuses an offer; it is reported only if no other update would be taken for the one that failed.
    fn refuse(&mut self, cause: Cause) -> Received {
        if self.phase == Phase::Idle && !self.trial {
            self.report_failure(cause);
        }
        Received::Refused(cause)
    }

    fn same(&self, offer: &OfferRef<'_>) -> bool {
        self.offer
            .as_ref()
            .is_some_and(|o| o.same_package(offer) && o.diff == offer.diff)
    }

    fn offered(&mut self, offer: &OfferRef<'_>, judge: &mut impl Judge) -> Received {
        let ours = match (offer.module, self.config.module) {
            (None, None) => true,
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => false,
        };
        if !ours {
            return self.refuse(Cause::Refused(Refusal::Module));
        }
        if offer.version == self.config.version {
            self.todo |= todo::INFORM;
            return Received::Running;
        }
        if self.trial {
            self.ask_later = true;
            return Received::Deferred;
        }
        let busy = match self.phase {
            Phase::Idle => false,
            _ if self.same(offer) => return self.again(offer, judge),
            Phase::AwaitUrl(_) | Phase::BackOff(..) | Phase::Downloading => true,
            Phase::Verifying | Phase::Installing | Phase::Rebooting(_) => {
                self.ask_later = true;
                return Received::Deferred;
            }
        };
        let stored = match judge.judge(offer) {
            Ok(stored) => stored,
            Err(Refusal::Later) => return Received::Deferred,
            // The cloud offers again what was just reverted, before it knows: that
            // report is the answer, and a second one would hide the reason.
            Err(Refusal::FailedBefore(_)) if self.boot_failure.is_some() => return Received::Same,
            Err(refusal) => return self.refuse(Cause::Refused(refusal)),
        };
        let short = match offer.to_offer() {
            Ok(short) => short,
            Err(e) => return self.refuse(Cause::Offer(e)),
        };
        if let Err(e) = judge.keep(&offer.url) {
            return self.refuse(Cause::Offer(e));
        }
        self.drop_update();
        self.done = stored.min(offer.size);
        self.offer = Some(short);
        self.failure = None;
        self.fruitful();
        self.mismatches = 0;
        self.restarts = 0;
        self.from_zero = self.done == 0;
        // A record of another package must not be taken for this one's.
        self.fresh = self.done == 0;
        self.next_percent = 1;
        self.start();
        self.count_percent();
        if busy {
            Received::Replaced
        } else {
            Received::Accepted
        }
    }

    /// The offer in hand has come again, perhaps with a fresh URL.
    fn again(&mut self, offer: &OfferRef<'_>, judge: &mut impl Judge) -> Received {
        let waiting = matches!(
            self.phase,
            Phase::AwaitUrl(_) | Phase::BackOff(_, Next::AskUrl)
        );
        if waiting || matches!(self.phase, Phase::BackOff(..)) {
            if let Err(e) = judge.keep(&offer.url) {
                return Received::Refused(Cause::Offer(e));
            }
            if waiting {
                self.todo &= !todo::GET;
                self.start();
            }
        }
        Received::Same
    }

    fn start(&mut self) {
        self.phase = Phase::Downloading;
        self.todo |= todo::START;
    }

    /// Starts anew from the first byte.
    fn restart(&mut self) {
        self.done = 0;
        self.from_zero = true;
        self.fresh = true;
        self.start();
    }

    /// Ends what is going on with the offer in hand.
    fn drop_update(&mut self) {
        // A download that was never put out needs no abort.
        if self.phase == Phase::Downloading && self.todo & todo::START == 0 {
            self.todo |= todo::ABORT;
        }
        self.todo &= !todo::UPDATE;
        self.percent = None;
        if matches!(
            self.in_flight,
            Some(InFlight {
                report: Report::Percent(_),
                ..
            })
        ) {
            self.in_flight = None;
        }
        self.phase = Phase::Idle;
        self.offer = None;
    }

    /// Back to idle; offers that were put off are asked for.
    fn end(&mut self) {
        self.drop_update();
        if core::mem::take(&mut self.ask_later) {
            self.todo |= todo::GET;
        }
    }

    fn fail(&mut self, cause: Cause, permanent: bool) {
        if let (true, Some(offer)) = (permanent, &self.offer) {
            self.remember = Some((offer.digest, cause));
        }
        self.end();
        self.report_failure(cause);
    }

    fn report_failure(&mut self, cause: Cause) {
        // The PUBACK of an earlier report with the same text is not this one's.
        if self.failure.is_some()
            && matches!(
                self.in_flight,
                Some(InFlight {
                    report: Report::Failure(_),
                    ..
                })
            )
        {
            self.in_flight = None;
        }
        self.failure = Some(cause);
    }

    fn random(&mut self) -> u32 {
        // xorshift32: enough to keep a fleet from retrying in step.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }

    /// Something was gained: failures are counted from 0 again.
    fn fruitful(&mut self) {
        self.attempts = 0;
        self.backoff = Backoff::new();
    }

    /// Waits longer after each fruitless attempt; gives up after too many.
    fn retry(&mut self, now: u64, cause: Cause, next: Next) {
        self.attempts = self.attempts.saturating_add(1);
        if self.attempts >= self.config.max_attempts.max(1) {
            return self.fail(cause, false);
        }
        let random = self.random();
        let delay = self.backoff.next(Ended::NotConnected, random).ms;
        self.phase = Phase::BackOff(now.saturating_add(u64::from(delay)), next);
    }

    pub(super) fn ask_url(&mut self) {
        self.phase = Phase::AwaitUrl(None);
        self.todo |= todo::GET;
    }

    /// What the timers of the state ask for.
    pub(super) fn tick(&mut self, now: u64) {
        if let Some(sent) = self.in_flight
            && now >= sent.until
        {
            // Published again from what is still to be done.
            self.in_flight = None;
        }
        match self.phase {
            Phase::BackOff(until, next) if now >= until => match next {
                Next::Download => self.start(),
                Next::AskUrl => self.ask_url(),
            },
            Phase::AwaitUrl(Some(until)) if now >= until => {
                let cause = DownloadError::Http(HttpError::Expired(self.expired));
                self.retry(now, Cause::Download(cause), Next::AskUrl);
            }
            Phase::Rebooting(until) if now >= until => {
                self.todo &= !todo::DONE;
                self.todo |= todo::REBOOT;
            }
            _ => {}
        }
    }

    fn count_percent(&mut self) {
        let Some(size) = self.offer.as_ref().map(|o| o.size) else {
            return;
        };
        // 100 only when the package is checked and handed over.
        let done = u64::from(self.done) * 100;
        let percent = match u32::try_from(done) {
            Ok(done) => done / size.max(1),
            Err(_) => self.done / (size / 100).max(1),
        };
        let percent = percent.clamp(1, 99) as u8;
        if percent >= self.next_percent {
            self.percent = Some(percent);
            self.next_percent = percent.saturating_add(self.config.percent_step.max(1));
        }
    }

    /// What has happened to the download that was started last. Ignored when there is none.
    pub fn download(&mut self, now: u64, event: DownloadEvent) {
        let Some(size) = self.offer.as_ref().map(|o| o.size) else {
            return;
        };
        if self.phase != Phase::Downloading || self.todo & todo::START != 0 {
            return;
        }
        match event {
            DownloadEvent::Progress(done) => {
                let done = done.min(size);
                if done > self.done {
                    self.fruitful();
                }
                self.done = done;
                self.count_percent();
            }
            DownloadEvent::Complete => {
                self.done = size;
                self.phase = Phase::Verifying;
                self.todo |= todo::VERIFY;
            }
            DownloadEvent::Failed(e) => self.download_failed(now, e),
        }
    }

    fn download_failed(&mut self, now: u64, error: DownloadError) {
        let cause = Cause::Download(error);
        // The download is over by itself: nothing to abort.
        self.phase = Phase::Idle;
        match error.remedy() {
            Remedy::Retry => self.retry(now, cause, Next::Download),
            Remedy::FreshUrl => {
                if let DownloadError::Http(HttpError::Expired(status)) = error {
                    self.expired = status;
                }
                if self.attempts == 0 {
                    self.attempts = 1;
                    self.ask_url();
                } else {
                    self.retry(now, cause, Next::AskUrl);
                }
            }
            Remedy::Restart if self.restarts >= RESTARTS_MAX => self.fail(cause, false),
            Remedy::Restart => {
                // Counted for the whole offer: a server that flaps between two files
                // would otherwise be downloaded from for ever.
                self.restarts += 1;
                self.done = 0;
                self.from_zero = true;
                self.fresh = true;
                self.retry(now, cause, Next::Download);
            }
            Remedy::Mismatch => self.mismatch(cause),
            Remedy::GiveUp => self.fail(cause, cause.permanent()),
        }
    }

    /// The bytes are not those of the offer. A part that was stored earlier may be to
    /// blame, or the way; two downloads from the first byte to the last are proof.
    fn mismatch(&mut self, cause: Cause) {
        if self.from_zero {
            self.mismatches = self.mismatches.saturating_add(1);
        }
        if self.mismatches >= 2 {
            self.fail(cause, true);
        } else {
            self.restart();
        }
    }

    /// The answer to [`Action::Verify`]: the package and its image are good, or why not.
    /// Ignored when it was not asked for, as after a cancel.
    pub fn verified(&mut self, _now: u64, result: Result<(), CheckError>) {
        if self.phase != Phase::Verifying || self.todo & todo::VERIFY != 0 {
            return;
        }
        match result {
            Ok(()) => {
                self.phase = Phase::Installing;
                self.todo |= todo::INSTALL;
            }
            Err(CheckError::Digest) => self.mismatch(Cause::Check(CheckError::Digest)),
            Err(e) => self.fail(Cause::Check(e), Cause::Check(e).permanent()),
        }
    }

    /// The answer to [`Action::Install`]: the request is durable, or why not.
    pub fn installed(&mut self, now: u64, result: Result<(), Cause>) {
        if self.phase != Phase::Installing || self.todo & todo::INSTALL != 0 {
            return;
        }
        match result {
            Ok(()) => {
                let wait = if self.connected {
                    self.config.reboot_ms
                } else {
                    0
                };
                self.phase = Phase::Rebooting(now.saturating_add(u64::from(wait)));
                self.percent = None;
                self.todo |= todo::DONE;
            }
            Err(cause) => self.fail(cause, cause.permanent()),
        }
    }

    /// The running image is confirmed: the answer to [`Action::Confirm`], or the app has done so itself.
    pub fn confirmed(&mut self, _now: u64) {
        self.todo &= !todo::CONFIRM;
        self.trial = false;
        if self.phase == Phase::Idle && core::mem::take(&mut self.ask_later) {
            self.todo |= todo::GET;
        }
    }

    /// Stops the update in hand and reports it as cancelled. Says whether there was one
    /// that could be stopped: after [`Action::Install`] was given out it is too late.
    pub fn cancel(&mut self, _now: u64) -> bool {
        let stoppable = match self.phase {
            Phase::Idle | Phase::Rebooting(_) => false,
            Phase::Installing => self.todo & todo::INSTALL != 0,
            _ => true,
        };
        if stoppable {
            self.fail(Cause::Cancelled, false);
        }
        stoppable
    }

    /// Asks the cloud for the newest offer, when there is no update in hand; in a trial, after it.
    pub fn check(&mut self, _now: u64) {
        if self.trial {
            self.ask_later = true;
        } else if self.phase == Phase::Idle {
            self.todo |= todo::GET;
        }
    }

    pub(super) fn acting(&mut self, bit: u16, action: Action) -> Option<Action> {
        let due = self.todo & bit != 0;
        self.todo &= !bit;
        due.then_some(action)
    }
}
