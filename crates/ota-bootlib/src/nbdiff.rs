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

    fn begin(
        &mut self,
        patch: &mut dyn ReadAt,
        slice_len: u32,
        section: Section,
        old_len: u32,
    ) -> Option<()> {
        let len = patch.size();
        let slice = SliceDecoder::begin(self.workspace, patch, section.at, len, slice_len, old_len);
        (slice.ok()?.header().new_len == section.new_len).then_some(())
    }

    fn read(&mut self, patch: &mut dyn ReadAt, old: &mut dyn ReadAt, out: &mut [u8]) -> Option<()> {
        let made = SliceDecoder::resume(self.workspace).read(patch, old, out);
        (made == Ok(out.len())).then_some(())
    }
}
