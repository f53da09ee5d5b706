//! The signed image block between image and trailer. Layout: `docs/image-format.md`.

use crate::bytes::{Aligned, get, u32_at};
use crate::{KeyId, RsaPublicKey, SignatureError};

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
    /// As in the file. Every byte of it was checked or is a field.
    header: Aligned<HEADER>,
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
    Algorithm(u16),
    /// The signature is not 256, 384 or 512 bytes long.
    SignatureLength(u16),
    /// A reserved field is not 0.
    Reserved,
}

impl SignedBlock {
    /// The block for an image of `image_len` bytes on flash (without this block
    /// and the trailer), to be signed by `key_id` with a modulus of
    /// `signature_len` bytes.
    #[must_use]
    pub fn new(image_len: u32, sha256: &[u8; 32], key_id: KeyId, signature_len: u16) -> Self {
        let mut header = [0; HEADER];
        let block_len = SIGNED_HEADER_LEN + u32::from(signature_len) + SIGNED_FOOTER_LEN;
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&block_len.to_le_bytes());
        header[12] = RSA_PKCS1_SHA256;
        header[14..16].copy_from_slice(&signature_len.to_le_bytes());
        header[16..20].copy_from_slice(&image_len.to_le_bytes());
        header[24..32].copy_from_slice(&key_id.0);
        header[32..].copy_from_slice(sha256);
        Self {
            header: Aligned(header),
        }
    }

    /// Whole length of the block.
    #[must_use]
    pub fn block_len(&self) -> u32 {
        self.header.word(8)
    }

    /// Bytes of the image as they lie on flash.
    #[must_use]
    pub fn image_len(&self) -> u32 {
        self.header.word(16)
    }

    /// The key that signed.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId(get(&self.header.0, 24).unwrap_or([0; 8]))
    }

    /// SHA-256 of the image.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        self.header.0.last_chunk().unwrap_or(&[0; 32])
    }

    /// 256, 384 or 512.
    #[must_use]
    pub fn signature_len(&self) -> u16 {
        (self.header.word(12) >> 16) as u16
    }

    /// The length of the block that `footer`, the last 12 bytes in front of a
    /// trailer, ends; `None` when no block is there.
    #[must_use]
    pub fn len_from_footer(footer: &[u8; SIGNED_FOOTER_LEN as usize]) -> Option<u32> {
        (footer.last_chunk() == Some(&MAGIC)).then(|| u32_at(footer, 0))
    }

    /// The length of the block that starts with `start`; `None` when none does.
    #[must_use]
    pub fn len_from_start(start: &[u8; 12]) -> Option<u32> {
        (start.first_chunk() == Some(&MAGIC)).then(|| u32_at(start, 8))
    }

    /// Reads the 64-byte header of a block whose footer says `block_len`.
    ///
    /// # Errors
    /// [`SignedBlockError`] names the field that is wrong.
    pub fn parse(header: &[u8; HEADER], block_len: u32) -> Result<Self, SignedBlockError> {
        let block = Self {
            header: Aligned(*header),
        };
        block.check(block_len).map(|()| block)
    }

    /// No block: to be read into.
    pub(crate) const EMPTY: Self = Self {
        header: Aligned([0; HEADER]),
    };

    /// The header's bytes, to be filled and then checked.
    pub(crate) fn bytes(&mut self) -> &mut [u8; HEADER] {
        &mut self.header.0
    }

    /// Whether the header is one that this build understands, of a block this long.
    #[inline(always)]
    pub(crate) fn check(&self, block_len: u32) -> Result<(), SignedBlockError> {
        if !self.is_present() || self.block_len() != block_len {
            return Err(SignedBlockError::Frame);
        }
        self.check_fields()
    }

    /// Whether a block begins here.
    #[inline(always)]
    pub(crate) fn is_present(&self) -> bool {
        self.header.0.first_chunk() == Some(&MAGIC)
    }

    /// The same, for a block that is one.
    #[inline(always)]
    pub(crate) fn check_fields(&self) -> Result<(), SignedBlockError> {
        let header = &self.header;
        let algorithm = header.word(12) as u16;
        if algorithm != u16::from(RSA_PKCS1_SHA256) {
            return Err(SignedBlockError::Algorithm(algorithm));
        }
        let signature_len = self.signature_len();
        if !matches!(signature_len, 256 | 384 | 512) {
            return Err(SignedBlockError::SignatureLength(signature_len));
        }
        if header.word(20) != 0 {
            return Err(SignedBlockError::Reserved);
        }
        let block_len = self.block_len();
        if block_len != SIGNED_HEADER_LEN + u32::from(signature_len) + SIGNED_FOOTER_LEN {
            return Err(SignedBlockError::Length(block_len));
        }
        Ok(())
    }

    /// The 64 bytes in front of the signature, which are the signed message.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER] {
        &self.header.0
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
        key.verify_message(&self.header.0, signature)
    }
}
