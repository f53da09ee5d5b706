//! Literals and exact matches between copies, chosen by what they are estimated to cost.

use crate::matching::Index;
use crate::ptr::engine::{Engine, Op};
use crate::ptr::header::Arch;
use crate::ptr::lz::LEAST;
use crate::ptr::state::slot;
use crate::ptr::view::seen;
use std::vec;
use std::vec::Vec;

const CHAIN: usize = 48;

/// All of an image with calls absolute.
pub(super) fn view(arch: Arch, data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    view_part(arch, data, 0, data.len(), &mut out);
    out
}

/// The same for calls that lie in `[from, to)` as a whole.
pub(super) fn view_part(arch: Arch, data: &[u8], from: usize, to: usize, out: &mut [u8]) {
    let range = (from as u32, to as u32);
    for (at, b) in out.iter_mut().enumerate().take(to).skip(from) {
        *b = seen(arch, at as u32, range, |i| {
            data.get(i as usize).copied().unwrap_or(0)
        });
    }
}

/// Where exact matches come from, calls absolute.
pub(super) struct Sources<'a> {
    pub old: &'a [u8],
    pub new: &'a [u8],
    pub index: &'a Index<'a>,
}

/// Earlier places of two and three bytes in the new image.
pub(super) struct Chains {
    two: Vec<u32>,
    head: Vec<u32>,
    prev: Vec<u32>,
    upto: usize,
}

impl Chains {
    pub fn new(new: &[u8]) -> Self {
        Chains {
            two: vec![u32::MAX; 1 << 16],
            head: vec![u32::MAX; 1 << 16],
            prev: vec![u32::MAX; new.len()],
            upto: 0,
        }
    }

    fn slot(new: &[u8], at: usize) -> Option<(usize, usize)> {
        let k = new.get(at..at + 3)?;
        let v = u32::from(k[0]) | u32::from(k[1]) << 8 | u32::from(k[2]) << 16;
        Some((
            (v & 0xFFFF) as usize,
            (v.wrapping_mul(0x9E37_79B1) >> 16) as usize,
        ))
    }

    fn fill(&mut self, new: &[u8], upto: usize) {
        while self.upto < upto {
            if let Some((two, three)) = Self::slot(new, self.upto) {
                self.two[two] = self.upto as u32;
                self.prev[self.upto] = self.head[three];
                self.head[three] = self.upto as u32;
            }
            self.upto += 1;
        }
    }
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// For every position of a gap: lengths that match, each at its nearest distance.
pub(super) struct Found(Vec<Vec<(u32, u32)>>);

/// Literals between copies: new bytes `[from, to)`.
pub(super) struct Gap {
    pub from: usize,
    pub to: usize,
}

/// Finds matches for a gap of `seen`; gaps come in order.
pub(super) fn find(
    gap: &Gap,
    seen: &[u8],
    old_min: usize,
    s: &Sources<'_>,
    chains: &mut Chains,
) -> Found {
    let mut all = Vec::with_capacity(gap.to - gap.from);
    let mut skip = 0usize;
    for p in gap.from..gap.to {
        let wanted = &seen[p..gap.to];
        // Shortest distance of each length, lengths rising.
        let mut found: Vec<(u32, u32)> = Vec::new();
        if skip > 0 {
            skip -= 1;
            all.push(found);
            continue;
        }
        chains.fill(s.new, p);
        if let Some((two, three)) = Chains::slot(seen, p) {
            let mut best = LEAST as usize - 1;
            let mut take = |at: usize, found: &mut Vec<(u32, u32)>| {
                let len = common(&s.new[at..], wanted);
                if len > best {
                    best = len;
                    found.push((len as u32, (p - at) as u32));
                }
            };
            if chains.two[two] != u32::MAX {
                take(chains.two[two] as usize, &mut found);
            }
            let mut at = chains.head[three];
            for _ in 0..CHAIN {
                if at == u32::MAX {
                    break;
                }
                take(at as usize, &mut found);
                at = chains.prev[at as usize];
            }
        }
        let mut longer: Vec<(u32, u32)> = Vec::new();
        let most = found.last().map_or(LEAST as usize, |f| f.0 as usize);
        s.index.similar(wanted, most + 1, 8, &mut |at, len| {
            if at >= old_min {
                longer.push((len as u32, (p + s.old.len() - at) as u32));
            }
        });
        longer.sort_unstable_by_key(|(len, dist)| (*len, *dist));
        longer.dedup_by_key(|(len, _)| *len);
        found.extend(longer);
        // Deep inside a long match nothing better starts.
        skip = found.last().map_or(0, |f| f.0 as usize).saturating_sub(64);
        all.push(found);
    }
    chains.fill(s.new, gap.to);
    Found(all)
}

/// Estimated costs in 1/16 bit.
pub(super) struct Prices {
    /// First flag of a literal, and of something else, by the kind before.
    literal: [[u32; 2]; 4],
    /// Match or repeat.
    repeat: [u32; 2],
    which: [u32; 4],
    lens: [[u32; 24]; 2],
    /// The two bits below a length's highest, by exponent.
    tops: [[[u32; 2]; 48]; 2],
    slots: [[u32; 64]; 4],
    /// The lowest bits of a distance, by slot.
    low: [[u32; 16]; 11],
    /// What the time of a literal counts.
    haste: u32,
}

/// Cost of one of `n` that was seen `k` times.
fn cost(k: u32, n: u32, of: u32) -> u32 {
    // One in eight of a share for those never seen.
    let p = (f64::from(k) + 0.4) / (f64::from(n) + 0.4 * f64::from(of));
    (-16.0 * p.log2()) as u32
}

fn costs<const N: usize>(counts: [u32; N]) -> [u32; N] {
    let n = counts.iter().sum();
    counts.map(|k| cost(k, n, N as u32))
}

fn exponent(v: u32) -> usize {
    (31 - (v + 1).leading_zeros()) as usize
}

/// What was coded, for prices.
pub(super) struct Counts {
    literal: [[u32; 2]; 4],
    repeat: [u32; 2],
    which: [u32; 4],
    lens: [[u32; 24]; 2],
    /// The two bits below a length's highest, by exponent.
    tops: [[[u32; 2]; 48]; 2],
    slots: [[u32; 64]; 4],
    /// The lowest bits of a distance, by slot.
    low: [[u32; 16]; 11],
}

impl Counts {
    /// As of any firmware.
    pub fn new() -> Self {
        let mut lens = [[0; 24]; 2];
        for l in &mut lens {
            l[..6].copy_from_slice(&[40, 60, 30, 12, 5, 2]);
        }
        let mut slots = [[0; 64]; 4];
        for s in &mut slots {
            for (i, n) in s.iter_mut().enumerate().take(40) {
                *n = 1 + (i as u32) / 4;
            }
        }
        Counts {
            literal: [[60, 40], [90, 10], [55, 45], [70, 30]],
            repeat: [80, 20],
            which: [50, 20, 15, 15],
            lens,
            tops: [[[1; 2]; 48]; 2],
            slots,
            low: [[1; 16]; 11],
        }
    }

