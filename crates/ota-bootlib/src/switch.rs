//! `Switch`: two slots an image can run from; an update starts the other one.
//!
//! ```text
//!               first    second    active
//!   begin       old      new       first      new verified
//!   trial       old      new       second     one record
//!   revert      old      new       first      old verified, one record
//! ```
//!
//! Nothing is erased. The slot that is not active takes the next download.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::fault::{Fault, Part};
use crate::start::{Loader, Slot};
use crate::state::{FailCode, Phase, flag};
use crate::verify::Verify;

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    fn switch(&mut self) {
        let second = self.active_slot() == Slot::Second;
        self.journal.state_mut().set(flag::SECOND, !second);
    }

    /// Verifies the image in the other slot and makes it the active one.
    pub(crate) fn switch_begin(&mut self) -> Result<(), Fault> {
        let other = match self.active_slot() {
            Slot::First => Part::Update,
            Slot::Second => Part::Active,
        };
        if !self.judge(other, self.journal.state().image_len()) {
            return Err(Fault::GIVEN_UP);
        }
        self.take_image();
        self.switch();
        self.secure = false;
        self.go(Phase::Trial, true, false)
    }

    /// Makes the old slot the active one again, if it still holds an image.
    pub(crate) fn switch_revert(&mut self) -> Result<(), Fault> {
        self.switch();
        if self.judge_active() {
            return self.go(Phase::Idle, true, false);
        }
        self.switch();
        let stays = self.judge_active();
        self.refuse(FailCode::BackupLost, 0);
        if stays {
            self.go(Phase::Idle, true, true)
        } else {
            self.lost()
        }
    }
}
