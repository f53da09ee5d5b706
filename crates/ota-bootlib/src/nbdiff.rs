//! AliOS nbdiff patches behind the patch seam.

use ota_delta::nbdiff::{SliceDecoder, Workspace};
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
    fn begin(
        &mut self,
        patch: &mut dyn ReadAt,
        at: u32,
        slice_len: u32,
        old_len: u32,
    ) -> Option<Section> {
        let len = patch.size();
        let slice = SliceDecoder::begin(self.workspace, patch, at, len, slice_len, old_len).ok()?;
        let header = slice.header();
        Some(Section {
            len: header.section_len(),
            new_len: header.new_len,
        })
    }

    fn read(&mut self, patch: &mut dyn ReadAt, old: &mut dyn ReadAt, out: &mut [u8]) -> Option<()> {
        let made = SliceDecoder::resume(self.workspace).read(patch, old, out);
        (made == Ok(out.len())).then_some(())
    }
}
