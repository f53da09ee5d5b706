//! The seam to patch formats.

use ota_verify::ReadAt;

/// How long a section of a patch is, and what it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Bytes of the section.
    pub len: u32,
    /// Bytes of the slice.
    pub new_len: u32,
}

/// A patch format.
///
/// A patch is a row of sections, one for each slice of the new image. All slices but
/// the last have the same length.
pub trait Patch {
    /// Begins to rebuild a slice from the section at `at`. `old_len` bytes can be read
    /// of what [`read`](Self::read) is given as `old`. `None` when the section's header
    /// is damaged, or says that it makes nothing, or more than `slice_len`, or is
    /// longer than what is left of `patch`.
    fn begin(
        &mut self,
        patch: &mut dyn ReadAt,
        at: u32,
        slice_len: u32,
        old_len: u32,
    ) -> Option<Section>;

    /// Fills `out` with the next bytes of the slice; it is never longer than what is
    /// left. `old` shows the new image in front of the slice and the old one from
    /// there on. `None` when the patch is damaged or does not fit `old`, at the
    /// latest with the last byte.
    fn read(&mut self, patch: &mut dyn ReadAt, old: &mut dyn ReadAt, out: &mut [u8]) -> Option<()>;
}
