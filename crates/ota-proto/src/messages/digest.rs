//! The digest of a package, as an offer gives it.

use super::OfferError;
use crate::json::Str;

/// Digest method of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// MD5, 16 bytes.
    Md5,
    /// SHA-256, 32 bytes.
    Sha256,
}

impl Method {
    /// Bytes of a digest.
    #[allow(clippy::len_without_is_empty)]
    pub const fn len(self) -> usize {
        match self {
            Method::Md5 => 16,
            Method::Sha256 => 32,
        }
    }
}

/// Digest of the package as the cloud gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    method: Method,
    bytes: [u8; 32],
}

impl Digest {
    /// A digest from raw bytes, or `None` if their number is wrong for `method`.
    pub fn new(method: Method, raw: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if raw.len() != method.len() {
            return None;
        }
        bytes.get_mut(..raw.len())?.copy_from_slice(raw);
        Some(Digest { method, bytes })
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The digest, 16 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.method.len()).unwrap_or(&[])
    }

    pub(super) fn from_hex(method: Method, text: &Str<'_>) -> Result<Self, OfferError> {
        let mut bytes = [0u8; 32];
        let mut digits = 0usize;
        for c in text.chars() {
            let v = c.to_digit(16).ok_or(OfferError::DigestNotHex)? as u8;
            // Longer text is counted, not kept.
            if let Some(b) = bytes.get_mut(digits / 2) {
                *b = *b << 4 | v;
            }
            digits += 1;
        }
        if digits != method.len() * 2 {
            return Err(OfferError::DigestLength);
        }
        Ok(Digest { method, bytes })
    }
}
