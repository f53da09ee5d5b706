//! Literals of fast slices: where much is new, most of the time goes here.
//! `docs/delta-format.md`, section 7.4.

use super::model::{Coder, coarse_mix, small_p};
use super::state::{Model, expect_row};

/// How a slice codes its literals: the smaller, the longer it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Literals {
    /// Mixed from up to eight counters.
    Full = 0,
    /// From one counter, or the mean of two.
    Plain = 1,
    /// Mixed from two counters.
    Fast = 2,
}

impl Literals {
    /// By the number in a slice's header.
    pub fn from_bits(bits: u32) -> Option<Self> {
        [Self::Full, Self::Plain, Self::Fast]
            .into_iter()
            .find(|l| *l as u32 == bits)
    }
}

/// Where a literal is and what is around it.
pub(crate) struct Place {
    /// Position modulo 4.
    pub pos: u32,
    /// Two contexts below 28.
    pub ctx: [u32; 2],
    /// As in [`Byte`](super::state::Byte).
    pub expect: u32,
    pub trust: u32,
}

/// Counters are plain 16-bit probabilities here, that all adapt at one rate.
#[inline(always)]
fn follow(p: &mut u16, bit: u32, shift: u32) {
    let target = if bit != 0 { 65535 } else { 0 };
    let now = i32::from(*p);
    *p = (now + ((target - now) >> shift)) as u16;
}

/// How slowly weights follow.
const RATE: u32 = 10;

impl Model {
    /// Codes a literal of a fast slice, highest bit first.
    #[inline(never)]
    pub fn fast_literal<C: Coder>(&mut self, c: &mut C, at: &Place, want: u32) -> u32 {
        let [a, b] = at.ctx.map(|x| x as usize);
        let row = expect_row(at.trust, true) as usize;
        let row = self.expect.all().get_mut(row..).unwrap_or(&mut []);
        let (Ok([a, b]), Some(row), Some(weights)) = (
            self.bytes.blocks().get_disjoint_mut([a, b]),
            row.first_chunk_mut::<16>(),
            self.bytes_w.as_chunks_mut::<8>().0.get_mut(at.pos as usize),
        ) else {
            return 0;
        };
        // While the bits so far are those of the expected byte.
        let mut agree = at.expect != 0;
        let mut sym = 1u32;
        for (i, w) in (0..8).rev().zip(weights) {
            let node = sym as usize & 255;
            let (Some(a), Some(b)) = (a.get_mut(node), b.get_mut(node)) else {
                break;
            };
            let [apart, agreed, ..] = w.as_chunks_mut::<2>().0 else {
                break;
            };
            let want = want >> i & 1;
            let got;
            if agree {
                let expected = at.expect >> i & 1;
                let Some(e) = row.get_mut((expected << 3 | i) as usize & 15) else {
                    break;
                };
                got = coarse_mix(c, [*a, *e], agreed, RATE, want);
                follow(e, got, 5);
                agree = got == expected;
            } else {
                got = coarse_mix(c, [*a, *b], apart, RATE, want);
                follow(b, got, 4);
            }
            follow(a, got, 4);
            sym = sym << 1 | got;
        }
        sym & 0xFF
    }

    /// The same of a plain slice, without the second context.
    #[inline(never)]
    pub fn plain_literal<C: Coder>(&mut self, c: &mut C, at: &Place, want: u32) -> u32 {
        let row = expect_row(at.trust, true) as usize;
        let row = self.expect.all().get_mut(row..).unwrap_or(&mut []);
        let (Some(a), Some(row)) = (
            self.bytes.blocks().get_mut(at.ctx[0] as usize),
            row.first_chunk_mut::<16>(),
        ) else {
            return 0;
        };
        let (mut i, mut sym) = (8, 1u32);
        let mut agree = at.expect != 0;
        while agree && i > 0 {
            i -= 1;
            let expected = at.expect >> i & 1;
            let a = &mut a[sym as usize & 255];
            let e = &mut row[(expected << 3 | i) as usize & 15];
            // Differences use `a` too, and bring it to 65535; `follow` stops below that.
            let p = (u32::from(*a) + u32::from(*e)) / 2 + 8;
            let got = c.code_here(want >> i & 1, p);
            follow(e, got, 5);
            follow(a, got, 4);
            sym = sym << 1 | got;
            agree = got == expected;
        }
        while i > 0 {
            i -= 1;
            let a = &mut a[sym as usize & 255];
            let got = c.code_here(want >> i & 1, small_p(*a).into());
            follow(a, got, 4);
            sym = sym << 1 | got;
        }
        sym & 0xFF
    }
}
