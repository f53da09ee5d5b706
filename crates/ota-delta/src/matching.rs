//! Approximate matching after Colin Percival's bsdiff: exact matches from a suffix
//! array, extended both ways as long as more than half of the bytes agree.

use std::vec;
use std::vec::Vec;

/// A sorted index of all suffixes of a text.
pub(crate) struct Index<'a> {
    text: &'a [u8],
    sa: Vec<i32>,
}

/// New bytes `[new, new + len)` resemble old bytes `[old, old + len)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub new: usize,
    pub old: usize,
    pub len: usize,
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl<'a> Index<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        let mut sa = vec![0; text.len()];
        divsufsort::sort_in_place(text, &mut sa);
        Index { text, sa }
    }

    /// Text positions whose suffixes agree longest with `wanted`, at least `least` bytes:
    /// up to `most` to each side of where it would be sorted in.
    pub fn similar(
        &self,
        wanted: &[u8],
        least: usize,
        most: usize,
        visit: &mut dyn FnMut(usize, usize),
    ) {
        let rank = self.sa.partition_point(|at| {
            let text = &self.text[*at as usize..];
            let m = common(text, wanted);
            match (text.get(m), wanted.get(m)) {
                (Some(a), Some(b)) => a < b,
                (None, Some(_)) => true,
                _ => false,
            }
        });
        let mut side = |ranks: &mut dyn Iterator<Item = usize>| {
            for i in ranks.take(most) {
                let at = self.sa[i] as usize;
                let len = common(&self.text[at..], wanted);
                if len < least {
                    break;
                }
                visit(at, len);
            }
        };
        side(&mut (0..rank).rev());
        side(&mut (rank..self.sa.len()));
    }

    /// Longest match of a prefix of `wanted`: (position, length).
    pub fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        if self.sa.is_empty() {
            return (0, 0);
        }
        let (mut lo, mut hi) = (0, self.sa.len() - 1);
        // Length known to agree at both ends, so that comparisons start behind it.
        let at = |i: usize| &self.text[self.sa[i] as usize..];
        let (mut l, mut h) = (common(at(lo), wanted), common(at(hi), wanted));
        while hi - lo > 1 {
            let mid = (lo + hi) / 2;
            let skip = l.min(h);
            let text = at(mid);
            let m = skip + common(&text[skip..], &wanted[skip..]);
            let below = match (text.get(m), wanted.get(m)) {
                (Some(a), Some(b)) => a < b,
                (None, Some(_)) => true,
                _ => false,
            };
            if below {
                (lo, l) = (mid, m);
            } else {
                (hi, h) = (mid, m);
            }
        }
        if l >= h {
            (self.sa[lo] as usize, l)
        } else {
            (self.sa[hi] as usize, h)
        }
    }
}

/// Matches in the order of `new`, not overlapping there. `min_gain` is by how many bytes
/// a match must beat the present alignment to break it off (bsdiff uses 8). `index` is
/// of the texts searched; `new`, `old` are what is compared when matches are extended.
pub(crate) fn approximate(
    index: &Index<'_>,
    searched: &[u8],
    new: &[u8],
    old: &[u8],
    min_gain: usize,
) -> Vec<Match> {
    let key_old = index.text;
    let n = new.len();
    let mut out: Vec<Match> = Vec::new();
    let (mut scan, mut len, mut pos) = (0usize, 0usize, 0usize);
    let (mut last_scan, mut last_pos, mut last_offset) = (0usize, 0usize, 0isize);
    let same = |new_at: usize, offset: isize| -> bool {
        let at = new_at as isize + offset;
        at >= 0
            && key_old
                .get(at as usize)
                .is_some_and(|b| *b == searched[new_at])
    };
    while scan < n {
        let mut old_score = 0usize;
        scan += len;
        let mut scored = scan;
        while scan < n {
            (pos, len) = index.longest(&searched[scan..]);
            while scored < scan + len {
                old_score += usize::from(same(scored, last_offset));
                scored += 1;
            }
            if (len == old_score && len != 0) || len > old_score + min_gain {
                break;
            }
            // Counted above: bytes that agree here make `len` at least 1.
            old_score -= usize::from(same(scan, last_offset));
            scan += 1;
        }
        if len != old_score || scan == n {
            // Extend the last match forward and the next one backward.
            let (mut s, mut best, mut len_f) = (0isize, 0isize, 0usize);
            let mut i = 0;
            while last_scan + i < scan && last_pos + i < old.len() {
                s += isize::from(old[last_pos + i] == new[last_scan + i]);
                i += 1;
                if s * 2 - i as isize > best * 2 - len_f as isize {
                    best = s;
                    len_f = i;
                }
            }
            let mut len_b = 0usize;
            if scan < n {
                let (mut s, mut best) = (0isize, 0isize);
                let mut i = 1;
                while scan >= last_scan + i && pos >= i {
                    s += isize::from(old[pos - i] == new[scan - i]);
                    if s * 2 - i as isize > best * 2 - len_b as isize {
                        best = s;
                        len_b = i;
                    }
                    i += 1;
                }
            }
            if last_scan + len_f > scan - len_b {
                let overlap = last_scan + len_f - (scan - len_b);
                let (mut s, mut best, mut keep) = (0isize, 0isize, 0usize);
                for i in 0..overlap {
                    s += isize::from(
                        new[last_scan + len_f - overlap + i] == old[last_pos + len_f - overlap + i],
                    );
                    s -= isize::from(new[scan - len_b + i] == old[pos - len_b + i]);
                    if s > best {
                        best = s;
                        keep = i + 1;
                    }
                }
                len_f = len_f + keep - overlap;
                len_b -= keep;
            }
            if len_f > 0 {
                out.push(Match {
                    new: last_scan,
                    old: last_pos,
                    len: len_f,
                });
            }
            last_scan = scan - len_b;
            last_pos = pos - len_b;
            last_offset = pos as isize - scan as isize;
        }
    }
    out
}
