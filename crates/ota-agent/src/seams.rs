//! What the agent asks of a board, an operating system and the boot state.

use embedded_io_async::{Read, Write};
use ota_delta::PackageKind;
use ota_proto::messages::{Diff, Step};
use ota_proto::session::{BootError, Cause, CheckError, DownloadError};
use ota_verify::{Digest, ImageInfo, Version};

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// None.
    Plain,
    /// TLS, with the server's name checked against its certificate.
    Tls,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The host name does not resolve.
    Dns,
    /// No answer, or refused.
    Connect,
    /// The TLS handshake failed.
    Tls,
}

impl From<ConnectFailure> for DownloadError {
    fn from(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Dns => Self::Dns,
            ConnectFailure::Connect => Self::Connect,
            ConnectFailure::Tls => Self::Tls,
        }
    }
}

/// Opens byte streams.
///
/// Streams must be *cancel safe*: a `read` or `write` that is dropped before it
/// is ready has taken or sent nothing. Dropping a stream closes it. `read` gives
/// `Ok(0)` at the end of the stream only, never for a time-out: the agent has
/// timers of its own.
pub trait Connect {
    /// A connection.
    type Stream<'a>: Read + Write
    where
        Self: 'a;

    /// Connects to `host` (a name or an address, without scheme and port).
    #[allow(async_fn_in_trait)] // One future, one thread: nobody needs `Send`.
    async fn connect<'a>(
        &'a self,
        host: &str,
        port: u16,
        security: Security,
    ) -> Result<Self::Stream<'a>, ConnectFailure>;

    /// Whether [`Security::Tls`] can be served at all.
    fn has_tls(&self) -> bool;
}

/// Monotonic time.
pub trait Clock {
    /// Milliseconds since any origin; never runs backwards.
    fn now_ms(&self) -> u64;

    /// Waits until [`now_ms`](Self::now_ms) is at least `deadline`.
    #[allow(async_fn_in_trait)]
    async fn sleep_until(&self, deadline: u64);
}

/// Random numbers for back-off jitter. They need not be cryptographic.
pub trait Rng {
    /// 32 random bits.
    fn next_u32(&mut self) -> u32;
}

/// What an update is stored under, so that a download can go on after a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackageId<'a> {
    /// Bytes of the package.
    pub size: u32,
    /// Digest of the package, as offered.
    pub digest: Digest,
    /// Version it brings.
    pub version: &'a str,
    /// Set for a patch: it is applied to the image that runs.
    pub diff: Option<Diff>,
}

/// Why a sink does not take bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkError {
    /// Does not fit the slot.
    Full,
    /// Flash could not be read, erased or written, or reads back differently.
    /// `offset` counts in the slot.
    Flash {
        /// Byte offset in the slot.
        offset: u32,
    },
    /// The package contradicts itself, or its image is not the one it names.
    Decode,
    /// A patch for another image than the one that runs.
    WrongBase,
    /// The image that runs could not be read at this offset of its slot.
    Base {
        /// Byte offset in the slot that runs.
        offset: u32,
    },
    /// A kind of package this build does not take.
    Unsupported,
}

impl From<SinkError> for DownloadError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Full => Self::TooLarge,
            SinkError::Flash { .. } | SinkError::Base { .. } => Self::Flash,
            SinkError::Decode => Self::Decode,
            SinkError::WrongBase => Self::WrongBase,
            SinkError::Unsupported => Self::Unsupported,
        }
    }
}

/// Where the bytes of a package go: the update slot, or a decoder in front of it.
pub trait UpdateSink {
    /// Longest package taken, in bytes.
    fn capacity(&self) -> u32;

    /// Whether patches are taken that were made in slices of so many bytes (0:
    /// the format's default). Without this, whole images only.
    fn takes_diff(&self, _slice: u32) -> bool {
        false
    }

