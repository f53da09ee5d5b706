//! Looking at the bytes and putting them there, past the flash interface.

use std::sync::Arc;
use std::vec::Vec;

use super::SimFlash;
use crate::sim::sector::Digest;

impl<const SECTOR: usize, const UNIT: usize> SimFlash<SECTOR, UNIT> {
    /// Puts bytes there as a programmer would: no alignment, no operation, no
    /// count; touched units count as programmed.
    ///
    /// # Panics
    /// Past the end.
    pub fn load(&mut self, offset: u32, mut bytes: &[u8]) {
        let mut at = offset as usize;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(SECTOR - at % SECTOR));
            self.sector_mut(at / SECTOR).load(at % SECTOR, now, UNIT);
            at += now.len();
            bytes = later;
        }
    }

    /// The bytes from `offset`, without counting a read, also while power is
    /// off. Unstable bits are taken as if the operation had finished.
    ///
    /// # Panics
    /// Past the end.
    pub fn dump(&self, offset: u32, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset as usize;
        while bytes.len() < len {
            let take = (len - bytes.len()).min(SECTOR - at % SECTOR);
            let from = at % SECTOR;
            bytes.extend_from_slice(&self.sector(at / SECTOR).data[from..from + take]);
            at += take;
        }
        bytes
    }

    /// Unstable bits in the whole flash.
    pub fn unstable_bits(&self) -> usize {
        (0..self.count).map(|s| self.unstable_bits_in(s)).sum()
    }

    /// Unstable bits in one sector.
    pub fn unstable_bits_in(&self, sector: usize) -> usize {
        self.sector(sector).unstable_bits()
    }

    /// Whether any of `len` bytes from `offset`, within one sector, has unstable bits.
    pub fn is_unstable(&self, offset: u32, len: usize) -> bool {
        let at = offset as usize;
        let mask = self.sector(at / SECTOR).unstable.as_deref();
        let here = mask.and_then(|m| m.get(at % SECTOR..at % SECTOR + len));
        here.is_some_and(|m| m.iter().any(|b| *b != 0))
    }

    /// Digest of one sector's bytes, computed once until they change.
    pub fn sector_digest(&self, sector: usize) -> u128 {
        self.sector(sector).content_digest()
    }

    /// Digest of the bytes of a range of sectors.
    pub fn digest(&self, sectors: core::ops::Range<usize>) -> u128 {
        let mut d = Digest::new();
        for sector in sectors.map(|s| self.sector(s)) {
            d.word(sector.content_digest() as u64);
            d.word((sector.content_digest() >> 64) as u64);
        }
        d.finish()
    }

    /// Digest of everything that decides what software will see from now on:
    /// bytes, programmed units, unstable bits (and, if there are any, what
    /// reads will return). Not in it: counts, plans, defects.
    pub fn state_digest(&self) -> u128 {
        let mut d = Digest::new();
        let mut unstable = false;
        for sector in (0..self.count).map(|s| self.sector(s)) {
            d.word(sector.state_digest() as u64);
            d.word((sector.state_digest() >> 64) as u64);
            unstable |= sector.unstable.is_some();
        }
        d.word(u64::from(self.powered));
        if unstable {
            d.word(self.noise.0);
        }
        d.finish()
    }

    /// Whether `len` bytes from `offset` equal those of `other`. Sectors that
    /// are still shared are not compared byte by byte.
    ///
    /// # Panics
    /// Past the end of either.
    pub fn same_bytes(&self, other: &Self, offset: u32, len: usize) -> bool {
        let (mut at, end) = (offset as usize, offset as usize + len);
        while at < end {
            let take = (end - at).min(SECTOR - at % SECTOR);
            let (a, b) = (self.sector(at / SECTOR), other.sector(at / SECTOR));
            let range = at % SECTOR..at % SECTOR + take;
            if !Arc::ptr_eq(a, b) && a.data[range.clone()] != b.data[range] {
                return false;
            }
            at += take;
        }
        true
    }
}
