//! What the encoder finds out about the images by itself.

use crate::ptr::header::Arch;
use crate::ptr::lines::{CODED, LINE, Lines, line_crc};
use crate::ptr::predict::{branch_target, is_branch};
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

fn word(data: &[u8], at: usize) -> u32 {
    data.get(at..)
        .and_then(|d| d.first_chunk::<4>())
        .map_or(0, |w| u32::from_le_bytes(*w))
}

/// Fewer lines in a row are chance.
const LEAST_LINES: usize = 16;

/// The longest run of 34-byte lines whose CRCs are right; none below [`LEAST_LINES`].
pub(super) fn lines(image: &[u8]) -> Lines {
    let coded = CODED as usize;
    let good = |at: usize| {
        image.get(at..at + coded).is_some_and(|l| {
            let crc = l[..LINE as usize]
                .iter()
                .fold(0xFFFF, |c, b| line_crc(c, *b));
            crc.to_be_bytes() == [l[32], l[33]]
        })
    };
    let mut best = Lines::default();
    for phase in 0..coded {
        let mut at = phase;
        while at + coded <= image.len() {
            // Every run worth having holds a line looked at.
            if !good(at) {
                at += coded * (LEAST_LINES / 2);
                continue;
            }
            let mut start = at;
            while start >= coded && good(start - coded) {
                start -= coded;
            }
            while good(at) {
                at += coded;
            }
            let count = ((at - start) / coded) as u32;
            if count > best.count {
                best = Lines {
                    start: start as u32,
                    count,
                };
            }
        }
    }
    if best.count < LEAST_LINES as u32 {
        Lines::default()
    } else {
        best
    }
}

/// The image without its line CRCs.
pub(super) fn decoded(image: &[u8], lines: Lines) -> Vec<u8> {
    let (start, end) = (
        lines.start as usize,
        (lines.start + CODED * lines.count) as usize,
    );
    let mut out = image[..start].to_vec();
    for line in image[start..end].chunks(CODED as usize) {
        out.extend_from_slice(&line[..LINE as usize]);
    }
    out.extend_from_slice(&image[end..]);
    out
}

/// Where the image may be loaded: the addresses that make the most words point at
/// something, best first. Few, perhaps none.
pub(super) fn bases(image: &[u8], arch: Arch, aligned_at: u32) -> Vec<u32> {
    const MOST: usize = 4000;
    let mut code = BTreeSet::new();
    let step = match arch {
        Arch::Thumb => 2,
        Arch::Xtensa => 1,
        _ => 4,
    };
    for at in (0..image.len()).step_by(step) {
        let w = word(image, at);
        if is_branch(arch, w) {
            let t = branch_target(arch, w, at as u32);
            if (t as usize) < image.len() {
                code.insert(t);
            }
        }
    }
    // Strings are pointed at too.
    let mut strings = Vec::new();
    let printable = |b: &u8| (0x20..0x7F).contains(b);
    for at in 1..image.len().saturating_sub(4) {
        if image[at - 1] == 0 && image[at..at + 4].iter().all(printable) {
            strings.push(at as u32);
        }
    }
    let mut words: Vec<u32> = (0..image.len() / 4)
        .map(|i| word(image, 4 * i))
        .filter(|w| *w > 0xFFF && *w < 0xF000_0000)
        .collect();
    words.sort_unstable();
    words.dedup();
    let thin = |v: Vec<u32>| {
        let step = v.len().div_ceil(MOST).max(1);
        v.into_iter().step_by(step).collect::<Vec<_>>()
    };
    let mut votes = Vec::new();
    let mut vote = |words: Vec<u32>, targets: Vec<u32>| {
        let (words, targets) = (thin(words), thin(targets));
        for w in &words {
            for t in &targets {
                let b = w.wrapping_sub(*t);
                if b.wrapping_add(aligned_at) & 0x1F == 0 {
                    votes.push(b);
                }
            }
        }
    };
    let code: Vec<u32> = code.into_iter().collect();
    if arch == Arch::Thumb {
        // Pointers to Thumb code are odd.
        vote(
            words
                .iter()
                .filter(|w| *w & 1 != 0)
                .map(|w| w - 1)
                .collect(),
            code,
        );
    } else {
        vote(words.clone(), code);
    }
    vote(words, strings);
    votes.sort_unstable();
    // Rounder addresses are likelier: a vote counts more with each zero bit.
    let mut ranked: Vec<(usize, u32)> = votes
        .chunk_by(|a, b| a == b)
        .filter(|run| run.len() >= 8)
        .map(|run| {
            (
                run.len() * (run[0].wrapping_add(aligned_at).trailing_zeros().min(16) as usize),
                run[0],
            )
        })
        .collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.into_iter().take(3).map(|(_, b)| b).collect()
}

/// The RAM window: addresses outside of the image that changed a little between
/// aligned words of the two images which correspond.
pub(super) fn ram(
    old: &[u8],
    new: &[u8],
    base: u32,
    copies: &[crate::matching::Match],
) -> (u32, u32) {
    let mut moved = Vec::new();
    for m in copies {
        if (m.new ^ m.old) & 3 != 0 {
            continue;
        }
        let skip = m.new.wrapping_neg() & 3;
        for i in (skip..m.len.saturating_sub(3)).step_by(4) {
            let (a, b) = (word(old, m.old + i), word(new, m.new + i));
            let small = a.abs_diff(b) < 0x1_0000 && a.abs_diff(b) >= 4 && a >> 20 == b >> 20;
            if small && a > 0xFFFF && (a.wrapping_sub(base) as usize) >= old.len() {
                moved.push(a);
            }
        }
    }
    moved.sort_unstable();
    let mut counts = vec![];
    for run in moved.chunk_by(|a, b| a >> 20 == b >> 20) {
        counts.push((run.len(), run[0], run[run.len() - 1]));
    }
    match counts.into_iter().max() {
        Some((n, lo, hi)) if n >= 3 => (lo & !0xFF, (hi & !0xFF) - (lo & !0xFF) + 0x100),
        _ => (0, 0),
    }
}