    pub fn none() -> Self {
        Counts {
            literal: [[0; 2]; 4],
            repeat: [0; 2],
            which: [0; 4],
            lens: [[0; 24]; 2],
            tops: [[[0; 2]; 48]; 2],
            slots: [[0; 64]; 4],
            low: [[0; 16]; 11],
        }
    }

    fn len(&mut self, repeat: usize, v: u32) {
        self.lens[repeat][exponent(v)] += 1;
        for (i, bit) in tops(v) {
            self.tops[repeat][i][bit] += 1;
        }
    }

    fn dist(&mut self, len: u32, dist: u32) {
        let (s, _) = slot(dist - 1);
        self.slots[(len - LEAST).min(3) as usize][s as usize] += 1;
        if let Some((group, value)) = low(dist - 1) {
            self.low[group][value] += 1;
        }
    }

    pub fn prices(&self, haste: u32) -> Prices {
        Prices {
            haste,
            literal: self.literal.map(costs),
            repeat: costs(self.repeat),
            which: costs(self.which),
            lens: self.lens.map(costs),
            tops: self.tops.map(|t| t.map(costs)),
            slots: self.slots.map(costs),
            low: self.low.map(costs),
        }
    }
}

impl Prices {
    /// What the flag of a literal costs behind this kind of op.
    pub fn literal_flag(&self, prev: usize) -> u32 {
        self.literal[prev][0]
    }
    /// What the time of a match counts: that of nearly two literals, and of a sixth of
    /// one for each byte.
    pub fn time(&self, len: u32) -> u32 {
        self.haste * (11 + len) / 6
    }

    fn len(&self, repeat: bool, v: u32) -> u32 {
        let e = exponent(v);
        let mut c = self.lens[usize::from(repeat)][e];
        for (i, bit) in tops(v) {
            c += self.tops[usize::from(repeat)][i][bit];
        }
        c + 16 * (e as u32).saturating_sub(2)
    }

