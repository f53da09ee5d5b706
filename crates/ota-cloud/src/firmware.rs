//! Firmware files, and the packages made of them.

use crate::digest::{self, Digests};
use crate::products::{DEFAULT_MODULE, check_name};
use crate::store::{now_ms, random_hex};
use crate::{Cloud, Error, Result};
use ota_delta::nbdiff;
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
enum Source {
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
    /// Version in the image's own descriptor, when it has one.
    pub image_version: Option<String>,
    pub(crate) blob: String,
}

/// What a device downloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Number.
    pub id: i64,
    /// Version it makes a difference to; `None` for a whole file.
    pub from_version: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// MD5, lower-case hex.
    pub md5: String,
    /// SHA-256, lower-case hex.
    pub sha256: String,
    /// RSA signature of the digest, base64, when secure upgrade is on.
    pub digestsign: Option<String>,
    /// Slice size of a differential package, in bytes (`splictSize`).
    pub slice: Option<u32>,
    pub(crate) file: String,
    pub(crate) method: Method,
    pub(crate) blob: String,
}

impl Package {
    /// The digest named by the method, lower-case hex (`sign`).
    pub fn sign(&self) -> &str {
        match self.method {
            Method::Sha256 => &self.sha256,
            Method::Md5 => &self.md5,
        }
    }

    /// The method of [`Package::sign`].
    pub fn method(&self) -> Method {
        self.method
    }
}

/// File types the console takes.
const SUFFIXES: [&str; 10] = [
    "bin", "dav", "tar", "gz", "zip", "gzip", "apk", "xz", "pack", "hex",
];
const FIRMWARE: &str =
    "SELECT id, pk, module, version, file, blob, size, method, validated FROM firmwares";

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
        firmware.image_version = digest::image_version(&self.blob(&firmware.blob));
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

    /// Path of the file a package consists of (a test may damage it).
    ///
    /// # Errors
    /// [`Error::Db`].
    pub fn package_path(&self, package: &Package) -> PathBuf {
        self.blob(&package.blob)
    }

    /// A package by its number.
    ///
    /// # Errors
    /// [`Error::Db`].
    pub fn package(&self, id: i64) -> Result<Package> {
        Ok(self
            .db()
            .query_row(&format!("{PACKAGE} WHERE p.id=?1"), [id], package_row)?)
    }

    fn firmware_of(&self, pk: &str, module: &str, version: &str) -> Result<Option<i64>> {
        Ok(self
            .db()
            .query_row(
                "SELECT id FROM firmwares WHERE pk=?1 AND module=?2 AND version=?3",
                [pk, module, version],
                |r| r.get(0),
            )
            .optional()?)
    }

    /// The package of `firmware` for a device that runs `from` (any version for
    /// a whole file), made and signed when it does not exist yet.
    pub(crate) fn package_for(
        &self,
        firmware: &Firmware,
        mode: Mode,
        from: Option<&str>,
        dn: &str,
    ) -> Result<Package> {
        let secure = self.product(&firmware.pk)?.secure_upgrade;
        let from = from.filter(|_| mode == Mode::Diff);
        let found = self
            .db()
            .query_row(
                &format!("{PACKAGE} WHERE p.firmware=?1 AND p.from_version IS ?2 AND p.signed=?3"),
                params![firmware.id, from, secure],
                package_row,
            )
            .optional()?;
        match (found, from) {
            (Some(package), _) => Ok(package),
            (None, None) => self.make_full(firmware, secure),
            (None, Some(from)) => self.make_diff(firmware, from, secure, dn),
        }
    }

    fn make_full(&self, firmware: &Firmware, secure: bool) -> Result<Package> {
        let mut blob = firmware.blob.clone();
        let path = self.blob(&blob);
        let mut d = digest::of_file(&path)?;
        if secure {
            let key = digest::key(&self.private_key_pem(&firmware.pk)?)?;
            let file = std::fs::read(&path).map_err(Error::io(&path))?;
            if let Some(signed) = digest::sign_image(&file, &key)? {
                (blob, d) = self.store(&Source::Bytes(signed))?;
            }
        }
        self.new_package(firmware, secure, (&blob, &d), None)
    }

    /// The difference between what is served as a whole for the two versions,
    /// because that is what lies in a device's flash.
    fn make_diff(&self, to: &Firmware, from: &str, secure: bool, dn: &str) -> Result<Package> {
        let fail = |why: String| Error::Diff { dn: dn.into(), why };
        let base = self
            .firmware_of(&to.pk, &to.module, from)?
            .ok_or_else(|| fail(format!("it runs {from}, which was never uploaded")))?;
        let whole = |firmware: &Firmware| {
            let package = self.package_for(firmware, Mode::Full, None, dn)?;
            let path = self.package_path(&package);
            std::fs::read(&path).map_err(Error::io(&path))
        };
        let (old, new) = (whole(&self.firmware(base)?)?, whole(to)?);
        let options = nbdiff::Options::default();
        let patch =
            nbdiff::encode(&old, &new, &options, &|_| {}).map_err(|e| fail(e.to_string()))?;
        let (blob, d) = self.store(&Source::Bytes(patch))?;
        self.new_package(to, secure, (&blob, &d), Some((from, options.slice)))
    }

    fn new_package(
        &self,
        firmware: &Firmware,
        secure: bool,
        (blob, d): (&str, &Digests),
        diff: Option<(&str, u32)>,
    ) -> Result<Package> {
        let mut digestsign = None;
        if secure {
            let key = digest::key(&self.private_key_pem(&firmware.pk)?)?;
            let sign = key.digestsign(d.by(firmware.method));
            digestsign = Some(sign.map_err(digest::signing)?);
        }
        let id = {
            let db = self.db();
            db.execute(
                "INSERT INTO packages(firmware, from_version, signed, blob, size, md5, sha256, \
                 digestsign, slice) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    firmware.id,
                    diff.map(|d| d.0),
                    secure,
                    blob,
                    to_i64(d.size),
                    d.md5.to_string(),
                    d.sha256.to_string(),
                    digestsign,
                    diff.map(|d| d.1),
                ],
            )?;
            db.last_insert_rowid()
        };
        self.package(id)
    }

    /// Copies a file into the data directory, under its SHA-256.
    fn store(&self, source: &Source) -> Result<(String, Digests)> {
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

const PACKAGE: &str = "SELECT p.id, p.from_version, p.size, p.md5, p.sha256, p.digestsign, \
     p.slice, p.blob, f.file, f.method FROM packages p JOIN firmwares f ON f.id=p.firmware";

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
        image_version: None,
    })
}

fn package_row(r: &Row<'_>) -> rusqlite::Result<Package> {
    Ok(Package {
        id: r.get(0)?,
        from_version: r.get(1)?,
        size: r.get::<_, i64>(2)?.unsigned_abs(),
        md5: r.get(3)?,
        sha256: r.get(4)?,
        digestsign: r.get(5)?,
        slice: r.get(6)?,
        blob: r.get(7)?,
        file: r.get(8)?,
        method: method(&r.get::<_, String>(9)?),
    })
}

fn method(text: &str) -> Method {
    text.parse().unwrap_or_default()
}

fn to_i64(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
