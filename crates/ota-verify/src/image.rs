//! Verifying an image where it lies.

use crate::bytes::ct_eq;
use crate::{
    Coding, DESCRIPTOR_LEN, DESCRIPTOR_OFFSET, DescriptorError, ImageDescriptor, ImageKind, KeyId,
    MAX_MODULUS_LEN, Md5, Policy, ReadAt, ReadError, Refusal, Requirement, RsaPublicKey,
    SIGNED_FOOTER_LEN, SIGNED_HEADER_LEN, Sha256, SignatureError, SignedBlock, SignedBlockError,
    TRAILER_LEN, Trailer, TrailerError, Version,
};

/// What a verified image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// Bytes of the image as they lie on flash, without signed block and trailer.
    pub len: u32,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
    /// Bytes of the whole file: image, signed block, trailer.
    pub total: u32,
    /// From the trailer.
    pub kind: ImageKind,
    /// MD5 of everything in front of the trailer.
    pub md5: [u8; 16],
    /// `None` for an image that was not made for uota.
    pub descriptor: Option<ImageDescriptor>,
    /// Who vouches for it.
    pub signature: ImageSignature,
}

impl ImageInfo {
    /// The version, where the image has a descriptor.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        self.descriptor.as_ref().map(|d| &d.version)
    }
}

/// What is known of an image's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageSignature {
    /// No signed image block.
    None,
    /// A block whose digest is right, by a key that is not among ours.
    Unknown(KeyId),
    /// Signed by one of our keys.
    Verified(KeyId),
}

/// Why an image must not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// Reading failed.
    Read(ReadError),
    /// The work buffer is empty.
    Buffer,
    /// The file length is below a trailer's or above what can be read.
    Length(u32),
    /// No trailer at the end.
    Trailer {
        /// Where it was looked for.
        offset: u32,
        /// What is wrong with it.
        error: TrailerError,
    },
    /// The trailer stands somewhere else than its size says.
    TrailerSize {
        /// What the trailer says.
        found: u32,
        /// Where the trailer stands.
        expected: u32,
    },
    /// No trailer, or more than one, whose size and MD5 fit (see
    /// [`find_total`]).
    NoUniqueTrailer {
        /// How many fit: 0 or 2 ("at least").
        found: u8,
    },
    /// The descriptor is damaged.
    Descriptor(DescriptorError),
    /// The descriptor's length does not lead to the image's end.
    DescriptorLength {
        /// File bytes the descriptor's length makes (0 when beyond 4 GiB).
        described: u32,
        /// Bytes there are.
        found: u32,
    },
    /// There is no descriptor and the length was to come from it.
    NoDescriptor,
    /// The signed image block is damaged.
    Signed(SignedBlockError),
    /// The signed image block is for another length or digest.
    SignedDigest,
    /// Signed by a key that is not among ours, and the policy requires one.
    UnknownKey(KeyId),
    /// The signature is wrong.
    Signature(SignatureError),
    /// The bytes do not have the trailer's MD5.
    Md5,
    /// The policy refuses the image.
    Refused(Refusal),
}

impl From<ReadError> for VerifyError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<Refusal> for VerifyError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Checks images against a policy and keys.
///
/// ```
/// use ota_verify::{Coding, ImageKind, ImageVerifier, Policy, Trailer, md5};
/// let mut file = b"firmware".to_vec();
/// let trailer = Trailer { kind: ImageKind::App, size: 8, md5: md5(&file) };
/// file.extend(trailer.to_bytes());
///
/// let verifier = ImageVerifier { policy: &Policy::DEFAULT, keys: &[], coding: Coding::Plain };
/// let total = file.len() as u32;
/// let info = verifier.verify(&mut file.as_slice(), total, &mut [0; 64]).unwrap();
/// assert_eq!((info.len, info.total), (8, 36));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ImageVerifier<'a> {
    /// What is accepted.
    pub policy: &'a Policy,
    /// Keys that may sign images.
    pub keys: &'a [RsaPublicKey],
    /// How the image's descriptor is found.
    pub coding: Coding,
}

