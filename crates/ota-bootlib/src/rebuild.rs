//! Rebuilding an image from a stored patch: what `PatchSwap` and `InPlace` share.
//!
//! A patch is a row of sections, one for each slice of the new image. Slice k is
//! rebuilt from its section, from the new image up to that slice and from the
//! old one behind it. Rebuilt slices and the patch share the update slot: the
//! patch lies at its end, the image grows from its start (`0` to `3` slices,
//! `p0` to `p3` their sections, `.` not in use):
//!
//! ```text
//!   request      p0 p1 p2 p3 .  .  .  .  .  .     C firmware stores it in front
//!   moved        .  .  .  .  .  .  p0 p1 p2 p3
//!   slice 0      0  0  .  .  .  .  p0 p1 p2 p3
//!   slice 1      0  0  1  1  .  .  .  p1 p2 p3
//!   slice 2      0  0  1  1  2  2  .  .  p2 p3
//!   slice 3      0  0  1  1  2  2  3  3  .  p3
//! ```
//!
//! A slice may grow over sections that are used up, never over its own: before
//! anything is erased, all headers are read, and slice k must end at or below
//! the start of section k, rounded down to a sector. Each moved sector and each
//! slice is one record, which for a slice says where the unused rest of the patch
//! begins; what is not recorded is done again, from sources that it did not
//! touch. The active slot is only read.

use core::cell::RefCell;

use embedded_storage::nor_flash::NorFlash;
use ota_verify::{NorReader, ReadAt, ReadError};

use crate::Hooks;
use crate::fault::{Fault, FaultKind, Part};
use crate::io::Place;
use crate::patch::Section;
use crate::start::Loader;
use crate::state::{FailCode, Phase, Strategy, cell};
use crate::verify::Verify;

/// Slices of AliOS patches.
const DEFAULT_SLICE: u32 = 64 << 10;

/// Slots as something that can be read, shared with a writer: one up to `split`, the
/// other from there on.
struct Shared<'c, 'a, P> {
    front: &'c RefCell<&'c mut Place<&'a mut P>>,
    rest: &'c RefCell<&'c mut Place<&'a mut P>>,
    split: u32,
    /// What is offset 0 in the first.
    base: u32,
    len: u32,
}

impl<'c, 'a, P> Shared<'c, 'a, P> {
    /// `len` bytes at `base` of one slot.
    fn of(slot: &'c RefCell<&'c mut Place<&'a mut P>>, base: u32, len: u32) -> Self {
        Shared {
            front: slot,
            rest: slot,
            split: u32::MAX,
            base,
            len,
        }
    }
}

impl<P: NorFlash> ReadAt for Shared<'_, '_, P> {
    fn read_at(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), ReadError> {
        let error = ReadError { offset };
        let end = offset.checked_add(buf.len() as u32).ok_or(error)?;
        if end > self.len {
            return Err(error);
        }
        let front = (self.split.saturating_sub(offset) as usize).min(buf.len());
        let (front, rest) = buf.split_at_mut_checked(front).ok_or(error)?;
        let mut at = self.base.saturating_add(offset);
        for (slot, part) in [(self.front, front), (self.rest, rest)] {
            if !part.is_empty() {
                let mut place = slot.try_borrow_mut().map_err(|_| error)?;
                // Patches are read byte by byte, whatever the flash reads at once.
                NorReader(&mut *place.flash).read_at(at, part)?;
            }
            at = at.saturating_add(part.len() as u32);
        }
        Ok(())
    }

