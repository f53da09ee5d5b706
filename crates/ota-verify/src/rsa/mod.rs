//! RSA PKCS#1 v1.5 signatures with SHA-256 (RFC 8017, 8.2.2), no alloc.

mod der;
mod mont;

pub use der::DerError;

use crate::sha256;
use mont::{Limbs, Modulus};

/// Bytes of the longest modulus this build takes.
pub const MAX_MODULUS_LEN: usize = mont::MAX_LIMBS * 4;

/// What stands between padding and digest in a PKCS#1 v1.5 block: 00 and the DER
/// prefix of a SHA-256 DigestInfo (RFC 8017, 9.2, note 1).
static DIGEST_INFO: [u8; 20] = [
    0x00, 0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
    0x05, 0x00, 0x04, 0x20,
];

/// First 8 bytes of the SHA-256 of the modulus, big-endian without leading zeros.
/// A hint which key to try, nothing more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    const fn of(modulus: &Modulus) -> Self {
        let [a, b] = crate::hash::sha256_of_words(modulus.array(), modulus.limbs());
        let mut id = [0; 8];
        let (high, low) = id.split_at_mut(4);
        high.copy_from_slice(&a.to_be_bytes());
        low.copy_from_slice(&b.to_be_bytes());
        Self(id)
    }
}

impl core::fmt::Display for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl core::fmt::Debug for KeyId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The modulus has this many bits (rounded up to bytes when its first bit is
    /// not set); only 2048 and, with the features, 3072 and 4096 are taken.
    Size(usize),
    /// The modulus is even.
    Even,
    /// The public exponent is even, 1, or does not fit 4 bytes.
    Exponent,
    /// Not a DER public key (SPKI with rsaEncryption, or PKCS#1).
    Der(DerError),
    /// Not PEM, or a PEM of another label.
    #[cfg(feature = "keys")]
    Pem,
    /// Not an AliOS `ota_public_key_config.h`.
    #[cfg(feature = "keys")]
    Header(crate::HeaderError),
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureError {
    /// The signature is not as long as the modulus.
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of the modulus.
        expected: usize,
    },
    /// The signature as a number is not below the modulus.
    Range,
    /// The signature was made with another key or over another message.
    Mismatch,
    /// `digestsign` is not canonical base64 of at most 512 bytes.
    Base64,
}

/// An RSA public key, ready for use: what can be computed from the modulus
/// alone is computed once, here (at compile time for a key in a `static`).
#[derive(Clone)]
pub struct RsaPublicKey {
    modulus: Modulus,
    exponent: u32,
    id: KeyId,
}

impl RsaPublicKey {
    /// Takes a big-endian modulus (leading zero bytes are skipped) and exponent.
    ///
    /// ```
    /// use ota_verify::{KeyError, RsaPublicKey};
    /// # const MODULUS: [u8; 256] = [0xC7; 256];
    /// static KEY: RsaPublicKey = match RsaPublicKey::new(&MODULUS, 65537) {
    ///     Ok(key) => key,
    ///     Err(_) => panic!("no RSA key"),
    /// };
    /// assert_eq!(KEY.bits(), 2048);
    /// assert!(matches!(RsaPublicKey::new(&[0xC7; 128], 65537), Err(KeyError::Size(1024))));
    /// ```
    ///
    /// # Errors
    /// [`KeyError::Size`], [`KeyError::Even`] or [`KeyError::Exponent`].
    pub const fn new(modulus: &[u8], exponent: u32) -> Result<Self, KeyError> {
        if exponent < 3 || exponent.is_multiple_of(2) {
            return Err(KeyError::Exponent);
        }
        match Modulus::new(modulus) {
            Ok(modulus) => Ok(Self {
                id: KeyId::of(&modulus),
                modulus,
                exponent,
            }),
            Err(error) => Err(error),
        }
    }

    /// Reads a DER key: SubjectPublicKeyInfo or PKCS#1 RSAPublicKey.
    ///
    /// # Errors
    /// [`KeyError`]; the DER must be canonical and nothing may follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = der::public_key(der).map_err(KeyError::Der)?;
        if exponent.len() > 4 {
            return Err(KeyError::Exponent);
        }
        let exponent = exponent.iter().fold(0, |e, &b| e << 8 | u32::from(b));
        Self::new(modulus, exponent)
    }

    /// 2048, 3072 or 4096.
    #[must_use]
    pub const fn bits(&self) -> usize {
        self.modulus_len() * 8
    }

    /// Bytes of the modulus and of every signature: 256, 384 or 512.
    #[must_use]
    pub const fn modulus_len(&self) -> usize {
        self.modulus.limbs() * 4
    }

    /// The public exponent.
    #[must_use]
    pub const fn exponent(&self) -> u32 {
        self.exponent
    }

    /// Writes the modulus, big-endian, and returns what was written.
    #[must_use]
    pub fn modulus<'a>(&self, out: &'a mut [u8; MAX_MODULUS_LEN]) -> &'a [u8] {
        let len = self.modulus_len();
        for (four, limb) in out
            .chunks_exact_mut(4)
            .zip(self.modulus.value().iter().rev())
        {
            four.copy_from_slice(&limb.to_be_bytes());
        }
        out.get(..len).unwrap_or(&[])
    }

    /// What a signed image block names this key by.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// Checks `signature` over `message`.
    ///
    /// # Errors
    /// [`SignatureError`]: length, range or mismatch.
    pub fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify_sha256(&sha256(message), signature)
    }

    /// Checks `signature` over a message with SHA-256 `digest`.
    ///
    /// Computes signature^e mod n and compares it with the one block that is
    /// right; nothing of the block is parsed.
    ///
    /// # Errors
    /// [`SignatureError`]: length, range or mismatch.
    #[inline(never)]
    pub fn verify_sha256(&self, digest: &[u8; 32], signature: &[u8]) -> Result<(), SignatureError> {
        let expected = self.modulus_len();
        if signature.len() != expected {
            return Err(SignatureError::Length {
                found: signature.len(),
                expected,
            });
        }
        let signature = Limbs::from_be(signature);
        if !self.modulus.is_above(&signature) {
            return Err(SignatureError::Range);
        }
        let block = self.modulus.power(&signature, self.exponent);
        // 00 01 FF..FF 00 DigestInfo digest: the one block that is right.
        let mut wanted = [0xFF; MAX_MODULUS_LEN];
        let (wanted, _) = wanted.split_at_mut(expected.min(MAX_MODULUS_LEN));
        let (rest, end) = wanted.split_at_mut(wanted.len().saturating_sub(52));
        if let (Some((info, sum)), [zero, one, ..]) = (end.split_first_chunk_mut(), rest) {
            *info = DIGEST_INFO;
            if let Some(sum) = sum.first_chunk_mut() {
                *sum = *digest;
            }
            (*zero, *one) = (0, 1);
        }
        if block == Limbs::from_be(wanted) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch)
        }
    }
}

impl core::fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RsaPublicKey")
            .field("bits", &self.bits())
            .field("id", &self.id())
            .finish()
    }
}

impl PartialEq for RsaPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.exponent == other.exponent && self.modulus.value() == other.modulus.value()
    }
}

impl Eq for RsaPublicKey {}
