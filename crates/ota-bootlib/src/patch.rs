//! The seam to patch formats.

use ota_verify::ReadAt;

/// Where a slice and its section lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// First byte of the section, from the start of the patch.
    pub at: u32,
    /// First byte of the slice in the new image.
    pub new_at: u32,
    /// Bytes of the slice.
    pub new_len: u32,
}

/// A patch format.
///
/// All slices but the last have the same length; section k follows section k-1.
pub trait Patch {
    /// Walks all section headers in order and hands each to `visit`, which
    /// returns `false` to stop. Returns the length of the new image, or `None`
    /// when a header is damaged or the last section does not end where `patch` does.
    fn scan(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        visit: &mut dyn FnMut(Section) -> bool,
    ) -> Option<u32>;

    /// Begins to rebuild a slice. `old_len` bytes can be read of what
    /// [`read`](Self::read) is given as `old`. `None` when its header is damaged.
    fn begin(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        section: Section,
        old_len: u32,
    ) -> Option<()>;

    /// Fills `out` with the next bytes of the slice; it is never longer than what is
    /// left. `old` shows the new image in front of the slice and the old one from
    /// there on. `None` when the patch is damaged or does not fit `old`, at the
    /// latest with the last byte.
    fn read(&mut self, patch: &mut dyn ReadAt, old: &mut dyn ReadAt, out: &mut [u8]) -> Option<()>;
}
