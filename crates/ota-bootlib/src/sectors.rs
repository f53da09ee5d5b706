//! What strategies that move sectors share: the map of changed sectors, and steps.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, Part};
use crate::io::copy_sector;
use crate::start::Loader;
use crate::state::{FailCode, MAP_BITS, cell};
use crate::verify::Verify;

/// Two steps a sector are counted in 16 bits. The smallest loaders have one bit of
/// the map for each sector.
fn max_sectors() -> u32 {
    if bugs::is_small() { MAP_BITS } else { 0x7FFF }
}

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    /// Sectors the new image covers.
    pub(crate) fn sectors(&self) -> u32 {
        self.journal.state().image_len().div_ceil(Self::SECTOR)
    }

    /// The map's bit for a sector: with many sectors it stands for a group.
    #[inline(never)]
    fn bit(&self, sector: u32) -> u32 {
        let (mut last, mut bit) = (self.sectors().saturating_sub(1), sector);
        while !bugs::is_small() && last >= MAP_BITS {
            last >>= 1;
            bit >>= 1;
        }
        bit
    }

    pub(crate) fn is_changed(&self, sector: u32) -> bool {
        self.journal.state().map_bit(self.bit(sector))
    }

    /// Verifies the image in the update slot, which may have up to `room`
    /// sectors, and maps the sectors in which it differs from the active slot.
    #[inline(never)]
    pub(crate) fn plan(&mut self, room: u32) -> Result<(), Fault> {
        if !self.judge(Part::Update, self.journal.state().image_len()) {
            return Err(Fault::GIVEN_UP);
        }
        self.take_image();
        self.journal.state_mut().clear_cells(cell::MAP, 2);
        let mut i = self.sectors();
        let room = room.min(self.active.flash.capacity() as u32 / Self::SECTOR);
        if i == 0 || i > room.min(max_sectors()) {
            return self.give_up(FailCode::Size, self.image.total);
        }
        while i > 0 {
            i -= 1;
            self.hooks.tick();
            let at = i * Self::SECTOR;
            let (a, u) = (&mut self.active, &mut self.update);
            if !crate::io::same_sector(a, u, at, &mut self.pieces)? {
                let bit = self.bit(i);
                self.journal.state_mut().set_map_bit(bit);
            }
        }
        Ok(())
    }

    /// Whether the next step is already recorded as done.
    fn passed(&mut self) -> bool {
        let step = self.steps;
        self.steps = step.wrapping_add(1);
        let mut done = self.journal.state().progress();
        if bugs::has(Bug::FirstSliceRestarts) && done < 32
            || bugs::has(Bug::FirstSectorNotResumed) && done == 1
        {
            done = 0;
        }
        step < done
    }

    fn record(&mut self) -> Result<(), Fault> {
        if bugs::has(Bug::RequestClearedFirst) {
            return Ok(());
        }
        self.journal.state_mut().set_progress(self.steps);
        self.journal.write_cell(cell::CORE, self.hooks)
    }

    /// The next step, unless it is recorded as done: copies sector `from` of
    /// the other slot to sector `to` of slot `target` and records that.
    pub(crate) fn step(&mut self, target: Part, from: u32, to: u32) -> Result<(), Fault> {
        self.copy_step(target, false, from, to)
    }

    /// As [`step`](Self::step), within the update slot.
    #[cfg(any(feature = "patch-swap", feature = "in-place"))]
    pub(crate) fn step_within(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        self.copy_step(Part::Update, true, from, to)
    }

    /// As [`step`](Self::step); with `within` the sector comes from `target` itself.
    #[inline(never)]
    fn copy_step(&mut self, target: Part, within: bool, from: u32, to: u32) -> Result<(), Fault> {
        if self.passed() {
            return Ok(());
        }
        let (active, update) = (&mut self.active, &mut self.update);
        let (other, to_slot) = match target {
            Part::Active => (update, active),
            _ => (active, update),
        };
        let from_slot = if within { None } else { Some(other) };
        copy_sector(
            (from_slot, from * Self::SECTOR),
            (to_slot, to * Self::SECTOR),
            &mut self.pieces,
            self.hooks,
        )?;
        self.record()
    }

    /// Whether the active slot holds the new image.
    pub(crate) fn is_new(&mut self) -> bool {
        self.judge(Part::Active, self.journal.state().image_len())
    }
}
