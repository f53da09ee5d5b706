//! From matches to the ops that are coded.

use crate::matching::Match;
use crate::ptr::SLICE;
use crate::ptr::engine::{Op, Params};
use crate::ptr::header::Arch;
use crate::ptr::lines::Lines;
use crate::ptr::map::{SEGMENTS, Segment};
use crate::ptr::predict::{branch_target, is_branch};
use std::cmp::Reverse;
use std::vec::Vec;

/// Blanks what moves with addresses, so that moved code still matches itself.
pub(super) fn normalise(data: &[u8], par: &Params) -> Vec<u8> {
    let mut out = data.to_vec();
    let mut i = 0;
    while let Some(w) = data.get(i..).and_then(|d| d.first_chunk::<4>()) {
        let v = u32::from_le_bytes(*w);
        let xtensa = par.arch == Arch::Xtensa;
        let mut step = if xtensa { 1 } else { 2 };
        if par.arch == Arch::Thumb && is_branch(Arch::Thumb, v) {
            out[i..i + 4].copy_from_slice(&[0x00, 0xF0, 0x00, 0xF8]);
            step = 4;
        } else if xtensa
            && is_branch(Arch::Xtensa, v)
            && branch_target(Arch::Xtensa, v, i as u32) < data.len() as u32
        {
            out[i] &= 0x3F;
            out[i + 1..i + 3].fill(0);
            step = 3;
        } else if i % 4 == 0 {
            if !xtensa && is_branch(par.arch, v) {
                out[i..i + 3].fill(0);
            } else if v.wrapping_sub(par.base) < par.old_len {
                out[i + 1..i + 4].fill(0xA5);
            } else if v.wrapping_sub(par.ram.0) < par.ram.1 {
                out[i..i + 2].fill(0x5A);
            }
        }
        i += step;
    }
    out
}

/// Joins neighbours of the same displacement.
pub(super) fn merge(ms: Vec<Match>) -> Vec<Match> {
    let mut out: Vec<Match> = Vec::new();
    for m in ms {
        match out.last_mut() {
            Some(l)
                if l.new.wrapping_sub(l.old) == m.new.wrapping_sub(m.old)
                    && m.new - (l.new + l.len) < 32 =>
            {
                l.len = m.new + m.len - l.new;
            }
            _ => out.push(m),
        }
    }
    out
}

/// The map: the longest copies.
pub(super) fn segments(ms: &[Match], most: usize) -> Vec<Segment> {
    let mut long: Vec<&Match> = ms.iter().filter(|m| m.len >= 16).collect();
    long.sort_by_key(|m| Reverse(m.len));
    long.truncate(most.min(SEGMENTS));
    long.sort_by_key(|m| m.new);
    long.into_iter()
        .map(|m| Segment {
            new: m.new as u32,
            old: m.old as u32,
            len: m.len as u32,
        })
        .collect()
}

/// What may be read while slice `k` is made: its bounds and the first old byte that is
/// left, in decoded positions.
pub(super) struct Bounds {
    pub start: u32,
    pub end: u32,
    pub old_min: u32,
}

pub(super) fn bounds(
    k: u32,
    new_len: u32,
    old_len: u32,
    lag: u8,
    old: Lines,
    new: Lines,
) -> Bounds {
    let gone = if lag == 0 {
        0
    } else {
        k.saturating_sub(u32::from(lag)) * SLICE
    };
    Bounds {
        start: new.decoded(k * SLICE),
        end: new.decoded(((k + 1) * SLICE).min(new_len)),
        old_min: old.decoded(gone.min(old_len)),
    }
}

/// Ops of one slice: copies clipped to it and to what is left of the old image.
pub(super) fn ops(ms: &[Match], old_len: usize, b: &Bounds) -> Vec<Op> {
    let mut out = Vec::new();
    let mut p = b.start as usize;
    let (end, old_min) = (b.end as usize, b.old_min as usize);
    for m in &ms[ms.partition_point(|m| m.new + m.len <= p)..] {
        if m.new >= end {
            break;
        }
        let skip = p
            .saturating_sub(m.new)
            .max(old_min.saturating_sub(m.old))
            .min(m.len);
        let (new, old) = (m.new + skip, m.old + skip);
        let len = (m.len - skip)
            .min(end.saturating_sub(new))
            .min(old_len.saturating_sub(old));
        if len == 0 {
            continue;
        }
        out.extend(std::iter::repeat_n(Op::Literal, new - p));
        out.push(Op::Copy {
            old: old as u32,
            len: len as u32,
        });
        p = new + len;
    }
    out.extend(std::iter::repeat_n(Op::Literal, end - p));
    out
}
