//! Packages: what the cloud serves, and its `digestsign`.

use base64ct::{Base64, Encoding};

use crate::{Digest, MAX_MODULUS_LEN, RsaPublicKey, SignatureError};

/// Checks a package's `digestsign`: base64 of an RSA signature over the raw 16
/// or 32 bytes of the package digest.
///
/// `digest` must be the digest that was computed over the received bytes or was
/// compared with it.
///
/// # Errors
/// [`SignatureError::Base64`] for a text that is not canonical base64 with
/// padding, else as [`RsaPublicKey::verify_message`].
pub fn verify_digestsign(
    key: &RsaPublicKey,
    digest: &Digest,
    digestsign: &str,
) -> Result<(), SignatureError> {
    let mut raw = [0; MAX_MODULUS_LEN];
    let signature = Base64::decode(digestsign, &mut raw).map_err(|_| SignatureError::Base64)?;
    key.verify_message(digest.as_bytes(), signature)
}
