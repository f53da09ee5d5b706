//! What a power cut leaves of the operation in hand.

use std::vec::Vec;

/// How far the operation in hand got when power failed.
///
/// "Bits in hand" are those the operation was to change: the 0-bits of the
/// unit being programmed, all bits of the sector being erased. Everything else
/// is untouched by a cut. Every variant applies to both kinds of operation
/// unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CutVariant {
    /// Nothing of it happened.
    Before,
    /// All of it happened, but nobody was told.
    After,
    /// The first `of_256`/256 of the bits are done, the rest is not.
    Head {
        /// Part that is done, 0..=255.
        of_256: u8,
    },
    /// The last `of_256`/256 are done, the rest is not.
    Tail {
        /// Part that is done, 0..=255.
        of_256: u8,
    },
    /// Each bit in hand is done or not, at random.
    Random {
        /// Chooses the bits.
        seed: u64,
    },
    /// Every bit that changes is done but one.
    AllButOne {
        /// Chooses the bit.
        seed: u64,
    },
    /// Exactly one bit that changes is done.
    OnlyOne {
        /// Chooses the bit.
        seed: u64,
    },
    /// A quarter of the bits in hand is done, a quarter is not, the others read
    /// at random, each for itself and anew at each read, until they are
    /// programmed or erased again.
    Unstable {
        /// Chooses the bits and what reads return.
        seed: u64,
    },
    /// Every bit in hand is unstable, and all of them read alike: one read sees
    /// the operation done, another sees it not done. The worst case for code
    /// that trusts a second look.
    Flicker {
        /// Chooses what reads return.
        seed: u64,
    },
    /// Erase only (a program acts like [`After`](Self::After)): chips program
    /// a sector to all zeros before they erase it; power failed between the two.
    Zeroed,
    /// Erase only (a program acts like [`Random`](Self::Random)): every bit of
    /// the sector is random, also those that were 1.
    Scrambled {
        /// Chooses the bits.
        seed: u64,
    },
}

impl CutVariant {
    /// All variants that differ for an erase.
    pub const fn for_erase(seed: u64) -> [Self; 14] {
        [
            Self::Before,
            Self::After,
            Self::Head { of_256: 64 },
            Self::Head { of_256: 128 },
            Self::Head { of_256: 255 },
            Self::Tail { of_256: 128 },
            Self::Tail { of_256: 255 },
            Self::Random { seed },
            Self::AllButOne { seed },
            Self::OnlyOne { seed },
            Self::Unstable { seed },
            Self::Flicker { seed },
            Self::Zeroed,
            Self::Scrambled { seed },
        ]
    }

    /// All variants that differ for a program.
    pub const fn for_program(seed: u64) -> [Self; 11] {
        [
            Self::Before,
            Self::After,
            Self::Head { of_256: 64 },
            Self::Head { of_256: 128 },
            Self::Head { of_256: 192 },
            Self::Tail { of_256: 128 },
            Self::Random { seed },
            Self::AllButOne { seed },
            Self::OnlyOne { seed },
            Self::Unstable { seed },
            Self::Flicker { seed },
        ]
    }

    /// The head cuts after each byte of a unit of `unit` bytes: 1..unit.
    pub fn prefixes(unit: usize) -> impl Iterator<Item = Self> {
        (1..unit).map(move |n| Self::Head {
            of_256: (n * 256).div_ceil(unit).min(255) as u8,
        })
    }
}

/// A small generator (SplitMix64), so that a seed means the same everywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }
}

/// What is in hand: bytes as they are, and which of their bits are unstable.
pub(crate) struct Hand<'a> {
    pub data: &'a mut [u8],
    pub unstable: &'a mut [u8],
}

/// Leaves in `hand` what a cut leaves of erasing it, or of programming `new`.
pub(crate) fn tear(hand: Hand<'_>, new: Option<&[u8]>, variant: CutVariant) {
    let Hand { data, unstable } = hand;
    let bits = data.len() * 8;
    // Per byte: bits the operation works on, and their value when it is done.
    let works_on = |i: usize| new.map_or(0xFF, |new| !new[i]);
    let value = if new.is_some() { 0x00 } else { 0xFF };
    let changing: Vec<u8> = (0..data.len())
        .map(|i| ((data[i] ^ value) | unstable[i]) & works_on(i))
        .collect();
    let count: u32 = changing.iter().map(|c| c.count_ones()).sum();
    let nth = |seed: u64| SplitMix(seed).next() % u64::from(count.max(1));

    let mut rng = SplitMix(match variant {
        CutVariant::Random { seed }
        | CutVariant::Unstable { seed }
        | CutVariant::Scrambled { seed } => seed,
        _ => 0,
    });
    let mut seen = 0;
    for i in 0..data.len() {
        let before = |end: usize| match end.saturating_sub(i * 8) {
            0 => 0,
            n @ 1..8 => (1u8 << n) - 1,
            _ => 0xFF,
        };
        // The one bit chosen by AllButOne and OnlyOne, if it is in this byte.
        let mut one = |n: u64| {
            let mut mask = 0;
            for bit in 0..8 {
                if changing[i] & (1 << bit) != 0 {
                    mask |= u8::from(seen == n) << bit;
                    seen += 1;
                }
            }
            mask
        };
        let (done, weak) = match variant {
            CutVariant::Before => (0, 0),
            CutVariant::After => (0xFF, 0),
            CutVariant::Head { of_256 } => (before(bits * usize::from(of_256) / 256), 0),
            CutVariant::Tail { of_256 } => (!before(bits - bits * usize::from(of_256) / 256), 0),
            CutVariant::Random { .. } => (rng.byte(), 0),
            CutVariant::AllButOne { seed } => (!one(nth(seed)), 0),
            CutVariant::OnlyOne { seed } => (one(nth(seed)), 0),
            CutVariant::Unstable { .. } => {
                let weak = rng.byte();
                (rng.byte() & !weak, weak)
            }
            CutVariant::Flicker { .. } => (0, 0xFF),
            CutVariant::Zeroed if new.is_none() => {
                (data[i], unstable[i]) = (0, 0);
                continue;
            }
            CutVariant::Scrambled { .. } if new.is_none() => {
                (data[i], unstable[i]) = (rng.byte(), 0);
                continue;
            }
            CutVariant::Zeroed => (0xFF, 0),
            CutVariant::Scrambled { .. } => (rng.byte(), 0),
        };
        let done = done & works_on(i);
        let weak = weak & changing[i];
        data[i] = (data[i] & !(done | weak)) | (value & (done | weak));
        unstable[i] = (unstable[i] & !done) | weak;
    }
}
