//! Verifying an image where it lies.

use crate::bytes::Aligned;
use crate::check::{self, Examined, Rules};
use crate::{
    Coding, DescriptorError, ImageDescriptor, ImageKind, KeyId, Policy, ReadAt, ReadError, Refusal,
    RsaPublicKey, SignatureError, SignedBlockError, TrailerError, Version,
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
        let floor = self.policy.min_version.as_ref();
        let floor = floor.map_or(&[][..], Version::as_bytes);
        let mut found = Examined::EMPTY;
        check::examine::<_, _, VerifyError>(self, source, Some(total), floor, buf, &mut found)?;
        found.info().map_err(VerifyError::Descriptor)
    }
}

impl Rules for ImageVerifier<'_> {
    fn policy(&self) -> &Policy {
        self.policy
    }
    fn keys(&self) -> &[RsaPublicKey] {
        self.keys
    }
    fn coding(&self) -> Coding {
        self.coding
    }
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
    let mut bytes = Aligned([0; crate::DESCRIPTOR_LEN as usize]);
    check::load_descriptor::<_, VerifyError>(source, coding, &mut bytes)?;
    ImageDescriptor::parse(&bytes.0).map_err(VerifyError::Descriptor)
}

/// The file length of the image at the start of `source` from its descriptor:
/// image, signed block if one follows, trailer. A handful of reads; what is
/// found is only a hint for [`ImageVerifier::verify`].
///
/// # Errors
/// [`VerifyError::NoDescriptor`] when there is none, and what reading gives.
pub fn described_total(source: &mut dyn ReadAt, coding: Coding) -> Result<u32, VerifyError> {
    let mut bytes = Aligned([0; crate::DESCRIPTOR_LEN as usize]);
    check::described_total(source, coding, &mut bytes)
}

/// The file length of the image at the start of `source` when nothing else says
/// it: the one trailer whose size equals its offset and whose MD5 fits. Reads
/// everything, once for the search and at most once more for the MD5s.
///
/// # Errors
/// [`VerifyError::NoUniqueTrailer`] when none or more than one fits.
pub fn find_total(source: &mut dyn ReadAt, buf: &mut [u8]) -> Result<u32, VerifyError> {
    check::find_total(source, buf)
}
