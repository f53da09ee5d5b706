//! From the first byte to the reboot: progress, failures and their remedies.

use super::{Next, Phase, RESTARTS_MAX, Session, todo};
use crate::http::HttpError;
use crate::messages::Digest;
use crate::session::cause::Remedy;
use crate::session::{Cause, CheckError, DownloadError, DownloadEvent};

impl Session<'_> {
    pub(super) fn count_percent(&mut self) {
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
            // Counted outside as well: a reset between the two must not begin anew.
            if let Some(offer) = &self.offer {
                self.remember = Some((offer.digest, cause));
            }
        }
        if self.mismatches >= 2 {
            self.fail(cause, false);
        } else {
            self.restart();
        }
    }

    /// The package with this digest has failed often enough, counted over resets: the
    /// download that was to begin once more does not. Ignored for any other package.
    pub fn give_up(&mut self, digest: &Digest, cause: Cause) {
        let same = self.offer.as_ref().is_some_and(|o| o.digest == *digest);
        if same && self.phase == Phase::Downloading && self.todo & todo::START != 0 {
            self.fail(cause, false);
        }
    }

    /// The answer to [`Action::Verify`](crate::session::Action::Verify): the package and its image are good, or why not.
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

    /// The answer to [`Action::Install`](crate::session::Action::Install): the request is durable, or why not.
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
}
