//! Judging the image in a slot: the seam, and the judge made of `ota-verify`.

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
struct Ticking<'a, R>(R, &'a mut dyn Hooks);

impl<R: ReadAt> ReadAt for Ticking<'_, R> {
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
        check(self, slot, total, floor, buf, hooks)
    }
}

/// The judge for a boot loader that knows its rules when it is compiled: what
/// they exclude is not in the program.
#[derive(Debug, Clone, Copy)]
pub struct RuleCheck<R>(pub R);

impl<P: ReadNorFlash, R: Rules> Verify<P> for RuleCheck<R> {
    fn verify(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        check(&self.0, slot, total, floor, buf, hooks)
    }
}

#[inline(never)]
fn check<P: ReadNorFlash, R: Rules>(
    rules: &R,
    slot: &mut P,
    total: Option<u32>,
    floor: &VersionText,
    buf: &mut [u8],
    hooks: &mut dyn Hooks,
) -> Result<Image, Refused> {
    // A floor that is no version binds nobody, as none that is set.
    let mut lowest = floor.as_bytes();
    if R::FLOOR && !Version::is_valid(lowest) {
        let own = rules.policy().min_version.as_ref();
        lowest = own.map_or(&[], Version::as_bytes);
    }
    let mut source = Ticking(NorReader(slot), hooks);
    let mut found = Examined::EMPTY;
    examine::<_, _, Refused>(rules, &mut source, total, lowest, buf, &mut found)?;
    Ok(Image {
        total: found.total,
        sha256: found.sha256,
        version: VersionText::of_field(found.version()),
    })
}

impl From<VerifyError> for Refused {
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
        Self { code, offset }
    }
}
