//! Exact matches inside what would be literals, chosen by estimated cost.

use super::plan::Bounds;
use crate::matching::Index;
use crate::ptr::engine::Op;
use std::vec;
use std::vec::Vec;

/// Estimated costs, in 1/16 bit.
#[derive(Clone, Copy)]
pub(super) struct Costs {
    /// A literal byte.
    pub literal: u32,
    /// An op, its distance excepted.
    pub op: u32,
}

const LEAST: usize = 3;
const CHAIN: usize = 48;

/// Earlier places of three bytes in the new image.
pub(super) struct Chains {
    head: Vec<u32>,
    prev: Vec<u32>,
    upto: usize,
}

impl Chains {
    pub fn new(new: &[u8]) -> Self {
        Chains {
            head: vec![u32::MAX; 1 << 16],
            prev: vec![u32::MAX; new.len()],
            upto: 0,
        }
    }

    fn slot(new: &[u8], at: usize) -> Option<usize> {
        let k = new.get(at..at + 3)?;
        let v = u32::from(k[0]) | u32::from(k[1]) << 8 | u32::from(k[2]) << 16;
        Some((v.wrapping_mul(0x9E37_79B1) >> 16) as usize)
    }

    fn fill(&mut self, new: &[u8], upto: usize) {
        while self.upto < upto {
            if let Some(s) = Self::slot(new, self.upto) {
                self.prev[self.upto] = self.head[s];
                self.head[s] = self.upto as u32;
            }
            self.upto += 1;
        }
    }
}

fn number_cost(v: u32) -> u32 {
    // Exponents adapt to some 3 bits, mantissas cost what they have.
    16 * (3 + (31 - (v + 1).leading_zeros()))
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Replaces literals of `ops` (of the slice `b`) by matches where that looks cheaper.
pub(super) fn improve(
    ops: Vec<Op>,
    b: &Bounds,
    old: &[u8],
    new: &[u8],
    index: &Index<'_>,
    chains: &mut Chains,
    costs: Costs,
) -> Vec<Op> {
    let mut out = Vec::with_capacity(ops.len());
    let mut p = b.start as usize;
    let mut diagonal: Option<usize> = None; // old minus new of the last copy, plus 2^40
    const BIAS: usize = 1 << 40;
    let mut i = 0;
    while i < ops.len() {
        match ops[i] {
            Op::Literal => {
                let n = ops[i..].iter().take_while(|o| **o == Op::Literal).count();
                gap(
                    p,
                    p + n,
                    b,
                    old,
                    new,
                    index,
                    chains,
                    costs,
                    diagonal.map(|d| (d + p, BIAS)),
                    &mut out,
                );
                p += n;
                i += n;
            }
            op => {
                if let Op::Copy { old, len } = op {
                    diagonal = Some(old as usize + BIAS - p);
                    p += len as usize;
                }
                out.push(op);
                i += 1;
            }
        }
    }
    out
}

#[allow(clippy::too_many_arguments)]
fn gap(
    from: usize,
    to: usize,
    b: &Bounds,
    old: &[u8],
    new: &[u8],
    index: &Index<'_>,
    chains: &mut Chains,
    costs: Costs,
    diagonal: Option<(usize, usize)>,
    out: &mut Vec<Op>,
) {
    let n = to - from;
    if n < LEAST {
        out.extend(std::iter::repeat_n(Op::Literal, n));
        chains.fill(new, to);
        return;
    }
    // Cheapest way to every position, and the op that led there.
    let mut cost = vec![u32::MAX; n + 1];
    let mut via: Vec<(Op, usize)> = vec![(Op::Literal, 1); n + 1];
    cost[0] = 0;
    let mut reach = 0usize;
    for k in 0..n {
        let p = from + k;
        chains.fill(new, p);
        let here = cost[k];
        if here + costs.literal < cost[k + 1] {
            cost[k + 1] = here + costs.literal;
            via[k + 1] = (Op::Literal, 1);
        }
        let wanted = &new[p..to];
        let mut longest = 0;
        let mut relax = |op: &dyn Fn(u32) -> Op, len: usize, base: u32| {
            longest = longest.max(len);
            // Every length of a short match, the longest ones of a long match.
            let least = LEAST.max(len.saturating_sub(32));
            for l in least..=len {
                let c = here + base + number_cost(l as u32);
                if c < cost[k + l] {
                    cost[k + l] = c;
                    via[k + l] = (op(l as u32), l);
                }
            }
        };
        // Deep inside a long match nothing better starts.
        if reach > k + 64 {
            continue;
        }
        if let Some((d, bias)) = diagonal
            && let Some(at) = (d + k).checked_sub(bias)
            && at >= b.old_min as usize
            && at < old.len()
        {
            let len = common(&old[at..], wanted);
            if len >= LEAST {
                relax(
                    &|len| Op::Copy {
                        old: at as u32,
                        len,
                    },
                    len,
                    costs.op + 32,
                );
            }
        }
        let expect = diagonal.map_or(p, |(d, bias)| (d + k).saturating_sub(bias));
        index.similar(wanted, LEAST + 1, 12, &mut |at, len| {
            if at >= b.old_min as usize {
                let delta = at.abs_diff(expect) as u32;
                relax(
                    &|len| Op::Copy {
                        old: at as u32,
                        len,
                    },
                    len,
                    costs.op + 32 + number_cost(delta),
                );
            }
        });
        let mut at = Chains::slot(new, p).map_or(u32::MAX, |s| chains.head[s]);
        let mut best = LEAST - 1;
        for _ in 0..CHAIN {
            if at == u32::MAX {
                break;
            }
            let len = common(&new[at as usize..], wanted);
            if len > best {
                best = len;
                let dist = (p - at as usize) as u32;
                relax(
                    &|len| Op::Match { dist, len },
                    len,
                    costs.op + number_cost(dist),
                );
            }
            at = chains.prev[at as usize];
        }
        reach = reach.max(k + longest);
    }
    chains.fill(new, to);
    let mut back = Vec::new();
    let mut k = n;
    while k > 0 {
        back.push(via[k].0);
        k -= via[k].1;
    }
    out.extend(back.into_iter().rev());
}
