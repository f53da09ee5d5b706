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

use crate::fault::Fault;
use crate::io::{chunk_len, copy_sector, same_sector};
use crate::start::{Decision, Loader, Stop, refuse};
use crate::state::{FailCode, Failure, MAP_BITS, Phase, cell, flag};
use crate::verify::Verify;

/// Two steps a sector are counted in 16 bits.
const MAX_SECTORS: u32 = 0x7FFF;

impl<P: NorFlash, V: Verify<P>> Loader<'_, P, V> {
    /// The spare sector's number: the last of the update slot.
    fn spare(&self) -> u32 {
        (self.update.flash.capacity() as u32 / Self::SECTOR).saturating_sub(1)
    }

    /// Sectors the new image covers.
    fn sectors(&self) -> u32 {
        self.journal.state().image_len().div_ceil(Self::SECTOR)
    }

    /// log2 of the sectors that one bit of the map stands for.
    fn map_shift(&self) -> u32 {
        let mut shift = 0;
        while self.sectors() >> shift > MAP_BITS - 1 {
            shift += 1;
        }
        shift
    }

    fn is_changed(&self, sector: u32) -> bool {
        self.journal.state().map_bit(sector >> self.map_shift())
    }

    /// Where the old content of changed sector `i` is kept: the next changed
    /// sector above it, or the spare.
    fn backup_of(&self, i: u32) -> u32 {
        let sectors = self.sectors();
        (i + 1..sectors)
            .find(|&j| self.is_changed(j))
            .unwrap_or(self.spare())
    }

    /// Verifies the new image, plans the swap and makes the plan durable.
    pub(crate) fn swap_begin(&mut self) -> Result<(), Stop> {
        let s = self.journal.state();
        let (len, want, floor) = (s.image_len(), s.new_sha256(), s.floor());
        let total = (len != 0).then_some(len);
        let image = self
            .verify
            .verify(self.update.flash, total, &floor, self.buf, self.hooks)?;
        if want != [0; 32] && want != image.sha256 {
            return Err(refuse(FailCode::Digest, 0));
        }
        let s = self.journal.state_mut();
        s.set_image_len(image.total);
        s.set_new_sha256(&image.sha256);
        s.set_version(&image.version);
        let sectors = self.sectors();
        let active = self.active.flash.capacity() as u32 / Self::SECTOR;
        if image.total == 0 || sectors > self.spare() || sectors > active || sectors > MAX_SECTORS {
            return Err(refuse(FailCode::Size, image.total));
        }
        self.journal.state_mut().clear_cells(cell::MAP, 2);
        let shift = self.map_shift();
        for i in 0..sectors {
            let at = i * Self::SECTOR;
            if !same_sector(&mut self.active, at, &mut self.update, at, self.hooks)? {
                self.journal.state_mut().set_map_bit(i >> shift);
            }
        }
        let old = self.hash(false)?;
        let s = self.journal.state_mut();
        s.set_old_sha256(&old);
        s.set_phase(Phase::Installing);
        s.set_started(0);
        s.set(flag::VERDICT | flag::MAILBOX, false);
        Ok(self.journal.write_all(self.hooks)?)
    }

    /// SHA-256 over the sectors of the swap: as the active slot holds them, or
    /// with `backup` as they were before.
    fn hash(&mut self, backup: bool) -> Result<[u8; 32], Fault> {
        let mut sha = Sha256::new();
        let chunk = chunk_len::<P>(self.buf);
        for i in 0..self.sectors() {
            let (place, sector) = if backup && self.is_changed(i) {
                let at = self.backup_of(i);
                (&mut self.update, at)
            } else {
                (&mut self.active, i)
            };
            self.hooks.tick();
            let mut at = 0;
            while at < Self::SECTOR {
                let n = chunk.min(Self::SECTOR - at);
                let piece = self.buf.get_mut(..n as usize).unwrap_or_default();
                place.read(sector * Self::SECTOR + at, piece)?;
                sha.update(piece);
                at += n;
            }
        }
        Ok(sha.finish())
    }

    /// Records that one more step is done.
    fn step_done(&mut self, steps: u16) -> Result<(), Fault> {
        self.journal.state_mut().set_progress(steps);
        self.journal.write_cell(cell::CORE, self.hooks)
    }

    /// Does what is left of the swap, verifies the result and begins the trial.
    pub(crate) fn swap_install(&mut self) -> Result<Option<Decision>, Fault> {
        self.journal.settle(self.hooks)?;
        let done = self.journal.state().progress();
        let mut step = 0;
        for i in (0..self.sectors()).rev() {
            if !self.is_changed(i) {
                continue;
            }
            let (at, free) = (i * Self::SECTOR, self.backup_of(i) * Self::SECTOR);
            if step >= done {
                let (a, u) = (&mut self.active, &mut self.update);
                copy_sector(a, at, u, free, self.buf, self.hooks)?;
                self.step_done(step + 1)?;
            }
            if step + 1 >= done {
                let (a, u) = (&mut self.active, &mut self.update);
                copy_sector(u, at, a, at, self.buf, self.hooks)?;
                self.step_done(step + 2)?;
            }
            step += 2;
        }
        let s = self.journal.state();
        let (len, sha256, floor) = (s.image_len(), s.new_sha256(), s.floor());
        let verdict =
            self.verify
                .verify(self.active.flash, Some(len), &floor, self.buf, self.hooks);
        match verdict {
            Ok(image) if image.sha256 == sha256 => {
                let s = self.journal.state_mut();
                s.set_phase(Phase::Trial);
                s.set_started(0);
                s.set(flag::VERDICT, true);
                self.secure = false;
                self.journal.write_cell(cell::CORE, self.hooks)?;
            }
            Ok(_) => self.begin_revert(FailCode::Digest)?,
            Err(r) => self.begin_revert(r.code)?,
        }
        Ok(None)
    }

    /// Copies the old image back and checks that it is the old image.
    pub(crate) fn swap_revert(&mut self) -> Result<Option<Decision>, Fault> {
        self.journal.settle(self.hooks)?;
        let old = self.journal.state().old_sha256();
        let done = self.journal.state().progress();
        if self.hash(true)? != old {
            return self.backup_lost(done);
        }
        let mut step = 0;
        for i in (0..self.sectors()).rev() {
            if !self.is_changed(i) {
                continue;
            }
            if step >= done {
                let (at, from) = (i * Self::SECTOR, self.backup_of(i) * Self::SECTOR);
                let (a, u) = (&mut self.active, &mut self.update);
                copy_sector(u, from, a, at, self.buf, self.hooks)?;
                self.step_done(step + 1)?;
            }
            step += 1;
        }
        if self.hash(false)? != old {
            return self.lost(FailCode::Digest);
        }
        let s = self.journal.state_mut();
        s.set_phase(Phase::Idle);
        s.forget_update();
        s.set(flag::VERDICT, true);
        self.journal.write_all(self.hooks)?;
        Ok(None)
    }

    /// The old image cannot be restored, because something wrote to the update
    /// slot. The new one stays when it is whole.
    fn backup_lost(&mut self, restored: u16) -> Result<Option<Decision>, Fault> {
        let s = self.journal.state();
        let (len, sha256, floor) = (s.image_len(), s.new_sha256(), s.floor());
        let verdict =
            self.verify
                .verify(self.active.flash, Some(len), &floor, self.buf, self.hooks);
        if restored != 0 || verdict.map(|image| image.sha256) != Ok(sha256) {
            return self.lost(FailCode::BackupLost);
        }
        let s = self.journal.state_mut();
        s.set_failure(Failure {
            phase: Phase::Reverting,
            code: FailCode::BackupLost,
            offset: 0,
        });
        s.set_phase(Phase::Idle);
        s.forget_update();
        s.set(flag::VERDICT, true);
        self.journal.write_all(self.hooks)?;
        Ok(None)
    }
}
