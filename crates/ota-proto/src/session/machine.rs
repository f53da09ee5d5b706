//! The state and its inputs; those about offers and downloads in modules of their own.
//! What is put out is in `output`.

mod download;
mod offers;

use super::{Action, Cause, Config, DownloadError, Report, StartUp, State};
use crate::backoff::{Backoff, Ended};
use crate::http::HttpError;
use crate::messages::Offer;

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
