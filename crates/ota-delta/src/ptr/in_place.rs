//! A stored patch applied in place: the new image is written over the old one.
//!
//! A patch of lag n reads, in slice k, no old bytes before slice k - n. So slice k is
//! made aside; then slice k - n goes from there over the old image, which nobody needs
//! any more. After a power cut it goes on with the recorded step:
//!
//! ```text
//! lag 1   image                 aside            next
//!         old0 old1 old2        -    -           make 0
//!         old0 old1 old2        new0 -           make 1
//!         old0 old1 old2        new0 new1        copy 0
//!         new0 old1 old2        new0 new1        make 2 (over new0)
//!         new0 old1 old2        new2 new1        copy 1, copy 2
//! ```

use super::{Decoder, Error, Header, SLICE, Target};
use crate::{IoError, ReadAt};

/// One of the two places that bytes lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// The old image, which becomes the new one.
    Image,
    /// Room for lag + 1 slices of 64 KiB.
    Aside,
}

/// Flash and record of an application in place. An operation that a power cut
/// interrupts may leave anything of what it was to change.
pub trait Place {
    /// Called before anything is changed: refuse unless the image at hand has `old_len`
    /// bytes (or more) and their SHA-256 begins with `old_digest`, the patch as stored is
    /// whole (its digest), there is room for `new_len` bytes, and for lag + 1 slices aside.
    ///
    /// # Errors
    /// [`IoError`] refuses the patch.
    fn begin(&mut self, header: &Header) -> Result<(), IoError>;

    /// Fills `buf` from an area.
    ///
    /// # Errors
    /// [`IoError`] gives up for now.
    fn read(&mut self, area: Area, offset: u32, buf: &mut [u8]) -> Result<(), IoError>;

    /// Makes `[from, to)` writable, whatever it reads as; `from` begins a slice.
    ///
    /// # Errors
    /// [`IoError`] gives up for now.
    fn erase(&mut self, area: Area, from: u32, to: u32) -> Result<(), IoError>;

    /// Writes where it was erased: whole blocks of [`BLOCK`](super::BLOCK) bytes, but for
    /// the image's end.
    ///
    /// # Errors
    /// [`IoError`] gives up for now.
    fn write(&mut self, area: Area, offset: u32, data: &[u8]) -> Result<(), IoError>;

    /// Keeps `step`. When this returns it survives every power cut.
    ///
    /// # Errors
    /// [`IoError`] gives up for now.
    fn record(&mut self, step: u32) -> Result<(), IoError>;
}

/// Applies the `len` bytes of `patch`, or goes on with it: `step` is what was recorded
/// last for this patch, 0 for nothing. Any error but those of the patch may be met
/// again with the same call. The new image's digest is the caller's to compare with
/// [`Header::new_digest`], which is in the header that is returned.
///
/// # Errors
/// [`Error::Refused`] before anything is changed, if [`Place::begin`] says so or the
/// patch's lag is 0; others of the decoder.
pub fn apply(
    decoder: &mut Decoder,
    patch: &mut dyn ReadAt,
    len: u32,
    place: &mut dyn Place,
    step: u32,
) -> Result<Header, Error> {
    let mut run = Run {
        place,
        made: step >> COPIED_BITS,
        copied: step & ((1 << COPIED_BITS) - 1),
        lag: 0,
        new_len: 0,
    };
    decoder.restart();
    decoder.resume(run.made);
    let mut buf = [0; 256];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(buf.len() as u32);
        let buf = buf.get_mut(..n as usize).unwrap_or_default();
        patch.read_at(at, buf).map_err(|_| Error::Truncated)?;
        decoder.push(&mut run, buf)?;
        at += n;
    }
    decoder.finish()?;
    let header = *decoder.header().ok_or(Error::Truncated)?;
    while run.copied < header.new_len.div_ceil(SLICE) {
        run.copy().map_err(|_| Error::NewIo)?;
    }
    Ok(header)
}

/// A step is slices made << 12 | slices copied; an image has at most 2^11 of them.
const COPIED_BITS: u32 = 12;

struct Run<'p> {
    place: &'p mut dyn Place,
    made: u32,
    copied: u32,
    lag: u32,
    new_len: u32,
}

impl Run<'_> {
    fn step(&self) -> u32 {
        self.made << COPIED_BITS | self.copied
    }

    /// Where slice `k` lies aside.
    fn aside(&self, k: u32) -> u32 {
        k % (self.lag + 1) * SLICE
    }

    /// Puts the next slice from aside over the old image.
    fn copy(&mut self) -> Result<(), IoError> {
        let start = self.copied * SLICE;
        let end = (start + SLICE).min(self.new_len);
        let from = self.aside(self.copied);
        self.place.erase(Area::Image, start, end)?;
        let mut buf = [0; super::BLOCK];
        let mut at = start;
        while at < end {
            let n = (end - at).min(buf.len() as u32);
            let buf = buf.get_mut(..n as usize).unwrap_or_default();
            self.place.read(Area::Aside, from + at - start, buf)?;
            self.place.write(Area::Image, at, buf)?;
            at += n;
        }
        self.copied += 1;
        self.place.record(self.step())
    }
}

impl Target for Run<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        let slices = header.new_len.div_ceil(SLICE);
        let lag = u32::from(header.lag);
        let sane = self.made <= slices && self.copied <= self.made;
        if lag == 0 || !sane {
            return Err(IoError);
        }
        (self.lag, self.new_len) = (lag, header.new_len);
        if self.step() == 0 {
            return self.place.begin(header);
        }
        // A record whose program was cut may read differently later; this one will not.
        self.place.record(self.step())?;
        // Of a slice that was made, the copy that follows may be missing.
        while self.copied + lag < self.made {
            self.copy()?;
        }
        Ok(())
    }

    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        self.place.read(Area::Image, offset, buf)
    }

    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let slice = at / SLICE;
            let n = ((slice + 1) * SLICE - at).min(rest.len() as u32);
            let (now, later) = rest.split_at_mut(n as usize);
            // The newest slices are still aside, whether they were copied or not.
            if slice + self.lag < self.made {
                self.place.read(Area::Image, at, now)?;
            } else {
                let from = self.aside(slice) + at % SLICE;
                self.place.read(Area::Aside, from, now)?;
            }
            (at, rest) = (at + n, later);
        }
        Ok(())
    }

    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let aside = self.aside(offset / SLICE);
        if offset.is_multiple_of(SLICE) {
            let len = (self.new_len - offset.min(self.new_len)).min(SLICE);
            self.place.erase(Area::Aside, aside, aside + len)?;
        }
        self.place.write(Area::Aside, aside + offset % SLICE, data)
    }

    fn slice_done(&mut self, index: u32) -> Result<(), IoError> {
        self.made = index + 1;
        self.place.record(self.step())?;
        if self.copied + self.lag < self.made {
            self.copy()?;
        }
        Ok(())
    }
}
