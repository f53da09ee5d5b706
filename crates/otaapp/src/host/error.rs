//! Why a device cannot go on, and what to do about it.

use std::io;
use std::path::PathBuf;

use ota_bootlib::RecoveryReason;
use ota_flash::sim::FileFlashError;
use ota_proto::mqtt;
use ota_proto::signon::CredentialError;
use ota_verify::{KeyError, VerifyError};

use super::help::Topic;

/// An error that ends the device. [`help`](Self::help) names the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The flash file cannot be used.
    #[error("{0}")]
    Flash(FileFlashError),
    /// The partition table or journal does not fit the flash.
    #[error("{0}")]
    Layout(String),
    /// A flash file is there already.
    #[error("the flash file exists ({})", .0.display())]
    Exists(PathBuf),
    /// There is no flash file.
    #[error("there is no flash file ({})", .0.display())]
    NoFlash(PathBuf),
    /// A file cannot be used.
    #[error("{error} ({})", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The image to start with is not one.
    #[error("not a packed image: {0}")]
    Image(VerifyError),
    /// The image to start with does not fit.
    #[error("the image has {len} bytes, the slot takes {}", super::MAX_IMAGE)]
    ImageLen {
        /// Its length in bytes.
        len: usize,
    },
    /// The image has no descriptor.
    #[error("the image has no descriptor, so the device's version is unknown")]
    NoVersion,
    /// The boot loader starts nothing.
    #[error("the boot loader has no image to start: {}", recovery(.0))]
    Recovery(RecoveryReason),
    /// Product key, device name or secret cannot be right.
    #[error("{0}")]
    Credentials(CredentialError),
    /// No certificates to trust.
    #[error("no trusted certificates: {0}")]
    Roots(String),
    /// A public key cannot be read.
    #[error("{why} ({})", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: KeyError,
        /// It is a private key.
        private: bool,
    },
    /// The cloud refuses the device for good.
    #[error("{}", mqtt::Error::Refused(*.0))]
    SignOn(mqtt::Refusal),
    /// The update failed; the cloud has been told.
    #[error("the update failed: {desc} (step {step})")]
    Update {
        /// The step reported, -1 to -4.
        step: i32,
        /// The words reported.
        desc: String,
        /// Where it is explained.
        topic: Topic,
    },
    /// The power cut that was asked for did not happen.
    #[error("the power cut did not fire: there were only {done} flash operations, not {asked}")]
    CutNotFired {
        /// The operation it was planned at.
        asked: u64,
        /// Operations there were.
        done: u64,
    },
}

impl Error {
    /// What to do, with a link.
    #[must_use]
    pub fn help(&self) -> String {
        let (what, topic) = match self {
            Self::Flash(FileFlashError::InUse { .. }) => (
                "end the other device, or use another flash file",
                Topic::Flash,
            ),
            Self::Flash(FileFlashError::WrongSize { .. }) => (
                "this is no flash file of the device; make one with --init",
                Topic::Flash,
            ),
            Self::Flash(_) | Self::Layout(_) | Self::File { .. } => {
                ("check path, permissions and free space", Topic::Flash)
            }
            Self::Exists(_) => ("--init makes a new one; remove it first", Topic::Start),
            Self::NoFlash(_) => ("make one with --init IMAGE", Topic::Start),
            Self::Image(_) | Self::NoVersion => (
                "pack it: ota image pack IN.bin --image-version app-1.0.0 -o app.ota.md5.bin",
                Topic::Start,
            ),
            Self::ImageLen { .. } => ("give a smaller image", Topic::Start),
            Self::Recovery(_) => (
                "make a new flash file with --init IMAGE (signed, when the policy wants that)",
                Topic::Start,
            ),
            Self::Credentials(_) => (
                "copy them from `ota cloud device show PK DN`",
                Topic::SignOn,
            ),
            Self::Roots(_) => (
                "name the cloud's root certificate with --ca FILE",
                Topic::Tls,
            ),
            Self::Key { private: true, .. } => (
                "this is a private key; give its public half (openssl rsa -pubout)",
                Topic::Signature,
            ),
            Self::Key {
                why: KeyError::Size(_),
                ..
            } => (
                "give a key of 2048, 3072 or 4096 bits (ota key gen makes one)",
                Topic::Signature,
            ),
            Self::Key { .. } => (
                "give PEM or ota_public_key_config.h (ota cloud product pubkey PK -o FILE)",
                Topic::Signature,
            ),
            Self::SignOn(mqtt::Refusal::ProtocolVersion) => {
                ("the server does not speak MQTT 3.1.1", Topic::SignOn)
            }
            Self::SignOn(_) => (
                "compare product key, device name and secret with the cloud's",
                Topic::SignOn,
            ),
            Self::Update { topic, .. } => ("the running image is unchanged", *topic),
            Self::CutNotFired { .. } => ("ask for an earlier operation", Topic::PowerCut),
        };
        format!("{what}; see {topic}")
    }
}

fn recovery(reason: &RecoveryReason) -> String {
    match reason {
        RecoveryReason::NoImage(code) => format!("active slot: {}", code.text()),
        RecoveryReason::Unfinished => "an installation over a cable was interrupted".into(),
        RecoveryReason::Flash(fault) => fault.to_string(),
        RecoveryReason::Strategy => "it was built without the strategy under way".into(),
    }
}

/// Step and words of a progress report that tells a failure.
pub(super) fn failure_report(payload: &str) -> Option<(i32, String)> {
    let field = |name: &str| {
        let rest = payload.split_once(&format!("\"{name}\":"))?.1.trim_start();
        Some(rest.strip_prefix('"')?.split_once('"')?.0)
    };
    let step = field("step")?.parse().ok().filter(|step| *step < 0)?;
    Some((step, field("desc").unwrap_or_default().into()))
}
