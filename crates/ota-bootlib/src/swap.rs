//! `Swap`: the new image goes into the active slot, the old one is kept.
//!
//! One free sector travels through the update slot. It begins as the spare
//! sector `s`, the slot's last. For each changed sector, from the top down:
//! the old content goes to the free sector, then the new content takes its
//! place, and where that came from is the next free sector. Equal sectors are
//! left alone. Four sectors, of which 1 is equal (`o` old, `n` new, `.` free):
//!
//! ```text
//!               active          update            spare
//!               0  1  2  3      0  1  2  3        s
//!  begin        o0 e  o2 o3     n0 e  n2 n3       .
//!  back up 3    o0 e  o2 o3     n0 e  n2 n3       o3
//!  install 3    o0 e  o2 n3     n0 e  n2 .        o3
//!  back up 2    o0 e  o2 n3     n0 e  n2 o2       o3
//!  install 2    o0 e  n2 n3     n0 e  .  o2       o3
//!  back up 0    o0 e  n2 n3     n0 e  o0 o2       o3
//!  install 0    n0 e  n2 n3     .  e  o0 o2       o3
//! ```
//!
//! Each line is one erase, one copy and then one record. A line that is not
//! recorded is done again, from sources that it did not touch. Going back
//! copies every changed sector from where its backup lies; the sources stay.

use embedded_storage::nor_flash::NorFlash;
use ota_verify::Sha256;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, Part};
use crate::start::Loader;
use crate::state::{FailCode, Phase};
use crate::verify::Verify;

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// The spare sector's number: the last of the update slot.
    #[inline(never)]
    fn spare(&self) -> u32 {
        (self.update.flash.capacity() as u32 / Self::SECTOR).saturating_sub(1)
    }

    /// Verifies the new image, plans the swap and makes the plan durable.
    pub(crate) fn swap_begin(&mut self) -> Result<(), Fault> {
        self.plan(self.spare())?;
        self.hash(false)?;
        self.journal.state_mut().set_old_sha256(&self.sum);
        if bugs::has(Bug::RequestClearedFirst) {
            self.go_without_forgetting()?;
            self.journal.state_mut().set_phase(Phase::Installing);
            return Ok(());
        }
        self.go(Phase::Installing, false, false)
    }

    /// The planted bug of that name: idle on flash, installing in RAM.
    fn go_without_forgetting(&mut self) -> Result<(), Fault> {
        let s = self.journal.state_mut();
        s.set_phase(Phase::Idle);
        s.set(crate::state::flag::VERDICT, true);
        self.journal.write_all(self.hooks)
    }

    /// Puts SHA-256 over the sectors of the swap, from the last to the first, into
    /// `sum`: as the active slot holds them, or with `backup` as it held them before.
    #[inline(never)]
    fn hash(&mut self, backup: bool) -> Result<(), Fault> {
        let mut sha = Sha256::new();
        let mut free = self.spare();
        let mut i = self.sectors();
        while i > 0 {
            i -= 1;
            self.hooks.tick();
            let moved = backup && self.is_changed(i);
            let sector = if moved {
                core::mem::replace(&mut free, i)
            } else {
                i
            };
            let place = if moved {
                &mut self.update
            } else {
                &mut self.active
            };
            let mut at = sector * Self::SECTOR;
            let end = at + Self::SECTOR;
            while at < end {
                place.read(at, self.pieces.a)?;
                sha.update(self.pieces.a);
                at += self.pieces.a.len() as u32;
            }
        }
        sha.finish_into(&mut self.sum);
        Ok(())
    }

    /// Whether the sum is that of the old image.
    fn is_old(&self) -> bool {
        self.sum == *self.journal.state().old_sum()
    }

    /// Does what is left of the swap or, with `back`, of the way back.
    fn rotate(&mut self, back: bool) -> Result<(), Fault> {
        self.journal.settle(self.hooks)?;
        let mut free = self.spare();
        let mut i = self.sectors();
        while i > 0 {
            i -= 1;
            if bugs::has(Bug::TailNotSwapped) && i >= self.sectors() / 2 * 2 {
                continue;
            }
            if self.is_changed(i) {
                if back {
                    let wrong = u32::from(bugs::has(Bug::ScratchElsewhere));
                    self.step(Part::Active, free - wrong, i)?;
                } else {
                    self.step(Part::Update, i, free)?;
                    self.step(Part::Active, i, i)?;
                }
                free = i;
            }
        }
        Ok(())
    }

    /// Does what is left of the swap, verifies the result and begins the trial.
    pub(crate) fn swap_install(&mut self) -> Result<(), Fault> {
        self.rotate(false)?;
        let good = self.is_new();
        self.secure &= !good;
        self.go(
            if good { Phase::Trial } else { Phase::Reverting },
            good,
            !good,
        )
    }

    /// Copies the old image back and checks that it is the old image.
    pub(crate) fn swap_revert(&mut self) -> Result<(), Fault> {
        self.hash(true)?;
        if !self.is_old() {
            // Something wrote to the update slot: the old image cannot be
            // restored. The new one stays when it is whole.
            let untouched = self.journal.state().progress() == 0;
            let stays = untouched && self.is_new();
            self.refuse(FailCode::BackupLost, 0);
            return if stays {
                self.go(Phase::Idle, true, true)
            } else {
                self.lost()
            };
        }
        self.rotate(true)?;
        self.hash(false)?;
        if !self.is_old() {
            self.refuse(FailCode::Digest, 0);
            return self.lost();
        }
        // What was there before need not have been verified: that is done next.
        self.go(Phase::Idle, false, false)
    }
}
