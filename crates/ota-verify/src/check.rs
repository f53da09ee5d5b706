//! The one check of an image, for hosts and for boot loaders.
//!
//! Everything is generic over what a boot loader knows when it is compiled: the
//! rules, the source, and the error it keeps. A loader's error is a word or two;
//! each place here makes a [`VerifyError`] and turns it into the caller's at
//! once, so that the compiler drops whatever the caller drops.

use crate::bytes::Aligned;
use crate::descriptor::{self, AT_IMAGE_LEN, AT_MODULE, AT_VERSION, TEXT_LEN};
use crate::hash::{Md5, Sha256};
use crate::{
    Coding, DESCRIPTOR_LEN, DESCRIPTOR_OFFSET, DescriptorError, ImageDescriptor, ImageInfo,
    ImageKind, ImageSignature, MAX_MODULUS_LEN, Policy, ReadAt, ReadError, Refusal, Requirement,
    RsaPublicKey, SIGNED_FOOTER_LEN, SIGNED_HEADER_LEN, SignatureError, SignedBlock,
    SignedBlockError, TRAILER_LEN, Trailer, VerifyError, VersionOrder,
};

/// What an image must satisfy. A type without fields whose methods return
/// constants makes a check that holds nothing else.
pub trait Rules {
    /// The trailer's MD5 is compared. Without it an image must have a signed
    /// block, whose SHA-256 stands for all bytes in front of the block; the MD5
    /// also covers the block itself, which has its own checks.
    const MD5: bool = true;
    /// Versions below a floor are refused. Without it a floor is not looked at.
    const FLOOR: bool = true;
    /// An image without a descriptor is taken, and its end searched for where
    /// no length is given. Without it such an image is refused.
    const BARE: bool = true;
    /// `false`: a boot loader is never asked to verify at each start.
    const EACH_START: bool = true;

    /// Whether images for this module are taken: the field of the descriptor, a
    /// text filled up with zeros, empty for the device itself.
    ///
    /// # Errors
    /// As the policy says; a loader without modules can say it in less.
    fn check_module(&self, field: &[u8; 32]) -> Result<(), Refusal> {
        self.policy().check_module_field(field)
    }

    /// What is accepted. `min_version` is not looked at: the floor is an
    /// argument of [`examine`].
    fn policy(&self) -> &Policy;
    /// Keys that may sign images.
    fn keys(&self) -> &[RsaPublicKey];
    /// How the image's descriptor is found.
    fn coding(&self) -> Coding;
}

/// What was read of an image while it was checked.
#[derive(Debug, Clone, Copy)]
pub struct Examined {
    /// Bytes of the whole file: image, signed block, trailer.
    pub total: u32,
    /// Bytes of the image proper.
    pub len: u32,
    /// SHA-256 of those.
    pub sha256: [u8; 32],
    /// Zeros when there is none.
    descriptor: Aligned<{ DESCRIPTOR_LEN as usize }>,
    trailer: Aligned<{ TRAILER_LEN as usize }>,
    /// Zeros when there is none.
    block: SignedBlock,
    verified: bool,
}

impl Examined {
    /// Nothing was read yet.
    pub const EMPTY: Self = Self {
        total: 0,
        len: 0,
        sha256: [0; 32],
        descriptor: Aligned([0; DESCRIPTOR_LEN as usize]),
        trailer: Aligned([0; TRAILER_LEN as usize]),
        block: SignedBlock::EMPTY,
        verified: false,
    };

    /// The version, filled up with zeros; all zeros for an image without a
    /// descriptor.
    #[must_use]
    pub fn version(&self) -> &[u8; TEXT_LEN] {
        field(&self.descriptor.0, AT_VERSION)
    }

    /// Bytes in front of the trailer.
    pub(crate) fn size(&self) -> u32 {
        self.total.wrapping_sub(TRAILER_LEN)
    }

    pub(crate) fn kind(&self) -> ImageKind {
        ImageKind::from_magic(self.trailer.word(0)).unwrap_or(ImageKind::App)
    }

