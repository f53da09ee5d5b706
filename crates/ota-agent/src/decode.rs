//! A decoder in front of a slot: packages that become an image while they arrive.

use embedded_storage::nor_flash::ReadNorFlash;
use ota_delta::PackageKind;
use ota_proto::session::CheckError;

use crate::seams::{DECODED, PackageId, SinkError, UpdateSink, Verified, VerifyImage};
#[cfg(feature = "ptr")]
use crate::target::Target;

/// Asked for at first: what it is, and the longest header of a ptr patch.
const PEEK: u32 = 72;
/// Bytes read, hashed or put out at a time.
const CHUNK: usize = 256;
/// An image is taken to be at most so many times longer than the .xz bytes it
/// comes from: so much is erased ahead. What is longer is erased when it comes.
#[cfg(feature = "xz")]
const EXPANSION: u32 = 8;
/// Largest dictionary of a .xz package.
#[cfg(feature = "xz")]
const DICTIONARY: usize = 32 * 1024;

/// Memory of the decoders, 32 KiB for ptr and some 50 KiB for .xz. Meant for a
/// `static`: as a local variable it would cross the stack.
pub struct Decoders {
    #[cfg(feature = "ptr")]
    ptr: ota_delta::ptr::Decoder,
    #[cfg(feature = "xz")]
    xz: ota_delta::xz::XzDecoder<DICTIONARY>,
}

impl Decoders {
    /// Unused.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(feature = "ptr")]
            ptr: ota_delta::ptr::Decoder::new(),
            #[cfg(feature = "xz")]
            xz: ota_delta::xz::XzDecoder::new(),
        }
    }
}

impl Default for Decoders {
    fn default() -> Self {
        Self::new()
    }
}

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first bytes have not been seen.
    Unknown,
    /// The slot stores them as they are.
    Stored,
    #[cfg(feature = "ptr")]
    Ptr,
    #[cfg(feature = "xz")]
    Xz,
    /// Given up: nothing more is taken.
    Failed,
}

/// A slot that also takes packages which have to be decoded first: ptr patches
/// (feature `ptr`) and .xz images (feature `xz`, dictionary at most 32 KiB).
/// They are decoded while they arrive, into the slot behind it; what they are is
/// told by their first bytes. What the slot takes itself goes there unchanged.
///
/// A ptr patch reads the running image, which is compared with the digest in the
/// patch before anything is erased. The image that comes out is compared with
/// the other one, after which it is an image like any other: policy, trailer,
/// descriptor and signed block are checked by the slot.
///
/// After a reset, the package is fetched again from its first byte, since its
/// digest covers all of it, but what is in flash stays: decoding goes on behind
/// the last whole slice of 64 KiB (ptr) or sector (.xz).
///
/// `S` is a slot for images, such as [`ImageSlot`](crate::ImageSlot), `A` the
/// slot that runs.
pub struct PackageSlot<'m, S, A> {
    slot: S,
    #[cfg_attr(not(feature = "ptr"), allow(dead_code))]
    active: A,
    memory: &'m mut Decoders,
    state: State,
    /// Bytes of the image that are known to be in flash.
    solid: u32,
    /// Bytes of the image that have been put out, or were there already.
    made: u32,
    /// Bytes of the package that were taken in.
    #[cfg_attr(not(feature = "xz"), allow(dead_code))]
    taken: u32,
    /// Bytes of the image, as far as that is known; else 0.
    image_len: u32,
    #[cfg(feature = "ptr")]
    digest: [u8; 16],
}

impl<'m, S: UpdateSink, A: ReadNorFlash> PackageSlot<'m, S, A> {
    /// Decoders in front of `slot`; `active` is the slot that runs.
    pub fn new(slot: S, active: A, memory: &'m mut Decoders) -> Self {
        Self {
            slot,
            active,
            memory,
            state: State::Unknown,
            solid: 0,
            made: 0,
            taken: 0,
            image_len: 0,
            #[cfg(feature = "ptr")]
            digest: [0; 16],
        }
    }

    fn decodes(&self) -> bool {
        !matches!(self.state, State::Unknown | State::Stored)
    }

    #[cfg(feature = "ptr")]
    fn push_ptr(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        use ota_delta::ptr::Error;
        let mut target = Target {
            slot: &mut self.slot,
            active: &mut self.active,
            solid: &mut self.solid,
            made: &mut self.made,
            image_len: &mut self.image_len,
            digest: &mut self.digest,
            error: None,
        };
        let pushed = self.memory.ptr.push(&mut target, bytes);
        let why = target.error;
        pushed.map_err(|e| match e {
            Error::Unsupported => SinkError::Unsupported,
            Error::Refused | Error::OldIo | Error::NewIo => why.unwrap_or(SinkError::Decode),
            _ => SinkError::Decode,
        })
    }

    #[cfg(feature = "xz")]
    fn push_xz(&mut self, mut bytes: &[u8]) -> Result<(), SinkError> {
        let mut out = [0; CHUNK];
        loop {
            let made = self.memory.xz.decode(&mut bytes, &mut out).map_err(xz)?;
            let data = out.get(..made).unwrap_or_default();
            let end = self.made.saturating_add(made as u32);
            // What is in flash already is hopped over.
            let known = self.solid.saturating_sub(self.made) as usize;
            if let Some(new) = data.get(known..).filter(|new| !new.is_empty()) {
                self.slot.write(new)?;
            }
            self.made = end;
            if end > self.solid {
                self.solid = self.slot.durable();
            }
            if bytes.is_empty() && made < out.len() {
                return Ok(());
            }
        }
    }

