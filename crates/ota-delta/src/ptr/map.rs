//! The address map: where parts of the old image went.

use super::Error;
use super::engine::Params;
use super::model::{Bits, Coder, Number, Table};

/// Most segments a map may have.
pub(crate) const SEGMENTS: usize = 128;

/// New bytes `[new, new + len)` came from `[old, old + len)`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Segment {
    pub new: u32,
    pub old: u32,
    pub len: u32,
}

impl Segment {
    fn disp(&self) -> i32 {
        self.new.wrapping_sub(self.old) as i32
    }
}

/// Segments in the order of `new`, and that order by `old`.
pub(crate) struct Map {
    seg: [Segment; SEGMENTS],
    by_old: [u8; SEGMENTS],
    count: usize,
}

impl Map {
    pub const fn new() -> Self {
        Map {
            seg: [Segment {
                new: 0,
                old: 0,
                len: 0,
            }; SEGMENTS],
            by_old: [0; SEGMENTS],
            count: 0,
        }
    }

    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Appends a segment; `false` when full.
    pub fn push(&mut self, s: Segment) -> bool {
        match self.seg.get_mut(self.count) {
            Some(slot) => {
                *slot = s;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// To be called once after the last `push`: sorts by old position, stable.
    pub fn index(&mut self) {
        for i in 0..self.count {
            let key = self.seg.get(i).map_or(0, |s| s.old);
            let mut j = i;
            while j > 0 {
                let before = self.by_old.get(j - 1).copied().unwrap_or(0);
                if self.seg.get(before as usize).is_none_or(|s| s.old <= key) {
                    break;
                }
                if let Some(slot) = self.by_old.get_mut(j) {
                    *slot = before;
                }
                j -= 1;
            }
            if let Some(slot) = self.by_old.get_mut(j) {
                *slot = i as u8;
            }
        }
    }

    fn nth_old(&self, i: usize) -> Segment {
        let at = self.by_old.get(i).copied().unwrap_or(0);
        self.seg.get(at as usize).copied().unwrap_or_default()
    }

    /// Where old offset `t` went, whether that is certain, and the second guess.
    pub fn new_of(&self, t: u32) -> (u32, bool, u32) {
        // The last segment that starts at or before t.
        let (mut lo, mut hi) = (0, self.count);
        while lo < hi {
            let mid = (lo + hi) / 2;
            if self.nth_old(mid).old <= t {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        if self.count == 0 {
            return (t, false, t);
        }
        let moved = |s: &Segment| t.wrapping_add(s.disp() as u32);
        if lo == 0 {
            let s = self.nth_old(0);
            return (moved(&s), false, t);
        }
        let a = self.nth_old(lo - 1);
        if t - a.old < a.len {
            return (moved(&a), true, t);
        }
        if lo == self.count {
            return (moved(&a), false, t);
        }
        let b = self.nth_old(lo);
        if t - a.old - a.len < b.old - t {
            (moved(&a), false, moved(&b))
        } else {
            (moved(&b), false, moved(&a))
        }
    }

    /// The segment that holds new offset `p`.
    pub fn at_new(&self, p: u32) -> Option<Segment> {
        let (mut lo, mut hi) = (0, self.count);
        while lo < hi {
            let mid = (lo + hi) / 2;
            if self.seg.get(mid).is_some_and(|s| s.new <= p) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        let s = self.seg.get(lo.checked_sub(1)?)?;
        (p - s.new < s.len).then_some(*s)
    }
}

/// Codes the address map, ahead of all slices.
pub(crate) struct MapCoder {
    flags: Table<2>,
    new_end: u32,
    old_end: u32,
    windowed: bool,
}

impl MapCoder {
    pub const fn new() -> Self {
        MapCoder {
            flags: Table::ZERO,
            new_end: 0,
            old_end: 0,
            windowed: false,
        }
    }

    /// `n` are the numbers' counters, borrowed from the slices' model.
    pub fn reset(&mut self, n: &mut [Number; 4]) {
        n.iter_mut().for_each(Number::reset);
        self.flags.reset(32768, 0);
        (self.new_end, self.old_end) = (0, 0);
        self.windowed = false;
    }

    /// Codes the next segment, or that there is none. The decoder gives anything.
    pub fn code<C: Coder>(
        &mut self,
        c: &mut C,
        [gap_n, len_n, delta_n, _]: &mut [Number; 4],
        want: Option<Segment>,
    ) -> Option<Segment> {
        if self.flags.code(c, 0, u32::from(want.is_some())) == 0 {
            return None;
        }
        let s = want.unwrap_or_default();
        let gap = gap_n.code(c, s.new.wrapping_sub(self.new_end));
        let len = len_n.code(c, s.len);
        let expect = self.old_end.wrapping_add(gap);
        let d = s.old.wrapping_sub(expect) as i32;
        let neg = self.flags.code(c, 1, u32::from(d < 0));
        let mag = delta_n.code(c, d.unsigned_abs());
        let old = if neg == 1 {
            expect.wrapping_sub(mag)
        } else {
            expect.wrapping_add(mag)
        };
        let new = self.new_end.wrapping_add(gap);
        self.new_end = new.wrapping_add(len);
        self.old_end = old.wrapping_add(len);
        Some(Segment { new, old, len })
    }

    /// The RAM window, in front of all segments.
    pub fn window<C: Coder>(
        c: &mut C,
        [gap_n, len_n, ..]: &mut [Number; 4],
        ram: (u32, u32),
    ) -> (u32, u32) {
        let start = gap_n.code(c, ram.0 >> 8) << 8;
        (start, len_n.code(c, ram.1 >> 8) << 8)
    }

    /// Decodes one thing into `par`; `false` at the end.
    pub fn next(
        &mut self,
        bits: &mut Bits<'_>,
        n: &mut [Number; 4],
        par: &mut Params,
    ) -> Result<bool, Error> {
        if !self.windowed {
            par.ram = Self::window(bits, n, (0, 0));
            self.windowed = true;
            return Ok(true);
        }
        match self.code(bits, n, None) {
            None => Ok(false),
            Some(s) if s.len <= 1 << 28 && par.map.push(s) => Ok(true),
            Some(_) => Err(Error::Map),
        }
    }
}
