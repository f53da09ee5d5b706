//! One erase sector of the simulated flash.

use std::boxed::Box;
use std::sync::OnceLock;
use std::vec;

use super::cut::{CutVariant, Hand, SplitMix, tear};

#[derive(Debug, Clone)]
pub(super) struct Sector {
    /// Unstable bits are held as if the interrupted operation had finished.
    pub data: Box<[u8]>,
    /// Programs of each unit since the last whole erase.
    pub programs: Box<[u8]>,
    /// Bits that read anew each time.
    pub unstable: Option<Box<[u8]>>,
    /// All unstable bits of one read read alike.
    pub flicker: bool,
    pub erases: u32,
    content: OnceLock<u128>,
    state: OnceLock<u128>,
}

impl Sector {
    pub fn blank(size: usize, units: usize, erases: u32) -> Self {
        Self {
            data: vec![0xFF; size].into(),
            programs: vec![0; units].into(),
            unstable: None,
            flicker: false,
            erases,
            content: OnceLock::new(),
            state: OnceLock::new(),
        }
    }

    /// To be called before any change.
    pub fn touch(&mut self) {
        self.content.take();
        self.state.take();
    }

    pub fn erase(&mut self) {
        self.touch();
        self.data.fill(0xFF);
        self.programs.fill(0);
        self.unstable = None;
        self.erases += 1;
    }

    pub fn program(&mut self, at: usize, bytes: &[u8]) {
        self.touch();
        let end = at + bytes.len();
        for (to, from) in self.data[at..end].iter_mut().zip(bytes) {
            *to &= from;
        }
        if let Some(unstable) = &mut self.unstable {
            for (to, from) in unstable[at..end].iter_mut().zip(bytes) {
                *to &= from;
            }
            self.drop_empty_mask();
        }
        self.count(at / bytes.len());
    }

    pub fn tear_erase(&mut self, variant: CutVariant) {
        self.touch();
        self.erases += 1;
        // A sector whose erase stopped half-way is not erased: whatever is
        // programmed there now is programmed on top of something.
        for n in &mut self.programs {
            *n = (*n).max(1);
        }
        self.tear(0, None, variant);
    }

    pub fn tear_program(&mut self, at: usize, bytes: &[u8], variant: CutVariant) {
        self.touch();
        self.count(at / bytes.len());
        self.tear(at, Some(bytes), variant);
    }

    fn tear(&mut self, at: usize, new: Option<&[u8]>, variant: CutVariant) {
        let end = at + new.map_or(self.data.len(), <[u8]>::len);
        let size = self.data.len();
        let unstable = self.unstable.get_or_insert_with(|| vec![0; size].into());
        let hand = Hand {
            data: &mut self.data[at..end],
            unstable: &mut unstable[at..end],
        };
        tear(hand, new, variant);
        match variant {
            CutVariant::Flicker { .. } => self.flicker = true,
            CutVariant::Unstable { .. } => self.flicker = false,
            _ => {}
        }
        self.drop_empty_mask();
    }

    /// Puts bytes there as a programmer would: no rules, no counts.
    pub fn load(&mut self, at: usize, bytes: &[u8], unit: usize) {
        self.touch();
        let end = at + bytes.len();
        self.data[at..end].copy_from_slice(bytes);
        if let Some(unstable) = &mut self.unstable {
            unstable[at..end].fill(0);
            self.drop_empty_mask();
        }
        for n in &mut self.programs[at / unit..end.div_ceil(unit)] {
            *n = 1;
        }
    }

    pub fn read(&self, at: usize, bytes: &mut [u8], noise: &mut SplitMix) {
        let end = at + bytes.len();
        bytes.copy_from_slice(&self.data[at..end]);
        let Some(unstable) = &self.unstable else {
            return;
        };
        let coin = if noise.next() >> 63 == 0 { 0 } else { 0xFF };
        for (byte, mask) in bytes.iter_mut().zip(&unstable[at..end]) {
            if *mask != 0 {
                *byte ^= mask & if self.flicker { coin } else { noise.byte() };
            }
        }
    }

    pub fn unstable_bits(&self) -> usize {
        let bits = self.unstable.iter().flat_map(|mask| mask.iter());
        bits.map(|m| m.count_ones() as usize).sum()
    }

    /// Digest of the bytes.
    pub fn content_digest(&self) -> u128 {
        *self.content.get_or_init(|| {
            let mut d = Digest::new();
            d.bytes(&self.data);
            d.finish()
        })
    }

    /// Digest of everything that decides how this sector behaves from now on.
    pub fn state_digest(&self) -> u128 {
        *self.state.get_or_init(|| {
            let mut d = Digest::new();
            d.word(self.content_digest() as u64);
            d.word((self.content_digest() >> 64) as u64);
            for chunk in self.programs.chunks(64) {
                let bit = |n: u64, p: &u8| n << 1 | u64::from(*p != 0);
                d.word(chunk.iter().fold(0, bit));
            }
            if let Some(unstable) = &self.unstable {
                d.word(1 + u64::from(self.flicker));
                d.bytes(unstable);
            }
            d.finish()
        })
    }

    fn count(&mut self, unit: usize) {
        self.programs[unit] = self.programs[unit].saturating_add(1);
    }

    fn drop_empty_mask(&mut self) {
        if self.unstable_bits() == 0 {
            self.unstable = None;
        }
    }
}

/// 128 bits that differ for different content, with overwhelming likelihood.
/// Not cryptographic: it stands for "the same state as before" in sweeps.
pub(super) struct Digest(u64, u64);

impl Digest {
    pub fn new() -> Self {
        Self(0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344)
    }

    pub fn word(&mut self, w: u64) {
        self.0 = (self.0 ^ w)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
        self.1 = (self.1.rotate_left(23) ^ w).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.1 ^= self.1 >> 32;
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        for byte in words.remainder() {
            self.word(u64::from(*byte));
        }
        self.word(bytes.len() as u64);
    }

    pub fn finish(mut self) -> u128 {
        self.word(self.1);
        self.word(self.0);
        u128::from(SplitMix(self.0).next()) << 64 | u128::from(SplitMix(self.1).next())
    }
}
