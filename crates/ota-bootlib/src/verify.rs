//! Judging the image in a slot: the seam, and the judge made of `ota-verify`.

use core::num::NonZeroU32;

use embedded_storage::nor_flash::ReadNorFlash;
use ota_verify::{
    Coding, Examined, NorReader, Policy, ReadAt, ReadError, Refusal, RsaPublicKey, Rules,
    VerifyError, Version, examine,
};

use crate::Hooks;
use crate::state::{FailCode, VersionText};

/// What a verified image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// Bytes in the slot, signed block and trailer included.
    pub total: u32,
    /// SHA-256 of the image proper, without signed block and trailer.
    pub sha256: [u8; 32],
    /// Its version; empty for C firmware.
    pub version: VersionText,
}

impl Image {
    /// None was verified yet.
    pub const NONE: Self = Self {
        total: 0,
        sha256: [0; 32],
        version: VersionText::NONE,
    };
}

/// An image that must not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub code: FailCode,
    /// Where in the slot, 0 when that says nothing.
    pub offset: u32,
}

/// Judges an image in a slot, before it is installed and after.
pub trait Verify<P> {
    /// `false` where [`Config::secure_boot`](crate::Config::secure_boot) is never set.
    const EACH_START: bool = true;

    /// Checks the image at the start of `slot`.
    ///
    /// `total` is its length with signed block and trailer when that is known;
    /// without it the image's descriptor or its unique trailer says so. `floor`
    /// is the lowest version that may run (empty: any). `buf` is scratch space.
    ///
    /// # Errors
    /// [`Refused`] says why the image must not run.
    fn verify(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused>;

    /// The same, with the image put where the caller wants it; on an error it
    /// stays as it was. This is what a loader calls: a large result is moved twice,
    /// and hooks that do nothing cost nothing.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    fn verify_into<H: Hooks + ?Sized>(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        mut hooks: &mut H,
        image: &mut Image,
    ) -> Result<(), Refused> {
        *image = self.verify(slot, total, floor, buf, &mut hooks)?;
        Ok(())
    }
}

/// The judge for real images: `ota-verify` with a policy and keys.
#[derive(Debug, Clone, Copy)]
pub struct ImageCheck<'a> {
    /// What is accepted; its `min_version` is replaced by the journal's floor
    /// when that is set.
    pub policy: &'a Policy,
    /// Keys that may sign images.
    pub keys: &'a [RsaPublicKey],
    /// How image bytes lie on flash.
    pub coding: Coding,
}

/// Reads a slot and feeds the watchdog.
struct Ticking<'a, R, H: ?Sized>(R, &'a mut H);

impl<R: ReadAt, H: Hooks + ?Sized> ReadAt for Ticking<'_, R, H> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        self.1.tick();
        self.0.read_at(offset, buf)
    }

    fn size(&self) -> u32 {
        self.0.size()
    }
}

impl Rules for ImageCheck<'_> {
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

impl<P: ReadNorFlash> Verify<P> for ImageCheck<'_> {
    fn verify(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        let mut image = Image::NONE;
        check(self, slot, total, floor, buf, hooks, &mut image)?;
        Ok(image)
    }
}

/// The judge for a boot loader that knows its rules when it is compiled: what
/// they exclude is not in the program.
#[derive(Debug, Clone, Copy)]
pub struct RuleCheck<R>(pub R);

impl<P: ReadNorFlash, R: Rules> Verify<P> for RuleCheck<R> {
    const EACH_START: bool = R::EACH_START;

    fn verify(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        let mut image = Image::NONE;
        self.verify_into(slot, total, floor, buf, hooks, &mut image)?;
        Ok(image)
    }

    fn verify_into<H: Hooks + ?Sized>(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut H,
        image: &mut Image,
    ) -> Result<(), Refused> {
        check(&self.0, slot, total, floor, buf, hooks, image)
    }
}

#[inline(never)]
fn check<P: ReadNorFlash, R: Rules, H: Hooks + ?Sized>(
    rules: &R,
    slot: &mut P,
    total: Option<u32>,
    floor: &VersionText,
    buf: &mut [u8],
    hooks: &mut H,
    image: &mut Image,
) -> Result<(), Refused> {
    // A floor that is no version binds nobody, as none that is set.
    let mut lowest: &[u8] = &[];
    if R::FLOOR {
        lowest = floor.as_bytes();
        if !Version::is_valid(lowest) {
            let own = rules.policy().min_version.as_ref();
            lowest = own.map_or(&[], Version::as_bytes);
        }
    }
    let mut source = Ticking(NorReader(slot), hooks);
    let mut found = Examined::EMPTY;
    if let Err(why) = examine::<_, _, Word>(rules, &mut source, total, lowest, buf, &mut found) {
        return Err(why.refused());
    }
    image.total = found.total;
    image.sha256 = found.sha256;
    image.version = VersionText::of_field(found.version());
    Ok(())
}

/// A [`Refused`] in one machine word, for the way through the check: the code in
/// the low bits, above it 1 (so that it is never 0), then the offset up to 64 MiB.
#[derive(Clone, Copy)]
struct Word(NonZeroU32);

const CODE_BITS: u32 = 5;

impl Word {
    fn refused(self) -> Refused {
        Refused {
            code: FailCode::from_raw(self.0.get() as u8 & ((1 << CODE_BITS) - 1)),
            offset: self.0.get() >> (CODE_BITS + 1),
        }
    }
}

impl From<VerifyError> for Word {
    /// Inlined where an error is made, so that what it says besides is dropped.
    #[inline(always)]
    fn from(e: VerifyError) -> Self {
        let (code, offset) = match e {
            VerifyError::Read(e) => (FailCode::Flash, e.offset),
            VerifyError::Length(len) => (FailCode::Size, len),
            VerifyError::Trailer { offset, .. } => (FailCode::Format, offset),
            VerifyError::TrailerSize { expected, .. } => (FailCode::Size, expected),
            VerifyError::DescriptorLength { found, .. } => (FailCode::Size, found),
            VerifyError::Md5 | VerifyError::SignedDigest => (FailCode::Digest, 0),
            VerifyError::UnknownKey(_) | VerifyError::Signature(_) => (FailCode::Signature, 0),
            VerifyError::Refused(r) => match r {
                Refusal::ImageUnsigned => (FailCode::Signature, 0),
                Refusal::Version { .. } | Refusal::BelowFloor { .. } | Refusal::NoDescriptor => {
                    (FailCode::Version, 0)
                }
                Refusal::Module(_) => (FailCode::Module, 0),
                Refusal::TooLong { len, .. } => (FailCode::Size, len),
                _ => (FailCode::Format, 0),
            },
            _ => (FailCode::Format, 0),
        };
        let word = code as u32 | offset << (CODE_BITS + 1);
        Self(NonZeroU32::new(1 << CODE_BITS | word).unwrap_or(NonZeroU32::MIN))
    }
}
