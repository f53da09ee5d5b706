//! What is not copied approximately: literals and exact matches, and where copies come
//! from. `docs/delta-format.md`, sections 7.1 and 7.4.

use super::engine::{BadRange, Engine, Env, Op, Params, Truth};
use super::fast::{Literals, Place};
use super::header::Arch;
use super::map::Segment;
use super::model::Coder;
use super::state::{Byte, hash};
use super::view::{seen, seen_half};

/// Kinds of ops as remembered.
pub(super) const LITERAL: u32 = 0;
const COPY: u32 = 1;
const MATCH: u32 = 2;
const REPEAT: u32 = 3;
/// Least length of a match at a new distance.
pub(crate) const LEAST: u32 = 2;

/// Bits of a number, at most 5; the core has no instruction that counts them.
fn few(v: u32) -> u32 {
    [1, 2, 4, 8, 16]
        .iter()
        .map(|least| u32::from(v >= *least))
        .sum()
}

impl Engine {
    /// Codes an op; returns its kind.
    #[inline(never)]
    pub(super) fn op<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        par: &Params,
        t: &Truth<'_>,
    ) -> Result<u32, BadRange> {
        let w = &self.w;
        let p = w.p;
        let seg = par.map.at_new(p);
        let prev = w.ops & 3;
        let ctx = [
            (w.ops & 63) << 2 | p & 3,
            256 + ((prev * 6 + few(w.literals)) << 2 | (p & 1) << 1) + u32::from(seg.is_some()),
            352 + (hash(w.last & 0xFF, 70 + (p & 1)) >> 24),
        ];
        let is = u32::from(t.op == Op::Literal);
        let literal = self.m.literal(c, ctx, w.how, prev, is);
        if literal == 1 {
            self.literal(c, e, par, t);
        } else {
            self.w.literals = 0;
            let two = self.w.ops & 15;
            let copy = u32::from(matches!(t.op, Op::Copy { .. }));
            if self.m.flags.code(c, two as usize, copy) == 1 {
                self.copy(c, e, par, t, seg)?;
            } else {
                self.repeat(c, e, par, t)?;
            }
        }
        Ok(self.w.ops & 3)
    }

    /// Hands on what waits for the rest of a call.
    pub(super) fn release<E: Env>(&mut self, e: &mut E) {
        self.w.held.flush(|b| e.put(b));
    }

    fn put_seen<E: Env>(&mut self, e: &mut E, par: &Params, b: u8) {
        let w = &mut self.w;
        w.last = w.last << 8 | u32::from(b);
        w.p += 1;
        w.held.push(par.arch, b, w.p, |b| e.put(b));
    }

    /// How many of `len` bytes a match would get right.
    #[cfg(feature = "encode")]
    pub(crate) fn matching<E: Env>(
        &mut self,
        e: &mut E,
        par: &Params,
        new: &[u8],
        dist: u32,
        len: u32,
    ) -> u32 {
        let before = self.w;
        let mut good = 0;
        while good < len {
            let b = self.back(e, par, dist);
            if b.is_none() || b != new.get(self.w.p as usize).copied() {
                break;
            }
            self.put_seen(e, par, b.unwrap_or(0));
            good += 1;
        }
        self.w = before;
        good
    }

    /// The byte `dist` back, calls absolute.
    #[inline]
    pub(crate) fn back<E: Env>(&mut self, e: &mut E, par: &Params, dist: u32) -> Option<u8> {
        let w = &self.w;
        let at = w.p.wrapping_sub(dist);
        // Mostly the other byte of a halfword that was looked at a moment ago.
        if w.looked.0 == at | 1 && (8..=w.p).contains(&dist) {
            return Some((w.looked.1 >> (8 * (at & 1))) as u8);
        }
        self.look_back(e, par, dist)
    }

    #[inline(never)]
    fn look_back<E: Env>(&mut self, e: &mut E, par: &Params, dist: u32) -> Option<u8> {
        let w = &mut self.w;
        let p = w.p;
        if dist == 0 {
            None
        } else if dist <= p.wrapping_sub(w.start).min(4) {
            Some((w.last >> (8 * (dist - 1))) as u8)
        } else if dist <= p {
            let at = p - dist;
            if par.arch == Arch::Thumb && dist >= 8 {
                let half = |at| u32::from(e.made(at)) | u32::from(e.made(at + 1)) << 8;
                w.looked = (at | 1, seen_half(at & !1, half));
                return Some((w.looked.1 >> (8 * (at & 1))) as u8);
            }
            let hi = p.saturating_sub(3);
            Some(seen(par.arch, at, (0, hi), |at| e.made(at)))
        } else {
            let at = par.old_len.checked_sub(dist - p)?;
            (at >= w.old_min).then(|| seen(par.arch, at, (w.old_min, par.old_len), |at| e.old(at)))
        }
    }

    /// Moves a distance to the front, the last one falls out if it is new.
    fn remember(&mut self, dist: u32) {
        let mut carry = dist;
        for r in &mut self.w.reps {
            core::mem::swap(r, &mut carry);
            if carry == dist {
                break;
            }
        }
    }

    #[inline(never)]
    fn copy<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        par: &Params,
        t: &Truth<'_>,
        seg: Option<Segment>,
    ) -> Result<(), BadRange> {
        let prev = (self.w.ops & 3) as usize;
        let room = self.w.end - self.w.p;
        let (old, len) = if let Op::Copy { old, len } = t.op {
            (old, len)
        } else {
            (0, 1)
        };
        let want = old.wrapping_sub(self.w.p);
        let mut mapped = None;
        if let Some(Segment { new, old, len }) = seg {
            let d = old.wrapping_sub(new);
            if self.m.flags.code(c, 16 + prev, u32::from(want == d)) == 1 {
                mapped = Some((d, (new + len - self.w.p).min(room)));
            }
        }
        let disp = match mapped {
            Some((d, _)) => d,
            None => self.displacement(c, par, prev, want),
        };
        let len = match mapped {
            Some((_, all)) if self.m.flags.code(c, 28, u32::from(len == all)) == 1 => all,
            _ => self.m.numbers[0].code(c, len - 1) + 1,
        };
        let old = self.w.p.wrapping_add(disp);
        if len > room || old < self.w.old_min || old > par.old_len || len > par.old_len - old {
            return Err(BadRange);
        }
        self.release(e);
        self.remember(par.old_len.wrapping_sub(disp));
        let w = &mut self.w;
        w.disp = disp;
        w.copy_new = w.p;
        w.copy_end = w.p + len;
        w.block_end = w.p;
        w.ops = w.ops << 2 | COPY;
        w.changed = 0;
        Ok(())
    }

    /// A displacement not given by the map: a recent one, or by how much it differs from
    /// the last.
    fn displacement<C: Coder>(&mut self, c: &mut C, par: &Params, prev: usize, want: u32) -> u32 {
        let f = &mut self.m.flags;
        let dist = par.old_len.wrapping_sub(want);
        let rep = self.w.reps.iter().position(|r| *r == dist);
        if f.code(c, 20 + prev, u32::from(rep.is_some())) == 1 {
            let i = rep.unwrap_or(0) as u32;
            let hi = f.code(c, 24, i >> 1);
            let lo = f.code(c, 25 + hi as usize, i & 1);
            let r = self.w.reps.get((hi * 2 + lo) as usize);
            return par.old_len.wrapping_sub(r.copied().unwrap_or(0));
        }
        let expect = self.w.disp;
        let delta = want.wrapping_sub(expect) as i32;
        let neg = f.code(c, 27, u32::from(delta < 0));
        let mag = self.m.numbers[1].code(c, delta.unsigned_abs());
        if neg == 1 {
            expect.wrapping_sub(mag)
        } else {
            expect.wrapping_add(mag)
        }
    }

    #[inline(never)]
    fn repeat<C: Coder, E: Env>(
        &mut self,
        c: &mut C,
        e: &mut E,
        par: &Params,
        t: &Truth<'_>,
    ) -> Result<(), BadRange> {
        let (two, prev) = (self.w.ops & 15, self.w.ops & 3);
        let (dist, len) = if let Op::Match { dist, len } = t.op {
            (dist, len)
        } else {
            (1, LEAST)
        };
        let rep = self.w.reps.iter().position(|r| *r == dist);
        let f = &mut self.m.flags;
        let (dist, len, kind) = if f.code(c, (32 + two) as usize, u32::from(rep.is_some())) == 1 {
            let want = rep.unwrap_or(0);
            let mut i = 0;
            while i < 3 {
                let at = if i == 0 { 48 + prev as usize } else { 51 + i };
                if f.code(c, at, u32::from(want > i)) == 0 {
                    break;
                }
                i += 1;
            }
            let len = self.m.numbers[3].code(c, len - 1) + 1;
            (self.w.reps.get(i).copied().unwrap_or(0), len, REPEAT)
        } else {
            let len = self.m.numbers[2].code(c, len.wrapping_sub(LEAST)) + LEAST;
            let by = (len - LEAST).min(3);
            (self.m.distance(c, by, dist - 1).wrapping_add(1), len, MATCH)
        };
        let w = &self.w;
        let fits = if dist <= w.p {
            dist != 0
        } else {
            par.old_len
                .checked_sub(dist - w.p)
                .is_some_and(|at| at >= w.old_min && len <= par.old_len - at)
        };
        if !fits || len > w.end - w.p {
            return Err(BadRange);
        }
        for _ in 0..len {
            let b = self.back(e, par, dist).unwrap_or(0);
            self.put_seen(e, par, b);
        }
        self.remember(dist);
        self.w.ops = self.w.ops << 2 | kind;
        self.w.copy_end = self.w.p;
        Ok(())
    }

    #[inline(never)]
    fn literal<C: Coder, E: Env>(&mut self, c: &mut C, e: &mut E, par: &Params, t: &Truth<'_>) {
        let dist = self.w.reps[0];
        // What would come if the last copy or match went on.
        let expect = self.back(e, par, dist).map_or(0, |b| 256 | u32::from(b));
        let w = &self.w;
        let (l, p) = (w.last, w.p);
        let (pos, odd) = (p & 3, p & 1);
        let o1 = l & 0xFF;
        // How far that can be trusted.
        let trust = match w.literals {
            0 => (w.ops & 3).max(1) - 1,
            1 => 3 + (w.agreed & 1),
            _ => 4 + (w.agreed & 3),
        };
        let b = if w.how != Literals::Full {
            let o2 = l >> 8 & 0xFF;
            // Four-byte instructions by place and byte before; else by halves.
            let ctx = if matches!(par.arch, Arch::Arm | Arch::A64) {
                [pos << 2 | o1 >> 6, 16 + 3 * pos + (o2 >> 6).min(2)]
            } else if odd == 0 {
                [o1 >> 5, 24 + (o2 >> 6)]
            } else {
                [8 + (o1 >> 5), 16 + (o2 >> 5)]
            };
            let at = Place {
                pos,
                ctx,
                expect,
                trust,
            };
            if w.how == Literals::Plain {
                self.m.plain_literal(c, &at, t.seen(p))
            } else {
                self.m.fast_literal(c, &at, t.seen(p))
            }
        } else {
            // The last whole aligned halfword, and word, as far as known.
            let (half, word) = if odd == 0 {
                (l & 0xFFFF, l)
            } else {
                (l >> 8 & 0xFFFF, l >> 8)
            };
            let how = Byte {
                ctx: [
                    hash(pos, 9),
                    hash(o1, 1 + odd),
                    hash(l & 0xFFFF, 3 + odd),
                    hash(l & 0xFF_FFFF, 5),
                    hash(half, 6 + pos),
                    hash(word, 16 + odd * 256 + odd * o1),
                    hash(l >> 16 & 0xFFFF, 11 + pos),
                ],
                expect,
                trust,
                set: pos * 8,
                by_bit: true,
                limit: 15,
            };
            self.m.byte(c, &how, t.seen(p))
        };
        self.put_seen(e, par, b as u8);
        let w = &mut self.w;
        w.agreed = w.agreed << 1 | u32::from(expect & 0xFF == b && expect != 0);
        w.literals += 1;
        w.ops = w.ops << 2 | LITERAL;
        w.copy_end = w.p;
    }
}
