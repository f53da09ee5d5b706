//! Patches applied in memory.

use super::{Decoder, Error, Header, IoError, Target};
use sha2::{Digest, Sha256};
use std::boxed::Box;
use std::vec::Vec;

/// An image's digest as headers have it: the first half of its SHA-256.
pub fn digest(image: &[u8]) -> [u8; 16] {
    let d = Sha256::digest(image);
    d.first_chunk::<16>().copied().unwrap_or_default()
}

/// The old image, and the new one beside it.
pub struct Memory<'a> {
    old: &'a [u8],
    any: bool,
    /// What has been written of the new image.
    pub new: Vec<u8>,
}

impl<'a> Memory<'a> {
    /// Refuses patches that were made against another old image.
    pub fn new(old: &'a [u8]) -> Self {
        Memory {
            old,
            any: false,
            new: Vec::new(),
        }
    }

    /// Takes any patch: shows what the decoder makes of it without that check.
    pub fn unchecked(old: &'a [u8]) -> Self {
        Memory {
            any: true,
            ..Self::new(old)
        }
    }

    /// Pushes a whole patch in pieces of `piece` bytes; returns its header.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn apply(&mut self, patch: &[u8], piece: usize) -> Result<Header, Error> {
        let mut decoder = Box::new(Decoder::new());
        for part in patch.chunks(piece.max(1)) {
            decoder.push(self, part)?;
        }
        decoder.finish()?;
        decoder.header().copied().ok_or(Error::Truncated)
    }
}

fn fetch(from: &[u8], offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
    let at = offset as usize;
    let part = from.get(at..).and_then(|rest| rest.get(..buf.len()));
    buf.copy_from_slice(part.ok_or(IoError)?);
    Ok(())
}

impl Target for Memory<'_> {
    fn begin(&mut self, header: &Header) -> Result<(), IoError> {
        let right =
            self.old.len() == header.old_len as usize && digest(self.old) == header.old_digest;
        if self.any || right {
            Ok(())
        } else {
            Err(IoError)
        }
    }
    fn read_old(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(self.old, offset, buf)
    }
    fn read_new(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        fetch(&self.new, offset, buf)
    }
    fn write_new(&mut self, offset: u32, data: &[u8]) -> Result<(), IoError> {
        if offset as usize != self.new.len() {
            return Err(IoError);
        }
        self.new.extend_from_slice(data);
        Ok(())
    }
}
