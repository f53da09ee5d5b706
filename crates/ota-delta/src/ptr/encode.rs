//! Making ptr patches.

mod detect;
mod lz;
mod plan;
mod range;

use super::engine::{Engine, Env, Op, Params, Truth};
use super::header::{Arch, HEADER_LEN_CODED, Header, LineCoding};
use super::lines::Lines;
use super::map::{Map, MapCoder};
use super::model::Coder;
use super::{SLICE, WIDE};
use crate::matching::{Index, Match, approximate};
use ota_verify::crc32;
use range::RangeEncoder;
use sha2::{Digest, Sha256};
use std::boxed::Box;
use std::sync::Mutex;
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
}

impl Default for Options {
    fn default() -> Self {
        Options {
            arch: None,
            base: None,
            lag: 1,
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
}

struct Coded {
    body: Vec<u8>,
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

    fn matches(&self, t: &Try, raw: &Index<'_>) -> Vec<Match> {
        if !t.normal {
            return plan::merge(approximate(raw, &self.new, &self.new, &self.old, t.gain));
        }
        let par = self.params(t);
        let (old, new) = (
            plan::normalise(&self.old, &par),
            plan::normalise(&self.new, &par),
        );
        plan::merge(approximate(
            &Index::new(&old),
            &new,
            &self.new,
            &self.old,
            t.gain,
        ))
    }

    /// Map and slices.
    fn code(&self, t: &Try, ms: &[Match], sources: Option<&lz::Sources<'_>>) -> Vec<u8> {
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
        let map = rc.finish();
        let mut body = (map.len() as u16).to_le_bytes().to_vec();
        body.extend(map);

        let mut seen = self.new.clone();
        let mut chains = lz::Chains::new(&self.new);
        let new_len = self.new_stored.len() as u32;
        for k in 0..new_len.div_ceil(SLICE) {
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
                ops = self.improve(&ops, &gaps, &b, &seen, s, &mut chains, &par, &mut engine);
            }
            // Slices with many literals do better with fewer, larger tables.
            let literals = ops.iter().filter(|o| **o == Op::Literal).count();
            let mut data: Option<(bool, Vec<u8>)> = None;
            let models: &[bool] = match (literals < 4096, t.lz) {
                (true, _) => &[false],
                (_, false) => &[true],
                _ => &[false, true],
            };
            for wide in models {
                let mut rc = RangeEncoder::new();
                self.run(
                    &mut rc,
                    &mut engine,
                    &par,
                    &ops,
                    &b,
                    &seen,
                    *wide,
                    &mut |_, _| {},
                );
                let made = rc.finish();
                if data.as_ref().is_none_or(|(_, d)| made.len() < d.len()) {
                    data = Some((*wide, made));
                }
            }
            let (wide, data) = data.unwrap_or_default();
            if t.lz && std::env::var("STAT").is_ok() {
                let mut meter = Meter(0);
                let mut at = b.start;
                let mut st = [[0u64; 3]; 4];
                self.run(
                    &mut meter,
                    &mut engine,
                    &par,
                    &ops,
                    &b,
                    &seen,
                    wide,
                    &mut |m, p| {
                        let k = if p == at {
                            1
                        } else if p == at + 1 {
                            0
                        } else {
                            2
                        };
                        st[k][0] += 1;
                        st[k][1] += (p - at) as u64;
                        st[k][2] += m.0 >> 16;
                        m.0 = 0;
                        at = p;
                    },
                );
                std::eprintln!(
                    "slice {k} gain {} wide {wide} {} bytes; lit {:?} copyop {:?} match {:?}",
                    t.gain,
                    data.len(),
                    st[0].map(|v| v),
                    st[1],
                    st[2]
                );
            }
            let stored =
                &self.new_stored[(k * SLICE) as usize..((k + 1) * SLICE).min(new_len) as usize];
            let len = data.len() as u32 | if wide { WIDE } else { 0 };
            body.extend_from_slice(&len.to_le_bytes()[..3]);
            body.extend_from_slice(&crc32(stored).to_le_bytes());
            body.extend(data);
        }
        body
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
        wide: bool,
        after: &mut dyn FnMut(&mut C, u32),
    ) {
        let mut env = Memory {
            old: &self.old,
            new: &self.new,
        };
        engine.begin(b.start, b.end, b.old_min, par.old_len, wide);
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
            };
            if engine.step(c, &mut env, par, &truth).is_err() {
                unreachable!("an op was planned out of range");
            }
            after(c, engine.w.p);
        }
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
        par: &Params,
        engine: &mut Engine,
    ) -> Vec<Op> {
        // What the bytes would cost as literals.
        let mut costs = std::vec![0; self.new.len()];
        let mut meter = Meter(0);
        let mut at = b.start;
        self.run(&mut meter, engine, par, ops, b, seen, true, &mut |m, p| {
            if p == at + 1 {
                costs[at as usize] = (m.0 >> 12) as u32;
            }
            (m.0, at) = (0, p);
        });
        let old_min = b.old_min as usize;
        let found: Vec<_> = gaps
            .iter()
            .map(|g| lz::find(g, seen, old_min, s, chains))
            .collect();
        let mut counts = lz::Counts::new();
        let mut out = Vec::new();
        for _ in 0..3 {
            let prices = counts.prices();
            counts = lz::Counts::none();
            out.clear();
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
        }
        out
    }
}

