//! Which instruction set, load address and way of matching give the smallest patch.

use super::lz::{Sources, view};
use super::{Coded, Options, Pair, Try, detect, plan};
use crate::matching::{Index, Match, approximate};
use crate::ptr::SLICE;
use crate::ptr::header::Arch;
use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::Vec;

/// No load address: nothing is a pointer.
const NOWHERE: u32 = 0xFFFF_0000;

/// Texts in which moved code matches itself, and where everything is in the old one.
struct Searched<'a> {
    new: Cow<'a, [u8]>,
    index: Index<'a>,
}

impl Searched<'_> {
    fn matches(&self, pair: &Pair<'_>, gain: usize) -> Vec<Match> {
        plan::merge(approximate(
            &self.index,
            &self.new,
            &pair.new,
            &pair.old,
            gain,
        ))
    }
}

/// What is tried, and how far the whole search is when it begins and ends.
struct Round<'a> {
    tries: Vec<Try>,
    sources: Option<&'a Sources<'a>>,
    /// Which slices are coded: every one, every second, ...
    step: u32,
    from: f32,
    to: f32,
}

/// Runs a round on all processors; returns the smallest.
fn best<'m>(
    pair: &Pair<'_>,
    round: &Round<'_>,
    matches: &(dyn Fn(&Try) -> Cow<'m, [Match]> + Sync),
    progress: &(dyn Fn(f32) + Sync),
) -> Option<Coded> {
    let tries = &round.tries;
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    // What is larger need not be finished.
    let most = AtomicUsize::new(usize::MAX);
    let best: Mutex<Option<(usize, Coded)>> = Mutex::new(None);
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(t) = tries.get(i) else { break };
            if let Some(body) = pair.code(t, &matches(t), round.sources, &most, round.step) {
                let len = body.len();
                most.fetch_min(len, Ordering::Relaxed);
                let mut slot = best.lock().unwrap_or_else(|e| e.into_inner());
                // The first of equals, however the threads were scheduled.
                let better = slot
                    .as_ref()
                    .is_none_or(|(j, b)| (len, i) < (b.body.len(), *j));
                if better {
                    *slot = Some((i, Coded { body, how: *t }));
                }
            }
            let n = 1 + done.fetch_add(1, Ordering::Relaxed);
            progress(round.from + (round.to - round.from) * n as f32 / tries.len() as f32);
        }
    };
    if pair.new.len() < SMALL {
        work();
    } else {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        std::thread::scope(|scope| {
            for _ in 0..threads.min(tries.len()) {
                scope.spawn(work);
            }
        });
    }
    best.into_inner()
        .unwrap_or_else(|e| e.into_inner())
        .map(|(_, c)| c)
}

/// Images for which threads take longer than the work.
const SMALL: usize = 4096;

