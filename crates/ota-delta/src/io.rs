//! How decoders reach bytes they do not hold.

/// The storage behind a [`ReadAt`] or a sink failed.
///
/// It carries nothing: whoever implements the trait knows more and can keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoError;

/// Random access to bytes: an image in flash, a stored patch, a slice in memory.
pub trait ReadAt {
    /// Fills `buf` from `offset` on, wholly or not at all.
    ///
    /// # Errors
    /// [`IoError`] when the storage fails or the range lies outside of it.
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError>;
}

impl ReadAt for &[u8] {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
        let start = offset as usize;
        let end = start.checked_add(buf.len()).ok_or(IoError)?;
        buf.copy_from_slice(self.get(start..end).ok_or(IoError)?);
        Ok(())
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
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), IoError> {
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
}
