//! Sign-on to the cloud: who a device is, and how it proves it over MQTT.
//!
//! ```text
//! host       {pk}.iot-as-mqtt.{region}.aliyuncs.com, port 443 (TLS) or 1883 (plain)
//! client id  {id}|timestamp=...,securemode=2,signmethod=hmacsha256,...|     {id} = {pk}.{dn}
//! user name  {dn}&{pk}
//! password   hex(HMAC(device secret, "clientId{id}deviceName{dn}productKey{pk}timestamp{ts}"))
//! ```
//!
//! [`SignOn`] is the device's side, [`server`] the check that a cloud makes. A
//! device needs one of the features `hmacmd5`, `hmacsha1` and `hmacsha256`.

mod credentials;
mod device;
mod hmac_hex;
pub mod server;

pub use credentials::{CredentialError, Credentials, Field, Problem};
pub use device::{Endpoint, RegionError, SignOn};

/// HMAC method of the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignMethod {
    /// `hmacmd5`, 32 hex digits. Needs feature `hmacmd5`.
    HmacMd5,
    /// `hmacsha1`, 40 hex digits. Needs feature `hmacsha1`.
    HmacSha1,
    /// `hmacsha256`, 64 hex digits. Needs feature `hmacsha256`.
    HmacSha256,
}

impl SignMethod {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HmacMd5, Self::HmacSha1, Self::HmacSha256];

    /// Its name in a client identifier.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacMd5 => "hmacmd5",
            Self::HmacSha1 => "hmacsha1",
            Self::HmacSha256 => "hmacsha256",
        }
    }

    /// Reads its name, in either case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|m| m.as_str().eq_ignore_ascii_case(name))
    }

    /// Length of the HMAC in bytes.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::HmacMd5 => 16,
            Self::HmacSha1 => 20,
            Self::HmacSha256 => 32,
        }
    }

    /// Never: there is no empty HMAC.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Whether this build can compute it.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Self::HmacMd5 => cfg!(feature = "hmacmd5"),
            Self::HmacSha1 => cfg!(feature = "hmacsha1"),
            Self::HmacSha256 => cfg!(feature = "hmacsha256"),
        }
    }
}

/// This build lacks the feature for a [`SignMethod`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable(pub SignMethod);

impl core::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "this build lacks the feature {}", self.0.as_str())
    }
}

impl core::error::Error for Unavailable {}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecureMode {
    /// `securemode=2`: TLS.
    Tls,
    /// `securemode=3`: plain TCP.
    Tcp,
}

impl SecureMode {
    /// Its number in a client identifier.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Tls => 2,
            Self::Tcp => 3,
        }
    }

    /// The cloud's port.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Tls => 443,
            Self::Tcp => 1883,
        }
    }
}

#[cfg(test)]
mod tests;