/// Tries until nothing better is to be expected.
pub(super) fn smallest(
    pair: &Pair<'_>,
    options: &Options,
    progress: &(dyn Fn(f32) + Sync),
) -> Option<Coded> {
    let first = Try {
        arch: Arch::None,
        base: NOWHERE,
        ram: (0, 0),
        normal: false,
        gain: 8,
        map: 128,
        lz: false,
        haste: 0,
    };
    let raw = Searched {
        new: Cow::Borrowed(&pair.new),
        index: Index::new(&pair.old),
    };
    // First which architecture and base, then how to match.
    let copies = raw.matches(pair, first.gain);
    // Where much is new every try takes long and tells little: a few slices will do.
    let copied: usize = copies.iter().map(|m| m.len).sum();
    let much = copied < pair.new.len() / 2;
    let slices = pair.new_stored.len().div_ceil(SLICE as usize) as u32;
    let step = if much { slices.div_ceil(3) } else { 1 };
    let round = Round {
        tries: places(pair, options, first, &copies),
        sources: None,
        step,
        from: 0.0,
        to: 0.3,
    };
    let found = best(pair, &round, &|_| Cow::Borrowed(&copies), progress);
    let how = found.as_ref().map_or(first, |c| c.how);

    let par = pair.params(&how);
    let old = plan::normalise(&pair.old, &par);
    let normal = Searched {
        new: Cow::Owned(plan::normalise(&pair.new, &par)),
        index: Index::new(&old),
    };
    let matches = |t: &Try| match (t.normal, t.gain) {
        (true, gain) => Cow::Owned(normal.matches(pair, gain)),
        (false, gain) if gain == first.gain => Cow::Borrowed(&copies[..]),
        (false, gain) => Cow::Owned(raw.matches(pair, gain)),
    };
    let gains: &[usize] = if much { &[8, 32] } else { &[8, 6, 12, 20, 32] };
    let tries = [false, true]
        .into_iter()
        .flat_map(|normal| gains.iter().map(move |gain| (normal, *gain)))
        .map(|(normal, gain)| Try {
            normal,
            gain,
            ..how
        })
        .collect();
    let round = Round {
        tries,
        sources: None,
        step,
        from: 0.3,
        to: 0.6,
    };
    let mut how = best(pair, &round, &matches, progress).map_or(how, |c| c.how);

    how.lz = true;
    let (old_seen, new_seen) = (view(how.arch, &pair.old), view(how.arch, &pair.new));
    let index = Index::new(&old_seen);
    let sources = Sources {
        old: &old_seen,
        new: &new_seen,
        index: &index,
    };
    let gains: &[usize] = if much {
        &[how.gain * 2, NEVER]
    } else {
        &[how.gain, how.gain * 2, NEVER]
    };
    let round = Round {
        tries: gains
            .iter()
            .map(|gain| Try { gain: *gain, ..how })
            .collect(),
        sources: Some(&sources),
        step: 1,
        from: 0.6,
        to: 0.8,
    };
    let mut coded = best(pair, &round, &matches, progress)?;
    let most = options.instructions;
    let most = most.map(|n| u64::from(n) * pair.new_stored.len() as u64);
    if most.is_some_and(|most| coded.body.instructions() > most) {
        let matches = matches(&coded.how);
        hasten(pair, &mut coded, &matches, &sources);
    }
    progress(1.0);
    Some(coded)
}

/// What the time of a literal counts, in bits/16, where all takes too long.
const HASTE: [u32; 3] = [12, 32, 96];

/// Adds ways to code that take a decoder less time.
fn hasten(pair: &Pair<'_>, coded: &mut Coded, matches: &[Match], sources: &Sources<'_>) {
    let how = coded.how;
    let faster = |haste| {
        let t = Try { haste, ..how };
        pair.code(&t, matches, Some(sources), &AtomicUsize::new(usize::MAX), 1)
    };
    let bodies: Vec<_> = std::thread::scope(|scope| {
        let threads = HASTE.map(|haste| scope.spawn(move || faster(haste)));
        let joined = threads.into_iter().map(|t| t.join().ok().flatten());
        joined.flatten().collect()
    });
    for body in bodies {
        coded.body.extend(body);
    }
}

/// A gain no match has: nothing but exact matches is left.
const NEVER: usize = 1 << 20;

/// Instruction sets and load addresses to be tried.
fn places(pair: &Pair<'_>, options: &Options, first: Try, copies: &[Match]) -> Vec<Try> {
    let archs = match options.arch {
        Some(a) => [a].to_vec(),
        None => [Arch::Thumb, Arch::Arm, Arch::A64, Arch::Xtensa, Arch::None].to_vec(),
    };
    let mut tries = Vec::new();
    for arch in archs {
        let mut bases = match options.base {
            Some(b) => [b].to_vec(),
            None => detect::bases(&pair.old, arch, pair.old_lines.start),
        };
        if bases.is_empty() {
            bases.push(NOWHERE);
        }
        for base in bases {
            let ram = detect::ram(&pair.old, &pair.new, base, copies);
            tries.push(Try {
                arch,
                base,
                ram,
                ..first
            });
        }
    }
    tries
}
