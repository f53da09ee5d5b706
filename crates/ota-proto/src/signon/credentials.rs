//! What a device is given once, at production.

use crate::topics;
use core::fmt;

/// The names and secrets of a device, checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credentials<'a> {
    product_key: &'a str,
    device_name: &'a str,
    device_secret: &'a str,
    product_secret: &'a str,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `pk`
    ProductKey,
    /// `dn`
    DeviceName,
    /// `ds`
    DeviceSecret,
    /// `ps`
    ProductSecret,
}

/// What is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Nothing given.
    Empty,
    /// Longer than this many bytes.
    TooLong {
        /// Bytes allowed.
        max: usize,
    },
    /// A character that is not allowed.
    Character {
        /// Its place in bytes, from 0.
        at: usize,
    },
}

/// Credentials that cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialError {
    /// Which of them.
    pub field: Field,
    /// What is wrong with it.
    pub problem: Problem,
}

impl<'a> Credentials<'a> {
    /// Longest device name that the cloud gives out, in bytes.
    pub const DEVICE_NAME_MAX: usize = 32;
    /// Longest secret in bytes.
    pub const SECRET_MAX: usize = 64;

    /// Checks the four values. The product secret may be empty: sign-on does not use it.
    ///
    /// # Errors
    /// [`CredentialError`] names the first value that cannot be right.
    pub fn new(
        product_key: &'a str,
        device_name: &'a str,
        device_secret: &'a str,
        product_secret: &'a str,
    ) -> Result<Self, CredentialError> {
        let secret = |b: u8| b.is_ascii_graphic();
        let pk_max = topics::PRODUCT_KEY_MAX;
        check(
            Field::ProductKey,
            product_key,
            pk_max,
            topics::is_product_key_byte,
        )?;
        check(
            Field::DeviceName,
            device_name,
            Self::DEVICE_NAME_MAX,
            topics::is_device_name_byte,
        )?;
        check(Field::DeviceSecret, device_secret, Self::SECRET_MAX, secret)?;
        if !product_secret.is_empty() {
            check(
                Field::ProductSecret,
                product_secret,
                Self::SECRET_MAX,
                secret,
            )?;
        }
        Ok(Self {
            product_key,
            device_name,
            device_secret,
            product_secret,
        })
    }

    /// `pk`: 1 to 20 letters and digits.
    #[must_use]
    pub const fn product_key(&self) -> &'a str {
        self.product_key
    }

    /// `dn`: 1 to 32 letters, digits and `-_@.:`.
    #[must_use]
    pub const fn device_name(&self) -> &'a str {
        self.device_name
    }

    /// `ds`: 1 to 64 printable characters without space.
    #[must_use]
    pub const fn device_secret(&self) -> &'a str {
        self.device_secret
    }

    /// `ps`: up to 64 printable characters without space.
    #[must_use]
    pub const fn product_secret(&self) -> &'a str {
        self.product_secret
    }
}

fn check(field: Field, text: &str, max: usize, ok: fn(u8) -> bool) -> Result<(), CredentialError> {
    let problem = if text.is_empty() {
        Problem::Empty
    } else if text.len() > max {
        Problem::TooLong { max }
    } else if let Some(at) = text.bytes().position(|b| !ok(b)) {
        Problem::Character { at }
    } else {
        return Ok(());
    };
    Err(CredentialError { field, problem })
}

/// Leaves the secrets out.
impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("product_key", &self.product_key)
            .field("device_name", &self.device_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.field {
            Field::ProductKey => "product key",
            Field::DeviceName => "device name",
            Field::DeviceSecret => "device secret",
            Field::ProductSecret => "product secret",
        })?;
        match self.problem {
            Problem::Empty => f.write_str(" is empty"),
            Problem::TooLong { max } => write!(f, " is longer than {max} bytes"),
            Problem::Character { at } => write!(f, " has a character not allowed at byte {at}"),
        }
    }
}

impl core::error::Error for CredentialError {}
