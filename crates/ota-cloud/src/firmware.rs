//! Firmware files, and the packages made of them.

use crate::digest::{self, Digests};
use crate::products::{DEFAULT_MODULE, check_name};
use crate::store::{now_ms, random_hex};
use crate::{Cloud, Error, Format, Result};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Digest by which a device checks its package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Method {
    /// SHA-256, sent as `SHA256`.
    #[default]
    #[serde(rename = "SHA256")]
    Sha256,
    /// MD5, sent as `Md5`.
    Md5,
}

impl Method {
    /// `signMethod` as the cloud spells it. Old devices compare the case too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA256",
            Self::Md5 => "Md5",
        }
    }
}

impl FromStr for Method {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s.to_ascii_lowercase().as_str() {
            "sha256" => Ok(Self::Sha256),
            "md5" => Ok(Self::Md5),
            _ => Err(format!("`{s}` is neither sha256 nor md5")),
        }
    }
}

/// Which kind of package a device is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The whole file.
    #[default]
    Full,
    /// The difference to the version the device runs.
    Diff,
}

impl Mode {
    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Diff => "diff",
        }
    }
}

impl FromStr for Mode {
    type Err = String;
    fn from_str(s: &str) -> std::result::Result<Self, String> {
        match s {
            "full" => Ok(Self::Full),
            "diff" => Ok(Self::Diff),
            _ => Err(format!("`{s}` is neither full nor diff")),
        }
    }
}

/// A file to upload.
#[derive(Debug, Clone)]
pub struct Upload {
    name: String,
    source: Source,
    version: String,
    method: Method,
    module: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Upload {
    /// Uploads the file at `path` as `version`.
    pub fn file(path: impl AsRef<Path>, version: &str) -> Self {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self {
            name: name.into_owned(),
            source: Source::File(path.to_path_buf()),
            version: version.into(),
            method: Method::default(),
            module: DEFAULT_MODULE.into(),
        }
    }

    /// Uploads `bytes` under a file name.
    pub fn bytes(name: &str, bytes: impl Into<Vec<u8>>, version: &str) -> Self {
        Self {
            name: name.into(),
            source: Source::Bytes(bytes.into()),
            ..Self::file("", version)
        }
    }

    /// Chooses the digest (SHA-256 unless said otherwise).
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// For a module of the device instead of its own firmware.
    #[must_use]
    pub fn module(mut self, module: &str) -> Self {
        self.module = module.into();
        self
    }
}

/// An uploaded firmware.
#[derive(Debug, Clone, Serialize)]
pub struct Firmware {
    /// Number.
    pub id: i64,
    /// ProductKey.
    pub pk: String,
    /// Module; `default` is the device's own firmware.
    pub module: String,
    /// Version a device informs when it runs it.
    pub version: String,
    /// File name.
    pub file: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest by which devices check it.
    pub method: Method,
    /// Mode in which it was last validated on a device.
    pub validated: Option<Mode>,
    /// Format in which it was last validated.
    pub validated_format: Option<Format>,
    /// Version in the image's own descriptor, when it has one.
    pub image_version: Option<String>,
    /// Whether the file ends in AliOS's trailer, without which devices refuse it.
    pub has_trailer: bool,
    pub(crate) blob: String,
}

/// File types the console takes.
const SUFFIXES: [&str; 10] = [
    "bin", "dav", "tar", "gz", "zip", "gzip", "apk", "xz", "pack", "hex",
];
const FIRMWARE: &str = "SELECT id, pk, module, version, file, blob, size, method, validated, validated_format \
     FROM firmwares";

impl Cloud {
    /// Uploads a firmware.
    ///
    /// # Errors
    /// [`Error::NoProduct`]; [`Error::Name`] for a file name, suffix, version or
    /// module that the console refuses; [`Error::Size`]; [`Error::VersionExists`].
    pub fn upload(&self, pk: &str, upload: &Upload) -> Result<Firmware> {
        self.product(pk)?;
        check_upload(upload)?;
        if let Some(id) = self.firmware_of(pk, &upload.module, &upload.version)? {
            return Err(Error::VersionExists {
                pk: pk.into(),
                version: upload.version.clone(),
                id,
            });
        }
        let (blob, d) = self.store(&upload.source)?;
        let id = {
            let db = self.db();
            db.execute(
                "INSERT INTO firmwares(pk, module, version, file, blob, size, method, created) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    pk,
                    upload.module,
                    upload.version,
                    upload.name,
                    blob,
                    to_i64(d.size),
                    upload.method.as_str(),
                    now_ms()
                ],
            )?;
            db.last_insert_rowid()
        };
        self.firmware(id)
    }

