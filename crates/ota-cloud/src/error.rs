//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};

/// Result of every operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation that was refused or failed. [`Error::help`] names the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name does not follow the console's rules.
    #[error("{what} `{value}` is not allowed ({rule})")]
    Name {
        /// What is named: "product key", "device name", "version", "file name".
        what: &'static str,
        /// The refused text.
        value: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// There is no cloud's data in this directory.
    #[error("no cloud keeps its data here ({})", .0.display())]
    NoData(PathBuf),
    /// No such product.
    #[error("there is no product `{0}`")]
    NoProduct(String),
    /// The product exists already.
    #[error("product `{0}` exists already")]
    ProductExists(String),
    /// No such device.
    #[error("product `{pk}` has no device `{dn}`")]
    NoDevice {
        /// Product key.
        pk: String,
        /// Device name.
        dn: String,
    },
    /// The device exists already.
    #[error("product `{pk}` has a device `{dn}` already")]
    DeviceExists {
        /// Product key.
        pk: String,
        /// Device name.
        dn: String,
    },
    /// The product has no key pair: secure upgrade was never switched on.
    #[error("product `{0}` has no key pair")]
    NoKey(String),
    /// No such firmware.
    #[error("there is no firmware {0}")]
    NoFirmware(i64),
    /// The product has a firmware of this version already.
    #[error("product `{pk}` has version `{version}` already (firmware {id})")]
    VersionExists {
        /// Product key.
        pk: String,
        /// Version text.
        version: String,
        /// Number of the firmware that has it.
        id: i64,
    },
    /// The file is empty or larger than the limit.
    #[error("the file has {size} bytes (allowed: 1 to {limit})")]
    Size {
        /// Size of the file in bytes.
        size: u64,
        /// Largest size taken, in bytes.
        limit: u64,
    },
    /// A firmware must be validated on one device before it is rolled out.
    #[error("firmware {0} has not been validated on a device")]
    NotValidated(i64),
    /// A differential package cannot be made.
    #[error("no differential package for device `{dn}`: {why}")]
    Diff {
        /// Device name.
        dn: String,
        /// Reason.
        why: String,
    },
    /// Packages of this mode are not made like that.
    #[error("packages of mode {} are not made as {}", mode.as_str(), format.as_str())]
    Format {
        /// What was asked for.
        format: crate::Format,
        /// For this mode.
        mode: crate::Mode,
    },
    /// The device must have reported the version it runs.
    #[error("device `{0}` has never reported a version")]
    NeverReported(String),
    /// The device takes part in another job that has not ended.
    #[error("device `{dn}` is still in job {job}")]
    Busy {
        /// Device name.
        dn: String,
        /// Number of the other job.
        job: i64,
    },
    /// The product has no device that the job could update.
    #[error("product `{0}` has no devices to update")]
    NoDevices(String),
    /// No such job.
    #[error("there is no job {0}")]
    NoJob(i64),
    /// Another server already uses the data directory.
    #[error("another cloud is serving this data directory ({})", .0.display())]
    InUse(PathBuf),
    /// An address cannot be served.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: std::net::SocketAddr,
        /// Cause.
        source: std::io::Error,
    },
    /// Certificate or key for TLS cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Key generation or signing failed.
    #[error("RSA: {0}")]
    Rsa(String),
    /// A wait ended before its condition came true.
    #[error("{0} did not happen in time")]
    Timeout(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The database could not be used.
    #[error("database: {0}")]
    Db(#[from] rusqlite::Error),
}

impl Error {
    /// What to do about it, in one sentence.
    pub fn help(&self) -> String {
        match self {
            Self::Name { .. } => "use a name that follows the rule".into(),
            Self::NoData(_) => {
                "name its directory with --data or OTA_CLOUD_DATA; `ota cloud serve` and \
                 `ota cloud product create` make a new one"
                    .into()
            }
            Self::NoProduct(pk) => format!("create it: ota cloud product create {pk}"),
            Self::ProductExists(_) => "use another product key, or go on with this product".into(),
            Self::NoDevice { pk, dn } => format!("add it: ota cloud device add {pk} {dn}"),
            Self::DeviceExists { pk, dn } => {
                format!("its secret is shown by: ota cloud device show {pk} {dn}")
            }
            Self::NoKey(pk) => {
                format!("switch secure upgrade on: ota cloud product secure-upgrade {pk} on")
            }
            Self::NoFirmware(_) => {
                "upload it: ota cloud firmware upload PK FILE --fw-version V".into()
            }
            Self::VersionExists { .. } => {
                "give the new build a new version; devices tell builds apart by it".into()
            }
            Self::Size { .. } => "upload the image file (NAME@BOARD.ota.md5.bin)".into(),
            Self::NotValidated(id) => {
                format!(
                    "validate it first: ota cloud firmware validate {id} --mode full --device DN"
                )
            }
            Self::Diff { .. } => {
                "upload the firmware the device runs as well, or use --mode full".into()
            }
            Self::Format { mode, .. } => match mode {
                crate::Mode::Full => "formats of whole files: plain, xz".into(),
                crate::Mode::Diff => "formats of differences: nbdiff, ptr, auto".into(),
            },
            Self::NeverReported(_) => {
                "start the device once, so that it reports its version".into()
            }
            Self::Busy { job, .. } => {
                format!(
                    "wait (ota cloud job watch {job}) or cancel it (ota cloud job cancel {job})"
                )
            }
            Self::NoDevices(pk) => format!("add one: ota cloud device add {pk} DN"),
            Self::NoJob(_) => "job numbers are printed by firmware validate and job start".into(),
            Self::InUse(_) => {
                "stop the other `ota cloud serve`, or use another --data directory".into()
            }
            Self::Listen { .. } => {
                "choose another address with --mqtt or --http (port 0: any free port)".into()
            }
            Self::Tls(_) => "give a PEM certificate chain and its PEM private key".into(),
            Self::Timeout(_) => "is the device running, and can it reach the cloud?".into(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                "use --force to overwrite it".into()
            }
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => "check the path",
                std::io::ErrorKind::PermissionDenied => "check who may read and write there",
                std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => {
                    "name a file"
                }
                std::io::ErrorKind::StorageFull => "make room on the disk, or use another --data",
                _ => "check the file, its disk and the rights to it",
            }
            .into(),
            Self::Rsa(_) => {
                "the product's key in the data directory is damaged: restore it from a copy; \
                 devices trust no other"
                    .into()
            }
            Self::Db(e) => match e.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                    "another process holds the data directory: try again"
                }
                Some(rusqlite::ErrorCode::DiskFull) => {
                    "make room on the disk, or use another --data directory"
                }
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                    "cloud.db in the data directory is damaged: restore it, or use another --data"
                }
                _ => "check the data directory: rights, free space, a local disk",
            }
            .into(),
        }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
