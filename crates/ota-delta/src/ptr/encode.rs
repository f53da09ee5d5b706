//! Making ptr patches.

mod budget;
mod detect;
mod lz;
mod plan;
mod range;
mod search;

use super::engine::{Engine, Env, Op, Params, Truth};
use super::fast::Literals;
use super::header::{Arch, HEADER_LEN_CODED, Header, LineCoding};
use super::lines::{CODED, Lines};
use super::map::{Map, MapCoder};
use super::memory::digest;
use super::model::Coder;
use super::{LITERALS, SLICE};
use crate::matching::Match;
use budget::{Body, Slice};
use ota_verify::crc32;
use range::RangeEncoder;
use std::boxed::Box;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

/// How a patch is made. The default finds everything out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Instruction set; `None`: whichever gives the smallest patch.
    pub arch: Option<Arch>,
    /// Load address of the (decoded) image; `None`: found from its pointers.
    pub base: Option<u32>,
    /// [`Header::lag`]. 1, the default, makes patches for in-place use too.
    pub lag: u8,
    /// How many instructions of an ARM9 core a byte of the new image may take to make,
    /// about: where all takes longer, what is new is coded in a faster way that needs more
    /// bytes, and in the fastest there is if that does not suffice. `None`: the smallest
    /// patch, which takes up to 1,300 a byte where everything is new.
    pub instructions: Option<u32>,
}

/// [`Options::instructions`] by default: 500,000 bytes take 2.5 s at 120 MHz.
pub const INSTRUCTIONS: u32 = 600;

impl Default for Options {
    fn default() -> Self {
        Options {
            arch: None,
            base: None,
            lag: 1,
            instructions: Some(INSTRUCTIONS),
        }
    }
}

/// Why no patch was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The new image is empty, or an image has 128 MiB or more.
    ImageLength,
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the new image is empty or an image has 128 MiB or more")
    }
}

impl std::error::Error for EncodeError {}

struct Memory<'a> {
    old: &'a [u8],
    new: &'a [u8],
}

impl Env for Memory<'_> {
    fn old(&mut self, at: u32) -> u8 {
        self.old.get(at as usize).copied().unwrap_or(0)
    }
    fn made(&mut self, at: u32) -> u8 {
        self.new.get(at as usize).copied().unwrap_or(0)
    }
    fn put(&mut self, _: u8) {}
}

/// How often ops are chosen: prices follow from the choice before.
const ROUNDS: usize = 6;

/// Both images, as stored and as decoded.
struct Pair<'a> {
    new_stored: &'a [u8],
    old_stored_len: u32,
    old_lines: Lines,
    new_lines: Lines,
    old: Vec<u8>,
    new: Vec<u8>,
    lag: u8,
}

/// One way to code the pair.
#[derive(Clone, Copy)]
struct Try {
    arch: Arch,
    base: u32,
    ram: (u32, u32),
    normal: bool,
    gain: usize,
    map: usize,
    /// Matches inside inserted bytes; else literals only.
    lz: bool,
    /// Time counts too: that of a literal so many bits/16.
    haste: u32,
}

struct Coded {
    body: Body,
    how: Try,
}

