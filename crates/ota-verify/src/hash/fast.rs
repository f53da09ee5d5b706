//! The RustCrypto implementations: unrolled, for speed.

use md5::Digest as _;

/// Streaming MD5.
#[derive(Clone, Default)]
pub struct Md5(md5::Md5);

impl Md5 {
    /// Starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends.
    #[must_use]
    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

/// Streaming SHA-256.
#[derive(Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Starts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Ends.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// Ends, and writes the digest there.
    pub fn finish_into(self, out: &mut [u8; 32]) {
        *out = self.finish();
    }
}

/// Either digest.
#[derive(Clone)]
pub(crate) enum Running {
    Md5(Md5),
    Sha256(Sha256),
}

impl Running {
    pub(crate) fn md5() -> Self {
        Self::Md5(Md5::new())
    }

    pub(crate) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(h) => h.update(bytes),
            Self::Sha256(h) => h.update(bytes),
        }
    }

    /// Ends; `out` has the digest's length.
    pub(crate) fn finish(&mut self, out: &mut [u8]) {
        let (md5, sha256);
        let digest: &[u8] = match self {
            Self::Md5(h) => {
                md5 = core::mem::take(h).finish();
                &md5
            }
            Self::Sha256(h) => {
                sha256 = core::mem::take(h).finish();
                &sha256
            }
        };
        for (to, from) in out.iter_mut().zip(digest) {
            *to = *from;
        }
    }
}
