//! How decoders reach bytes they do not hold.

use ota_verify::{ReadAt, ReadError};

/// Storage behind a decoder failed.
///
/// It carries nothing: whoever reads and writes for the decoder knows more and
/// can keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoError;

impl From<ReadError> for IoError {
    fn from(_: ReadError) -> Self {
        IoError
    }
}

/// What slice `k` of an nbdiff patch is computed against: the new image up to
/// `split`, the old image from there on.
pub struct Spliced<'a> {
    /// Holds new bytes at `[0, split)`.
    pub new: &'a mut dyn ReadAt,
    /// Holds old bytes at `[split, ..)`.
    pub old: &'a mut dyn ReadAt,
    /// First offset served by `old`.
    pub split: u32,
}

impl ReadAt for Spliced<'_> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        let from_new = self.split.saturating_sub(offset) as usize;
        let (a, b) = buf.split_at_mut(from_new.min(buf.len()));
        if !a.is_empty() {
            self.new.read_at(offset, a)?;
        }
        if !b.is_empty() {
            self.old.read_at(offset.max(self.split), b)?;
        }
        Ok(())
    }

    fn size(&self) -> u32 {
        self.old.size().max(self.split)
    }
}
