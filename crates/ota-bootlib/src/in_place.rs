//! `InPlace`: the new image is rebuilt from a patch in the update slot and
//! written over the old one. There is no way back.
//!
//! ```text
//!                  active      update
//!   request        old         patch
//!   moving         old         .  patch          only when it lies in the way
//!   rebuilding     old         new.. patch        each slice staged at its own place
//!   verified       old         new                nothing in the active slot was touched
//!   installing     as Overwrite
//! ```
//!
//! Because every slice keeps its own place, all of them are rebuilt and the
//! whole image is verified before the first sector of the old one is erased: a
//! damaged patch, or one for another old image, costs nothing.
//!
//! Erases: active slot 1 a changed sector; update slot 1 to move the patch, 1 to
//! rebuild. No spare sector is needed.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::fault::Fault;
use crate::start::Loader;
use crate::verify::Verify;

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// Plans the rebuild; the copy is planned when the image is there.
    pub(crate) fn in_place_begin(&mut self) -> Result<(), Fault> {
        self.patch_begin()
    }
}