impl ImageVerifier<'_> {
    /// Verifies the image at the start of `source` that ends, trailer included,
    /// at `total`. `buf` may have any length above 0; one flash page does well.
    ///
    /// In this order, cheap before dear: length, trailer, descriptor, signed
    /// block and its signature, then SHA-256 and MD5 in one pass over all bytes.
    ///
    /// # Errors
    /// [`VerifyError`] is the first thing found wrong.
    pub fn verify(
        &self,
        source: &mut dyn ReadAt,
        total: u32,
        buf: &mut [u8],
    ) -> Result<ImageInfo, VerifyError> {
        self.policy.check_len(total)?;
        let frame = Frame::read(source, total)?;
        let Frame { trailer, len, .. } = frame;
        let mut info = ImageInfo {
            len,
            sha256: [0; 32],
            total,
            kind: trailer.kind,
            md5: trailer.md5,
            descriptor: None,
            signature: ImageSignature::None,
        };
        self.check_descriptor(source, &mut info)?;
        match frame.block() {
            Some(block) => info.signature = self.check_signature(source, len, block)?,
            None if self.policy.image_signature == Requirement::Required => {
                return Err(Refusal::ImageUnsigned.into());
            }
            None => {}
        }
        frame.digests(source, buf, &mut info.sha256)?;
        Ok(info)
    }

    fn check_descriptor(
        &self,
        source: &mut dyn ReadAt,
        info: &mut ImageInfo,
    ) -> Result<(), VerifyError> {
        let found = info.len;
        let end = self.coding.to_file(DESCRIPTOR_OFFSET + DESCRIPTOR_LEN);
        if end.is_some_and(|end| end <= found) {
            let descriptor = info.descriptor.insert(ImageDescriptor::EMPTY);
            if load_descriptor(source, self.coding, descriptor)? {
                let described = self.coding.file_len(descriptor.image_len).unwrap_or(0);
                if described != found {
                    return Err(VerifyError::DescriptorLength { described, found });
                }
            } else {
                info.descriptor = None;
            }
        }
        self.policy.check_descriptor(info.descriptor.as_ref())?;
        Ok(())
    }

    fn check_signature(
        &self,
        source: &mut dyn ReadAt,
        len: u32,
        block: &SignedBlock,
    ) -> Result<ImageSignature, VerifyError> {
        let Some(key) = self.keys.iter().find(|key| key.id() == block.key_id()) else {
            return if self.policy.image_signature == Requirement::Required {
                Err(VerifyError::UnknownKey(block.key_id()))
            } else {
                Ok(ImageSignature::Unknown(block.key_id()))
            };
        };
        let mut signature = [0; MAX_MODULUS_LEN];
        let found = usize::from(block.signature_len());
        let expected = key.modulus_len();
        let signature =
            signature
                .get_mut(..found)
                .ok_or(VerifyError::Signature(SignatureError::Length {
                    found,
                    expected,
                }))?;
        source.read_at(len.saturating_add(SIGNED_HEADER_LEN), signature)?;
        block
            .verify(key, signature)
            .map_err(VerifyError::Signature)?;
        Ok(ImageSignature::Verified(block.key_id()))
    }
}

/// What stands behind an image, and so where it ends.
pub(crate) struct Frame {
    pub(crate) trailer: Trailer,
    /// Holds a block only when `len` is not `size`.
    block: SignedBlock,
    /// Bytes of the image.
    pub(crate) len: u32,
    /// Bytes in front of the trailer.
    pub(crate) size: u32,
}

impl Frame {
    /// Reads trailer and signed block of a file of `total` bytes.
    pub(crate) fn read(source: &mut dyn ReadAt, total: u32) -> Result<Self, VerifyError> {
        let size = match total.checked_sub(TRAILER_LEN) {
            Some(size) if total <= source.size() => size,
            _ => return Err(VerifyError::Length(total)),
        };
        let trailer = read_trailer(source, size)?;
        if trailer.size != size {
            return Err(VerifyError::TrailerSize {
                found: trailer.size,
                expected: size,
            });
        }
        let mut frame = Self {
            trailer,
            block: SignedBlock::EMPTY,
            len: size,
            size,
        };
        frame.read_block(source)?;
        Ok(frame)
    }

    /// Looks for the signed block that ends where the trailer begins.
    fn read_block(&mut self, source: &mut dyn ReadAt) -> Result<(), VerifyError> {
        let Some(at) = self.size.checked_sub(SIGNED_FOOTER_LEN) else {
            return Ok(());
        };
        let mut footer = [0; SIGNED_FOOTER_LEN as usize];
        source.read_at(at, &mut footer)?;
        let Some(block_len) = SignedBlock::len_from_footer(&footer) else {
            return Ok(());
        };
        let start = self.size.wrapping_sub(block_len);
        if block_len < SIGNED_HEADER_LEN + SIGNED_FOOTER_LEN || start > self.size {
            return Err(VerifyError::Signed(SignedBlockError::Length(block_len)));
        }
        source.read_at(start, self.block.bytes())?;
        self.block.check(block_len).map_err(VerifyError::Signed)?;
        if self.block.image_len() != start {
            return Err(VerifyError::SignedDigest);
        }
        self.len = start;
        Ok(())
    }

    /// The signed block, when there is one.
    fn block(&self) -> Option<&SignedBlock> {
        (self.len != self.size).then_some(&self.block)
    }

    /// Checks SHA-256 of the image (put into `digest`) and MD5 of all in front of
    /// the trailer, each byte read once.
    pub(crate) fn digests(
        &self,
        source: &mut dyn ReadAt,
        buf: &mut [u8],
        digest: &mut [u8; 32],
    ) -> Result<(), VerifyError> {
        let (mut sha256, mut md5) = (Sha256::new(), Md5::new());
        let mut at = 0;
        while at < self.size {
            let end = if at < self.len { self.len } else { self.size };
            let n = buf.len().min((end - at) as usize);
            let piece = buf
                .get_mut(..n)
                .filter(|p| !p.is_empty())
                .ok_or(VerifyError::Buffer)?;
            source.read_at(at, piece)?;
            if at < self.len {
                sha256.update(piece);
            }
            md5.update(piece);
            at += n as u32;
        }
        *digest = sha256.finish();
        if self.block().is_some_and(|b| !ct_eq(b.sha256(), digest)) {
            return Err(VerifyError::SignedDigest);
        }
        if !ct_eq(&md5.finish(), &self.trailer.md5) {
            return Err(VerifyError::Md5);
        }
        Ok(())
    }
}