    pub(crate) fn info(&self) -> Result<ImageInfo, DescriptorError> {
        Ok(ImageInfo {
            len: self.len,
            sha256: self.sha256,
            total: self.total,
            kind: self.kind(),
            md5: *md5_of(&self.trailer),
            descriptor: ImageDescriptor::parse(&self.descriptor.0)?,
            signature: if self.len == self.size() {
                ImageSignature::None
            } else if self.verified {
                ImageSignature::Verified(self.block.key_id())
            } else {
                ImageSignature::Unknown(self.block.key_id())
            },
        })
    }
}

/// A text field of a descriptor.
fn field(descriptor: &[u8; DESCRIPTOR_LEN as usize], at: usize) -> &[u8; TEXT_LEN] {
    let bytes = descriptor.get(at..).and_then(|b| b.first_chunk());
    bytes.unwrap_or(&[0; TEXT_LEN])
}

/// Checks the image at the start of `source`, see
/// [`ImageVerifier::verify`](crate::ImageVerifier::verify) for the order.
///
/// `total` is the length of the file; without it the descriptor says so, or
/// there is only one trailer that fits (not without [`Rules::BARE`]). `floor`
/// is the lowest version that is taken, empty for any. `buf` must not be empty.
///
/// # Errors
/// The first thing found wrong, as `E`; `found` then holds what had been read.
pub fn examine<R: Rules + ?Sized, S: ReadAt + ?Sized, E: From<VerifyError>>(
    rules: &R,
    source: &mut S,
    total: Option<u32>,
    floor: &[u8],
    buf: &mut [u8],
    found: &mut Examined,
) -> Result<(), E> {
    if !R::MD5 && !R::BARE {
        from_front::<R, S, E>(rules, source, total, found)?;
        fits::<R, E>(rules, floor, found)?;
        signature::<R, S, E>(rules, source, found)?;
        return digests::<R, S, E>(source, buf, found);
    }
    let total = match total {
        Some(total) => total,
        None => match described_total::<S, E>(source, rules.coding(), &mut found.descriptor) {
            Err(_) if R::BARE => find_total::<S, E>(source, buf)?,
            described => described?,
        },
    };
    found.total = total;
    rules
        .policy()
        .check_len(total)
        .map_err(|e| E::from(VerifyError::Refused(e)))?;
    frame::<S, E>(source, found)?;
    described::<R, S, E>(rules, source, floor, found)?;
    if found.len != found.size() {
        signature::<R, S, E>(rules, source, found)?;
    } else if !R::MD5 || rules.policy().image_signature == Requirement::Required {
        return Err(E::from(VerifyError::Refused(Refusal::ImageUnsigned)));
    }
    digests::<R, S, E>(source, buf, found)
}

#[inline(never)]
fn read<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    at: u32,
    buf: &mut [u8],
) -> Result<(), E> {
    source
        .read_at(at, buf)
        .map_err(|e| E::from(VerifyError::Read(e)))
}

/// Reads trailer and signed block.
#[inline(always)]
fn frame<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    found: &mut Examined,
) -> Result<(), E> {
    if found.total < TRAILER_LEN || found.total > source.size() {
        return Err(E::from(VerifyError::Length(found.total)));
    }
    let size = found.size();
    found.len = size;
    read::<S, E>(source, size, &mut found.trailer.0)?;
    if let Err(error) = Trailer::check(found.trailer.word(0)) {
        return Err(E::from(VerifyError::Trailer {
            offset: size,
            error,
        }));
    }
    if found.trailer.word(4) != size {
        return Err(E::from(VerifyError::TrailerSize {
            found: found.trailer.word(4),
            expected: size,
        }));
    }
    // The signed block, if there is one, ends where the trailer begins.
    let Some(at) = size.checked_sub(SIGNED_FOOTER_LEN) else {
        return Ok(());
    };
    let mut footer = Aligned([0; SIGNED_FOOTER_LEN as usize]);
    read::<S, E>(source, at, &mut footer.0)?;
    let Some(block_len) = SignedBlock::len_from_footer(&footer.0) else {
        return Ok(());
    };
    let start = size.wrapping_sub(block_len);
    if block_len < SIGNED_HEADER_LEN + SIGNED_FOOTER_LEN || start > size {
        return Err(E::from(VerifyError::Signed(SignedBlockError::Length(
            block_len,
        ))));
    }
    read::<S, E>(source, start, found.block.bytes())?;
    if let Err(error) = found.block.check(block_len) {
        return Err(E::from(VerifyError::Signed(error)));
    }
    if found.block.image_len() != start {
        return Err(E::from(VerifyError::SignedDigest));
    }
    found.len = start;
    Ok(())
}

