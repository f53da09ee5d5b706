//! Private keys and the texts public keys are kept in.

use base64ct::{Base64, Encoding};
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::{BigUint, RsaPrivateKey};

use super::BuildError;
use crate::{Digest, MAX_MODULUS_LEN, RsaPublicKey};

/// An RSA private key of 2048, 3072 or 4096 bits. Wiped from memory when dropped.
pub struct PrivateKey {
    key: RsaPrivateKey,
    public: RsaPublicKey,
}

impl PrivateKey {
    /// Makes a key with exponent 65537 from the operating system's random numbers.
    ///
    /// # Errors
    /// [`BuildError::Key`] for a length other than 2048, 3072 or 4096.
    pub fn generate(bits: usize) -> Result<Self, BuildError> {
        if !matches!(bits, 2048 | 3072 | 4096) {
            return Err(BuildError::Key(crate::KeyError::Size(bits)));
        }
        Self::new(RsaPrivateKey::new(&mut OsRng, bits).map_err(refused)?)
    }

    /// Reads PEM: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`BuildError::PrivateKey`] or [`BuildError::Key`].
    pub fn from_pem(pem: &str) -> Result<Self, BuildError> {
        let key = if pem.contains("BEGIN RSA PRIVATE KEY") {
            RsaPrivateKey::from_pkcs1_pem(pem).map_err(refused)?
        } else {
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(refused)?
        };
        Self::new(key)
    }

    fn new(key: RsaPrivateKey) -> Result<Self, BuildError> {
        key.validate().map_err(refused)?;
        let der = key.to_public_key().to_pkcs1_der().map_err(refused)?;
        let public = RsaPublicKey::from_der(der.as_bytes())?;
        Ok(Self { key, public })
    }

    /// PKCS#8 PEM.
    ///
    /// # Errors
    /// [`BuildError::PrivateKey`], which would be a bug.
    pub fn to_pem(&self) -> Result<String, BuildError> {
        Ok(self
            .key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(refused)?
            .to_string())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> &RsaPublicKey {
        &self.public
    }

    /// RSA PKCS#1 v1.5 with SHA-256 over `message`. The result is checked with
    /// this crate's own verification before it is handed out, so that a fault
    /// in the computation cannot give the key away.
    ///
    /// # Errors
    /// [`BuildError::Signature`] or [`BuildError::PrivateKey`].
    pub fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, BuildError> {
        let signer = rsa::pkcs1v15::SigningKey::<rsa::sha2::Sha256>::new(self.key.clone());
        let signature = signer
            .try_sign_with_rng(&mut OsRng, message)
            .map_err(refused)?
            .to_vec();
        self.public
            .verify_message(message, &signature)
            .map_err(BuildError::Signature)?;
        Ok(signature)
    }

    /// The cloud's `digestsign` of a package with this digest: base64 of the
    /// signature over the raw digest bytes.
    ///
    /// # Errors
    /// As [`PrivateKey::sign_message`].
    pub fn digestsign(&self, digest: &Digest) -> Result<String, BuildError> {
        Ok(Base64::encode_string(
            &self.sign_message(digest.as_bytes())?,
        ))
    }
}

impl core::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PrivateKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn refused(error: impl core::fmt::Display) -> BuildError {
    BuildError::PrivateKey(error.to_string())
}

/// The public key as PEM (`PUBLIC KEY`, SPKI).
///
/// # Errors
/// [`BuildError::PrivateKey`], which would be a bug.
pub fn public_key_pem(key: &RsaPublicKey) -> Result<String, BuildError> {
    use rsa::pkcs8::EncodePublicKey;
    let mut buf = [0; MAX_MODULUS_LEN];
    let n = BigUint::from_bytes_be(key.modulus(&mut buf));
    let key = rsa::RsaPublicKey::new_with_max_size(n, BigUint::from(key.exponent()), 4096);
    key.map_err(refused)?
        .to_public_key_pem(LineEnding::LF)
        .map_err(refused)
}

/// The public key as AliOS' `ota_public_key_config.h`.
///
/// The original device code has the exponent in three bytes; a longer one is
/// written in as many as it needs.
#[must_use]
pub fn c_header(key: &RsaPublicKey) -> String {
    let mut buf = [0; MAX_MODULUS_LEN];
    let modulus = key.modulus(&mut buf);
    let exponent = key.exponent().to_be_bytes();
    let zeros = exponent.iter().take(1).filter(|b| **b == 0).count();
    let array = |name: &str, bytes: &[u8]| {
        let lines: Vec<String> = bytes
            .chunks(12)
            .map(|line| {
                line.iter()
                    .map(|b| format!("0x{b:02x},"))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        format!(
            "static const unsigned char {name}[{}] = {{\n    {}\n}};\n",
            bytes.len(),
            lines.join("\n    ")
        )
    };
    format!(
        "/* RSA-{} public key {}: modulus and exponent, most significant byte first. */\n\
         #ifndef OTA_PUBLIC_KEY_CONFIG_H\n#define OTA_PUBLIC_KEY_CONFIG_H\n\n{}\n{}\n#endif\n",
        key.bits(),
        key.id(),
        array("ota_pubn_buf", modulus),
        array("ota_pube_buf", &exponent[zeros..]),
    )
}
