//! What the session puts out.

use core::fmt::Write;

use super::machine::{InFlight, Phase, Session, todo};
use super::{Action, Report};
use crate::messages::{self, NoRoom};

/// Longest `desc`, in bytes.
const DESC_MAX: usize = 80;

impl Session<'_> {
    /// The next thing to do, or `None` until something happens or
    /// [`next_deadline`](Self::next_deadline) has come.
    pub fn poll(&mut self, now: u64) -> Option<Action> {
        self.tick(now);
        if let Some(action) = self.acting(todo::ABORT, Action::AbortDownload) {
            return Some(action);
        }
        if let Some((digest, cause)) = self.remember.take() {
            return Some(Action::Remember { digest, cause });
        }
        if let Some(action) = self.acting(todo::CONFIRM, Action::Confirm) {
            return Some(action);
        }
        if let Some(action) = self.acting(todo::BOOT_REPORTED, Action::FailureReported) {
            return Some(action);
        }
        if let Some(action) = self.publish(now) {
            return Some(action);
        }
        if self.todo & todo::START != 0 {
            self.todo &= !todo::START;
            let fresh = core::mem::take(&mut self.fresh);
            return Some(Action::StartDownload {
                offset: self.done,
                fresh,
            });
        }
        self.acting(todo::VERIFY, Action::Verify)
            .or_else(|| self.acting(todo::INSTALL, Action::Install))
            .or_else(|| {
                // Once is enough: the state is left only by the restart.
                if self.todo & todo::REBOOT != 0 {
                    self.phase = Phase::Rebooting(u64::MAX);
                }
                self.acting(todo::REBOOT, Action::Reboot)
            })
    }

    /// The time at which [`poll`](Self::poll) is to be called at the latest; `None` if only an input can change anything.
    pub fn next_deadline(&self) -> Option<u64> {
        let phase = match self.phase {
            Phase::BackOff(until, _) | Phase::AwaitUrl(Some(until)) => Some(until),
            Phase::Rebooting(until) if until < u64::MAX => Some(until),
            _ => None,
        };
        let ack = self.in_flight.map(|sent| sent.until);
        match (phase, ack) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// One report at a time waits for its PUBACK; those without one go out between.
    fn publish(&mut self, now: u64) -> Option<Action> {
        if !self.connected {
            return None;
        }
        if let Some(action) = self.acting(todo::SUBSCRIBE, Action::Subscribe) {
            return Some(action);
        }
        let free = self.in_flight.is_none();
        let report = if free && self.todo & todo::INFORM != 0 {
            Report::Inform
        } else if let (true, Some(cause)) = (free, self.boot_failure.or(self.failure)) {
            Report::Failure(cause)
        } else if free && self.todo & todo::DONE != 0 {
            Report::Percent(100)
        } else if self.todo & todo::GET != 0 {
            self.todo &= !todo::GET;
            if let Phase::AwaitUrl(until) = &mut self.phase {
                *until = Some(now.saturating_add(u64::from(self.config.reply_ms)));
            }
            Report::FirmwareGet
        } else if let (0, Some(percent)) = (self.todo & todo::INFORM, self.percent) {
            self.percent = None;
            Report::Percent(percent)
        } else {
            return None;
        };
        // 0 is no packet identifier, so it is no token either.
        self.token = self.token.checked_add(1).unwrap_or(1);
        if report.wants_ack() {
            let until = now.saturating_add(u64::from(self.config.reply_ms.max(1)));
            self.in_flight = Some(InFlight {
                report,
                token: self.token,
                until,
            });
        }
        Some(Action::Publish {
            report,
            token: self.token,
        })
    }

    /// Writes the payload of a report (at most 256 bytes, unless version or module are long)
    /// and gives its length.
    ///
    /// # Errors
    /// [`NoRoom`]; the report counts as sent all the same.
    pub fn write(&self, report: Report, token: u16, out: &mut [u8]) -> Result<usize, NoRoom> {
        let id = u32::from(token);
        let module = self.config.module;
        match report {
            Report::Inform => messages::write_inform(out, id, self.config.version, module),
            Report::FirmwareGet => messages::write_firmware_get(out, id, module),
            Report::Percent(p) => {
                messages::write_progress(out, id, messages::Step::Percent(p), "", module)
            }
            Report::Failure(cause) => {
                let mut desc = heapless::String::<DESC_MAX>::new();
                // A text that does not fit is cut off between two pieces.
                let _ = write!(desc, "{cause}");
                messages::write_progress(out, id, cause.step(), &desc, module)
            }
        }
    }
}