    /// A firmware by its number.
    ///
    /// # Errors
    /// [`Error::NoFirmware`].
    pub fn firmware(&self, id: i64) -> Result<Firmware> {
        let found = self
            .db()
            .query_row(&format!("{FIRMWARE} WHERE id=?1"), [id], firmware_row)
            .optional()?;
        let mut firmware = found.ok_or(Error::NoFirmware(id))?;
        let path = self.blob(&firmware.blob);
        firmware.image_version = digest::image_version(&path);
        firmware.has_trailer = digest::has_trailer(&path);
        Ok(firmware)
    }

    /// All firmwares of a product, oldest first.
    ///
    /// # Errors
    /// [`Error::NoProduct`].
    pub fn firmwares(&self, pk: &str) -> Result<Vec<Firmware>> {
        self.product(pk)?;
        let db = self.db();
        let mut query = db.prepare(&format!("{FIRMWARE} WHERE pk=?1 ORDER BY id"))?;
        let rows = query.query_map([pk], firmware_row)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    pub(crate) fn firmware_of(&self, pk: &str, module: &str, version: &str) -> Result<Option<i64>> {
        Ok(self
            .db()
            .query_row(
                "SELECT id FROM firmwares WHERE pk=?1 AND module=?2 AND version=?3",
                [pk, module, version],
                |r| r.get(0),
            )
            .optional()?)
    }

    /// Copies a file into the data directory, under its SHA-256.
    pub(crate) fn store(&self, source: &Source) -> Result<(String, Digests)> {
        let size = match source {
            Source::File(path) => path.metadata().map_err(Error::io(path))?.len(),
            Source::Bytes(bytes) => bytes.len() as u64,
        };
        if size == 0 || size > self.max_firmware {
            return Err(Error::Size {
                size,
                limit: self.max_firmware,
            });
        }
        let part = self.blob(&format!("{}.part", random_hex(8)));
        match source {
            Source::File(path) => std::fs::copy(path, &part)
                .map(drop)
                .map_err(Error::io(path))?,
            Source::Bytes(bytes) => std::fs::write(&part, bytes).map_err(Error::io(&part))?,
        }
        let d = digest::of_file(&part)?;
        let name = format!("{}.bin", d.sha256);
        let path = self.blob(&name);
        std::fs::rename(&part, &path).map_err(Error::io(&path))?;
        Ok((name, d))
    }
}

fn check_upload(upload: &Upload) -> Result<()> {
    let text = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let rule = "1 to 64 letters, digits and - _ .";
    check_name("version", &upload.version, 64, text, rule)?;
    check_name("module", &upload.module, 64, text, rule)?;
    let file = |c: char| text(c) || "@()".contains(c);
    let rule = "1 to 128 letters, digits and - _ . @ ( )";
    check_name("file name", &upload.name, 128, file, rule)?;
    let suffix = upload.name.rsplit_once('.').map_or("", |(_, s)| s);
    if !SUFFIXES.contains(&suffix) {
        return Err(Error::Name {
            what: "file name",
            value: upload.name.clone(),
            rule: "must end in .bin, .dav, .tar, .gz, .zip, .gzip, .apk, .xz, .pack or .hex",
        });
    }
    Ok(())
}

fn firmware_row(r: &Row<'_>) -> rusqlite::Result<Firmware> {
    let validated: Option<String> = r.get(8)?;
    Ok(Firmware {
        id: r.get(0)?,
        pk: r.get(1)?,
        module: r.get(2)?,
        version: r.get(3)?,
        file: r.get(4)?,
        blob: r.get(5)?,
        size: r.get::<_, i64>(6)?.unsigned_abs(),
        method: method(&r.get::<_, String>(7)?),
        validated: validated.and_then(|m| m.parse().ok()),
        validated_format: r.get::<_, Option<String>>(9)?.and_then(|f| f.parse().ok()),
        image_version: None,
        has_trailer: false,
    })
}

pub(crate) fn method(text: &str) -> Method {
    text.parse().unwrap_or_default()
}

pub(crate) fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
