//! What an agent tells its owner, for logs and progress bars.

use ota_proto::mqtt;
use ota_proto::session::{Cause, DownloadError, Received};
use ota_verify::{ImageInfo, Refusal, SignatureError};

use crate::{ConnectFailure, PackageKind, StoredPatch};

/// Something happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Connecting to the broker.
    Connecting {
        /// Name or address.
        host: &'a str,
        /// TCP port.
        port: u16,
    },
    /// No connection to the broker.
    Unreachable(ConnectFailure),
    /// The broker accepted the sign-on.
    Connected,
    /// The connection to the broker ended.
    Disconnected(Option<mqtt::Error>),
    /// Waiting before the next attempt.
    Waiting {
        /// Milliseconds.
        ms: u32,
        /// Another device seems to use the same credentials.
        taken_over: bool,
    },
    /// The broker refuses a subscription; pushes come all the same on the real platform.
    SubscribeRefused(&'a str),
    /// A message too long for the receive buffer was dropped.
    Oversized {
        /// Its length in bytes.
        size: usize,
        /// Longest that fits.
        limit: usize,
    },
    /// A message was published.
    Published {
        /// Topic.
        topic: &'a str,
        /// Payload.
        payload: &'a str,
    },
    /// The broker has taken over the last report with QoS 1.
    Acknowledged,
    /// A message on one of our topics.
    Message {
        /// Topic.
        topic: &'a str,
        /// Payload, as it came.
        payload: &'a [u8],
    },
    /// What became of it.
    Offer(Received),
    /// The policy's reason why an offer was refused.
    PolicyRefused(Refusal),
    /// The signature of an offer is wrong.
    SignatureRefused(SignatureError),
    /// A download begins or goes on.
    Download {
        /// Version offered.
        version: &'a str,
        /// First byte asked for.
        offset: u32,
        /// Bytes of the package.
        size: u32,
    },
    /// The first bytes of the package show what it is.
    Package {
        /// What it is.
        kind: PackageKind,
        /// Bytes of its image that are in flash since an earlier attempt.
        kept: u32,
    },
    /// A request went out.
    Request {
        /// Host asked.
        host: &'a str,
        /// First byte asked for.
        offset: u32,
    },
    /// Bytes of the package that were taken in so far.
    Progress {
        /// Bytes.
        done: u32,
        /// Bytes of the package.
        size: u32,
    },
    /// An attempt ended. The session decides whether there is another.
    DownloadEnded(Result<(), DownloadError>),
    /// The digest of the package, in hex.
    Digest {
        /// As offered.
        offered: &'a str,
        /// As computed.
        computed: &'a str,
    },
    /// Package and image are good.
    Verified(&'a ImageInfo),
    /// Package and patch headers are good; the boot loader makes the image.
    PatchStored(&'a StoredPatch),
    /// The update failed. It is reported to the cloud.
    Failed(Cause),
    /// The boot loader has its request.
    Requested,
    /// The running image is confirmed.
    Confirmed,
    /// The trial's time is over without a report.
    TrialExpired,
    /// The running image is not what was offered, and gives itself up.
    Rejected,
    /// The boot state could not be written.
    BootState(Cause),
    /// Time to restart.
    Reboot,
}

/// Takes note of events.
pub trait Observer {
    /// Called from inside the agent: return soon.
    fn event(&mut self, event: Event<'_>);
}

/// Nobody looks.
impl Observer for () {
    fn event(&mut self, _event: Event<'_>) {}
}

impl<F: FnMut(Event<'_>)> Observer for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}
