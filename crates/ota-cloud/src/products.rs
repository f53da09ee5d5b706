//! Products, their keys, and devices.

use crate::store::{now_ms, random_hex};
use crate::{Cloud, Error, Result};
use ota_proto::signon::Credentials;
use ota_proto::topics::{PRODUCT_KEY_MAX, is_device_name_byte, is_product_key_byte};
use ota_verify::build;
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;

/// A product: a kind of device.
#[derive(Debug, Clone, Serialize)]
pub struct Product {
    /// ProductKey, at most 20 characters.
    pub pk: String,
    /// ProductSecret.
    pub ps: String,
    /// Whether packages and images are signed.
    pub secure_upgrade: bool,
    /// Whether a key pair exists (it is kept when secure upgrade is switched off).
    pub has_key: bool,
}

/// A version a device has reported for one of its modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reported {
    /// Module; `default` is the device's own firmware.
    pub module: String,
    /// Version text.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// A device.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// ProductKey.
    pub pk: String,
    /// DeviceName, at most 32 characters.
    pub dn: String,
    /// DeviceSecret, 32 hex digits.
    pub ds: String,
    /// ProductSecret of its product.
    pub ps: String,
    /// Whether it is connected now.
    pub online: bool,
    /// Last message, in milliseconds since 1970.
    pub last_seen: Option<i64>,
    /// Versions it has reported, by module.
    pub versions: Vec<Reported>,
}

impl Device {
    /// Version of the default module, if the device ever reported one.
    pub fn version(&self) -> Option<&str> {
        let of = |v: &&Reported| v.module == DEFAULT_MODULE;
        self.versions.iter().find(of).map(|v| v.version.as_str())
    }
}

/// The module that stands for the whole device.
pub(crate) const DEFAULT_MODULE: &str = "default";

const SELECT_DEVICE: &str = "SELECT d.pk, d.dn, d.ds, p.ps, d.online, d.last_seen \
     FROM devices d JOIN products p ON p.pk=d.pk WHERE d.pk=?1";

impl Cloud {
    /// Creates a product.
    ///
    /// # Errors
    /// [`Error::Name`]: at most 20 letters and digits. [`Error::ProductExists`].
    pub fn create_product(&self, pk: &str) -> Result<Product> {
        let ok = |c: char| c.is_ascii() && is_product_key_byte(c as u8);
        let rule = "1 to 20 letters and digits";
        check_name("product key", pk, PRODUCT_KEY_MAX, ok, rule)?;
        let done = self.db().execute(
            "INSERT OR IGNORE INTO products(pk, ps, created) VALUES(?1, ?2, ?3)",
            params![pk, random_hex(8), now_ms()],
        )?;
        if done == 0 {
            return Err(Error::ProductExists(pk.into()));
        }
        self.product(pk)
    }

    /// A product by its key.
    ///
    /// # Errors
    /// [`Error::NoProduct`].
    pub fn product(&self, pk: &str) -> Result<Product> {
        self.db()
            .query_row(
                "SELECT pk, ps, secure, key_pem IS NOT NULL FROM products WHERE pk=?1",
                [pk],
                |r| {
                    Ok(Product {
                        pk: r.get(0)?,
                        ps: r.get(1)?,
                        secure_upgrade: r.get(2)?,
                        has_key: r.get(3)?,
                    })
                },
            )
            .optional()?
            .ok_or_else(|| Error::NoProduct(pk.into()))
    }

