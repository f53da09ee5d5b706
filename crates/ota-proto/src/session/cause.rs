//! Why an update did not happen: one type from the cause to the cloud's code.

use core::fmt;

use crate::http::{HttpError, UrlError};
use crate::messages::{OfferError, Step};

/// Why a device does not want a good offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// For another module.
    Module,
    /// A differential package of a kind this build cannot apply.
    Diff,
    /// The version is not newer than the running one (by the version rule in force).
    NotNewer,
    /// The package does not fit the slot.
    TooLarge,
    /// The policy requires a signature and there is none.
    Unsigned,
    /// `digestsign` is not base64 of a signature.
    BadSignature,
    /// `https` without TLS in this build.
    NoTls,
    /// The package failed for good before (with this step of the cloud, -1 to -4).
    FailedBefore(Step),
    /// The user or the product does not allow it.
    NotAllowed,
    /// Not now. It is not reported as a failure; call [`Session::check`](super::Session::check) when the time has come.
    Later,
}

/// Why a download attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DownloadError {
    /// The host name does not resolve.
    Dns,
    /// No connection.
    Connect,
    /// TLS failed.
    Tls,
    /// The connection broke.
    Reset,
    /// Nothing came for too long.
    TimedOut,
    /// `https`, but this build has no TLS.
    NoTls,
    /// The server's answer.
    Http(HttpError),
    /// The URL, or the target of a redirect.
    Url(UrlError),
    /// More than [`MAX_REDIRECTS`](crate::http::MAX_REDIRECTS).
    TooManyRedirects,
    /// What was stored of the package is no longer there: start at 0.
    ResumeLost,
    /// Flash could not be erased or written, or reads back differently.
    Flash,
    /// The package cannot be decoded.
    Decode,
    /// A differential package for another base than the running image.
    WrongBase,
    /// The package or its image does not fit.
    TooLarge,
    /// Of a kind this build cannot take: another compression or patch format.
    Unsupported,
}

/// What to do about a [`DownloadError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    Retry,
    FreshUrl,
    Restart,
    /// The bytes were wrong: once more from the start, then give up for good.
    Mismatch,
    GiveUp,
}

impl DownloadError {
    pub(super) fn remedy(&self) -> Remedy {
        use HttpError as H;
        match self {
            Self::Dns | Self::Connect | Self::Tls | Self::Reset | Self::TimedOut => Remedy::Retry,
            Self::ResumeLost | Self::Http(H::Changed | H::RangeRefused) => Remedy::Restart,
            Self::Decode => Remedy::Mismatch,
            Self::Http(H::Expired(_)) => Remedy::FreshUrl,
            Self::Http(
                H::Unavailable(_)
                | H::Malformed
                | H::ShortBody
                | H::LongBody
                | H::WrongLength
                | H::WrongRange,
            ) => Remedy::Retry,
            _ => Remedy::GiveUp,
        }
    }
}

/// Why a package or its image was refused after the download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckError {
    /// Digest of the package.
    Digest,
    /// `digestsign` does not verify.
    Signature,
    /// The policy requires a signed image and it is not.
    Unsigned,
    /// Trailer of the image missing or wrong.
    Trailer,
    /// Image descriptor wrong, or for another device.
    Descriptor,
    /// The image says another version than the offer.
    Version,
    /// The image has another size than it says.
    Size,
    /// Headers of a patch damaged, or not in agreement with its length.
    Patch,
    /// The version is below the anti-rollback floor.
    Floor,
    /// Reading or writing flash failed while checking.
    Flash,
}

/// What the boot loader says about the last update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootError {
    /// The new image started but was not confirmed; the old one was restored.
    Reverted,
    /// The image was refused before it was installed.
    Refused,
    /// The patch does not make an image of the running one.
    Patch,
    /// Flash failed while it was installed.
    Flash,
    /// The image that was installed informs another version.
    Version,
    /// The boot loader cannot install this (no or another boot loader, no room in the journal).
    Unable,
}

/// Why an update did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The offer is bad.
    Offer(OfferError),
    /// The offer is good but not wanted.
    Refused(Refusal),
    /// The download failed for good.
    Download(DownloadError),
    /// The check failed.
    Check(CheckError),
    /// Boot loader, with a detail number of its own (phase, code) for the log.
    Boot(BootError, u32),
    /// Cancelled by the user or the app.
    Cancelled,
}

