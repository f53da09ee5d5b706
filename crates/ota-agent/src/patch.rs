//! A flash slot as the place where an image goes, or a patch for the boot loader.

use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use ota_delta::PackageKind;
use ota_delta::nbdiff::{Error, SLICE, scan};
use ota_proto::session::CheckError;
use ota_verify::{Coding, NorReader, Policy, RsaPublicKey};

use crate::ImageSlot;
use crate::seams::{PackageId, SinkError, StoredPatch, UpdateSink, Verified, VerifyImage};

/// The update slot of a device that takes images and AliOS nbdiff patches.
///
/// Images go where [`ImageSlot`] puts them. A patch is stored as it comes, in
/// the last whole sectors that hold it: the boot loader rebuilds the image from
/// the start of the slot on, and needs the sectors in front of the patch for it.
/// Here only the headers of the patch are checked, and that patch and image fit the
/// slot together; whether it belongs to the image that runs shows when it is
/// applied, before anything is installed.
///
/// `N` is the write buffer in bytes, as for [`ImageSlot`].
pub struct PatchSlot<'p, P, const N: usize> {
    slot: ImageSlot<'p, Tail<P>, N>,
    /// Whole sectors that may be used, in bytes.
    usable: u32,
    diffs: bool,
}

impl<'p, P: NorFlash, const N: usize> PatchSlot<'p, P, N> {
    const SECTOR: u32 = P::ERASE_SIZE as u32;

    /// A slot, as for [`ImageSlot::new`].
    pub fn new(
        slot: P,
        usable: u32,
        policy: &'p Policy,
        keys: &'p [RsaPublicKey],
        coding: Coding,
    ) -> Self {
        let room = u32::try_from(slot.capacity()).unwrap_or(u32::MAX);
        let slot = Tail {
            flash: slot,
            base: 0,
        };
        Self {
            slot: ImageSlot::new(slot, usable, policy, keys, coding),
            usable: usable.min(room) / Self::SECTOR * Self::SECTOR,
            diffs: true,
        }
    }

    /// Whether patches are taken at all; they are, unless this says otherwise.
    #[must_use]
    pub fn take_diffs(mut self, take: bool) -> Self {
        self.diffs = take;
        self
    }

    /// Where a package of `size` bytes begins.
    fn place(&self, package: &PackageId<'_>) -> u32 {
        match package.diff {
            Some(_) => self.usable.saturating_sub(package.size) / Self::SECTOR * Self::SECTOR,
            None => 0,
        }
    }
}

impl<P: NorFlash, const N: usize> UpdateSink for PatchSlot<'_, P, N> {
    fn capacity(&self) -> u32 {
        self.slot.capacity().min(self.usable)
    }

    fn takes_diff(&self, slice: u32) -> bool {
        // The boot loader erases whole sectors for a slice.
        self.diffs && slice.is_multiple_of(Self::SECTOR)
    }

    fn begin(&mut self, package: &PackageId<'_>, stored: u32) -> Result<u32, SinkError> {
        if package.size > self.capacity() {
            return Err(SinkError::Full);
        }
        self.slot.flash_mut().base = self.place(package);
        self.slot.begin(package, stored)
    }

    fn accept(&mut self, package: &PackageId<'_>, kind: PackageKind) -> Result<(), SinkError> {
        match (kind, package.diff) {
            (PackageKind::Plain, None) => Ok(()),
            (PackageKind::Nbdiff, Some(diff)) if self.takes_diff(diff.slice) => Ok(()),
            // Other bytes than were offered: damaged on the way, or no patch at all.
            (PackageKind::Plain, Some(_)) => Err(SinkError::Decode),
            _ => Err(SinkError::Unsupported),
        }
    }

    fn prepare(&mut self, upto: u32) -> Result<bool, SinkError> {
        self.slot.prepare(upto)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.slot.write(bytes)
    }

    fn durable(&self) -> u32 {
        self.slot.durable()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.slot.flush()
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.slot.finish()
    }

    fn read_back(&mut self, offset: u32, buf: &mut [u8]) -> Result<(), SinkError> {
        self.slot.read_back(offset, buf)
    }
}

impl<P: NorFlash, const N: usize> VerifyImage for PatchSlot<'_, P, N> {
    fn verify_image(&mut self, package: &PackageId<'_>) -> Result<Verified, CheckError> {
        let at = self.place(package);
        self.slot.flash_mut().base = at;
        let Some(diff) = package.diff else {
            return self.slot.verify_image(package);
        };
        let slice = if diff.slice == 0 { SLICE } else { diff.slice };
        let tail = self.slot.flash_mut();
        // The boot loader moves a patch up when that makes room.
        let room = tail.flash.capacity() as u32;
        let to = room.saturating_sub(package.size) / Self::SECTOR * Self::SECTOR;
        let mut fits = true;
        let mut patch = NorReader(tail);
        // Each section begins with the format's magic, so the first one does. A
        // slice must not lie over its own section, or the boot loader refuses.
        let made = scan(&mut patch, package.size, slice, &mut |s| {
            let end = s.new_offset.saturating_add(s.header.new_len);
            let section = to.max(at).saturating_add(s.section_offset) / Self::SECTOR;
            fits &= end.div_ceil(Self::SECTOR) <= section;
            Ok(())
        });
        let image_len = made.map_err(|e| match e {
            Error::PatchIo => CheckError::Flash,
            _ => CheckError::Patch,
        })?;
        if image_len > self.slot.capacity() || !fits {
            return Err(CheckError::Size);
        }
        Ok(Verified::Patch(StoredPatch {
            at,
            slice,
            image_len,
        }))
    }
}

/// A flash from one sector on.
struct Tail<P> {
    flash: P,
    base: u32,
}

impl<P: ErrorType> ErrorType for Tail<P> {
    type Error = P::Error;
}

impl<P: ReadNorFlash> ReadNorFlash for Tail<P> {
    const READ_SIZE: usize = P::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), P::Error> {
        self.flash.read(self.base.saturating_add(offset), bytes)
    }

    fn capacity(&self) -> usize {
        self.flash.capacity().saturating_sub(self.base as usize)
    }
}

impl<P: NorFlash> NorFlash for Tail<P> {
    const WRITE_SIZE: usize = P::WRITE_SIZE;
    const ERASE_SIZE: usize = P::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), P::Error> {
        let base = self.base;
        self.flash
            .erase(base.saturating_add(from), base.saturating_add(to))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), P::Error> {
        self.flash.write(self.base.saturating_add(offset), bytes)
    }
}
