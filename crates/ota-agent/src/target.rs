//! What a ptr patch reads and writes: the slot that runs and the one to be filled.

use embedded_storage::nor_flash::ReadNorFlash;
use ota_delta::IoError;
use ota_delta::ptr::{self, Header, SLICE};
use ota_verify::{Digest, NorReader, ReadAt, Sha256};

use crate::seams::{PackageId, SinkError, UpdateSink};

/// Bytes hashed at a time.
const CHUNK: usize = 256;

pub(crate) struct Target<'t, S, A> {
    pub slot: &'t mut S,
    pub active: &'t mut A,
    /// Bytes of the image that are in flash: whole slices, or all of it.
    pub solid: &'t mut u32,
    pub made: &'t mut u32,
    pub image_len: &'t mut u32,
    /// First half of the image's SHA-256.
    pub digest: &'t mut [u8; 16],
    /// What went wrong, finer than the decoder's errors.
    pub error: Option<SinkError>,
}

impl<S: UpdateSink, A: ReadNorFlash> Target<'_, S, A> {
    fn note<T>(&mut self, result: Result<T, SinkError>) -> Result<T, IoError> {
        result.map_err(|e| {
            self.error = Some(e);
            IoError
        })
    }

    fn old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), SinkError> {
        NorReader(&mut *self.active)
            .read_at(offset, buf)
            .map_err(|_| SinkError::Base { offset })
    }

    /// Whether the image that runs is the one the patch was made from.
    fn check_base(&mut self, header: &Header) -> Result<(), SinkError> {
        if header.old_len as usize > self.active.capacity() {
            return Err(SinkError::WrongBase);
        }
        let mut hasher = Sha256::new();
        let mut buf = [0; CHUNK];
        let mut at = 0;
        while at < header.old_len {
            let len = (header.old_len - at).min(CHUNK as u32);
            let buf = buf.get_mut(..len as usize).unwrap_or_default();
            self.old(at, buf)?;
            hasher.update(buf);
            at += len;
        }
        if hasher.finish().starts_with(&header.old_digest) {
            Ok(())
        } else {
            Err(SinkError::WrongBase)
        }
    }

    fn open(&mut self, header: &Header) -> Result<(), SinkError> {
        self.check_base(header)?;
        let len = header.new_len;
        // What is there already is whole slices, or the whole image.
        let solid = *self.solid;
        if solid > len || !solid.is_multiple_of(SLICE) && solid != len {
            return Err(SinkError::Decode);
        }
        let image = PackageId {
            size: len,
            digest: Digest::Sha256([0; 32]),
            version: "",
            diff: None,
        };
        if self.slot.begin(&image, solid)? != solid {
            // A slot that keeps less than whole slices cannot be gone on with.
            return Err(SinkError::Decode);
        }
        *self.made = solid;
        *self.image_len = len;
        *self.digest = header.new_digest;
        Ok(())
    }
}

impl<S: UpdateSink, A: ReadNorFlash> ptr::Target for Target<'_, S, A> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        let opened = self.open(header);
        self.note(opened)
    }

    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let read = self.old(offset, buf);
        self.note(read)
    }

    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let end = offset.saturating_add(buf.len() as u32);
        let read = match end > self.slot.durable() {
            true => self.slot.flush(),
            false => Ok(()),
        };
        let read = read.and_then(|()| self.slot.read_back(offset, buf));
        self.note(read)
    }

    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        let written = match offset == *self.made {
            true => self.slot.write(data),
            false => Err(SinkError::Decode),
        };
        *self.made = offset.saturating_add(data.len() as u32);
        self.note(written)
    }

    fn slice_done(&mut self, index: u32) -> Result<(), IoError> {
        let end = index.saturating_add(1).saturating_mul(SLICE);
        let flushed = self.slot.flush();
        self.note(flushed)?;
        // The last slice is whole only when the slot is finished.
        if self.slot.durable() >= end {
            *self.solid = end;
        }
        Ok(())
    }
}
