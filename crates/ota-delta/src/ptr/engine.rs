//! The codec: one state machine that the encoder and the decoder both run.
//! `docs/delta-format.md`, section 7.

use super::fast::Literals;
use super::header::Arch;
use super::lz::LITERAL;
use super::map::Map;
use super::model::Coder;
use super::predict::{Unit, branch_target, kind};
use super::state::{Byte, Model, hash};
use super::view::Held;

/// Bytes the codec looks at besides the patch. Positions are in the decoded images.
pub(crate) trait Env {
    fn old(&mut self, at: u32) -> u8;
    fn made(&mut self, at: u32) -> u8;
    fn put(&mut self, b: u8);
    fn old16(&mut self, at: u32) -> u32 {
        u32::from(self.old(at)) | u32::from(self.old(at + 1)) << 8
    }
    fn old32(&mut self, at: u32) -> u32 {
        self.old16(at) | self.old16(at + 2) << 16
    }
}

/// What happens at a position outside of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "encode"), allow(dead_code))] // only the encoder chooses
pub(crate) enum Op {
    /// One new byte.
    Literal,
    /// Bytes that resemble old ones.
    Copy { old: u32, len: u32 },
    /// Exactly the bytes `dist` before in the old image and the new one behind it.
    Match { dist: u32, len: u32 },
}

/// What the encoder wants coded; the decoder gives anything.
pub(crate) struct Truth<'a> {
    pub op: Op,
    pub new: &'a [u8],
    /// The new image outside of copies: calls absolute.
    pub seen: &'a [u8],
    /// Literals that one step may take in a row; `op` tells of one.
    pub burst: u32,
}

impl Truth<'_> {
    pub(super) fn seen(&self, p: u32) -> u32 {
        self.seen.get(p as usize).copied().unwrap_or(0).into()
    }
    pub(super) fn byte(&self, p: u32) -> u32 {
        self.new.get(p as usize).copied().unwrap_or(0).into()
    }
}

/// An op reaches past its slice or its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadRange;

/// What holds for the whole patch.
pub(crate) struct Params {
    pub arch: Arch,
    pub base: u32,
    pub old_len: u32,
    /// First address and length of RAM.
    pub ram: (u32, u32),
    pub map: Map,
}

/// Copies are flagged clean or not by blocks of this many bytes.
const BLOCK: u32 = 32;

/// Where the codec is in its slice, and what it has just seen.
#[derive(Clone, Copy)]
pub(crate) struct Walk {
    pub p: u32,
    pub start: u32,
    pub end: u32,
    pub old_min: u32,
    /// Present copy: new start and end, old minus new.
    pub copy_new: u32,
    pub copy_end: u32,
    pub disp: u32,
    /// Recent distances: back in the new image, which comes behind the old one.
    pub reps: [u32; 4],
    /// How this slice codes literals.
    pub how: Literals,
    pub block_end: u32,
    /// The last four bytes put, the newest lowest.
    pub last: u32,
    /// Kinds of the last ops, two bits each, the newest lowest.
    pub ops: u32,
    pub literals: u32,
    /// Whether the last literals were what was expected, the newest in bit 0.
    pub agreed: u32,
    pub held: Held,
    /// Where a halfword of the new image ends, 0 for none, and what it is as seen.
    pub looked: (u32, u32),
    /// Miss flags of units and blocks, bytes since the last miss.
    pub hist: u32,
    pub blocks: u32,
    pub run: u32,
    /// Miss flags of plain bytes since the last field.
    pub changed: u32,
    pub kind_hist: [u8; 16],
    pub last_diff: [u8; 16],
    /// The last corrections of a branch, a pointer, a RAM address.
    pub fix: [u32; 3],
}

impl Walk {
    const fn new(start: u32, end: u32, old_min: u32) -> Self {
        Walk {
            p: start,
            start,
            end,
            old_min,
            copy_new: start,
            copy_end: start,
            disp: 0,
            reps: [0; 4],
            how: Literals::Full,
            block_end: start,
            last: 0,
            ops: 0,
            literals: 0,
            agreed: 0,
            held: Held::NONE,
            looked: (0, 0),
            hist: 0,
            blocks: 0,
            run: 0,
            changed: 0,
            kind_hist: [0; 16],
            last_diff: [0; 16],
            fix: [0; 3],
        }
    }
}

pub(crate) struct Engine {
    pub m: Model,
    pub w: Walk,
}

/// Bits needed for `v`.
pub(super) fn bucket(v: u32) -> u32 {
    32 - v.leading_zeros()
}

impl Engine {
    pub const fn new() -> Self {
        Engine {
            m: Model::ZERO,
            w: Walk::new(0, 0, 0),
        }
    }

    /// Starts the slice of new bytes `[start, end)`; old bytes before `old_min` are gone.
    pub fn begin(&mut self, start: u32, end: u32, old_min: u32, old_len: u32, how: Literals) {
        self.m.reset(how);
        self.w = Walk {
            how,
            reps: [old_len, 0, 0, 0],
            ..Walk::new(start, end, old_min)
        };
    }

    pub fn done(&self) -> bool {
        self.w.p >= self.w.end
    }