impl Pair<'_> {
    fn params(&self, t: &Try) -> Params {
        Params {
            arch: t.arch,
            base: t.base,
            old_len: self.old.len() as u32,
            ram: t.ram,
            map: Map::new(),
        }
    }

    /// Map and slices, every `step`th of them; none once there are more bytes than `most`
    /// says.
    fn code(
        &self,
        t: &Try,
        ms: &[Match],
        sources: Option<&lz::Sources<'_>>,
        most: &AtomicUsize,
        step: u32,
    ) -> Option<Body> {
        let mut par = self.params(t);
        let mut rc = RangeEncoder::new();
        let mut mc = MapCoder::new();
        let mut engine = Box::new(Engine::new());
        let numbers = &mut engine.m.numbers;
        mc.reset(numbers);
        MapCoder::window(&mut rc, numbers, t.ram);
        for s in plan::segments(ms, t.map) {
            mc.code(&mut rc, numbers, Some(s));
            par.map.push(s);
        }
        mc.code(&mut rc, numbers, None);
        par.map.index();
        let mut body = Body {
            map: rc.finish(),
            slices: Vec::new(),
        };
        let mut len = body.map.len();

        let mut seen = self.new.clone();
        let mut chains = lz::Chains::new(&self.new);
        let new_len = self.new_stored.len() as u32;
        for k in (0..new_len.div_ceil(SLICE)).step_by(step as usize) {
            let b = plan::bounds(
                k,
                new_len,
                self.old_stored_len,
                self.lag,
                self.old_lines,
                self.new_lines,
            );
            let mut ops = plan::ops(ms, self.old.len(), &b);
            let gaps = self.gaps(&ops, &b);
            for g in &gaps {
                lz::view_part(t.arch, &self.new, g.from, g.to, &mut seen);
            }
            if let (true, Some(s)) = (t.lz, sources) {
                let par = (&par, t.haste);
                ops = self.improve(&ops, &gaps, &b, &seen, s, &mut chains, par, &mut engine);
            }
            // Slices with many literals do better with fewer, larger tables.
            let literals = ops.iter().filter(|o| **o == Op::Literal).count();
            let models: &[Literals] = match (literals < 4096, t.lz) {
                _ if t.haste != 0 => &[Literals::Fast, Literals::Plain],
                (true, _) => &[Literals::Full],
                (_, false) => &[Literals::Fast],
                _ => &[Literals::Full, Literals::Fast],
            };
            let stored =
                &self.new_stored[(k * SLICE) as usize..((k + 1) * SLICE).min(new_len) as usize];
            let crc = crc32(stored);
            let mut ways = Vec::new();
            for how in models {
                let mut rc = RangeEncoder::new();
                self.run(
                    &mut rc,
                    &mut engine,
                    &par,
                    &ops,
                    &b,
                    &seen,
                    *how,
                    &mut |_, _| {},
                );
                ways.push(Slice {
                    how: *how,
                    instructions: rc.work.instructions(&ops, *how),
                    data: rc.finish(),
                    crc,
                });
            }
            len += ways.iter().map(|w| w.data.len()).min().unwrap_or(0);
            body.slices.push(ways);
            if len > most.load(Ordering::Relaxed) {
                return None;
            }
        }
        Some(body)
    }

    /// What of a slice is not copied.
    fn gaps(&self, ops: &[Op], b: &plan::Bounds) -> Vec<lz::Gap> {
        let mut gaps: Vec<lz::Gap> = Vec::new();
        let mut p = b.start as usize;
        let mut open = false;
        for op in ops {
            if let Op::Copy { len, .. } = op {
                p += *len as usize;
                open = false;
            } else {
                match gaps.last_mut() {
                    Some(g) if open => g.to += 1,
                    _ => gaps.push(lz::Gap { from: p, to: p + 1 }),
                }
                p += 1;
                open = true;
            }
        }
        gaps
    }

    /// Codes one slice; `after` is told the coder and where each op ended.
    #[allow(clippy::too_many_arguments)]
    fn run<C: Coder>(
        &self,
        c: &mut C,
        engine: &mut Engine,
        par: &Params,
        ops: &[Op],
        b: &plan::Bounds,
        seen: &[u8],
        how: Literals,
        after: &mut dyn FnMut(&mut C, u32),
    ) {
        let mut env = Memory {
            old: &self.old,
            new: &self.new,
        };
        engine.begin(b.start, b.end, b.old_min, par.old_len, how);
        let mut ops = ops.iter();
        let mut literals = 0;
        while !engine.done() {
            let mut op = Op::Literal;
            if engine.at_op() {
                if literals != 0 {
                    literals -= 1;
                } else {
                    op = ops.next().copied().unwrap_or(Op::Literal);
                }
                if let Op::Match { dist, len } = op {
                    // Where a call lies across the end of a copy a match may differ.
                    let good = engine.matching(&mut env, par, seen, dist, len);
                    literals = len - good;
                    op = Op::Match { dist, len: good };
                    if good < lz::least(engine, dist) {
                        literals = len - 1;
                        op = Op::Literal;
                    }
                }
            }
            let truth = Truth {
                op,
                new: &self.new,
                seen,
                burst: 1,
            };
            if engine.step(c, &mut env, par, &truth).is_err() {
                unreachable!("an op was planned out of range");
            }
            after(c, engine.w.p);
        }
    }

    /// What literals cost among these ops, without the flag that says so, in 1/16 bit;
    /// and `haste` on top; those of other bytes stay as they are. Returns what all ops
    /// cost, that included.
    #[allow(clippy::too_many_arguments)]
    fn measure(
        &self,
        ops: &[Op],
        b: &plan::Bounds,
        seen: &[u8],
        (par, haste): (&Params, u32),
        engine: &mut Engine,
        prices: Option<&lz::Prices>,
        costs: &mut [u32],
    ) -> u64 {
        // Prices of the flags, where there are literals.
        let mut flags = std::vec![None; (b.end - b.start) as usize];
        let (mut p, mut prev, mut n) = (0usize, 0usize, 0);
        for op in ops {
            match op {
                Op::Literal => {
                    flags[p] = Some(prices.map_or(0, |x| x.literal_flag(prev)));
                    p += 1;
                    prev = 0;
                    n += 1;
                }
                Op::Copy { len, .. } => {
                    p += *len as usize;
                    prev = 1;
                }
                Op::Match { len, .. } => {
                    p += *len as usize;
                    prev = 2;
                }
            }
        }
        let mut meter = Meter(0);
        let mut at = b.start;
        let how = if n >= 4096 {
            Literals::Fast
        } else {
            Literals::Full
        };
        let mut sum = 0;
        self.run(&mut meter, engine, par, ops, b, seen, how, &mut |m, p| {
            let flag = flags.get((at - b.start) as usize).copied().flatten();
            if let (Some(flag), true) = (flag, p == at + 1) {
                costs[at as usize] = ((m.0 >> 12) as u32).saturating_sub(flag) + haste;
                sum += u64::from(haste) << 12;
            } else if let Some(prices) = prices.filter(|_| p > at) {
                sum += u64::from(prices.time(p - at)) << 12;
            }
            sum += m.0;
            (m.0, at) = (0, p);
        });
        sum
    }

    /// Ops with matches in the gaps.
    #[allow(clippy::too_many_arguments)]
    fn improve(
        &self,
        ops: &[Op],
        gaps: &[lz::Gap],
        b: &plan::Bounds,
        seen: &[u8],
        s: &lz::Sources<'_>,
        chains: &mut lz::Chains,
        (par, haste): (&Params, u32),
        engine: &mut Engine,
    ) -> Vec<Op> {
        // What the bytes would cost as literals.
        let mut costs = std::vec![0; self.new.len()];
        self.measure(ops, b, seen, (par, haste), engine, None, &mut costs);
        let old_min = b.old_min as usize;
        let found: Vec<_> = gaps
            .iter()
            .map(|g| lz::find(g, seen, old_min, s, chains))
            .collect();
        let mut counts = lz::Counts::new();
        let (mut best, mut least) = (Vec::new(), u64::MAX);
        for _ in 0..ROUNDS {
            let prices = counts.prices(haste);
            counts = lz::Counts::none();
            let mut out = Vec::new();
            let mut reps = [self.old.len() as u32, 0, 0, 0];
            let (mut p, mut g) = (b.start as usize, 0);
            let mut i = 0;
            while i < ops.len() {
                if let Op::Copy { len, old } = ops[i] {
                    let dist = (self.old.len() + p) as u32 - old;
                    let at = reps.iter().position(|r| *r == dist).unwrap_or(3);
                    reps.copy_within(..at, 1);
                    reps[0] = dist;
                    out.push(ops[i]);
                    p += len as usize;
                    i += 1;
                } else {
                    let gap = &gaps[g];
                    lz::parse(
                        gap,
                        seen,
                        old_min,
                        s,
                        &found[g],
                        &costs,
                        &prices,
                        &mut counts,
                        &mut reps,
                        &mut out,
                    );
                    i += gap.to - gap.from;
                    p = gap.to;
                    g += 1;
                }
            }
            let prices = Some(counts.prices(haste));
            let prices = prices.as_ref();
            let sum = self.measure(&out, b, seen, (par, haste), engine, prices, &mut costs);
            if sum < least {
                (best, least) = (out, sum);
            }
        }
        best
    }
}

