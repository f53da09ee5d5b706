//! The abstraction: the one flash that stands for all that behave like it.
//!
//! What may be changed without any code noticing, and why:
//!
//! - **Slot sectors.** A sector holds one of the contents it has between the
//!   steps of a run without cuts, or is *torn*: anything else. A torn sector may
//!   read as blank, as garbage, or as any of those contents, anew at each read,
//!   so it does everything that any particular torn sector can do.
//! - **Rows that are neither blank nor a record.** No code tells closed from torn;
//!   and of a row that may be closed, it does not count whether it may be torn too.
//! - **Sequence numbers.** Compared only between the first rows of the halves and
//!   within a snapshot, and the next one is above all that were read. They are
//!   numbered anew in the order of rows, the newer half above the older one.
//! - **Rows in front of the newest solid snapshot** of a half, but for the first:
//!   the reader goes back from the end and stops there at the latest. They count
//!   only as not blank; that no two rows that may be blank lie next to each other
//!   in front of a row that is not, is checked in each state. Solid deltas behind
//!   that snapshot are made part of it, up to the first unstable row. Rows behind
//!   it that are no core and no delta of it, unless at the very end, count as
//!   *bad*: parts say nothing without their core.
//! - **The half that is not read**: the older one, when the newer one holds a solid
//!   snapshot. Of it only whether its first row is a record counts. So it is
//!   with a half that cannot hold a snapshot at all, however it reads; and when the
//!   other one surely holds one and is older, not even that, for this one is erased
//!   before it is read again.
//! - **The end of the log**, in the older half when the newer one's first row is
//!   solid: it is not written again before it is erased.
//!
//! - **Starts of a trial without a way back** (`Overwrite`, `InPlace`) beyond the
//!   second: they are counted, and nothing depends on the count.
//!
//! Checked too, because the rest stands on it: a first row behind which a state
//! may lie is solid, and no delta belongs to an unstable snapshot.

mod draft;
mod half;
mod snapshot;

use super::row::{
    CORE, DELTA, Half, PART, Reading, Row, blank_half, data, kind, link, row_of, seq,
};
use half::{half, snapshots};
use ota_bootlib::ROW;

/// The row with at most two starts of a trial without a way back.
fn few_starts(row: &Row) -> Row {
    let without = |b: &[u8; ROW]| {
        matches!(kind(b), CORE | DELTA) && b[1] == 0 && matches!(b[9], 3 | 4) && b[11] > 2
    };
    let one = |r: &Reading| match r {
        Reading::Record(b) if without(b) => {
            let mut data = data(b);
            data[3] = 2;
            Reading::Record(row_of(kind(b), 0, link(b), seq(b), data))
        }
        other => *other,
    };
    let many = |r: &Reading| matches!(r, Reading::Record(b) if without(b));
    if row.readings().iter().any(many) {
        Row::any(row.readings().iter().map(one).collect())
    } else {
        *row
    }
}

/// What the first row of a half may say: sequence numbers, 0 for none.
struct First {
    low: u32,
    top: u32,
}

impl First {
    fn of(rows: &Half) -> Self {
        let seqs = rows[0].readings().iter().map(|r| match r {
            Reading::Record(b) => seq(b),
            _ => 0,
        });
        Self {
            low: seqs.clone().min().unwrap_or(0),
            top: seqs.max().unwrap_or(0),
        }
    }

    /// That it is a record is not sure.
    fn is_weak(&self) -> bool {
        self.low == 0 && self.top != 0
    }

    /// A row that says this with number `seq`, and nothing else.
    fn row(&self, seq: u32) -> Row {
        let record = Reading::Record(row_of(PART, 1, 0, seq, [0; 20]));
        match (self.top, self.low) {
            (0, _) => Row::solid(Reading::Blank),
            (_, 0) => Row::any(vec![Reading::Bad, record]),
            _ => Row::solid(record),
        }
    }

    /// A state may lie behind it, so it must be sure.
    fn proven(&self) -> Result<(), String> {
        if self.is_weak() {
            return Err("a state behind a first row that is not solid".into());
        }
        Ok(())
    }
}

/// Numbers of the older half's rows begin here, ...
const OLDER: u32 = 1;
/// ... those of the newer one here.
const NEWER: u32 = 1000;

