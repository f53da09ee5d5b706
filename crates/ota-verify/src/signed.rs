//! The signed image block between image and trailer. Layout: `docs/image-format.md`.

use crate::bytes::{ct_eq, get, u16_at, u32_at};
use crate::{KeyId, RsaPublicKey, SignatureError, sha256};

/// Bytes in front of the signature; they are what is signed.
pub const SIGNED_HEADER_LEN: u32 = 64;
/// Bytes behind the signature: block length and magic again, so that the block
/// is found from the trailer backwards.
pub const SIGNED_FOOTER_LEN: u32 = 12;

const MAGIC: [u8; 8] = *b"uOTAsig1";
const HEADER: usize = SIGNED_HEADER_LEN as usize;
const RSA_PKCS1_SHA256: u8 = 1;

/// The signed header: which image, which key, which algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedBlock {
    /// Bytes of the image as they lie on flash: the file without this block and
    /// the trailer.
    pub image_len: u32,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
    /// The key that signed.
    pub key_id: KeyId,
    /// 256, 384 or 512.
    pub signature_len: u16,
}

/// Why a signed image block cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignedBlockError {
    /// Shorter than its parts, or longer than the file.
    Length(u32),
    /// The footer names a block whose header has no magic or another length.
    Frame,
    /// An algorithm other than RSA PKCS#1 v1.5 with SHA-256 (1).
    Algorithm(u8),
    /// The signature is not 256, 384 or 512 bytes long.
    SignatureLength(u16),
    /// A reserved field is not 0.
    Reserved,
}

impl SignedBlock {
    /// Whole length of the block.
    #[must_use]
    pub const fn block_len(&self) -> u32 {
        SIGNED_HEADER_LEN + self.signature_len as u32 + SIGNED_FOOTER_LEN
    }

    /// The length of the block that `footer`, the last 12 bytes in front of a
    /// trailer, ends; `None` when no block is there.
    #[must_use]
    pub fn len_from_footer(footer: &[u8; SIGNED_FOOTER_LEN as usize]) -> Option<u32> {
        (get::<8>(footer, 4) == Some(MAGIC)).then(|| u32_at(footer, 0).unwrap_or(0))
    }

    /// The length of the block that starts with `start`; `None` when none does.
    #[must_use]
    pub fn len_from_start(start: &[u8; 12]) -> Option<u32> {
        (get::<8>(start, 0) == Some(MAGIC)).then(|| u32_at(start, 8).unwrap_or(0))
    }

    /// Reads the 64-byte header of a block whose footer says `block_len`.
    ///
    /// # Errors
    /// [`SignedBlockError`] names the field that is wrong.
    pub fn parse(header: &[u8; HEADER], block_len: u32) -> Result<Self, SignedBlockError> {
        if Self::len_from_start(&get(header, 0).unwrap_or([0; 12])) != Some(block_len) {
            return Err(SignedBlockError::Frame);
        }
        let [algorithm, reserved] = get(header, 12).unwrap_or([0; 2]);
        if algorithm != RSA_PKCS1_SHA256 {
            return Err(SignedBlockError::Algorithm(algorithm));
        }
        let signature_len = u16_at(header, 14).unwrap_or(0);
        if !matches!(signature_len, 256 | 384 | 512) {
            return Err(SignedBlockError::SignatureLength(signature_len));
        }
        if reserved != 0 || u32_at(header, 20) != Some(0) {
            return Err(SignedBlockError::Reserved);
        }
        let block = Self {
            image_len: u32_at(header, 16).unwrap_or(0),
            sha256: get(header, 32).unwrap_or([0; 32]),
            key_id: KeyId(get(header, 24).unwrap_or([0; 8])),
            signature_len,
        };
        if block.block_len() == block_len {
            Ok(block)
        } else {
            Err(SignedBlockError::Length(block_len))
        }
    }

    /// The 64 bytes in front of the signature, which are the signed message.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.block_len().to_le_bytes());
        out[12] = RSA_PKCS1_SHA256;
        out[14..16].copy_from_slice(&self.signature_len.to_le_bytes());
        out[16..20].copy_from_slice(&self.image_len.to_le_bytes());
        out[24..32].copy_from_slice(&self.key_id.0);
        out[32..].copy_from_slice(&self.sha256);
        out
    }

    /// The 12 bytes behind the signature.
    #[must_use]
    pub fn footer(&self) -> [u8; SIGNED_FOOTER_LEN as usize] {
        let mut out = [0; SIGNED_FOOTER_LEN as usize];
        out[..4].copy_from_slice(&self.block_len().to_le_bytes());
        out[4..].copy_from_slice(&MAGIC);
        out
    }

    /// Checks `signature` over this header. Says nothing about the image: that
    /// its bytes have [`SignedBlock::sha256`] is the caller's part.
    ///
    /// # Errors
    /// [`SignatureError`] as of [`RsaPublicKey::verify_message`].
    pub fn verify(&self, key: &RsaPublicKey, signature: &[u8]) -> Result<(), SignatureError> {
        key.verify_sha256(&sha256(&self.header()), signature)
    }

    /// Whether the image has the digest that was signed.
    #[must_use]
    pub fn matches(&self, image_len: u32, digest: &[u8; 32]) -> bool {
        self.image_len == image_len && ct_eq(&self.sha256, digest)
    }
}