/// Reads descriptor and signed block, each where the one before says, for rules
/// under which both must be there. Only what says where to read and what to
/// compare is looked at: the rest of the descriptor is under the SHA-256 like the
/// whole image, and what follows the block is not read by who runs it.
#[inline(always)]
fn from_front<R: Rules + ?Sized, S: ReadAt + ?Sized, E: From<VerifyError>>(
    rules: &R,
    source: &mut S,
    total: Option<u32>,
    found: &mut Examined,
) -> Result<(), E> {
    read_descriptor::<S, E>(source, rules.coding(), &mut found.descriptor)?;
    if !ImageDescriptor::is_present(&found.descriptor.0) {
        return Err(E::from(VerifyError::NoDescriptor));
    }
    descriptor::check_format(&found.descriptor).map_err(|e| E::from(VerifyError::Descriptor(e)))?;
    let image_len = found.descriptor.word(AT_IMAGE_LEN);
    // Where nothing can be read, should there be no such length.
    found.len = rules.coding().file_len(image_len).unwrap_or(u32::MAX);
    read::<S, E>(source, found.len, found.block.bytes())?;
    if !found.block.is_present() {
        return Err(E::from(VerifyError::Refused(Refusal::ImageUnsigned)));
    }
    if found.block.image_len() != found.len {
        return Err(E::from(VerifyError::SignedDigest));
    }
    // Without a key nobody asks how the signature was made.
    if !rules.keys().is_empty() {
        let fields = found.block.check_fields();
        fields.map_err(|e| E::from(VerifyError::Signed(e)))?;
    }
    let size = found.len.saturating_add(found.block.block_len());
    found.total = size.saturating_add(TRAILER_LEN);
    let policy = rules.policy();
    policy
        .check_len(found.total)
        .map_err(|e| E::from(VerifyError::Refused(e)))?;
    match total {
        Some(total) if total != found.total => Err(E::from(VerifyError::TrailerSize {
            found: size,
            expected: total.wrapping_sub(TRAILER_LEN),
        })),
        _ => Ok(()),
    }
}

/// Reads the descriptor and checks it against the rules.
#[inline(always)]
fn described<R: Rules + ?Sized, S: ReadAt + ?Sized, E: From<VerifyError>>(
    rules: &R,
    source: &mut S,
    floor: &[u8],
    found: &mut Examined,
) -> Result<(), E> {
    let end = rules.coding().to_file(DESCRIPTOR_OFFSET + DESCRIPTOR_LEN);
    let floor = if R::FLOOR { floor } else { &[] };
    let inside = end.is_some_and(|end| end <= found.len);
    found.descriptor.0.fill(0);
    if inside {
        load_descriptor::<S, E>(source, rules.coding(), &mut found.descriptor)?;
    }
    let image_len = found.descriptor.word(AT_IMAGE_LEN);
    if image_len == 0 {
        return match floor {
            _ if !R::BARE => Err(E::from(VerifyError::NoDescriptor)),
            [] => Ok(()),
            _ => Err(E::from(VerifyError::Refused(Refusal::NoDescriptor))),
        };
    }
    let described = rules.coding().file_len(image_len).unwrap_or(0);
    if described != found.len {
        return Err(E::from(VerifyError::DescriptorLength {
            described,
            found: found.len,
        }));
    }
    fits::<R, E>(rules, floor, found)
}

