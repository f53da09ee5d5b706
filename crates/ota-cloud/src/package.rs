//! What devices download: whole files and differences, made once and kept.

use crate::digest::{self, Digests};
use crate::firmware::{Source, method, to_i64};
use crate::{Cloud, Error, Firmware, Format, Method, Mode, Result};
use ota_delta::{compress, nbdiff, ptr};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use std::path::{Path, PathBuf};

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
    /// What it is made like.
    pub format: Format,
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

const PACKAGE: &str = "SELECT p.id, p.from_version, p.size, p.md5, p.sha256, p.digestsign, \
     p.slice, p.blob, f.file, f.method, p.format FROM packages p JOIN firmwares f ON f.id=p.firmware";

impl Cloud {
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

    /// The package of `firmware` for a device that runs `from` (any version for
    /// a whole file), made and signed when it does not exist yet.
    pub(crate) fn package_for(
        &self,
        firmware: &Firmware,
        format: Format,
        from: Option<&str>,
        dn: &str,
    ) -> Result<Package> {
        let secure = self.product(&firmware.pk)?.secure_upgrade;
        let from = from.filter(|_| format.fits(Mode::Diff));
        if format == Format::Auto {
            return self.smaller(firmware, from, dn);
        }
        let found = self
            .db()
            .query_row(
                &format!(
                    "{PACKAGE} WHERE p.firmware=?1 AND p.from_version IS ?2 AND p.signed=?3 \
                     AND p.format IS ?4"
                ),
                params![firmware.id, from, secure, column(format)],
                package_row,
            )
            .optional()?;
        match (found, from) {
            (Some(package), _) => Ok(package),
            (None, None) if format == Format::Xz => self.make_xz(firmware, secure, dn),
            (None, None) => self.make_full(firmware, secure),
            (None, Some(from)) => self.make_diff(firmware, from, format, secure, dn),
        }
    }

    /// The smaller patch of those that the device takes; the whole as .xz where no
    /// patch is worth it.
    fn smaller(&self, firmware: &Firmware, from: Option<&str>, dn: &str) -> Result<Package> {
        let nbdiff = self.package_for(firmware, Format::Nbdiff, from, dn)?;
        let base = from.and_then(|from| {
            let found = self.firmware_of(&firmware.pk, &firmware.module, from);
            found.transpose()
        });
        let base = base.transpose()?.map(|id| self.firmware(id)).transpose()?;
        if base.is_none_or(|base| base.image_version.is_none()) {
            return Ok(nbdiff);
        }
        let ptr = self.package_for(firmware, Format::Ptr, from, dn)?;
        let patch = if ptr.size < nbdiff.size { ptr } else { nbdiff };
        let whole = self.package_for(firmware, Format::Plain, None, dn)?;
        if !compress::worth_packing(whole.size, patch.size) {
            return Ok(patch);
        }
        // Kept like the patches: packed once, not for each device.
        let packed = self.package_for(firmware, Format::Xz, None, dn)?;
        let whole_is_better = compress::beats_patch(packed.size, patch.size);
        Ok(if whole_is_better { packed } else { patch })
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
        self.new_package(firmware, secure, (&blob, &d), (Format::Plain, None, None))
    }

    /// What is served as a whole, as .xz.
    fn make_xz(&self, firmware: &Firmware, secure: bool, dn: &str) -> Result<Package> {
        let whole = self.whole(firmware, dn)?;
        let packed = compress::xz(&whole).map_err(Error::io(Path::new(&firmware.file)))?;
        let (blob, d) = self.store(&Source::Bytes(packed))?;
        self.new_package(firmware, secure, (&blob, &d), (Format::Xz, None, None))
    }

    /// The file that is served as a whole.
    fn whole(&self, firmware: &Firmware, dn: &str) -> Result<Vec<u8>> {
        let package = self.package_for(firmware, Format::Plain, None, dn)?;
        let path = self.package_path(&package);
        std::fs::read(&path).map_err(Error::io(&path))
    }

    /// The difference between what is served as a whole for the two versions,
    /// because that is what lies in a device's flash.
    fn make_diff(
        &self,
        to: &Firmware,
        from: &str,
        format: Format,
        secure: bool,
        dn: &str,
    ) -> Result<Package> {
        let fail = |why: String| Error::Diff { dn: dn.into(), why };
        let base = self
            .firmware_of(&to.pk, &to.module, from)?
            .ok_or_else(|| fail(format!("it runs {from}, which was never uploaded")))?;
        let (old, new) = (self.whole(&self.firmware(base)?, dn)?, self.whole(to, dn)?);
        let (patch, slice) = if format == Format::Ptr {
            let patch = ptr::encode(&old, &new, &ptr::Options::default(), &|_| {});
            (patch.map_err(|e| fail(e.to_string()))?, None)
        } else {
            let options = nbdiff::Options::default();
            let patch = nbdiff::encode(&old, &new, &options, &|_| {});
            let patch = patch.map_err(|e| fail(e.to_string()))?;
            (patch, Some(options.slice))
        };
        let (blob, d) = self.store(&Source::Bytes(patch))?;
        self.new_package(to, secure, (&blob, &d), (format, Some(from), slice))
    }

    fn new_package(
        &self,
        firmware: &Firmware,
        secure: bool,
        (blob, d): (&str, &Digests),
        (format, from, slice): (Format, Option<&str>, Option<u32>),
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
                 digestsign, slice, format) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    firmware.id,
                    from,
                    secure,
                    blob,
                    to_i64(d.size),
                    d.md5.to_string(),
                    d.sha256.to_string(),
                    digestsign,
                    slice,
                    column(format),
                ],
            )?;
            db.last_insert_rowid()
        };
        self.package(id)
    }
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
        format: stored_format(r.get(10)?, r.get::<_, Option<String>>(1)?.is_some()),
    })
}

/// In the database, the formats that every device takes have no name.
fn column(format: Format) -> Option<&'static str> {
    match format {
        Format::Plain | Format::Nbdiff => None,
        other => Some(other.as_str()),
    }
}

/// What [`column`] put there.
pub(crate) fn stored_format(name: Option<String>, diff: bool) -> Format {
    Format::stored(name, if diff { Mode::Diff } else { Mode::Full })
}