    fn size(&self) -> u32 {
        self.len
    }
}

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// Where the patch goes when it must be moved: as far up as whole sectors allow.
    fn patch_end(&self) -> u32 {
        let room = self.update.flash.capacity() as u32;
        room.saturating_sub(self.journal.state().package_len()) / Self::SECTOR * Self::SECTOR
    }

    /// Checks the whole plan of a rebuild, and makes it durable.
    pub(crate) fn patch_begin(&mut self) -> Result<(), Fault> {
        let s = self.journal.state_mut();
        if s.slice_len() == 0 {
            s.set_slice_len(DEFAULT_SLICE);
        }
        let (len, at, slice) = (s.package_len(), s.package_at(), s.slice_len());
        let room = self.update.flash.capacity() as u32;
        let inside = at.checked_add(len).is_some_and(|end| end <= room);
        if !inside || len == 0 || slice % Self::SECTOR != 0 {
            return self.give_up(FailCode::Request, 0);
        }
        let to = self.patch_end();
        let (mut fits, mut fits_moved) = (true, at.is_multiple_of(Self::SECTOR) && to > at);
        let (mut next, mut total, mut whole) = (0, 0u32, true);
        while next < len && whole {
            let Some(section) = self.section(at, next) else {
                whole = false;
                break;
            };
            let end = section.new_len.next_multiple_of(Self::SECTOR);
            let end = end.saturating_add(total);
            fits &= end <= (at + next) / Self::SECTOR * Self::SECTOR;
            fits_moved &= end <= (to + next) / Self::SECTOR * Self::SECTOR;
            total = section.new_len.saturating_add(total);
            next += section.len;
            // Slices lie on sectors, so that only the last may be short.
            whole = section.new_len == slice || next == len;
        }
        if !whole {
            return self.give_up(FailCode::Patch, next);
        }
        let wanted = self.journal.state().image_len();
        if wanted != 0 && wanted != total {
            return self.give_up(FailCode::Size, total);
        }
        if !fits && !fits_moved {
            return self.give_up(FailCode::Space, total);
        }
        self.journal.state_mut().set_image_len(total);
        let next = if fits {
            Phase::Rebuilding
        } else {
            Phase::Moving
        };
        self.go(next, self.known_good(), false)
    }

    /// Moves the patch to the end of its slot, from the last sector down.
    pub(crate) fn patch_move(&mut self) -> Result<(), Fault> {
        self.journal.settle(self.hooks)?;
        let s = self.journal.state();
        let (from, to, len) = (s.package_at(), self.patch_end(), s.package_len());
        let mut i = len.div_ceil(Self::SECTOR);
        while i > 0 {
            i -= 1;
            let at = i * Self::SECTOR;
            let (from, to) = (from.saturating_add(at), to.saturating_add(at));
            self.step_within(from / Self::SECTOR, to / Self::SECTOR)?;
        }
        self.journal.state_mut().set_package_at(to);
        self.go(Phase::Rebuilding, self.known_good(), false)
    }

    /// Rebuilds what is left of the image.
    pub(crate) fn patch_rebuild(&mut self) -> Result<(), Fault> {
        self.journal.settle(self.hooks)?;
        while self.journal.state().package_len() != 0 {
            if !self.rebuild_slice()? {
                return self.give_up(FailCode::Patch, self.journal.state().package_at());
            }
            self.journal.write_cell(cell::PACKAGE, self.hooks)?;
        }
        // From here on there is a whole image in the update slot.
        self.journal.state_mut().clear_cells(cell::PACKAGE, 1);
        self.steps = 0;
        match self.strategy() {
            #[cfg(feature = "patch-swap")]
            Some(Strategy::PatchSwap) => self.swap_begin(),
            #[cfg(feature = "in-place")]
            Some(Strategy::InPlace) => self.overwrite_begin(),
            _ => Err(Fault::GIVEN_UP),
        }
    }

    /// Begins with the section at `next` of the patch at `base` in the update slot.
    fn section(&mut self, base: u32, next: u32) -> Option<Section> {
        let s = self.journal.state();
        let (len, slice, made) = (s.package_len(), s.slice_len(), s.rebuilt());
        let update = RefCell::new(&mut self.update);
        let mut patch = Shared::of(&update, base, len);
        let old_len = self.active.flash.capacity() as u32;
        let section = self
            .patch
            .as_mut()?
            .begin(&mut patch, next, slice, old_len)?;
        // No more than the patch, a slice, what the slot can hold at all.
        let fits = section.len <= len - next
            && section.new_len <= slice
            && made.checked_add(section.new_len)? <= old_len;
        fits.then_some(section)
    }

    /// Rebuilds one slice into the update slot, from the first section of what is left
    /// of the patch, and takes that off. `false`: the patch is damaged.
    fn rebuild_slice(&mut self) -> Result<bool, Fault> {
        let s = self.journal.state();
        let (len, base, slice, made) =
            (s.package_len(), s.package_at(), s.slice_len(), s.rebuilt());
        let Some(section) = self.section(base, 0) else {
            return Ok(false);
        };
        if section.new_len < slice && section.len < len {
            return Ok(false);
        }
        let old_len = self.active.flash.capacity() as u32;
        let mut at = made;
        let end = made + section.new_len;
        while at < end {
            let room = (end - at).min(Self::SECTOR - at % Self::SECTOR);
            let n = self.pieces.a.len().min(room as usize);
            let fault = Fault::new(Part::Update, at, FaultKind::Geometry);
            let piece = self.pieces.a.get_mut(..n).ok_or(fault)?;
            let update = RefCell::new(&mut self.update);
            let active = RefCell::new(&mut self.active);
            let mut old = Shared {
                front: &update,
                rest: &active,
                split: made,
                base: 0,
                len: old_len,
            };
            let mut patch = Shared::of(&update, base, len);
            let decoder = self.patch.as_mut();
            if decoder
                .and_then(|d| d.read(&mut patch, &mut old, piece))
                .is_none()
            {
                return Ok(false);
            }
            // Only the last piece of all can end inside a program unit.
            let whole = n.next_multiple_of(P::WRITE_SIZE);
            let (Some(bytes), Some(back)) = (
                self.pieces.a.get_mut(..whole),
                self.pieces.b.get_mut(..whole),
            ) else {
                return Err(fault);
            };
            for byte in bytes.iter_mut().skip(n) {
                *byte = 0xFF;
            }
            if at.is_multiple_of(Self::SECTOR) {
                self.update.erase(at, self.hooks)?;
            }
            self.update.program(at, bytes, back, self.hooks)?;
            at += n as u32;
        }
        let s = self.journal.state_mut();
        s.set_rebuilt(end);
        s.set_package_at(base.saturating_add(section.len));
        s.set_package_len(len - section.len);
        Ok(true)
    }
}
