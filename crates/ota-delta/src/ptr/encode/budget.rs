//! How long a decoder works on a patch, and what is coded otherwise so that it is not
//! too long.

use crate::ptr::engine::Op;
use crate::ptr::fast::Literals;
use std::vec::Vec;

/// What decoding takes, counted while it is coded.
#[derive(Default, Clone, Copy)]
pub(super) struct Work {
    /// Bits of bytes.
    pub bits: u64,
    /// Bits that one counter tells or none.
    pub flags: u64,
    /// Other bits, mixed from several counters.
    pub mixed: u64,
}

impl Work {
    /// Instructions of an ARM9 core, as measured on the emulated board (`board-tests`,
    /// test `ptr`, holds this against what it counts).
    pub fn instructions(self, ops: &[Op], how: Literals) -> u64 {
        let bit = match how {
            Literals::Full => 500,
            Literals::Plain => 45,
            Literals::Fast => 92,
        };
        let mut sum = self.bits * bit + self.flags * 65 + self.mixed * 350;
        for op in ops {
            sum += match op {
                Op::Literal => 310,
                Op::Match { len, .. } => 950 + 180 * u64::from(*len),
                Op::Copy { len, .. } => 1000 + 300 * u64::from(*len),
            };
        }
        sum
    }
}

/// One way to code a slice.
pub(super) struct Slice {
    pub how: Literals,
    pub data: Vec<u8>,
    pub crc: u32,
    pub instructions: u64,
}

/// A map and ways to code each slice.
pub(super) struct Body {
    pub map: Vec<u8>,
    pub slices: Vec<Vec<Slice>>,
}

impl Body {
    /// Bytes when each slice is coded the smallest way.
    pub fn len(&self) -> usize {
        let least = |s: &Vec<Slice>| s.iter().map(|s| s.data.len()).min();
        self.map.len() + self.slices.iter().filter_map(least).sum::<usize>()
    }

    /// Instructions of that.
    pub fn instructions(&self) -> u64 {
        smallest(self).iter().map(|s| s.instructions).sum()
    }

    /// More ways to code the same slices.
    pub fn extend(&mut self, other: Self) {
        for (to, from) in self.slices.iter_mut().zip(other.slices) {
            to.extend(from);
        }
    }
}

fn smallest(body: &Body) -> Vec<&Slice> {
    let slices = body.slices.iter();
    let least = |ways: &'_ [Slice]| (0..ways.len()).min_by_key(|i| ways[*i].data.len());
    slices.filter_map(|ways| ways.get(least(ways)?)).collect()
}

/// The ways that together take at most `most` instructions, or as few as there are, and
/// are small: always the next one that costs fewest bytes for what it saves.
pub(super) fn choose(body: &Body, most: Option<u64>) -> Vec<&Slice> {
    let mut chosen = smallest(body);
    let Some(most) = most else { return chosen };
    let mut sum: u64 = chosen.iter().map(|s| s.instructions).sum();
    while sum > most {
        // Bytes more per instruction less.
        let price = |now: &Slice, way: &Slice| {
            let bytes = way.data.len() - now.data.len();
            bytes as f64 / (now.instructions - way.instructions) as f64
        };
        let better = chosen.iter().enumerate().flat_map(|(k, now)| {
            let ways = body.slices.get(k).into_iter().flatten();
            let ways = ways.filter(|w| w.instructions < now.instructions);
            // Larger and slower than another way is none.
            let ways = ways.filter(|w| w.data.len() >= now.data.len());
            ways.map(move |w| (price(now, w), k, w))
        });
        let Some((_, k, way)) = better.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            break;
        };
        sum -= chosen[k].instructions - way.instructions;
        chosen[k] = way;
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(len: usize, instructions: u64) -> Slice {
        Slice {
            how: Literals::Full,
            data: std::vec![0; len],
            crc: 0,
            instructions,
        }
    }

    fn body() -> Body {
        Body {
            map: Vec::new(),
            slices: std::vec![
                std::vec![way(100, 1000), way(110, 900), way(120, 300)],
                std::vec![way(50, 500), way(80, 100)],
            ],
        }
    }

    fn chosen(most: Option<u64>) -> (usize, u64) {
        let body = body();
        let all = choose(&body, most);
        (
            all.iter().map(|s| s.data.len()).sum(),
            all.iter().map(|s| s.instructions).sum(),
        )
    }

    #[test]
    fn the_cheapest_bytes_go_first() {
        assert_eq!(chosen(None), (150, 1500));
        assert_eq!(chosen(Some(1500)), (150, 1500));
        // 20 bytes for 700 instructions, not 10 for 100, nor 30 for 400.
        assert_eq!(chosen(Some(1499)), (170, 800));
        assert_eq!(chosen(Some(799)), (200, 400));
        // Nothing is faster.
        assert_eq!(chosen(Some(0)), (200, 400));
    }
}