/// The canonical journal for these halves.
///
/// # Errors
/// What the abstraction stands on does not hold.
pub fn journal(halves: &[Half; 2]) -> Result<[Half; 2], String> {
    let halves = halves.map(|h| h.map(|row| few_starts(&row)));
    let firsts = halves.each_ref().map(First::of);
    let may_hold = |i: usize| snapshots(&halves[i]).next().is_some();
    // The half in force: the newest that surely holds a state.
    let force = (0..2)
        .filter(|i| firsts[*i].low != 0 && snapshots(&halves[*i]).any(|s| s.solid))
        .max_by_key(|i| firsts[*i].low);
    let Some(own) = force else {
        // The journal may read as lost. That is right only before anything was
        // ever written to its end.
        let mut out = [blank_half(); 2];
        for i in 0..2 {
            let newer = firsts[i].top > firsts[1 - i].top;
            let base_seq = if newer { NEWER } else { OLDER };
            if firsts[i].top != 0 && may_hold(i) {
                firsts[i].proven()?;
                out[i] = half(&halves[i], base_seq, true)?;
            } else {
                out[i][0] = firsts[i].row(base_seq);
            }
        }
        return Ok(out);
    };
    let other = 1 - own;
    let newer = firsts[other].top > firsts[own].low;
    if newer && may_hold(other) {
        firsts[other].proven()?;
        return Ok([
            half(&halves[own], OLDER, false)?,
            half(&halves[other], NEWER, true)?,
        ]);
    }
    // The first row of the other half, if it may be an older record.
    let mut rest = blank_half();
    if !newer {
        rest[0] = firsts[other].row(OLDER);
    }
    let anchored = !rest[0].is(Reading::Blank);
    Ok([half(&halves[own], NEWER, anchored)?, rest])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(seq: u32) -> Reading {
        Reading::Record(row_of(PART, 1, 0, seq, [0; 20]))
    }

    /// The very first write, with its core in `core`.
    fn opened(core: impl Fn(Reading) -> Row) -> Half {
        let mut half = blank_half();
        half[0] = Row::solid(part(1));
        half[1] = Row::solid(part(2));
        half[2] = core(Reading::Record(row_of(CORE, 0, 2, 3, [1; 20])));
        half
    }

    fn weak(core: Reading) -> Row {
        Row::any(vec![Reading::Blank, Reading::Torn, core])
    }

    /// When the only state reads well just sometimes, the half that was begun behind it
    /// says something: with it the next state is newer than something, else than nothing.
    #[test]
    fn the_first_row_of_a_half_without_a_state_counts() {
        let mut begun = blank_half();
        begun[0] = Row::solid(part(4));
        let with = journal(&[opened(weak), begun]).unwrap();
        let without = journal(&[opened(weak), blank_half()]).unwrap();
        assert!(with != without);
        assert!(with[1][0].is(part(NEWER)), "{:?}", with[1][0]);
        begun[0] = Row::any(vec![Reading::Blank, part(4)]);
        let perhaps = journal(&[opened(weak), begun]).unwrap();
        assert!(perhaps != with && perhaps != without);
        // Behind a state that is sure it is erased before it counts.
        begun[0] = Row::solid(part(4));
        let sure = journal(&[opened(Row::solid), begun]).unwrap();
        assert!(sure == journal(&[opened(Row::solid), blank_half()]).unwrap());
    }

    #[test]
    fn a_row_that_may_be_closed_need_not_be_torn() {
        let closed = |r| Row::any(vec![Reading::Blank, Reading::Bad, r]);
        let both = |r| Row::any(vec![Reading::Blank, Reading::Bad, Reading::Torn, r]);
        assert_eq!(closed(part(1)), both(part(1)));
        assert_ne!(closed(part(1)), weak(part(1)));
    }

    #[test]
    fn a_state_behind_a_first_row_that_may_vanish_is_refused() {
        let mut half = opened(weak);
        half[0] = Row::any(vec![Reading::Blank, part(1)]);
        assert!(journal(&[half, blank_half()]).is_err());
    }

    /// What stands for a state stands for itself, whichever numbers it had.
    #[test]
    fn what_is_canonical_stays_so() {
        let mut begun = blank_half();
        begun[0] = Row::solid(part(4));
        for halves in [
            [opened(weak), begun],
            [begun, opened(weak)],
            [opened(Row::solid), begun],
        ] {
            let once = journal(&halves).unwrap();
            assert!(once == journal(&once).unwrap());
        }
    }
}