/// Module and version of the descriptor that was read.
#[inline(always)]
fn fits<R: Rules + ?Sized, E: From<VerifyError>>(
    rules: &R,
    floor: &[u8],
    found: &Examined,
) -> Result<(), E> {
    rules
        .check_module(field(&found.descriptor.0, AT_MODULE))
        .map_err(|e| E::from(VerifyError::Refused(e)))?;
    if !R::FLOOR || floor.is_empty() {
        return Ok(());
    }
    let rule = rules.policy().version_rule;
    match rule.compare_texts(text(found.version()), floor) {
        VersionOrder::Newer | VersionOrder::Same => Ok(()),
        order => Err(E::from(VerifyError::Refused(Refusal::BelowFloor {
            rule,
            order,
        }))),
    }
}

/// The MD5 in a trailer.
fn md5_of(trailer: &Aligned<{ TRAILER_LEN as usize }>) -> &[u8; 16] {
    let (_, rest) = trailer.0.split_at(8);
    rest.first_chunk().unwrap_or(&[0; 16])
}

/// A field without the zeros behind its text.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or(&[])
}

/// Checks the signature of the block by the key it names.
#[inline(always)]
fn signature<R: Rules + ?Sized, S: ReadAt + ?Sized, E: From<VerifyError>>(
    rules: &R,
    source: &mut S,
    found: &mut Examined,
) -> Result<(), E> {
    let block = &found.block;
    let Some(key) = rules.keys().iter().find(|key| key.id() == block.key_id()) else {
        return if rules.policy().image_signature == Requirement::Required {
            Err(E::from(VerifyError::UnknownKey(block.key_id())))
        } else {
            Ok(())
        };
    };
    let mut signature = [0; MAX_MODULUS_LEN];
    let len = usize::from(block.signature_len());
    let expected = key.modulus_len();
    let error = SignatureError::Length {
        found: len,
        expected,
    };
    let Some(signature) = signature.get_mut(..len) else {
        return Err(E::from(VerifyError::Signature(error)));
    };
    read::<S, E>(
        source,
        found.len.saturating_add(SIGNED_HEADER_LEN),
        signature,
    )?;
    block
        .verify(key, signature)
        .map_err(|e| E::from(VerifyError::Signature(e)))?;
    found.verified = true;
    Ok(())
}

/// Checks SHA-256 of the image and MD5 of all in front of the trailer, each
/// byte read once.
#[inline(always)]
fn digests<R: Rules + ?Sized, S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    buf: &mut [u8],
    found: &mut Examined,
) -> Result<(), E> {
    let (len, size) = (found.len, found.size());
    let mut sha256 = Sha256::new();
    if R::MD5 {
        let mut md5 = Md5::new();
        // The block is in the MD5 only.
        hash::<S, E>(source, 0, len, buf, Some(&mut sha256), Some(&mut md5))?;
        hash::<S, E>(source, len, size, buf, None, Some(&mut md5))?;
        if *md5_of(&found.trailer) != md5.finish() {
            return Err(E::from(VerifyError::Md5));
        }
    } else {
        hash::<S, E>(source, 0, len, buf, Some(&mut sha256), None)?;
    }
    sha256.finish_into(&mut found.sha256);
    // Without MD5 there is a block in any case.
    if (!R::MD5 || len != size) && *found.block.sha256() != found.sha256 {
        return Err(E::from(VerifyError::SignedDigest));
    }
    Ok(())
}

/// Hashes the bytes from `at` to `end`.
#[inline(never)]
fn hash<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    mut at: u32,
    end: u32,
    buf: &mut [u8],
    mut sha256: Option<&mut Sha256>,
    mut md5: Option<&mut Md5>,
) -> Result<(), E> {
    while at < end {
        let n = buf.len().min((end - at) as usize);
        let Some(piece @ [_, ..]) = buf.get_mut(..n) else {
            return Err(E::from(VerifyError::Buffer));
        };
        read::<S, E>(source, at, piece)?;
        if let Some(sha256) = &mut sha256 {
            sha256.update(piece);
        }
        if let Some(md5) = &mut md5 {
            md5.update(piece);
        }
        at += n as u32;
    }
    Ok(())
}

/// Trailer, signed block and digests of a file, without any rule.
#[cfg(feature = "host")]
pub(crate) fn take_apart(source: &mut dyn ReadAt, total: u32) -> Result<Examined, VerifyError> {
    let mut found = Examined::EMPTY;
    found.total = total;
    frame::<_, VerifyError>(source, &mut found)?;
    digests::<crate::ImageVerifier<'_>, _, VerifyError>(source, &mut [0; 4096], &mut found)?;
    Ok(found)
}

