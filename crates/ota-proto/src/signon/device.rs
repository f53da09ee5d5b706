//! The device's side.

use super::{Credentials, SecureMode, SignMethod, Unavailable, hmac_hex};
use crate::mqtt::ConnectOptions;
use crate::topics::PRODUCT_KEY_MAX;
use core::fmt;

/// The time that every device SDK gives, 2050-01-01 in milliseconds: devices have no clock.
const TIMESTAMP: &str = "2524608000000";
/// Longest `{pk}.{dn}`.
const ID_MAX: usize = PRODUCT_KEY_MAX + 1 + Credentials::DEVICE_NAME_MAX;
/// `ext` and `_ss` as in the cloud's own SDK: `_ss=1` asks for pushes without SUBSCRIBE.
const TAIL: &str = concat!(
    ",_ss=1,_v=uota-",
    env!("CARGO_PKG_VERSION"),
    ",lan=Rust,ext=0|"
);
/// Room for the client identifier.
const CLIENT_ID_MAX: usize = ID_MAX + 80 + TAIL.len();
const USER_MAX: usize = ID_MAX;

/// Text in a bounded buffer of its own.
#[derive(Clone, Copy)]
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    /// Puts `parts` together; what would not fit is left out, which callers rule out by their bounds.
    fn of(parts: &[&str]) -> Self {
        let mut text = Self {
            bytes: [0; N],
            len: 0,
        };
        for part in parts {
            if let Some(to) = text.bytes.get_mut(text.len..text.len + part.len()) {
                to.copy_from_slice(part.as_bytes());
                text.len += part.len();
            }
        }
        text
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

/// Client identifier, user name and password of one device. About 330 bytes:
/// build it, copy it into CONNECT, drop it.
#[derive(Clone)]
pub struct SignOn {
    client_id: Text<CLIENT_ID_MAX>,
    username: Text<USER_MAX>,
    password: [u8; 2 * hmac_hex::MAX],
    password_len: usize,
}

impl SignOn {
    /// Builds all three.
    ///
    /// # Errors
    /// [`Unavailable`] when this build lacks `method`.
    pub fn new(
        credentials: &Credentials<'_>,
        method: SignMethod,
        mode: SecureMode,
    ) -> Result<Self, Unavailable> {
        let (pk, dn) = (credentials.product_key(), credentials.device_name());
        let content = [
            "clientId",
            pk,
            ".",
            dn,
            "deviceName",
            dn,
            "productKey",
            pk,
            "timestamp",
            TIMESTAMP,
        ];
        let mac = hmac_hex::compute(method, credentials.device_secret().as_bytes(), &content)?;
        let mut password = [0; 2 * hmac_hex::MAX];
        for (to, byte) in password.chunks_exact_mut(2).zip(mac) {
            to.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
        let mode = match mode {
            SecureMode::Tls => ",securemode=2,signmethod=",
            SecureMode::Tcp => ",securemode=3,signmethod=",
        };
        let client_id = [
            pk,
            ".",
            dn,
            "|timestamp=",
            TIMESTAMP,
            mode,
            method.as_str(),
            TAIL,
        ];
        Ok(Self {
            client_id: Text::of(&client_id),
            username: Text::of(&[dn, "&", pk]),
            password,
            password_len: 2 * method.len(),
        })
    }

    /// `{pk}.{dn}|k=v,...|`
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.client_id.as_str()
    }

    /// `{dn}&{pk}`
    #[must_use]
    pub fn username(&self) -> &str {
        self.username.as_str()
    }

    /// Lower-case hex digits of the HMAC.
    #[must_use]
    pub fn password(&self) -> &str {
        let hex = self.password.get(..self.password_len).unwrap_or_default();
        core::str::from_utf8(hex).unwrap_or_default()
    }

    /// A CONNECT with these. The cloud takes a keep-alive of 30 to 1200 seconds.
    #[must_use]
    pub fn connect_options(&self, keep_alive_s: u16, clean_session: bool) -> ConnectOptions<'_> {
        ConnectOptions {
            client_id: self.client_id(),
            username: Some(self.username()),
            password: Some(self.password().as_bytes()),
            keep_alive_s,
            clean_session,
        }
    }
}

/// Leaves the password out.
impl fmt::Debug for SignOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignOn")
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

fn hex_digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

const REGION_MAX: usize = 32;
const HOST_MIDDLE: &str = ".iot-as-mqtt.";
const HOST_END: &str = ".aliyuncs.com";

/// Where a product's devices connect to in a region of the public cloud.
#[derive(Clone, Copy)]
pub struct Endpoint {
    host: Text<{ PRODUCT_KEY_MAX + HOST_MIDDLE.len() + REGION_MAX + HOST_END.len() }>,
}

/// A region is 1 to 32 lower-case letters, digits and `-`, like `cn-shanghai`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionError;

impl Endpoint {
    /// The host for these credentials' product.
    ///
    /// # Errors
    /// [`RegionError`] when `region` cannot be one.
    pub fn new(credentials: &Credentials<'_>, region: &str) -> Result<Self, RegionError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if region.is_empty() || region.len() > REGION_MAX || !region.bytes().all(allowed) {
            return Err(RegionError);
        }
        let host = Text::of(&[credentials.product_key(), HOST_MIDDLE, region, HOST_END]);
        Ok(Self { host })
    }

    /// `{pk}.iot-as-mqtt.{region}.aliyuncs.com`. The port is [`SecureMode::port`].
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.as_str()
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.host(), f)
    }
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a region is 1 to 32 lower-case letters, digits and '-', like cn-shanghai")
    }
}

impl core::error::Error for RegionError {}