    /// Compares the image in the slot with the digest in the patch.
    #[cfg(feature = "ptr")]
    fn check_image(&mut self) -> Result<(), SinkError> {
        let mut hasher = ota_verify::Sha256::new();
        let mut buf = [0; CHUNK];
        let mut at = 0;
        while at < self.image_len {
            let len = (self.image_len - at).min(CHUNK as u32);
            let buf = buf.get_mut(..len as usize).unwrap_or_default();
            self.slot.read_back(at, buf)?;
            hasher.update(buf);
            at += len;
        }
        if hasher.finish().starts_with(&self.digest) {
            Ok(())
        } else {
            Err(SinkError::Decode)
        }
    }
}

#[cfg(feature = "xz")]
fn xz(error: ota_delta::xz::XzError) -> SinkError {
    use ota_delta::xz::XzError as X;
    match error {
        X::Options | X::Dictionary => SinkError::Unsupported,
        _ => SinkError::Decode,
    }
}

/// The package as the slot sees it: an image.
fn image<'a>(package: &PackageId<'a>, len: u32) -> PackageId<'a> {
    PackageId {
        size: len,
        diff: None,
        ..*package
    }
}

impl<S: UpdateSink, A: ReadNorFlash> UpdateSink for PackageSlot<'_, S, A> {
    fn capacity(&self) -> u32 {
        self.slot.capacity()
    }

    fn takes_diff(&self, slice: u32) -> bool {
        self.slot.takes_diff(slice)
    }

    fn begin(&mut self, package: &PackageId<'_>, stored: u32) -> Result<u32, SinkError> {
        self.solid = 0;
        self.made = 0;
        self.taken = 0;
        self.image_len = 0;
        self.state = State::Unknown;
        if stored & DECODED != 0 {
            self.solid = stored & !DECODED;
            return Ok(0);
        }
        if package.size > self.capacity() {
            return Err(SinkError::Full);
        }
        if stored == 0 {
            return Ok(0);
        }
        // Its first bytes were seen when they came.
        self.state = State::Stored;
        self.slot.begin(package, stored)
    }

    fn accept(&mut self, package: &PackageId<'_>, kind: PackageKind) -> Result<(), SinkError> {
        if self.state != State::Unknown {
            return Ok(());
        }
        match (kind, package.diff) {
            #[cfg(feature = "ptr")]
            (PackageKind::Ptr, _) => {
                use ota_delta::ptr::SLICE;
                self.memory.ptr.restart();
                self.memory.ptr.resume(self.solid.div_ceil(SLICE));
                self.state = State::Ptr;
            }
            #[cfg(feature = "xz")]
            (PackageKind::Xz, None) => {
                self.memory.xz.restart();
                // Nobody knows yet how long the image will be.
                let room = image(package, self.capacity());
                self.solid = self.slot.begin(&room, self.solid)?;
                self.state = State::Xz;
            }
            _ => {
                self.solid = 0;
                self.slot.accept(package, kind)?;
                self.slot.begin(package, 0)?;
                self.state = State::Stored;
            }
        }
        Ok(())
    }

    fn peek(&self) -> u32 {
        match self.state {
            State::Unknown => PEEK,
            _ => 0,
        }
    }

    fn prepare(&mut self, upto: u32) -> Result<bool, SinkError> {
        match self.state {
            State::Unknown | State::Failed => Ok(false),
            State::Stored => self.slot.prepare(upto),
            // A few bytes of a patch may make a slice: there is no erasing on the way.
            #[cfg(feature = "ptr")]
            State::Ptr if self.solid < self.image_len => self.slot.prepare(self.image_len),
            #[cfg(feature = "ptr")]
            State::Ptr => Ok(false),
            #[cfg(feature = "xz")]
            State::Xz => {
                let ahead = upto.saturating_sub(self.taken).saturating_mul(EXPANSION);
                let upto = self.made.saturating_add(ahead).min(self.capacity());
                if upto <= self.solid {
                    return Ok(false);
                }
                self.slot.prepare(upto)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.taken = self.taken.saturating_add(bytes.len() as u32);
        let result = match self.state {
            State::Stored => self.slot.write(bytes),
            #[cfg(feature = "ptr")]
            State::Ptr => self.push_ptr(bytes),
            #[cfg(feature = "xz")]
            State::Xz => self.push_xz(bytes),
            State::Unknown | State::Failed => Err(SinkError::Decode),
        };
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn durable(&self) -> u32 {
        match (self.state, self.solid) {
            (State::Stored, _) => self.slot.durable(),
            (_, 0) => 0,
            (_, solid) => DECODED | solid,
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.slot.flush()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        match self.state {
            State::Stored => return self.slot.finish(),
            #[cfg(feature = "ptr")]
            State::Ptr => self.memory.ptr.finish().map_err(|_| SinkError::Decode)?,
            #[cfg(feature = "xz")]
            State::Xz => {
                self.memory.xz.finish().map_err(xz)?;
                if self.made < self.solid {
                    return Err(SinkError::Decode);
                }
                self.image_len = self.made;
            }
            State::Unknown | State::Failed => return Err(SinkError::Decode),
        }
        self.slot.finish()?;
        #[cfg(feature = "ptr")]
        if self.state == State::Ptr {
            self.check_image()?;
        }
        self.solid = self.image_len;
        Ok(())
    }

    fn read_back(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), SinkError> {
        self.slot.read_back(offset, buf)
    }
}

impl<S: UpdateSink + VerifyImage, A: ReadNorFlash> VerifyImage for PackageSlot<'_, S, A> {
    fn verify_image(&mut self, package: &PackageId<'_>) -> Result<Verified, CheckError> {
        if self.decodes() {
            let image = image(package, self.image_len);
            return self.slot.verify_image(&image);
        }
        self.slot.verify_image(package)
    }
}
