//! The update session: what a device says to the cloud and does about an offer, without IO.
//!
//! The session is told what happened (a message came, the download got so far,
//! the package did not verify) and answers with [`Action`]s. It knows nothing of
//! sockets, flash, digests or the boot loader; those belong to its caller. Time
//! is milliseconds from any origin, given with each call.
//!
//! The caller's loop:
//!
//! ```
//! use ota_proto::json::Str;
//! use ota_proto::messages::{OfferError, OfferRef};
//! use ota_proto::session::*;
//! use ota_proto::topics::Topic;
//!
//! /// Says whether this device wants an offer, and how much of the package it has already.
//! /// Keeps its URL.
//! #[derive(Default)]
//! struct Rules { url: String }
//! impl Judge for Rules {
//!     fn judge(&mut self, offer: &OfferRef<'_>) -> Result<u32, Refusal> {
//!         if offer.diff.is_some() { return Err(Refusal::Diff) }
//!         if offer.size > 900_000 { return Err(Refusal::TooLarge) }
//!         // ... version rule, signature policy, remembered failures ...
//!         Ok(0)
//!     }
//!     fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
//!         self.url = url.to_string();
//!         Ok(())
//!     }
//! }
//!
//! let mut rules = Rules::default();
//! let mut s = Session::new(Config::new("1.0.0"), StartUp::default(), 0x1234_5678);
//! let mut sent = Vec::new();
//!
//! s.connected(0); // the broker accepted us
//! let push = br#"{"code":"1000","data":{"size":4,"version":"2.0.0","url":"http://h/f",
//!     "signMethod":"MD5","sign":"098f6bcd4621d373cade4e832627b4f6"},"id":1}"#;
//! let topic = Topic::of_device("/ota/device/upgrade/pk/dn", "pk", "dn").unwrap();
//! s.received(5, topic, push, &mut rules);
//! # let mut done = false;
//! while !done {
//!     while let Some(action) = s.poll(10) {
//!         match action {
//!             Action::Subscribe => {} // upgrade and get_reply topics
//!             Action::Publish { report, token } => {
//!                 // to report.topic().name("pk", "dn")
//!                 let mut buf = [0; 256];
//!                 let n = s.write(report, token, &mut buf).unwrap();
//!                 sent.push(String::from_utf8_lossy(&buf[..n]).into_owned());
//!                 if report.wants_ack() { s.acknowledged(10, token) } // when the PUBACK comes
//!             }
//!             Action::StartDownload { .. } => {
//!                 // open rules.url, ask for the range, write, and now and then:
//!                 s.download(20, DownloadEvent::Progress(4));
//!                 s.download(20, DownloadEvent::Complete);
//!             }
//!             Action::AbortDownload => {} // drop the connection
//!             Action::Verify => s.verified(30, Ok(())), // against s.offer()
//!             Action::Install => s.installed(40, Ok(())), // request written durably
//!             Action::Remember { .. } => {} // keep in the failed-offer memory
//!             Action::Confirm => s.confirmed(50), // trial over
//!             Action::FailureReported => {} // boot state may forget it
//!             Action::Reboot => { done = true }
//!         }
//!     }
//!     // wait for the network or for s.next_deadline(), whichever is first
//! }
//! assert_eq!(sent[0], r#"{"id":"1","params":{"version":"1.0.0"}}"#);
//! assert_eq!(sent.last().unwrap(), r#"{"id":"4","params":{"step":"100","desc":""}}"#);
//! ```
//!
//! ## Rules
//!
//! * After each connect the version is reported. In a trial the PUBACK of that
//!   report leads to [`Action::Confirm`]; until then offers are deferred and
//!   asked for again afterwards.
//! * The same package offered twice is one offer. Another one replaces it while
//!   it is being downloaded; from verification on it waits for the outcome.
//! * An offer of the version that runs is answered with a version report.
//! * Network causes back off ([`backoff`](crate::backoff)) and try again with `Range`, up to
//!   [`Config::max_attempts`] in a row without a new byte. An expired URL is
//!   replaced through firmware/get. Other causes end the update at once; those
//!   that cannot go away ([`Cause::permanent`]) are handed out to be remembered
//!   by digest. A digest mismatch is permanent after two full downloads, which
//!   the boot state counts, so that resets between them do not matter.
//! * Progress uses only the steps of the cloud; the fine cause is the `desc`. A
//!   failure is published again until it is acknowledged.
//! * The download goes on while the broker is away.
//! * [`Session::cancel`] works until the install request is handed out.

mod cause;
mod machine;
mod output;

pub use cause::{BootError, Cause, CheckError, DownloadError, Refusal};
pub use machine::Session;

use crate::json::Str;
use crate::messages::{Digest, OfferError, OfferRef, Step};
use crate::topics::Topic;

/// Settings of a session.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    /// Version of the running image.
    pub version: &'a str,
    /// Module to report and to accept; `None` is the device itself.
    pub module: Option<&'a str>,
    /// Percent between two progress reports, at least 1.
    pub percent_step: u8,
    /// Attempts in a row without a new byte before a download is given up, at least 1.
    pub max_attempts: u8,
    /// How long an acknowledgement or an answer is waited for, in milliseconds.
    pub reply_ms: u32,
    /// How long a reboot waits for the acknowledgement of the last report, in milliseconds.
    pub reboot_ms: u32,
}

