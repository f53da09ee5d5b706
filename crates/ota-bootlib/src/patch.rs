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

    /// Rebuilds one slice and hands it to `out` in pieces, in order. `old` shows
    /// the new image in front of the slice and the old one from there on. `buf`
    /// is scratch space. `None` when the patch is damaged, does not fit `old`,
    /// or `out` returned `false`.
    fn rebuild(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        section: Section,
        old: &mut dyn ReadAt,
        buf: &mut [u8],
        out: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<()>;
}