    fn dist(&self, len: u32, dist: u32) -> u32 {
        let (s, bits) = slot(dist - 1);
        let c = self.slots[(len - LEAST).min(3) as usize][s as usize];
        match low(dist - 1) {
            Some((group, value)) => c + self.low[group][value] + 16 * bits.saturating_sub(4),
            None => c,
        }
    }
}

/// The bits of a number that adapt, and their counters.
fn tops(v: u32) -> impl Iterator<Item = (usize, usize)> {
    let (v1, e) = (v + 1, exponent(v));
    (0..e.min(2)).map(move |i| (2 * e + i, (v1 >> (e - 1 - i) & 1) as usize))
}

/// The lowest bits of a distance less one, and their group.
fn low(v: u32) -> Option<(usize, usize)> {
    let (s, bits) = slot(v);
    (s >= 4).then(|| {
        (
            (s.min(14) - 4) as usize,
            (v & ((1 << bits.min(4)) - 1)) as usize,
        )
    })
}

#[derive(Clone, Copy)]
struct Node {
    cost: u32,
    len: u32,
    dist: u32,
    kind: u8,
    reps: [u32; 4],
}

/// A match as long as this is taken.
const PLENTY: u32 = 256;

/// Lengths worth trying of those up to `len`: short ones, and those near the end.
fn lengths(from: u32, len: u32) -> impl Iterator<Item = u32> {
    let near = len.saturating_sub(8).max(41).max(from);
    (from..=len.min(40)).chain(near..=len)
}

/// The cheapest ops for a gap. `literals` are costs of the bytes as literals.
#[allow(clippy::too_many_arguments)]
pub(super) fn parse(
    gap: &Gap,
    seen: &[u8],
    old_min: usize,
    s: &Sources<'_>,
    found: &Found,
    literals: &[u32],
    prices: &Prices,
    counts: &mut Counts,
    reps: &mut [u32; 4],
    out: &mut Vec<Op>,
) {
    let n = gap.to - gap.from;
    let none = Node {
        cost: u32::MAX,
        len: 0,
        dist: 0,
        kind: 0,
        reps: *reps,
    };
    let mut nodes = vec![none; n + 1];
    nodes[0].cost = 0;
    nodes[0].kind = 1;
    let mut skip = 0;
    for k in 0..n {
        let here = nodes[k];
        if here.cost == u32::MAX || k < skip {
            continue;
        }
        let mut longest = 0;
        let p = gap.from + k;
        let wanted = &seen[p..gap.to];
        let [lit, other] = prices.literal[here.kind as usize];
        let byte_at = |dist: u32| -> Option<(&[u8], usize)> {
            let (text, at) = if dist as usize <= p {
                (s.new, p - dist as usize)
            } else {
                let at = s.old.len().checked_sub(dist as usize - p)?;
                if at < old_min {
                    return None;
                }
                (s.old, at)
            };
            Some((text, at))
        };
        let mut relax = |l: u32, c: u32, dist: u32, kind: u8| {
            let to = &mut nodes[k + l as usize];
            if c < to.cost {
                let mut reps = here.reps;
                if kind != 0 {
                    let i = reps.iter().position(|r| *r == dist).unwrap_or(3);
                    reps.copy_within(..i, 1);
                    reps[0] = dist;
                }
                *to = Node {
                    cost: c,
                    len: l,
                    dist,
                    kind,
                    reps,
                };
            }
        };
        // A literal that is what was expected costs less.
        let expected = here.reps[0] != 0
            && byte_at(here.reps[0]).is_some_and(|(t, at)| t.get(at) == wanted.first());
        let mut byte = literals[p];
        if expected {
            byte = byte.min(24 + prices.haste);
        }
        relax(1, here.cost + lit + byte, 0, 0);
        let base = here.cost + other;
        for (i, dist) in here.reps.iter().enumerate() {
            if *dist == 0 || here.reps[..i].contains(dist) {
                continue;
            }
            if let Some((text, at)) = byte_at(*dist) {
                let len = common(&text[at..], wanted) as u32;
                let base = base + prices.repeat[1] + prices.which[i];
                for l in lengths(1, len) {
                    relax(l, base + prices.len(true, l - 1) + prices.time(l), *dist, 3);
                }
                longest = longest.max(len);
            }
        }
        let base = base + prices.repeat[0];
        let mut from = LEAST;
        for (len, dist) in &found.0[k] {
            for l in lengths(from, *len) {
                let c = base + prices.len(false, l - LEAST) + prices.dist(l, *dist);
                relax(l, c + prices.time(l), *dist, 2);
            }
            from = *len + 1;
            longest = longest.max(*len);
        }
        if longest >= PLENTY {
            skip = k + longest as usize;
        }
    }
    let mut back = Vec::new();
    let mut k = n;
    *reps = nodes[n].reps;
    while k > 0 {
        let node = nodes[k];
        let before = nodes[k - node.len as usize];
        let prev = before.kind as usize;
        counts.literal[prev][usize::from(node.kind != 0)] += 1;
        match node.kind {
            0 => back.push(Op::Literal),
            3 => {
                counts.repeat[1] += 1;
                let i = before
                    .reps
                    .iter()
                    .position(|r| *r == node.dist)
                    .unwrap_or(0);
                counts.which[i] += 1;
                counts.len(1, node.len - 1);
            }
            _ => {
                counts.repeat[0] += 1;
                counts.len(0, node.len - LEAST);
                counts.dist(node.len, node.dist);
            }
        }
        if node.kind != 0 {
            back.push(Op::Match {
                dist: node.dist,
                len: node.len,
            });
        }
        k -= node.len as usize;
    }
    out.extend(back.into_iter().rev());
}

/// The shortest match at a distance.
pub(super) fn least(engine: &Engine, dist: u32) -> u32 {
    if engine.w.reps.contains(&dist) {
        1
    } else {
        LEAST
    }
}