/// Adds up what coding costs: 1/65536 bits.
struct Meter(u64);

/// What a bit costs, by its probability in 1/4096.
static COSTS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let middle = |i: u32| (f64::from(i) + 0.5) / 4096.0;
    (0..4096)
        .map(|i| (-middle(i).log2() * 4096.0) as u16)
        .collect()
});

impl Coder for Meter {
    fn code(&mut self, bit: u32, p: u32) -> u32 {
        let p = if bit == 1 { p } else { 65536 - p };
        let cost = COSTS.get((p >> 4) as usize).copied().unwrap_or(0);
        self.0 += u64::from(cost) << 4;
        bit
    }
}

/// Makes a patch from `old` to `new`; `progress` is told the share done, 0 to 1.
///
/// # Errors
/// [`EncodeError::ImageLength`].
pub fn encode(
    old: &[u8],
    new: &[u8],
    options: &Options,
    progress: &(dyn Fn(f32) + Sync),
) -> Result<Vec<u8>, EncodeError> {
    if new.is_empty() || old.len().max(new.len()) >= 1 << 27 {
        return Err(EncodeError::ImageLength);
    }
    let lines = (detect::lines(old), detect::lines(new));
    let none = (Lines::default(), Lines::default());
    // Lines of which one is broken end there: what is left may match better as it is.
    let whole = |l: Lines, image: &[u8]| (CODED * l.count) as usize > image.len() / 16 * 15;
    let made = if lines == none || whole(lines.0, old) && whole(lines.1, new) {
        with_lines(old, new, options, lines, progress)
    } else {
        let coded = with_lines(old, new, options, lines, &|share| progress(share / 2.0));
        let plain = with_lines(old, new, options, none, &|share| {
            progress(0.5 + share / 2.0);
        });
        [coded, plain].into_iter().flatten().min_by_key(Vec::len)
    };
    made.ok_or(EncodeError::ImageLength)
}

