//! Public keys as text.

use crate::{KeyError, RsaPublicKey};

/// Longest DER public key with a 4096-bit modulus, rounded up.
const MAX_DER: usize = 640;

/// Why a text is no `ota_public_key_config.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeaderError {
    /// The array `ota_pubn_buf` or `ota_pube_buf` is missing.
    Array(&'static str),
    /// A value in it is not a byte such as `0x5a` or `90`.
    Byte {
        /// Which array.
        array: &'static str,
        /// Which value, from 0.
        index: usize,
    },
    /// It has more values than a 4096-bit key.
    Long(&'static str),
}

impl RsaPublicKey {
    /// Reads PEM: `PUBLIC KEY` (SPKI) or `RSA PUBLIC KEY` (PKCS#1).
    ///
    /// # Errors
    /// [`KeyError::Pem`] for anything that is not PEM, a private key included.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let mut buf = [0; MAX_DER];
        let (label, der) =
            pem_rfc7468::decode(pem.as_bytes(), &mut buf).map_err(|_| KeyError::Pem)?;
        match label {
            "PUBLIC KEY" | "RSA PUBLIC KEY" => Self::from_der(der),
            _ => Err(KeyError::Pem),
        }
    }

    /// Reads AliOS' `ota_public_key_config.h`: the C arrays `ota_pubn_buf`
    /// (modulus, big-endian) and `ota_pube_buf` (exponent).
    ///
    /// # Errors
    /// [`KeyError::Header`], or what [`RsaPublicKey::new`] finds wrong.
    pub fn from_c_header(text: &str) -> Result<Self, KeyError> {
        let mut modulus = [0; 512];
        let modulus = array(text, "ota_pubn_buf", &mut modulus)?;
        let mut exponent = [0; 4];
        let exponent = array(text, "ota_pube_buf", &mut exponent)?;
        Self::new(
            modulus,
            exponent.iter().fold(0, |e, &b| e << 8 | u32::from(b)),
        )
    }
}

/// The bytes of the initialiser of C array `name`.
fn array<'a>(text: &str, name: &'static str, out: &'a mut [u8]) -> Result<&'a [u8], KeyError> {
    let missing = KeyError::Header(HeaderError::Array(name));
    let body = text.split_once(name).ok_or(missing)?.1;
    let body = body.split_once('{').ok_or(missing)?.1;
    let body = body.split_once('}').ok_or(missing)?.0;
    let mut len = 0;
    let items = body.split(',').map(str::trim);
    for (index, item) in items.enumerate().filter(|(_, item)| !item.is_empty()) {
        let hex = item.strip_prefix("0x").or_else(|| item.strip_prefix("0X"));
        let byte = match hex {
            Some(digits) => u8::from_str_radix(digits, 16),
            None => item.parse(),
        };
        let byte = byte.map_err(|_| KeyError::Header(HeaderError::Byte { array: name, index }))?;
        *out.get_mut(len)
            .ok_or(KeyError::Header(HeaderError::Long(name)))? = byte;
        len += 1;
    }
    Ok(out.get(..len).unwrap_or(&[]))
}