    /// Gets ready for a package; `stored` is what [`durable`](Self::durable) said
    /// about it, 0 for a new one. Gives the offset in the package from which bytes
    /// are to be fed. Nothing is erased yet.
    fn begin(&mut self, package: &PackageId<'_>, stored: u32) -> Result<u32, SinkError>;

    /// The first bytes have come and show what the package is. Called before the
    /// first [`write`](Self::write) of a package that is fed from offset 0.
    ///
    /// # Errors
    /// [`SinkError::Unsupported`]: nothing of it is written, and nothing may be.
    fn accept(&mut self, package: &PackageId<'_>, kind: PackageKind) -> Result<(), SinkError> {
        match (kind, package.diff) {
            (PackageKind::Plain, None) => Ok(()),
            _ => Err(SinkError::Unsupported),
        }
    }

    /// If not 0: at most so many bytes are to be asked for next, because they
    /// decide what [`prepare`](Self::prepare) has to do.
    fn peek(&self) -> u32 {
        0
    }

    /// Makes the next sector writable that bytes below `upto` of the package need;
    /// `true` while there is more to do. Called while no byte is in flight: a flash
    /// that erases may stop the whole processor.
    fn prepare(&mut self, upto: u32) -> Result<bool, SinkError>;

    /// Takes the next bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;

    /// What survives a power cut now: bytes of the package or, with [`DECODED`]
    /// added, bytes of the image that is made of it.
    fn durable(&self) -> u32;

    /// Stores what is still in memory, but for a part of a program unit.
    fn flush(&mut self) -> Result<(), SinkError>;

    /// All bytes were given: writes what is still in memory.
    fn finish(&mut self) -> Result<(), SinkError>;

    /// Reads back bytes that were stored before, at any offset.
    fn read_back(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), SinkError>;
}

/// Set in [`UpdateSink::durable`], and in the [`ResumeStore`], when the rest are
/// bytes of the image, not of the package: the package itself is not kept.
pub const DECODED: u32 = 1 << 31;

/// A patch that lies in the update slot, whole, for the boot loader to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPatch {
    /// Where it begins in the slot, on a sector boundary.
    pub at: u32,
    /// Bytes of a slice.
    pub slice: u32,
    /// Bytes of the image it makes.
    pub image_len: u32,
}

/// What a package is found to be.
#[derive(Debug, Clone, Copy)]
pub enum Verified {
    /// An image at the start of the update slot, as good as the policy asks.
    Image(ImageInfo),
    /// A patch with headers that agree. Its image does not exist yet: the boot
    /// loader verifies that before it installs it.
    Patch(StoredPatch),
}

/// Judges a complete package.
pub trait VerifyImage {
    /// Verifies what lies in the update slot and everything the policy asks of it.
    fn verify_image(&mut self, package: &PackageId<'_>) -> Result<Verified, CheckError>;
}

/// An unconfirmed image that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Version that was offered, if the request named one.
    pub version: Option<Version>,
}

/// The boot state as the agent sees it. All writes are durable when they return.
pub trait BootRequest {
    /// Asks the boot loader to install what was verified at the next start.
    fn request(&mut self, package: &PackageId<'_>, verified: &Verified) -> Result<(), Cause>;

    /// Whether an update was requested and not yet taken up by the boot loader:
    /// the device has restarted past it, or stopped before it did.
    fn pending(&mut self) -> bool;

    /// Whether the running image is on trial.
    fn trial(&mut self) -> Option<Trial>;

    /// Ends the trial: the running image is kept.
    fn confirm(&mut self) -> Result<(), Cause>;

    /// The running image gives itself up: it is not what was offered. The next
    /// start reverts it.
    fn reject(&mut self, why: BootError) -> Result<(), Cause>;

    /// Why the last update failed, until [`failure_reported`](Self::failure_reported).
    /// Asked once at the start. If the cause is [permanent](Cause::permanent),
    /// [`failed_before`](Self::failed_before) knows the package from now on.
    fn last_failure(&mut self) -> Option<Cause>;

    /// The cloud knows of the failure.
    fn failure_reported(&mut self) -> Result<(), Cause>;

    /// The step under which this very package failed for good, if it did.
    fn failed_before(&mut self, digest: &Digest) -> Option<Step>;

    /// Remembers that this package failed: for good if the cause is
    /// [permanent](Cause::permanent), else it is counted, and twice is for good.
    fn remember(&mut self, digest: &Digest, cause: Cause) -> Result<(), Cause>;
}

/// Keeps how far a download got.
pub trait ResumeStore {
    /// What was recorded last for this very package, as the sink counts
    /// ([`UpdateSink::durable`]); 0 for none or another package.
    fn stored(&mut self, package: &PackageId<'_>) -> u32;

    /// A new download begins: whatever was kept is void.
    fn begin(&mut self, package: &PackageId<'_>) -> Result<(), SinkError>;

    /// So much is stored now.
    fn advance(&mut self, offset: u32) -> Result<(), SinkError>;

    /// There is nothing to go on with any more.
    fn clear(&mut self) -> Result<(), SinkError>;
}