fn read_trailer(source: &mut dyn ReadAt, offset: u32) -> Result<Trailer, VerifyError> {
    let mut bytes = [0; TRAILER_LEN as usize];
    source.read_at(offset, &mut bytes)?;
    Trailer::parse(&bytes).map_err(|error| VerifyError::Trailer { offset, error })
}

/// Reads the descriptor of the image at the start of `source`; `None` when it
/// has none.
///
/// # Errors
/// [`VerifyError::Read`] or [`VerifyError::Descriptor`].
pub fn read_descriptor(
    source: &mut dyn ReadAt,
    coding: Coding,
) -> Result<Option<ImageDescriptor>, VerifyError> {
    let mut out = ImageDescriptor::EMPTY;
    Ok(load_descriptor(source, coding, &mut out)?.then_some(out))
}

/// As [`read_descriptor`], in place; `false`: there is none.
fn load_descriptor(
    source: &mut dyn ReadAt,
    coding: Coding,
    out: &mut ImageDescriptor,
) -> Result<bool, VerifyError> {
    let mut bytes = [0u8; DESCRIPTOR_LEN as usize];
    // The descriptor begins and ends with a line of 32 bytes.
    let mut at = DESCRIPTOR_OFFSET;
    for line in bytes.chunks_exact_mut(32) {
        let offset = coding.to_file(at).ok_or(ReadError { offset: at })?;
        source.read_at(offset, line)?;
        at += 32;
    }
    out.load(&bytes).map_err(VerifyError::Descriptor)
}

/// The file length of the image at the start of `source` from its descriptor:
/// image, signed block if one follows, trailer. A handful of reads; what is
/// found is only a hint for [`ImageVerifier::verify`].
///
/// # Errors
/// [`VerifyError::NoDescriptor`] when there is none, and what reading gives.
pub fn described_total(source: &mut dyn ReadAt, coding: Coding) -> Result<u32, VerifyError> {
    let mut descriptor = ImageDescriptor::EMPTY;
    if !load_descriptor(source, coding, &mut descriptor)? {
        return Err(VerifyError::NoDescriptor);
    }
    let bad = VerifyError::DescriptorLength {
        described: descriptor.image_len,
        found: source.size(),
    };
    let len = coding.file_len(descriptor.image_len).ok_or(bad)?;
    let mut start = [0; 12];
    source.read_at(len, &mut start)?;
    let block = SignedBlock::len_from_start(&start).unwrap_or(0);
    len.checked_add(block)
        .and_then(|end| end.checked_add(TRAILER_LEN))
        .ok_or(bad)
}

/// The file length of the image at the start of `source` when nothing else says
/// it: the one trailer whose size equals its offset and whose MD5 fits. Reads
/// everything, once for the search and at most once more for the MD5s.
///
/// # Errors
/// [`VerifyError::NoUniqueTrailer`] when none or more than one fits.
pub fn find_total(source: &mut dyn ReadAt, buf: &mut [u8]) -> Result<u32, VerifyError> {
    let size = source.size();
    let mut found = None;
    let mut md5 = Md5::new();
    let mut hashed = 0;
    // The last 8 bytes read: a trailer's magic and size once it has passed.
    let mut window = 0u64;
    let mut at = 0u32;
    while at < size {
        let n = buf.len().min((size - at) as usize);
        let mut next = 0;
        while next < n {
            let piece = buf.get_mut(..n).ok_or(VerifyError::Buffer)?;
            source.read_at(at, piece)?;
            let mut candidate = None;
            for (i, &byte) in piece.iter().enumerate().skip(next) {
                window = window >> 8 | u64::from(byte) << 56;
                let begin = at.saturating_add(i as u32).wrapping_sub(7);
                if (window >> 32) as u32 == begin && begin <= size.saturating_sub(TRAILER_LEN) {
                    candidate = Some((i + 1, begin));
                    break;
                }
            }
            let Some((resume, begin)) = candidate else {
                break;
            };
            next = resume;
            let Ok(trailer) = read_trailer(source, begin) else {
                continue;
            };
            while hashed < begin {
                let n = buf.len().min((begin - hashed) as usize);
                let piece = buf.get_mut(..n).ok_or(VerifyError::Buffer)?;
                source.read_at(hashed, piece)?;
                md5.update(piece);
                hashed += n as u32;
            }
            if ct_eq(&md5.clone().finish(), &trailer.md5) {
                if found.is_some() {
                    return Err(VerifyError::NoUniqueTrailer { found: 2 });
                }
                found = Some(begin + TRAILER_LEN);
            }
        }
        if n == 0 {
            return Err(VerifyError::Buffer);
        }
        at += n as u32;
    }
    found.ok_or(VerifyError::NoUniqueTrailer { found: 0 })
}
