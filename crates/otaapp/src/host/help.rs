//! Where an error is explained: sections of `docs/troubleshooting.md`.

use std::fmt;

use ota_agent::ConnectFailure;
use ota_proto::mqtt;
use ota_proto::session::{Cause, Refusal};
use ota_proto::session::{CheckError, DownloadError};

/// A section of `docs/troubleshooting.md`; prints as a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The device does not start.
    Start,
    /// No way to the cloud.
    Connection,
    /// TLS and certificates.
    Tls,
    /// The cloud refuses the device.
    SignOn,
    /// An offer is refused.
    Offer,
    /// Versions.
    Version,
    /// Keys and signatures.
    Signature,
    /// The download does not get on.
    Download,
    /// Flash.
    Flash,
    /// The package or the image is wrong.
    Check,
    /// The boot loader refuses or reverts.
    Boot,
    /// The new version is not confirmed.
    Confirm,
    /// Planned power cuts.
    PowerCut,
    /// Command line and demo.
    Tools,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Start,
        Self::Connection,
        Self::Tls,
        Self::SignOn,
        Self::Offer,
        Self::Version,
        Self::Signature,
        Self::Download,
        Self::Flash,
        Self::Check,
        Self::Boot,
        Self::Confirm,
        Self::PowerCut,
        Self::Tools,
    ];

    /// The anchor of the section.
    #[must_use]
    pub const fn anchor(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::SignOn => "sign-on",
            Self::Offer => "offer",
            Self::Version => "version",
            Self::Signature => "signature",
            Self::Download => "download",
            Self::Flash => "flash",
            Self::Check => "check",
            Self::Boot => "boot",
            Self::Confirm => "confirm",
            Self::PowerCut => "power-cut",
            Self::Tools => "tools",
        }
    }

    /// Where a failed update is explained.
    #[must_use]
    pub const fn of_cause(cause: &Cause) -> Self {
        match cause {
            Cause::Refused(Refusal::NotNewer) => Self::Version,
            Cause::Refused(Refusal::Unsigned | Refusal::BadSignature) => Self::Signature,
            Cause::Refused(Refusal::NoTls) => Self::Tls,
            Cause::Offer(_)
            | Cause::Refused(_)
            | Cause::Cancelled
            | Cause::Download(DownloadError::Unsupported) => Self::Offer,
            Cause::Download(DownloadError::Dns | DownloadError::Connect) => Self::Connection,
            Cause::Download(DownloadError::Tls | DownloadError::NoTls) => Self::Tls,
            Cause::Download(DownloadError::Flash) | Cause::Check(CheckError::Flash) => Self::Flash,
            Cause::Download(DownloadError::Decode | DownloadError::WrongBase) => Self::Check,
            Cause::Download(_) => Self::Download,
            Cause::Check(CheckError::Signature | CheckError::Unsigned) => Self::Signature,
            Cause::Check(CheckError::Version | CheckError::Floor) => Self::Version,
            Cause::Check(_) => Self::Check,
            Cause::Boot(..) => Self::Boot,
        }
    }

    /// Where a failed connection is explained.
    #[must_use]
    pub const fn of_connect(failure: ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Tls => Self::Tls,
            _ => Self::Connection,
        }
    }

    /// Where the end of a connection is explained.
    #[must_use]
    pub const fn of_mqtt(error: &mqtt::Error) -> Self {
        match error {
            mqtt::Error::Refused(_) => Self::SignOn,
            _ => Self::Connection,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docs/troubleshooting.md#{}", self.anchor())
    }
}
