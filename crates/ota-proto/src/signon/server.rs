//! The check that a cloud makes of a sign-on.

use super::{SignMethod, Unavailable, hmac_hex};
use crate::topics::{PRODUCT_KEY_MAX, is_device_name_byte, is_product_key_byte};

/// A client identifier taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientId<'a> {
    /// The text before the first `|`.
    pub id: &'a str,
    /// `signmethod`.
    pub method: SignMethod,
    /// `securemode`: 2 TLS, 3 plain TCP, others as the cloud's documents say.
    pub secure_mode: i8,
    /// `timestamp`, as given. Part of what is signed when it is there.
    pub timestamp: Option<&'a str>,
}

/// Why a sign-on is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignOnError {
    /// The client identifier is not `{id}|k=v,...|` with an id of 1 to 64 bytes.
    ClientId,
    /// `signmethod` is missing, given twice, or unknown.
    SignMethod,
    /// `securemode` is missing, given twice, or not a number.
    SecureMode,
    /// `timestamp` is given twice, or not a number of up to 20 digits.
    Timestamp,
    /// The user name is not `{dn}&{pk}`.
    Username,
    /// The password is not the HMAC that the secret gives.
    Password,
    /// This build cannot compute the method.
    Unavailable(SignMethod),
}

impl<'a> ClientId<'a> {
    /// Takes a client identifier apart, with its list in any order.
    ///
    /// # Errors
    /// Each [`SignOnError`] that names one of its parts.
    pub fn parse(text: &'a str) -> Result<Self, SignOnError> {
        let (id, list) = text.split_once('|').ok_or(SignOnError::ClientId)?;
        let list = list.strip_suffix('|').ok_or(SignOnError::ClientId)?;
        if id.is_empty() || id.len() > 64 {
            return Err(SignOnError::ClientId);
        }
        let (mut method, mut mode, mut timestamp) = (None, None, None);
        // The cloud's own SDK ends its list in a comma.
        for entry in list.split(',').filter(|e| !e.is_empty()) {
            let (key, value) = entry.split_once('=').ok_or(SignOnError::ClientId)?;
            let (place, error) = match key {
                "signmethod" => (&mut method, SignOnError::SignMethod),
                "securemode" => (&mut mode, SignOnError::SecureMode),
                "timestamp" => (&mut timestamp, SignOnError::Timestamp),
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(error);
            }
        }
        let number =
            |t: &str| !t.is_empty() && t.len() <= 20 && t.bytes().all(|b| b.is_ascii_digit());
        if !timestamp.is_none_or(number) {
            return Err(SignOnError::Timestamp);
        }
        Ok(Self {
            id,
            method: method
                .and_then(SignMethod::parse)
                .ok_or(SignOnError::SignMethod)?,
            secure_mode: mode
                .and_then(|m| m.parse().ok())
                .ok_or(SignOnError::SecureMode)?,
            timestamp,
        })
    }

    /// Checks a password, in either case, in a time that does not depend on how much of it is right.
    ///
    /// # Errors
    /// [`SignOnError::Password`], or [`SignOnError::Unavailable`] in a build without the method.
    pub fn verify(
        &self,
        product_key: &str,
        device_name: &str,
        device_secret: &str,
        password: &[u8],
    ) -> Result<(), SignOnError> {
        let (stamp_key, stamp) = self.timestamp.map_or(("", ""), |t| ("timestamp", t));
        let content = [
            "clientId",
            self.id,
            "deviceName",
            device_name,
            "productKey",
            product_key,
            stamp_key,
            stamp,
        ];
        let mac = hmac_hex::compute(self.method, device_secret.as_bytes(), &content)
            .map_err(|Unavailable(method)| SignOnError::Unavailable(method))?;
        if password.len() != 2 * self.method.len() {
            return Err(SignOnError::Password);
        }
        let mut difference = 0;
        for (pair, byte) in password.chunks_exact(2).zip(mac) {
            let &[high, low] = pair else {
                return Err(SignOnError::Password);
            };
            let (high, low) = (hex_value(high), hex_value(low));
            difference |= (high | low) & 0xf0;
            difference |= (high << 4 | low & 0x0f) ^ byte;
        }
        if core::hint::black_box(difference) == 0 {
            Ok(())
        } else {
            Err(SignOnError::Password)
        }
    }
}

/// The value of a hex digit of either case; 0xf0 for another byte.
fn hex_value(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0xf0,
    }
}

/// Takes a user name apart: device name and product key.
///
/// # Errors
/// [`SignOnError::Username`].
pub fn parse_username(username: &str) -> Result<(&str, &str), SignOnError> {
    let (dn, pk) = username.split_once('&').ok_or(SignOnError::Username)?;
    let good = !dn.is_empty()
        && dn.len() <= super::Credentials::DEVICE_NAME_MAX
        && dn.bytes().all(is_device_name_byte)
        && !pk.is_empty()
        && pk.len() <= PRODUCT_KEY_MAX
        && pk.bytes().all(is_product_key_byte);
    if good {
        Ok((dn, pk))
    } else {
        Err(SignOnError::Username)
    }
}

impl core::fmt::Display for SignOnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::ClientId => "client identifier is not {id}|k=v,...|",
            Self::SignMethod => "signmethod is missing, doubled or unknown",
            Self::SecureMode => "securemode is missing, doubled or no number",
            Self::Timestamp => "timestamp is doubled or no number",
            Self::Username => "user name is not {deviceName}&{productKey}",
            Self::Password => "wrong password: product key, device name or secret differ",
            Self::Unavailable(method) => return write!(f, "{}", Unavailable(*method)),
        })
    }
}

impl core::error::Error for SignOnError {}
