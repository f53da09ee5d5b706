//! A flash slot as the place where an image goes.

use embedded_storage::nor_flash::NorFlash;
use ota_flash::{StreamWriter, WriteError, WriteErrorKind};
use ota_proto::session::CheckError;
use ota_verify::{
    Coding, ImageVerifier, NorReader, Policy, ReadAt, Refusal, RsaPublicKey, VerifyError,
};

use crate::seams::{PackageId, SinkError, UpdateSink, Verified, VerifyImage};

/// Bytes read at a time while verifying.
const CHUNK: usize = 256;

/// The update slot of a device, for packages that are images: bytes are written
/// as they come, and the slot is verified where it lies.
///
/// `N` is the write buffer in bytes, as for [`StreamWriter`].
pub struct ImageSlot<'p, P, const N: usize> {
    writer: StreamWriter<P, N>,
    policy: &'p Policy,
    keys: &'p [RsaPublicKey],
    coding: Coding,
    usable: u32,
    /// All of the package was stored earlier: its size.
    complete: Option<u32>,
}

impl<'p, P: NorFlash, const N: usize> ImageSlot<'p, P, N> {
    /// A slot of which the first `usable` bytes may hold an image (what is behind
    /// belongs to the boot loader), under this policy.
    pub fn new(
        slot: P,
        usable: u32,
        policy: &'p Policy,
        keys: &'p [RsaPublicKey],
        coding: Coding,
    ) -> Self {
        let writer = StreamWriter::new(slot);
        let usable = usable.min(writer.capacity());
        Self {
            writer,
            policy,
            keys,
            coding,
            usable,
            complete: None,
        }
    }

    #[cfg(feature = "nbdiff")]
    pub(crate) fn flash_mut(&mut self) -> &mut P {
        self.writer.flash_mut()
    }
}

fn sink<E>(error: WriteError<E>) -> SinkError {
    match error.kind {
        WriteErrorKind::Full => SinkError::Full,
        _ => SinkError::Flash {
            offset: error.offset,
        },
    }
}

impl<P: NorFlash, const N: usize> UpdateSink for ImageSlot<'_, P, N> {
    fn capacity(&self) -> u32 {
        self.usable.min(self.policy.max_image_len)
    }

    fn begin(&mut self, package: &PackageId<'_>, stored: u32) -> Result<u32, SinkError> {
        let size = package.size;
        if size > self.capacity() {
            return Err(SinkError::Full);
        }
        // More than there is was recorded by a decoder that is not in this build.
        let stored = if stored > size { 0 } else { stored };
        self.complete = (stored == size).then_some(size);
        self.writer.restart(stored);
        Ok(self.complete.unwrap_or(self.writer.position()))
    }

    fn prepare(&mut self, upto: u32) -> Result<bool, SinkError> {
        let sector = P::ERASE_SIZE as u32;
        let next = self.writer.prepared().saturating_add(sector).min(upto);
        self.writer.prepare(next).map_err(sink)?;
        Ok(self.writer.prepared() < upto)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.writer.write(bytes).map_err(sink)
    }

    fn durable(&self) -> u32 {
        self.complete.unwrap_or(self.writer.durable())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.complete.is_some() {
            return Ok(());
        }
        self.writer.flush().map_err(sink)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.complete.is_some() {
            return Ok(());
        }
        self.writer.finish().map(|_| ()).map_err(sink)
    }

    fn read_back(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), SinkError> {
        NorReader(self.writer.flash_mut())
            .read_at(offset, buf)
            .map_err(|_| SinkError::Flash { offset })
    }
}

impl<P: NorFlash, const N: usize> VerifyImage for ImageSlot<'_, P, N> {
    fn verify_image(&mut self, package: &PackageId<'_>) -> Result<Verified, CheckError> {
        let verifier = ImageVerifier {
            policy: self.policy,
            keys: self.keys,
            coding: self.coding,
        };
        let mut source = NorReader(self.writer.flash_mut());
        verifier
            .verify(&mut source, package.size, &mut [0; CHUNK])
            .map(Verified::Image)
            .map_err(check)
    }
}

/// What the cloud is told about an image that does not verify.
fn check(error: VerifyError) -> CheckError {
    use VerifyError as V;
    match error {
        V::Read(_) | V::Buffer => CheckError::Flash,
        V::Length(_) | V::TrailerSize { .. } | V::DescriptorLength { .. } => CheckError::Size,
        V::Trailer { .. } | V::NoUniqueTrailer { .. } | V::Md5 => CheckError::Trailer,
        V::Descriptor(_) | V::NoDescriptor => CheckError::Descriptor,
        V::Refused(Refusal::ImageUnsigned) => CheckError::Unsigned,
        V::Refused(Refusal::BelowFloor { .. } | Refusal::NoDescriptor) => CheckError::Floor,
        V::Refused(Refusal::TooLong { .. }) => CheckError::Size,
        V::Refused(Refusal::Module(_)) => CheckError::Descriptor,
        // Whatever else is wrong is wrong with the signed block.
        _ => CheckError::Signature,
    }
}
