//! AliOS nbdiff patches behind the patch seam.

use ota_delta::nbdiff::{Error, SliceDecoder, Workspace, scan};
use ota_verify::ReadAt;

use crate::patch::{Patch, Section};

/// nbdiff as a [`Patch`], in about 96 KiB of memory lent by the caller.
pub struct Nbdiff<'w> {
    workspace: &'w mut Workspace,
}

impl<'w> Nbdiff<'w> {
    /// `workspace` is only used while slices are rebuilt.
    pub fn new(workspace: &'w mut Workspace) -> Self {
        Nbdiff { workspace }
    }
}

impl Patch for Nbdiff<'_> {
    fn scan(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        visit: &mut dyn FnMut(Section) -> bool,
    ) -> Option<u32> {
        let len = patch.size();
        scan(patch, len, slice_len, &mut |s| {
            let section = Section {
                at: s.section_offset,
                new_at: s.new_offset,
                new_len: s.header.new_len,
            };
            // Any error stops the walk.
            if visit(section) {
                Ok(())
            } else {
                Err(Error::Length)
            }
        })
        .ok()
    }

    fn rebuild(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        section: Section,
        old: &mut dyn ReadAt,
        buf: &mut [u8],
        out: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Option<()> {
        let (patch_len, old_len) = (patch.size(), old.size());
        let mut slice = SliceDecoder::begin(
            self.workspace,
            patch,
            section.at,
            patch_len,
            slice_len,
            old_len,
        )
        .ok()?;
        if slice.header().new_len != section.new_len || buf.is_empty() {
            return None;
        }
        let mut left = section.new_len;
        while left > 0 {
            let n = slice.read(patch, old, buf).ok()?;
            if n == 0 || !out(buf.get(..n)?) {
                return None;
            }
            left = left.checked_sub(n as u32)?;
        }
        Some(())
    }
}
