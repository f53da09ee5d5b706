//! `Overwrite`: the new image is copied over the old one. There is no way back.
//!
//! ```text
//!               active          update
//!   begin       o0 o1 o2        n0 n1 n2      verified, as it lies there
//!   step 2      o0 o1 n2        n0 n1 n2
//!   step 1      o0 n1 n2        n0 n1 n2
//!   step 0      n0 n1 n2        n0 n1 n2      verified again
//! ```
//!
//! The source stays whole, so any step can be done again. Equal sectors are left
//! alone. Each changed sector of the active slot is erased once and is one
//! record. After the first erase the only ends are the new image or, should the
//! flash fail, serial recovery.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::fault::{Fault, Part};
use crate::start::Loader;
use crate::state::Phase;
use crate::verify::Verify;

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// Verifies the new image, plans the copy and makes the plan durable.
    pub(crate) fn overwrite_begin(&mut self) -> Result<(), Fault> {
        let update = self.update.flash.capacity() as u32 / Self::SECTOR;
        self.plan(update)?;
        self.go(Phase::Installing, false, false)
    }

    /// Copies what is left, verifies the result and begins the trial, which
    /// here only means that the application is to confirm.
    pub(crate) fn overwrite_install(&mut self) -> Result<(), Fault> {
        self.journal.settle(self.hooks)?;
        let mut i = self.sectors();
        while i > 0 {
            i -= 1;
            if self.is_changed(i) {
                self.step(Part::Active, i, i)?;
            }
        }
        if !self.is_new() {
            return self.lost();
        }
        self.secure = false;
        self.go(Phase::Trial, true, false)
    }
}
