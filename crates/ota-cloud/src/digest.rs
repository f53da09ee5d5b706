//! Digests and signatures of files; the rules are `ota-verify`'s.

use crate::{Error, Method, Result};
use ota_verify::build::{self, PrivateKey};
use ota_verify::{Coding, Digest, HashMethod, Hasher, TRAILER_LEN, Trailer, read_descriptor};
use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Size and digests of a file.
pub(crate) struct Digests {
    pub size: u64,
    pub md5: Digest,
    pub sha256: Digest,
}

impl Digests {
    pub(crate) fn by(&self, method: Method) -> &Digest {
        match method {
            Method::Sha256 => &self.sha256,
            Method::Md5 => &self.md5,
        }
    }
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
    let mut md5 = Hasher::new(HashMethod::Md5);
    let mut sha256 = Hasher::new(HashMethod::Sha256);
    let mut size = 0;
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buf).map_err(Error::io(path))?;
        let part = buf.get(..n).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        md5.update(part);
        sha256.update(part);
        size += part.len() as u64;
    }
    Ok(Digests {
        size,
        md5: md5.finish(),
        sha256: sha256.finish(),
    })
}

/// A new RSA-2048 private key, PKCS#8 PEM: what the original devices verify.
pub(crate) fn new_key() -> Result<String> {
    let key = PrivateKey::generate(2048).map_err(signing)?;
    key.to_pem().map_err(signing)
}

pub(crate) fn key(pem: &str) -> Result<PrivateKey> {
    PrivateKey::from_pem(pem).map_err(signing)
}

/// The image with a signed image block; `None` when the file does not end in an
/// image trailer that fits it.
pub(crate) fn sign_image(file: &[u8], key: &PrivateKey) -> Result<Option<Vec<u8>>> {
    if build::parts(file).is_err() {
        return Ok(None);
    }
    build::sign_image(file, key).map(Some).map_err(signing)
}

/// Version in the descriptor of an image, host or board.
pub(crate) fn image_version(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(1024).read_to_end(&mut head).ok()?;
    [Coding::Plain, Coding::MK3060].into_iter().find_map(|c| {
        let found = read_descriptor(&mut &head[..], c).ok()??;
        Some(found.version.as_str().to_string())
    })
}

/// Whether the file ends in AliOS's image trailer.
pub(crate) fn has_trailer(path: &Path) -> bool {
    let last = || {
        let mut file = std::fs::File::open(path).ok()?;
        file.seek(SeekFrom::End(-(TRAILER_LEN as i64))).ok()?;
        let mut last = [0; TRAILER_LEN as usize];
        file.read_exact(&mut last).ok()?;
        Trailer::parse(&last).ok()
    };
    last().is_some()
}

pub(crate) fn signing(e: build::BuildError) -> Error {
    Error::Rsa(e.to_string())
}