/// The whole patch, with these lines of both images decoded.
fn with_lines(
    old: &[u8],
    new: &[u8],
    options: &Options,
    (old_lines, new_lines): (Lines, Lines),
    progress: &(dyn Fn(f32) + Sync),
) -> Option<Vec<u8>> {
    let pair = Pair {
        new_stored: new,
        old_stored_len: old.len() as u32,
        old_lines,
        new_lines,
        old: detect::decoded(old, old_lines),
        new: detect::decoded(new, new_lines),
        lag: options.lag,
    };
    let coded = search::smallest(&pair, options, progress)?;
    let header = Header {
        arch: coded.how.arch,
        lag: options.lag,
        old_len: old.len() as u32,
        new_len: new.len() as u32,
        old_digest: digest(old),
        new_digest: digest(new),
        base: coded.how.base,
        lines: (old_lines.count | new_lines.count != 0).then_some(LineCoding {
            old: (old_lines.start, old_lines.count),
            new: (new_lines.start, new_lines.count),
        }),
    };
    let mut head = [0; HEADER_LEN_CODED];
    let n = header.write(&mut head);
    let mut out = head[..n].to_vec();
    let most = options
        .instructions
        .map(|n| u64::from(n) * new.len() as u64);
    out.extend_from_slice(&(coded.body.map.len() as u16).to_le_bytes());
    out.extend_from_slice(&coded.body.map);
    for slice in budget::choose(&coded.body, most) {
        let len = slice.data.len() as u32 | (slice.how as u32 * LITERALS);
        out.extend_from_slice(&len.to_le_bytes()[..3]);
        out.extend_from_slice(&slice.crc.to_le_bytes());
        out.extend_from_slice(&slice.data);
    }
    Some(out)
}