/// Reads the bytes of a descriptor.
#[inline(always)]
fn read_descriptor<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    coding: Coding,
    bytes: &mut Aligned<{ DESCRIPTOR_LEN as usize }>,
) -> Result<(), E> {
    // The descriptor begins and ends with a line of 32 bytes.
    let mut at = DESCRIPTOR_OFFSET;
    for line in bytes.0.as_chunks_mut::<32>().0 {
        let Some(offset) = coding.to_file(at) else {
            return Err(E::from(VerifyError::Read(ReadError { offset: at })));
        };
        read::<S, E>(source, offset, line)?;
        at += 32;
    }
    Ok(())
}

/// Reads a descriptor and checks it; zeros when there is none.
#[inline(never)]
pub(crate) fn load_descriptor<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    coding: Coding,
    bytes: &mut Aligned<{ DESCRIPTOR_LEN as usize }>,
) -> Result<(), E> {
    read_descriptor::<S, E>(source, coding, bytes)?;
    if ImageDescriptor::is_present(&bytes.0) {
        descriptor::check(bytes).map_err(|e| E::from(VerifyError::Descriptor(e)))
    } else {
        bytes.0.fill(0);
        Ok(())
    }
}

pub(crate) fn described_total<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    coding: Coding,
    bytes: &mut Aligned<{ DESCRIPTOR_LEN as usize }>,
) -> Result<u32, E> {
    load_descriptor::<S, E>(source, coding, bytes)?;
    let image_len = bytes.word(AT_IMAGE_LEN);
    if image_len == 0 {
        return Err(E::from(VerifyError::NoDescriptor));
    }
    let bad = |source: &S| {
        E::from(VerifyError::DescriptorLength {
            described: image_len,
            found: source.size(),
        })
    };
    let Some(len) = coding.file_len(image_len) else {
        return Err(bad(source));
    };
    let mut start = Aligned([0; 12]);
    read::<S, E>(source, len, &mut start.0)?;
    let block = SignedBlock::len_from_start(&start.0).unwrap_or(0);
    let end = len
        .checked_add(block)
        .and_then(|e| e.checked_add(TRAILER_LEN));
    end.ok_or_else(|| bad(source))
}

pub(crate) fn find_total<S: ReadAt + ?Sized, E: From<VerifyError>>(
    source: &mut S,
    buf: &mut [u8],
) -> Result<u32, E> {
    let size = source.size();
    let none = || E::from(VerifyError::NoUniqueTrailer { found: 0 });
    let last = size.checked_sub(TRAILER_LEN).ok_or_else(none)?;
    let mut found = None;
    let mut md5 = Md5::new();
    let mut hashed = 0;
    // The last 4 bytes read: a trailer's size once it has passed.
    let mut window = 0u32;
    let mut at = 0u32;
    while at < size {
        let n = buf.len().min((size - at) as usize);
        let Some(piece @ [_, ..]) = buf.get_mut(..n) else {
            return Err(E::from(VerifyError::Buffer));
        };
        read::<S, E>(source, at, piece)?;
        for byte in piece {
            window = window >> 8 | u32::from(*byte) << 24;
            at += 1;
            if window == at.wrapping_sub(8) {
                break;
            }
        }
        let begin = at.wrapping_sub(8);
        if window != begin || begin > last {
            continue;
        }
        let mut trailer = Aligned([0; TRAILER_LEN as usize]);
        read::<S, E>(source, begin, &mut trailer.0)?;
        if Trailer::check(trailer.word(0)).is_err() {
            continue;
        }
        hash::<S, E>(source, hashed, begin, buf, None, Some(&mut md5))?;
        hashed = begin;
        if *md5_of(&trailer) == md5.clone().finish() {
            if found.is_some() {
                return Err(E::from(VerifyError::NoUniqueTrailer { found: 2 }));
            }
            found = Some(begin + TRAILER_LEN);
        }
    }
    found.ok_or_else(none)
}