/// Adds up what coding costs: 1/65536 bits.
struct Meter(u64);

impl Coder for Meter {
    fn code(&mut self, bit: u32, p: u32) -> u32 {
        let p = if bit == 1 { p } else { 65536 - p };
        // The logarithm to 1/16, enough for estimates.
        let log = f64::from(p) / 65536.0;
        self.0 += (-log.log2() * 65536.0) as u64;
        bit
    }
}

/// Runs `tries` on all processors; returns the smallest.
fn best(
    pair: &Pair<'_>,
    raw: &Index<'_>,
    sources: Option<&lz::Sources<'_>>,
    tries: &[Try],
    progress: &(dyn Fn(f32) + Sync),
    from: f32,
    to: f32,
) -> Option<Coded> {
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let best: Mutex<Option<(usize, Coded)>> = Mutex::new(None);
    let threads = std::thread::available_parallelism()
        .map_or(1, |n| n.get())
        .min(tries.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(t) = tries.get(i) else { break };
                    let body = pair.code(t, &pair.matches(t, raw), sources);
                    let mut slot = best.lock().unwrap_or_else(|e| e.into_inner());
                    // The first of equals, however the threads were scheduled.
                    let better = slot
                        .as_ref()
                        .is_none_or(|(j, b)| (body.len(), i) < (b.body.len(), *j));
                    if better {
                        *slot = Some((i, Coded { body, how: *t }));
                    }
                    let n = 1 + done.fetch_add(1, Ordering::Relaxed);
                    progress(from + (to - from) * n as f32 / tries.len() as f32);
                }
            });
        }
    });
    best.into_inner()
        .unwrap_or_else(|e| e.into_inner())
        .map(|(_, c)| c)
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
    let (mut old_lines, mut new_lines) = (detect::lines(old), detect::lines(new));
    if old_lines.count == 0 || new_lines.count == 0 {
        (old_lines, new_lines) = (Lines::default(), Lines::default());
    }
    let pair = Pair {
        new_stored: new,
        old_stored_len: old.len() as u32,
        old_lines,
        new_lines,
        old: detect::decoded(old, old_lines),
        new: detect::decoded(new, new_lines),
        lag: options.lag,
    };
    let raw = Index::new(&pair.old);
    // First which architecture and base, then how to match.
    let none = 0xFFFF_0000;
    let archs = match options.arch {
        Some(a) => [a].to_vec(),
        None => [Arch::Thumb, Arch::Arm, Arch::A64, Arch::Xtensa, Arch::None].to_vec(),
    };
    let first = Try {
        arch: Arch::None,
        base: none,
        ram: (0, 0),
        normal: false,
        gain: 8,
        map: 128,
        lz: false,
    };
    let copies = pair.matches(&first, &raw);
    let mut tries = Vec::new();
    for arch in archs {
        let mut bases = match options.base {
            Some(b) => [b].to_vec(),
            None => detect::bases(&pair.old, arch, old_lines.start),
        };
        if bases.is_empty() {
            bases.push(none);
        }
        for base in bases {
            let ram = detect::ram(&pair.old, &pair.new, base, &copies);
            tries.push(Try {
                arch,
                base,
                ram,
                ..first
            });
        }
    }
    let found = best(&pair, &raw, None, &tries, progress, 0.0, 0.3);
    let how = found.as_ref().map_or(first, |c| c.how);
    let mut tries = Vec::new();
    // Where much is new every try takes long and tells little.
    let much = found.as_ref().map_or(0, |c| c.body.len()) > 128 * 1024;
    let gains: &[usize] = if much { &[8, 32] } else { &[6, 8, 12, 20, 32] };
    for normal in [false, true] {
        for gain in gains.iter().copied() {
            tries.push(Try {
                normal,
                gain,
                ..how
            });
        }
    }
    let found = best(&pair, &raw, None, &tries, progress, 0.3, 0.6);
    let mut how = found.as_ref().map_or(how, |c| c.how);
    how.lz = true;
    let (old_seen, new_seen) = (lz::view(how.arch, &pair.old), lz::view(how.arch, &pair.new));
    let index = Index::new(&old_seen);
    let sources = lz::Sources {
        old: &old_seen,
        new: &new_seen,
        index: &index,
    };
    let mut tries = Vec::new();
    for gain in [how.gain, how.gain * 2, 1 << 20] {
        tries.push(Try { gain, ..how });
    }
    let Some(coded) = best(&pair, &raw, Some(&sources), &tries, progress, 0.6, 1.0) else {
        return Err(EncodeError::ImageLength);
    };
    let digest = |data: &[u8]| {
        let d = Sha256::digest(data);
        d.first_chunk::<16>().copied().unwrap_or_default()
    };
    let header = Header {
        arch: coded.how.arch,
        lag: options.lag,
        old_len: old.len() as u32,
        new_len: new.len() as u32,
        old_digest: digest(old),
        new_digest: digest(new),
        base: coded.how.base,
        lines: (new_lines.count != 0).then_some(LineCoding {
            old: (old_lines.start, old_lines.count),
            new: (new_lines.start, new_lines.count),
        }),
    };
    let mut head = [0; HEADER_LEN_CODED];
    let n = header.write(&mut head);
    let mut out = head[..n].to_vec();
    out.extend(coded.body);
    Ok(out)
}
