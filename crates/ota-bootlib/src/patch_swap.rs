//! `PatchSwap`: the new image is rebuilt in the update slot from a patch stored
//! there, verified, and then swapped in.
//!
//! ```text
//!                  active      update
//!   request        old         patch
//!   moving         old         .  patch          only when it lies in the way
//!   rebuilding     old         new.. patch
//!   verified       old         new                nothing in the active slot was touched
//!   installing     as Swap, which also says how to go back
//! ```
//!
//! Erases: active slot 1 a changed sector; update slot 1 to move the patch, 1 to
//! rebuild, 1 to swap.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::fault::Fault;
use crate::start::Loader;
use crate::verify::Verify;

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// Plans the rebuild; the swap is planned when the image is there.
    pub(crate) fn patch_swap_begin(&mut self) -> Result<(), Fault> {
        self.patch_begin()
    }
}