impl Cause {
    /// The cloud's code.
    pub fn step(&self) -> Step {
        match self {
            Cause::Offer(e) => e.step(),
            Cause::Refused(Refusal::Unsigned | Refusal::BadSignature) => Step::Check,
            Cause::Refused(Refusal::NoTls) => Step::Download,
            Cause::Refused(Refusal::FailedBefore(step)) => *step,
            Cause::Refused(_) => Step::Upgrade,
            Cause::Download(DownloadError::Flash) => Step::Burn,
            Cause::Download(DownloadError::Decode | DownloadError::WrongBase) => Step::Check,
            Cause::Download(DownloadError::TooLarge | DownloadError::Unsupported) => Step::Upgrade,
            Cause::Download(_) => Step::Download,
            Cause::Check(CheckError::Flash) => Step::Burn,
            Cause::Check(_) => Step::Check,
            Cause::Boot(BootError::Refused | BootError::Patch | BootError::Version, _) => {
                Step::Check
            }
            Cause::Boot(BootError::Flash, _) => Step::Burn,
            Cause::Boot(_, _) => Step::Upgrade,
            Cause::Cancelled => Step::Upgrade,
        }
    }

    /// Whether the same package can never succeed on this device.
    ///
    /// [`CheckError::Digest`] and [`DownloadError::Decode`] (bytes damaged on the way?) count as
    /// permanent only after two full downloads; the session counts. [`DownloadError::WrongBase`]
    /// and [`DownloadError::Unsupported`] may be right after another update.
    pub fn permanent(&self) -> bool {
        match self {
            Cause::Check(e) => !matches!(e, CheckError::Flash | CheckError::Digest),
            Cause::Download(e) => matches!(
                e,
                DownloadError::TooLarge | DownloadError::Http(HttpError::SizeMismatch { .. })
            ),
            Cause::Boot(e, _) => {
                matches!(
                    e,
                    BootError::Reverted
                        | BootError::Refused
                        | BootError::Patch
                        | BootError::Version
                )
            }
            // Judged anew each time; nothing was downloaded.
            Cause::Offer(_) | Cause::Refused(_) | Cause::Cancelled => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Module => "package for another module",
            Refusal::Diff => "differential package not supported",
            Refusal::NotNewer => "version not newer",
            Refusal::TooLarge => "package larger than slot",
            Refusal::Unsigned => "signature required",
            Refusal::BadSignature => "digestsign malformed",
            Refusal::NoTls => "https not supported",
            Refusal::FailedBefore(_) => "package failed before",
            Refusal::NotAllowed => "not allowed",
            Refusal::Later => "deferred",
        })
    }
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "host not found",
            Self::Connect => "connection refused",
            Self::Tls => "tls failed",
            Self::Reset => "connection reset",
            Self::TimedOut => "download timed out",
            Self::NoTls => "https not supported",
            Self::Http(e) => return e.fmt(f),
            Self::Url(e) => return e.fmt(f),
            Self::TooManyRedirects => "too many redirects",
            Self::ResumeLost => "stored part lost",
            Self::Flash => "flash write failed",
            Self::Decode => "package cannot be decoded",
            Self::WrongBase => "patch for another base image",
            Self::TooLarge => "image larger than slot",
            Self::Unsupported => "kind of package not supported",
        })
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckError::Digest => "digest mismatch",
            CheckError::Signature => "signature mismatch",
            CheckError::Unsigned => "image not signed",
            CheckError::Trailer => "image trailer wrong",
            CheckError::Descriptor => "image descriptor wrong",
            CheckError::Version => "image has another version",
            CheckError::Size => "image size wrong",
            CheckError::Patch => "patch headers wrong",
            CheckError::Floor => "version below rollback floor",
            CheckError::Flash => "flash failed during check",
        })
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BootError::Reverted => "reverted: not confirmed",
            BootError::Refused => "boot loader refused image",
            BootError::Patch => "patch does not fit running image",
            BootError::Flash => "flash failed during install",
            BootError::Version => "installed image has another version",
            BootError::Unable => "boot loader cannot install",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Offer(e) => e.fmt(f),
            Cause::Refused(e) => e.fmt(f),
            Cause::Download(e) => e.fmt(f),
            Cause::Check(e) => e.fmt(f),
            Cause::Boot(e, 0) => e.fmt(f),
            Cause::Boot(e, detail) => write!(f, "{e} ({detail})"),
            Cause::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl core::error::Error for Cause {}
