//! The range encoder.

use super::budget::Work;
use crate::ptr::model::Coder;
use std::vec::Vec;

/// Range encoder with carry; the mirror of the decoder in `model`.
pub(crate) struct RangeEncoder {
    low: u64,
    range: u32,
    out: Vec<u8>,
    pub work: Work,
}

impl RangeEncoder {
    pub fn new() -> Self {
        RangeEncoder {
            low: 0,
            range: u32::MAX,
            out: Vec::new(),
            work: Work::default(),
        }
    }
    fn carry(&mut self) {
        if self.low >> 32 != 0 {
            self.low &= 0xFFFF_FFFF;
            for b in self.out.iter_mut().rev() {
                *b = b.wrapping_add(1);
                if *b != 0 {
                    break;
                }
            }
        }
    }
    /// The fewest bytes that decode right when zeros follow.
    pub fn finish(mut self) -> Vec<u8> {
        let top = self.low + u64::from(self.range) - 1;
        for keep in 0..=4u32 {
            let mask = if keep == 4 {
                0
            } else {
                (1u64 << (32 - 8 * keep)) - 1
            };
            let v = top & !mask;
            if v >= self.low {
                self.low = v;
                self.carry();
                for i in 0..keep {
                    self.out.push((self.low >> (24 - 8 * i)) as u8);
                }
                break;
            }
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl RangeEncoder {
    fn put(&mut self, bit: u32, p: u32) {
        let bound = ((u64::from(self.range) * u64::from(p)) >> 16) as u32;
        if bit != 0 {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
            self.carry();
        }
        while self.range < 1 << 24 {
            self.out.push((self.low >> 24) as u8);
            self.low = (self.low << 8) & 0xFFFF_FFFF;
            self.range <<= 8;
        }
    }
}

impl Coder for RangeEncoder {
    fn code(&mut self, bit: u32, p: u32) -> u32 {
        self.work.mixed += 1;
        self.put(bit, p);
        bit
    }

    fn code_flag(&mut self, bit: u32, p: u32) -> u32 {
        self.work.flags += 1;
        self.put(bit, p);
        bit
    }

    fn code_here(&mut self, bit: u32, p: u32) -> u32 {
        self.work.bits += 1;
        self.put(bit, p);
        bit
    }
}