    /// Switches secure upgrade on or off. The first time it is switched on, the
    /// product's RSA-2048 key pair is made; it is kept for good, because devices
    /// in the field hold its public half.
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::Rsa`].
    pub fn set_secure_upgrade(&self, pk: &str, on: bool) -> Result<Product> {
        let product = self.product(pk)?;
        let pem = if on && !product.has_key {
            Some(crate::digest::new_key()?)
        } else {
            None
        };
        self.db().execute(
            "UPDATE products SET secure=?2, key_pem=COALESCE(key_pem, ?3) WHERE pk=?1",
            params![pk, on, pem],
        )?;
        self.product(pk)
    }

    /// The product's public key in PEM (`SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::NoKey`].
    pub fn public_key_pem(&self, pk: &str) -> Result<String> {
        let key = crate::digest::key(&self.private_key_pem(pk)?)?;
        build::public_key_pem(key.public()).map_err(crate::digest::signing)
    }

    /// The product's public key as `ota_public_key_config.h`, which AliOS
    /// devices are built with.
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::NoKey`].
    pub fn public_key_header(&self, pk: &str) -> Result<String> {
        let key = crate::digest::key(&self.private_key_pem(pk)?)?;
        Ok(build::c_header(key.public()))
    }

    /// The product's private key in PEM (PKCS#8). It never leaves a real cloud;
    /// a development cloud gives it to tests that forge packages.
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::NoKey`].
    pub fn private_key_pem(&self, pk: &str) -> Result<String> {
        let key: Option<String> = self
            .db()
            .query_row("SELECT key_pem FROM products WHERE pk=?1", [pk], |r| {
                r.get(0)
            })
            .optional()?
            .ok_or_else(|| Error::NoProduct(pk.into()))?;
        key.ok_or_else(|| Error::NoKey(pk.into()))
    }

    /// Adds a device with a random secret.
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::DeviceExists`], [`Error::Name`].
    pub fn add_device(&self, pk: &str, dn: &str) -> Result<Device> {
        self.add_device_with_secret(pk, dn, &random_hex(16))
    }

    /// Adds a device with a given secret (1 to 64 printable characters).
    ///
    /// # Errors
    /// As [`Cloud::add_device`].
    pub fn add_device_with_secret(&self, pk: &str, dn: &str, ds: &str) -> Result<Device> {
        let ok = |c: char| c.is_ascii() && is_device_name_byte(c as u8);
        let rule = "1 to 32 letters, digits and - _ . : @";
        check_name("device name", dn, Credentials::DEVICE_NAME_MAX, ok, rule)?;
        let ok = |c: char| c.is_ascii_graphic();
        let rule = "1 to 64 printable characters";
        check_name("device secret", ds, Credentials::SECRET_MAX, ok, rule)?;
        self.product(pk)?;
        let done = self.db().execute(
            "INSERT OR IGNORE INTO devices(pk, dn, ds, created) VALUES(?1, ?2, ?3, ?4)",
            params![pk, dn, ds, now_ms()],
        )?;
        if done == 0 {
            return Err(Error::DeviceExists {
                pk: pk.into(),
                dn: dn.into(),
            });
        }
        self.device(pk, dn)
    }

    /// A device by its names.
    ///
    /// # Errors
    /// [`Error::NoProduct`], [`Error::NoDevice`].
    pub fn device(&self, pk: &str, dn: &str) -> Result<Device> {
        self.product(pk)?;
        let found = self
            .db()
            .query_row(
                &format!("{SELECT_DEVICE} AND d.dn=?2"),
                [pk, dn],
                device_row,
            )
            .optional()?;
        let mut device = found.ok_or_else(|| Error::NoDevice {
            pk: pk.into(),
            dn: dn.into(),
        })?;
        device.versions = self.versions(pk, dn)?;
        device.online &= self.is_served();
        Ok(device)
    }

    /// All devices of a product, by name.
    ///
    /// # Errors
    /// [`Error::NoProduct`].
    pub fn devices(&self, pk: &str) -> Result<Vec<Device>> {
        self.product(pk)?;
        let served = self.is_served();
        let mut devices: Vec<Device> = {
            let db = self.db();
            let mut query = db.prepare(&format!("{SELECT_DEVICE} ORDER BY d.dn"))?;
            query
                .query_map([pk], device_row)?
                .collect::<rusqlite::Result<_>>()?
        };
        for d in &mut devices {
            d.versions = self.versions(pk, &d.dn)?;
            d.online &= served;
        }
        Ok(devices)
    }

    fn versions(&self, pk: &str, dn: &str) -> Result<Vec<Reported>> {
        let db = self.db();
        let mut query = db.prepare_cached(
            "SELECT module, version, at FROM versions WHERE pk=?1 AND dn=?2 ORDER BY module",
        )?;
        let rows = query.query_map([pk, dn], |r| {
            Ok(Reported {
                module: r.get(0)?,
                version: r.get(1)?,
                at: r.get(2)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The secret of a device, for its sign-on.
    pub(crate) fn secret(&self, pk: &str, dn: &str) -> Result<Option<String>> {
        Ok(self
            .db()
            .query_row(
                "SELECT ds FROM devices WHERE pk=?1 AND dn=?2",
                [pk, dn],
                |r| r.get(0),
            )
            .optional()?)
    }

    /// Notes that a device is connected or not, or has sent something.
    pub(crate) fn seen(&self, pk: &str, dn: &str, online: bool) -> Result<()> {
        self.db().execute(
            "UPDATE devices SET online=?3, last_seen=?4 WHERE pk=?1 AND dn=?2",
            params![pk, dn, online, now_ms()],
        )?;
        Ok(())
    }

    /// A server that starts has no connections, whatever a killed one left behind.
    pub(crate) fn all_offline(&self) -> Result<()> {
        self.db()
            .execute("UPDATE devices SET online=0 WHERE online", [])?;
        Ok(())
    }
}

fn device_row(r: &Row<'_>) -> rusqlite::Result<Device> {
    Ok(Device {
        pk: r.get(0)?,
        dn: r.get(1)?,
        ds: r.get(2)?,
        ps: r.get(3)?,
        online: r.get(4)?,
        last_seen: r.get(5)?,
        versions: Vec::new(),
    })
}

/// Refuses `value` unless it has 1 to `max` characters that are all `ok`.
pub(crate) fn check_name(
    what: &'static str,
    value: &str,
    max: usize,
    ok: impl Fn(char) -> bool,
    rule: &'static str,
) -> Result<()> {
    let n = value.chars().count();
    if n == 0 || n > max || !value.chars().all(ok) {
        return Err(Error::Name {
            what,
            value: value.chars().take(80).collect(),
            rule,
        });
    }
    Ok(())
}
