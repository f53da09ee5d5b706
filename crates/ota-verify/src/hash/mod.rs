//! MD5 and SHA-256 behind one type.

#[cfg(feature = "fast")]
mod fast;
#[cfg(feature = "fast")]
pub use fast::{Md5, Sha256};
#[cfg_attr(feature = "fast", allow(dead_code))]
mod small;
#[cfg(any(all(feature = "unrolled", not(feature = "fast")), test))]
mod unrolled;
pub(crate) use small::sha256_of_words;
#[cfg(not(feature = "fast"))]
pub use small::{Md5, Sha256};

use crate::bytes::ct_eq;

/// A digest the cloud may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashMethod {
    /// 16 bytes. Detects damage, not an attacker.
    Md5,
    /// 32 bytes.
    Sha256,
}

impl HashMethod {
    /// Bytes of a digest: 16 or 32.
    #[must_use]
    pub const fn len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha256 => 32,
        }
    }

    /// Never: no method has an empty digest.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// The cloud's `signMethod`, in any case (`Md5`, `MD5`, `SHA256`, `Sha256`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("md5") {
            Some(Self::Md5)
        } else if name.eq_ignore_ascii_case("sha256") {
            Some(Self::Sha256)
        } else {
            None
        }
    }

    /// As the cloud writes it: `Md5` or `SHA256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "Md5",
            Self::Sha256 => "SHA256",
        }
    }
}

/// A finished digest. `==` takes the same time wherever the first difference is.
#[derive(Clone, Copy)]
pub enum Digest {
    /// MD5.
    Md5([u8; 16]),
    /// SHA-256.
    Sha256([u8; 32]),
}

/// Why a text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HexError {
    /// The text has this many characters, not 32 (MD5) or 64 (SHA-256).
    Length(usize),
    /// The character at this index is not a hexadecimal digit.
    Digit(usize),
}

impl Digest {
    /// Which digest this is.
    #[must_use]
    pub const fn method(&self) -> HashMethod {
        match self {
            Self::Md5(_) => HashMethod::Md5,
            Self::Sha256(_) => HashMethod::Sha256,
        }
    }

    /// The 16 or 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Md5(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    /// Takes 16 or 32 raw bytes.
    #[must_use]
    pub fn from_bytes(method: HashMethod, bytes: &[u8]) -> Option<Self> {
        match method {
            HashMethod::Md5 => bytes.try_into().ok().map(Self::Md5),
            HashMethod::Sha256 => bytes.try_into().ok().map(Self::Sha256),
        }
    }

    /// Reads 32 or 64 hexadecimal digits in either case (the cloud's `sign`).
    ///
    /// # Errors
    /// [`HexError`] names the wrong length or the first wrong digit.
    pub fn from_hex(method: HashMethod, text: &str) -> Result<Self, HexError> {
        let text = text.as_bytes();
        if text.len() != method.len() * 2 {
            return Err(HexError::Length(text.len()));
        }
        let mut raw = [0u8; 32];
        for (index, &c) in text.iter().enumerate() {
            let nibble = match c {
                b'0'..=b'9' => c - b'0',
                b'a'..=b'f' => c - b'a' + 10,
                b'A'..=b'F' => c - b'A' + 10,
                _ => return Err(HexError::Digit(index)),
            };
            if let Some(byte) = raw.get_mut(index / 2) {
                *byte = *byte << 4 | nibble;
            }
        }
        let raw = raw.get(..method.len()).unwrap_or(&[]);
        Self::from_bytes(method, raw).ok_or(HexError::Length(text.len()))
    }

    /// Writes lower-case hexadecimal into `out` and returns the text.
    #[must_use]
    pub fn to_hex<'a>(&self, out: &'a mut [u8; 64]) -> &'a str {
        for (byte, pair) in self.as_bytes().iter().zip(out.chunks_exact_mut(2)) {
            let hex = |n: u8| if n < 10 { b'0' + n } else { b'a' + n - 10 };
            if let [hi, lo] = pair {
                *hi = hex(byte >> 4);
                *lo = hex(byte & 15);
            }
        }
        let text = out.get(..self.as_bytes().len() * 2).unwrap_or(&[]);
        core::str::from_utf8(text).unwrap_or("")
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        ct_eq(self.as_bytes(), other.as_bytes())
    }
}

impl Eq for Digest {}

impl core::fmt::Display for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.to_hex(&mut [0; 64]))
    }
}

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}:{}", self.method().name(), self)
    }
}

/// Hashes bytes as they come.
///
/// ```
/// use ota_verify::{Digest, HashMethod, Hasher};
/// let mut hasher = Hasher::new(HashMethod::Md5);
/// hasher.update(b"hello Ali");
/// hasher.update(b"OS OTA\n");
/// let want = Digest::from_hex(HashMethod::Md5, "4949B4D639AA1E43FD1A33CA2BE58A9D").unwrap();
/// assert_eq!(hasher.finish(), want);
/// ```
#[derive(Clone)]
pub enum Hasher {
    /// MD5 in progress.
    Md5(Md5),
    /// SHA-256 in progress.
    Sha256(Sha256),
}

impl Hasher {
    /// Starts a digest.
    #[must_use]
    pub fn new(method: HashMethod) -> Self {
        match method {
            HashMethod::Md5 => Self::Md5(Md5::new()),
            HashMethod::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    /// Which digest this is.
    #[must_use]
    pub const fn method(&self) -> HashMethod {
        match self {
            Self::Md5(_) => HashMethod::Md5,
            Self::Sha256(_) => HashMethod::Sha256,
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(h) => h.update(bytes),
            Self::Sha256(h) => h.update(bytes),
        }
    }

    /// Ends the digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Self::Md5(h) => Digest::Md5(h.finish()),
            Self::Sha256(h) => Digest::Sha256(h.finish()),
        }
    }
}

impl core::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Hasher").field(&self.method()).finish()
    }
}

/// MD5 of `bytes`.
#[must_use]
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut h = Md5::new();
    h.update(bytes);
    h.finish()
}

/// SHA-256 of `bytes`.
#[must_use]
#[inline(never)]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update(bytes);
    h.finish()
}
