//! What the fuzz targets share: taking the input apart, damaging what is whole,
//! and seeds.

use libfuzzer_sys::arbitrary::Unstructured;
use ota_flash::sim::CutVariant;

pub mod images;
pub mod packages;
pub mod seeds;

/// The fuzzer's bytes, taken from the front; zeros when they are used up.
pub struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    /// Reads `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// The lowest bit of a byte.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        match n {
            0..=256 => usize::from(self.u8()) % n,
            _ => self.u32() as usize % n,
        }
    }

    /// What a power cut leaves of the operation it hits.
    pub fn cut(&mut self) -> CutVariant {
        let seed = u64::from(self.u8());
        match self.u8() % 9 {
            0 => CutVariant::Before,
            1 => CutVariant::After,
            2 => CutVariant::Head { of_256: seed as u8 },
            3 => CutVariant::Tail { of_256: seed as u8 },
            4 => CutVariant::Random { seed },
            5 => CutVariant::AllButOne { seed },
            6 => CutVariant::Unstable { seed },
            7 => CutVariant::Flicker { seed },
            _ => CutVariant::Zeroed,
        }
    }

    /// At most `n` bytes.
    pub fn bytes(&mut self, n: usize) -> &'a [u8] {
        self.0.bytes(n.min(self.0.len())).unwrap_or(&[])
    }

    /// An array, filled up with zeros.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let bytes = self.bytes(N);
        out[..bytes.len()].copy_from_slice(bytes);
        out
    }

    /// All that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// `len` bytes that follow from `seed` (SplitMix64).
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend(next().to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Damages `bytes` as the input says: up to 7 edits, which may be none.
pub fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    for _ in 0..input.u8() & 7 {
        // From the end too: that is where trailers are.
        let at = input.u32() as usize % (bytes.len() + 1);
        let at = if input.flag() { bytes.len() - at } else { at };
        match input.u8() % 6 {
            0 => {
                if let Some(b) = bytes.get_mut(at) {
                    *b ^= 1 << (input.u8() & 7);
                }
            }
            1 => {
                if let Some(b) = bytes.get_mut(at) {
                    *b = input.u8();
                }
            }
            2 => bytes.insert(at, input.u8()),
            3 => {
                let n = input.below(64).min(bytes.len() - at);
                bytes.drain(at..at + n);
            }
            4 => bytes.truncate(at),
            _ => {
                let new = input.bytes(4);
                let n = new.len().min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&new[..n]);
            }
        }
    }
}