impl<'a> Config<'a> {
    /// Defaults for the device itself.
    pub const fn new(version: &'a str) -> Self {
        Config {
            version,
            module: None,
            percent_step: 5,
            max_attempts: 10,
            reply_ms: 10_000,
            reboot_ms: 3_000,
        }
    }
}

/// What the boot state says at power-on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StartUp {
    /// The running image is on trial, not confirmed.
    pub trial: bool,
    /// Why the last update failed or was reverted, if that was not reported yet.
    pub failure: Option<Cause>,
}

/// The caller's say about an offer.
pub trait Judge {
    /// Called for each good offer that is new, before anything of it is kept.
    ///
    /// Gives the bytes of this very package that are stored already (0 for none),
    /// or why it is not wanted: version rule, slot size, signature policy,
    /// remembered failures, kinds of package this build cannot handle. The
    /// session itself has compared the module and the running version.
    fn judge(&mut self, offer: &OfferRef<'_>) -> Result<u32, Refusal>;

    /// Keeps the URL of the offer that was just judged to be wanted, or a fresh
    /// one of the offer in hand. It is needed until [`Session::offer`] is `None`.
    ///
    /// # Errors
    /// There is no room: nothing changes, and the offer is refused.
    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError>;
}

/// A message to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The running version, on the inform topic with QoS 1.
    Inform,
    /// Percent done, on the progress topic; QoS 0 below 100, else QoS 1.
    Percent(u8),
    /// A failure, on the progress topic with QoS 1.
    Failure(Cause),
    /// Question for the newest offer, on the firmware/get topic with QoS 0.
    FirmwareGet,
}

impl Report {
    /// Whether it goes out with QoS 1 and [`Session::acknowledged`] is expected.
    pub fn wants_ack(self) -> bool {
        match self {
            Report::Inform | Report::Failure(_) => true,
            Report::Percent(p) => p >= 100,
            Report::FirmwareGet => false,
        }
    }

    /// Where it goes.
    pub fn topic(self) -> Topic {
        match self {
            Report::Inform => Topic::Inform,
            Report::Percent(_) | Report::Failure(_) => Topic::Progress,
            Report::FirmwareGet => Topic::FirmwareGet,
        }
    }

    /// The step of a progress report.
    pub fn step(self) -> Option<Step> {
        match self {
            Report::Percent(p) => Some(Step::Percent(p)),
            Report::Failure(cause) => Some(cause.step()),
            _ => None,
        }
    }
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Subscribe to upgrade and firmware/get_reply. A refusal is no failure: the platform delivers anyway.
    Subscribe,
    /// Publish a report; [`Session::write`] makes its payload.
    Publish {
        /// What to publish.
        report: Report,
        /// To be given back with the PUBACK.
        token: u16,
    },
    /// Download the URL kept last from `offset` on.
    StartDownload {
        /// First byte to ask for. May equal the size, if all is stored already: then only
        /// take in what is stored and report [`DownloadEvent::Complete`].
        offset: u32,
        /// What is stored of the package must not be used: begin a new resume record.
        fresh: bool,
    },
    /// Drop the download's connection. Events of it must not be reported any more.
    AbortDownload,
    /// Check the package, then the image; answer with [`Session::verified`].
    Verify,
    /// Hand the image to the boot loader durably; answer with [`Session::installed`].
    Install,
    /// Remember that this package failed: for good if [`Cause::permanent`], else it is
    /// counted, and the second time is for good. If it is now, answer with
    /// [`Session::give_up`].
    Remember {
        /// Digest of the package.
        digest: Digest,
        /// Why.
        cause: Cause,
    },
    /// Confirm the running image; answer with [`Session::confirmed`].
    Confirm,
    /// The failure given in [`StartUp`] has been acknowledged and may be forgotten.
    FailureReported,
    /// Restart into the boot loader.
    Reboot,
}

/// What happens to a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadEvent {
    /// So many bytes of the package, counted from its start, have been taken in.
    Progress(u32),
    /// All bytes are there.
    Complete,
    /// It ended.
    Failed(DownloadError),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Not a topic on which offers come.
    NotOurs,
    /// The cloud has nothing to install.
    Nothing,
    /// A new update begins.
    Accepted,
    /// A new update begins in place of the one that was being downloaded.
    Replaced,
    /// The package is being handled already (its URL may have been renewed), or
    /// its failure is about to be reported.
    Same,
    /// The version runs already; it is reported again.
    Running,
    /// Not now: the trial, an installation or the caller's wish comes first.
    Deferred,
    /// Not taken. Reported to the cloud unless an update is running.
    Refused(Cause),
}

/// Where the session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing to do.
    Idle,
    /// Waiting for a fresh URL.
    AwaitUrl,
    /// Waiting before the next attempt.
    BackOff,
    /// Package bytes are coming.
    Downloading,
    /// The package is being checked.
    Verifying,
    /// The request to the boot loader is being written.
    Installing,
    /// Going down as soon as the last report is out.
    Rebooting,
}

#[cfg(test)]
mod tests;
