//! Judging the image in a slot: the seam, and the judge made of `ota-verify`.

use embedded_storage::nor_flash::ReadNorFlash;
use ota_verify::{
    ImageVerifier, NorReader, Policy, ReadAt, ReadError, Refusal, RsaPublicKey, VerifyError,
    Version,
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
    pub coding: ota_verify::Coding,
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

impl<P: ReadNorFlash> Verify<P> for ImageCheck<'_> {
    fn verify(
        &mut self,
        slot: &mut P,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
        hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        self.check(&mut Ticking(NorReader(slot), hooks), total, floor, buf)
    }
}

impl ImageCheck<'_> {
    fn check(
        &self,
        source: &mut dyn ReadAt,
        total: Option<u32>,
        floor: &VersionText,
        buf: &mut [u8],
    ) -> Result<Image, Refused> {
        let total = match total {
            Some(total) => total,
            None => match ota_verify::described_total(source, self.coding) {
                Ok(total) => total,
                Err(_) => ota_verify::find_total(source, buf).map_err(refused)?,
            },
        };
        let mut policy = *self.policy;
        if !floor.is_empty() {
            policy.min_version = Version::from_bytes(floor.as_bytes()).ok();
        }
        let verifier = ImageVerifier {
            policy: &policy,
            keys: self.keys,
            coding: self.coding,
        };
        let info = verifier.verify(source, total, buf).map_err(refused)?;
        let version = info
            .version()
            .and_then(|v| VersionText::new(v.as_bytes()))
            .unwrap_or(VersionText::NONE);
        Ok(Image {
            total,
            sha256: info.sha256,
            version,
        })
    }
}

fn refused(e: VerifyError) -> Refused {
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
    Refused { code, offset }
}