    /// Whether the next step starts an op (and so wants `Truth::op`).
    pub fn at_op(&self) -> bool {
        self.w.p >= self.w.copy_end
    }

    fn put<E: Env>(&mut self, e: &mut E, b: u8) {
        e.put(b);
        self.w.last = self.w.last << 8 | u32::from(b);
        self.w.p += 1;
    }

    fn put32<E: Env>(&mut self, e: &mut E, word: u32) {
        for b in word.to_le_bytes() {
            self.put(e, b);
        }
    }

    /// Codes the next thing: an op, a block flag, or a unit of a block with misses.
    pub fn step<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        par: &Params,
        t: &Truth<'_>,
    ) -> Result<(), BadRange> {
        if self.at_op() {
            for _ in 0..t.burst {
                if self.op(c, e, par, t)? != LITERAL || self.done() {
                    break;
                }
            }
            if self.done() {
                self.release(e);
            }
            return Ok(());
        }
        if self.w.p >= self.w.block_end {
            self.block(c, e, par, t);
        } else {
            let u = self.predict(e, par, self.w.p);
            if u.len == 4 {
                self.field(c, e, par, t, &u)
            } else {
                self.plain(c, e, t, &u)
            }
        }
        Ok(())
    }

    /// A block of a copy: predictions for all of it and one flag whether they are right.
    #[inline(never)]
    fn block<C: Coder, E: Env>(&mut self, c: &mut C, e: &mut E, par: &Params, t: &Truth<'_>) {
        let start = self.w.p;
        let end = self.w.copy_end.min((start | (BLOCK - 1)) + 1);
        let mut guess = [0u8; BLOCK as usize + 3];
        let mut classes = [0u8; BLOCK as usize / 2];
        let (mut n, mut fields, mut risk) = (0usize, 0usize, 0u32);
        while start + (n as u32) < end {
            let u = self.predict(e, par, start + n as u32);
            if u.len == 4 {
                risk += u32::from(self.m.class.p(u.class as usize));
                if let Some(slot) = classes.get_mut(fields) {
                    *slot = u.class as u8;
                }
                fields += 1;
            }
            let bytes = u.guess[0].to_le_bytes();
            for (slot, b) in guess.iter_mut().skip(n).zip(bytes).take(u.len as usize) {
                *slot = b;
            }
            n += u.len as usize;
        }
        let wrong = guess
            .iter()
            .take(n)
            .zip(start..)
            .any(|(b, p)| t.byte(p) != u32::from(*b));
        // The sum of the fields' miss rates, in steps of half a power of two.
        let rb = bucket(risk >> 8);
        let risk = (2 * rb + if rb > 1 { risk >> 8 >> (rb - 2) & 1 } else { 0 }).min(31);
        let blocks = self.w.blocks;
        let ctx = [
            blocks & 63,
            64 + (bucket(self.w.run / 16).min(7) << 5 | risk),
            320 + ((blocks & 3) << 5 | risk),
            448 + ((blocks & 15) << 2 | bucket(n as u32).saturating_sub(3).min(3)),
        ];
        let dirty = self.m.dirty(c, ctx, blocks & 3, u32::from(wrong));
        self.w.blocks = blocks << 1 | dirty;
        if dirty == 1 {
            self.w.block_end = end;
            return;
        }
        for b in guess.iter().take(n) {
            self.put(e, *b);
        }
        for class in classes.iter().take(fields) {
            self.m.class.update(*class as usize, 0, 30);
        }
        self.w.hist = if n >= 8 { 0 } else { self.w.hist << n };
        self.w.run += n as u32;
        self.w.block_end = self.w.p;
        self.w.changed = 0;
    }

    fn plain<C: Coder, E: Env>(&mut self, c: &mut C, e: &mut E, t: &Truth<'_>, u: &Unit) {
        let o = self.w.p.wrapping_add(self.w.disp);
        self.byte(c, e, t, u, 0, 0);
        // The end of an aligned word that was old and new one, and is not the same.
        let w = &self.w;
        if (w.p | (o + 1)) & 3 == 0 && w.changed & 15 != 0 && w.p - w.copy_new >= 4 {
            let old = e.old32(o - 3);
            self.m.learn(old, self.w.last.swap_bytes());
        }
    }

    #[inline(never)]
    fn field<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        par: &Params,
        t: &Truth<'_>,
        u: &Unit,
    ) {
        let p = self.w.p;
        let o = p.wrapping_add(self.w.disp);
        let want = (0..4).fold(0, |v, i| v | t.byte(p + i) << (8 * i));
        let run = bucket(self.w.run).min(7);
        let first = u.guess[0];
        let moved = u32::from(first != u.old);
        let before = if p >= self.w.copy_new + 2 {
            e.old16(o - 2)
        } else {
            0
        };
        let k = (u.kind & 15) as usize;
        let hist = u32::from(self.w.kind_hist.get(k).copied().unwrap_or(0));
        let ctx = [
            0x1000_0000 | u.class << 2 | hist & 3,
            0x2000_0000 | u.kind << 9 | moved << 8 | hist,
            0x3000_0000 ^ hash(u.old >> 16, u.kind << 1 | moved),
            0x4000_0000 ^ hash(first.wrapping_sub(u.old), u.kind),
            0x5000_0000 | u.kind << 12 | run << 8 | (self.w.hist & 15) << 4 | moved << 3 | p & 3,
            0x6000_0000 ^ hash(before, u.kind << 1 | moved),
        ];
        let miss = self.m.miss(c, ctx, 16 + u.kind, u32::from(want != first));
        self.m.class.update(u.class as usize, miss, 30);
        if let Some(h) = self.w.kind_hist.get_mut(k) {
            *h = *h << 1 | miss as u8;
        }
        self.w.hist = self.w.hist << 1 | miss;
        self.w.changed = 0;
        if miss == 0 {
            self.w.run += 4;
            self.put32(e, first);
            return;
        }
        self.w.run = 0;
        let mut found = None;
        for i in 1..4 {
            let g = u.guess[i];
            if !u.guess[..i].contains(&g)
                && self.m.alt.code(c, k << 2 | i, u32::from(want == g)) == 1
            {
                found = Some(g);
                break;
            }
        }
        match found {
            Some(g) => self.put32(e, g),
            None => {
                let mut differs = 0;
                for i in 0..4 {
                    differs |= self.byte(c, e, t, u, i, differs);
                }
            }
        }
        self.learn(par, u, self.w.last.swap_bytes());
    }

    /// Remembers what came instead of a field's prediction.
    fn learn(&mut self, par: &Params, u: &Unit, got: u32) {
        let p = self.w.p - 4;
        match u.kind {
            kind::BRANCH | kind::BRANCH_GUESS | kind::BRANCH_KNOWN => {
                let to = branch_target(par.arch, got, p);
                self.w.fix[0] = to.wrapping_sub(branch_target(par.arch, u.guess[0], p));
                self.m.learn(u.key, to);
                return;
            }
            kind::RAM | kind::RAM_KNOWN => {
                if got.wrapping_sub(par.ram.0) < par.ram.1 {
                    self.w.fix[2] = got.wrapping_sub(u.key);
                    self.m.learn_shift(u.key, self.w.fix[2]);
                }
            }
            _ => self.w.fix[1] = got.wrapping_sub(u.guess[0]),
        }
        self.m.learn(u.key, got);
    }

    /// Byte `i` of a unit with its own flag; returns whether it missed.
    #[inline(never)] // Frames apart: the stack counts.
    fn byte<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        t: &Truth<'_>,
        u: &Unit,
        i: u32,
        differs: u32,
    ) -> u32 {
        let p = self.w.p;
        let o = p.wrapping_add(self.w.disp);
        let (from, to) = (
            self.w.copy_new.wrapping_add(self.w.disp),
            self.w.copy_end.wrapping_add(self.w.disp),
        );
        let pred = u.guess[0] >> (8 * i) & 0xFF;
        let run = bucket(self.w.run).min(7);
        // The aligned old halfword around this byte, and the one before it, if they are
        // inside the copy.
        let at = o & !1;
        let half = if at >= from && at + 2 <= to {
            e.old16(at)
        } else {
            0
        };
        let before = if at >= from + 2 { e.old16(at - 2) } else { 0 };
        let odd = o & 1;
        let k = u.kind << 2 | i;
        let hist = self.w.hist;
        let ctx = [
            k << 8 | hist & 0xFF,
            0x10000 | u.kind << 5 | run << 2 | p & 3,
            0x20000 | k << 9 | pred << 1 | hist & 1,
            0x100_0000 | half << 3 | odd << 2 | hist & 3,
            0x200_0000 ^ hash(half, before << 1 | odd),
            0x300_0000 | k << 12 | (hist & 15) << 8 | run << 5 | differs << 3 | p & 3,
        ];
        let set = if u.len == 1 { p & 3 } else { 4 + i };
        let miss = self.m.miss(c, ctx, set, u32::from(t.byte(p) != pred));
        self.w.hist = hist << 1 | miss;
        self.w.changed = self.w.changed << 1 | miss;
        let mut b = pred;
        if miss == 1 {
            self.w.run = 0;
            let l = self.w.last;
            let kd = u.kind as usize & 15;
            let last = u32::from(self.w.last_diff.get(kd).copied().unwrap_or(0));
            let ctx = [
                hash(k << 1 | odd, 20),
                hash(pred << 6 | k, 21),
                hash(last << 6 | k, 22),
                hash((l & 0xFF) << 1 | odd, 23),
                hash((l & 0xFF) << 8 | pred, 24),
                hash(half << 1 | odd, 25),
                hash(l & 0xFFFF, 26),
            ];
            let how = Byte {
                ctx,
                expect: 0,
                trust: 0,
                set: 32 + u.kind,
                by_bit: false,
                limit: 11,
            };
            let d = self.m.byte(c, &how, t.byte(p).wrapping_sub(pred) & 0xFF);
            if let Some(slot) = self.w.last_diff.get_mut(kd) {
                *slot = d as u8;
            }
            b = pred + d;
        } else {
            self.w.run += 1;
        }
        self.put(e, b as u8);
        miss
    }
}
