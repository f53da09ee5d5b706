//! The canonical rows of a half.

use super::super::row::{
    CORE, DELTA, Half, PART, ROWS, Reading, Row, blank_half, data, kind, link, row_of,
};
use super::draft::{self, Draft, Link, Record};
use super::snapshot::{Cells, Snapshot, put};
use ota_bootlib::ROW;

/// Last row that is not blank for sure, plus one.
fn used(rows: &Half) -> usize {
    let last = rows.iter().rposition(|r| !r.is(Reading::Blank));
    last.map_or(0, |r| r + 1)
}

/// Snapshots that may be read from a half whose first row counts, the oldest first.
pub fn snapshots(rows: &Half) -> impl DoubleEndedIterator<Item = Snapshot> {
    (0..used(rows)).filter_map(|core| Snapshot::at(rows, core))
}

/// Canonical rows of a half that may be read. `anchored`: where the log ends counts.
///
/// # Errors
/// What the abstraction stands on does not hold.
pub fn half(rows: &Half, base_seq: u32, anchored: bool) -> Result<Half, String> {
    let used = used(rows);
    let blank = |i: usize| rows.get(i).is_none_or(|r| r.may_be(Reading::Blank));
    for i in 1..used.saturating_sub(2) {
        if blank(i) && blank(i + 1) {
            return Err(format!("rows {i} and {} may both be blank", i + 1));
        }
    }
    let base = snapshots(rows).rev().find(|s| s.solid);
    let from = base.as_ref().map_or(0, |s| s.core + 1);
    let tail_from = if anchored { tail(rows) } else { used };
    let mut log = Log {
        rows,
        used,
        cells: base.as_ref().map(|s| s.cells(rows)),
        base,
        kept: Vec::new(),
        tail: Vec::new(),
        lead: 0,
    };
    for i in from..used {
        log.check(i)?;
        if i < tail_from {
            log.within(i);
        } else {
            let draft = log.at_end(i);
            log.tail.push(draft);
        }
    }
    // The core of the base itself may be the last row.
    if anchored && from > tail_from {
        log.tail.insert(0, Draft::Silent);
    }
    // Without room to write it that way, it stands for itself.
    let total = anchored.then_some(used);
    Ok(log
        .canonical(base_seq, total)
        .unwrap_or_else(|| plain(rows, base_seq)))
}

/// The row from which on a log stays where it is: what lies behind the last solid
/// row, and the parts in front of a core there.
fn tail(rows: &Half) -> usize {
    let end = rows
        .iter()
        .rposition(|r| r.is_solid() && !r.is(Reading::Blank))
        .unwrap_or(0);
    let behind = snapshots(rows).filter(|s| s.core > end);
    behind.map(|s| s.first()).min().unwrap_or(end).min(end)
}

/// What is known of a half, row by row.
struct Log<'a> {
    rows: &'a Half,
    used: usize,
    /// The newest solid snapshot.
    base: Option<Snapshot>,
    /// The state, with what surely follows the base.
    cells: Option<Cells>,
    /// What must be kept of the rows behind the base.
    kept: Vec<Draft>,
    /// The rows whose places count.
    tail: Vec<Draft>,
    /// Without a base: how many rows open the half, as far as the loader looks.
    lead: usize,
}

impl Log<'_> {
    /// Nothing may be a delta of a snapshot that may not read whole.
    fn check(&self, i: usize) -> Result<(), String> {
        let Some(core) = self.rows[i].record(DELTA).map(link) else {
            return Ok(());
        };
        let newer = self.base.as_ref().is_none_or(|s| core > s.core);
        if newer && core < ROWS && Snapshot::at(self.rows, core).is_some() {
            return Err(format!("row {i} is a delta of an unstable snapshot"));
        }
        Ok(())
    }

    /// Takes row `i` in, whose place does not count.
    fn within(&mut self, i: usize) {
        let row = &self.rows[i];
        if let Some(s) = Snapshot::at(self.rows, i) {
            self.within_snapshot(row, &s);
        } else if let Some(b) = self.delta(row)
            && !self.fold(row, b)
        {
            let mut delta = Record::whole(DELTA, b[1], Link::Base, data(b));
            delta.bad = !row.is_solid();
            self.kept.push(Draft::Record(delta));
            if !row.is_solid() {
                self.kept.push(Draft::Bad);
            }
        }
    }

    fn within_snapshot(&mut self, core: &Row, s: &Snapshot) {
        let made = s.cells(self.rows);
        // The same again adds nothing to what may be read.
        if self.cells.as_ref() == Some(&made) {
            return;
        }
        let mut all = draft::snapshot(&made);
        let opens = self.cells.is_none() && self.kept.is_empty();
        if opens {
            self.lead = match s.first() {
                far @ 9.. => 9.min(far),
                near => near.min(1),
            };
            // With the parts that say nothing.
            while all.len() <= s.parts {
                all.insert(0, Draft::Record(Record::silent()));
            }
        }
        if let Some(Draft::Record(record)) = all.last_mut() {
            record.bad = core.may_be(Reading::Bad) || core.is_solid();
            record.torn = !record.bad;
            if opens {
                record.set_parts(s.parts);
            }
        }
        self.kept.append(&mut all);
        self.kept.push(Draft::Bad);
    }

    /// The delta of the base that `row` may read as.
    fn delta(&self, row: &Row) -> Option<&'static [u8; ROW]> {
        let of_base = |b: &&[u8; ROW]| self.base.as_ref().is_some_and(|s| link(b) == s.core);
        row.record(DELTA).filter(of_base)
    }

    /// Makes a delta part of the base, if it surely follows it; whether it did.
    fn fold(&mut self, row: &Row, b: &[u8; ROW]) -> bool {
        let silent = |d: &Draft| matches!(d, Draft::Bad | Draft::Silent);
        let sure = row.is_solid() && self.kept.is_empty() && self.tail.iter().all(silent);
        if sure && let Some(cells) = &mut self.cells {
            put(cells, b);
        }
        sure
    }

    /// What row `i` is, whose place counts.
    fn at_end(&mut self, i: usize) -> Draft {
        let row = &self.rows[i];
        let may = |r| row.may_be(r);
        if let Some(s) = Snapshot::at(self.rows, i) {
            let core = s.cells(self.rows)[0];
            let mut record = Record::whole(CORE, 0, Link::Parts(s.parts), core).like(row);
            // One of its parts is unstable.
            record.bad |= !s.solid && row.is_solid();
            return Draft::Record(record);
        }
        if let Some(b) = self.delta(row) {
            self.fold(row, b);
            return Draft::Record(Record::whole(DELTA, b[1], Link::Base, data(b)).like(row));
        }
        if let Some(b) = self.part_of_tail(i) {
            return Draft::Record(Record::whole(PART, b[1], Link::Parts(0), data(b)));
        }
        let record = |r: &Reading| matches!(r, Reading::Record(_));
        match (row.readings().iter().any(record), row.is_solid()) {
            (true, true) => Draft::Silent,
            (true, false) => Draft::Record(Record::silent().like(row)),
            (false, true) if may(Reading::Blank) => Draft::Gap,
            (false, true) => Draft::Bad,
            (false, false) => Draft::Weak,
        }
    }

    /// The part in row `i` of a core that may lie behind it.
    fn part_of_tail(&self, i: usize) -> Option<&'static [u8; ROW]> {
        (i + 1..self.used)
            .filter_map(|core| Snapshot::at(self.rows, core))
            .find(|s| s.first() <= i)?;
        self.rows[i].record(PART)
    }

    /// All of it in order, filled up to `total` rows; `None` when there is no room.
    fn canonical(self, base_seq: u32, total: Option<usize>) -> Option<Half> {
        let front = self.cells.as_ref().map(draft::snapshot).unwrap_or_default();
        let len = self.lead + front.len() + self.kept.len() + self.tail.len();
        let total = total.unwrap_or(len);
        if len > total || total > ROWS {
            return None;
        }
        let mut fill = vec![Draft::Bad; total - len];
        let mut all = Vec::with_capacity(total);
        let mut base = 0;
        if front.is_empty() {
            // Without a solid snapshot it counts that the half opens with the first one.
            all.resize(self.lead, Draft::Silent);
            all.extend(self.kept);
            all.extend(fill);
        } else {
            base = fill.len() + front.len() - 1;
            if let Some(first) = fill.first_mut() {
                *first = Draft::Silent;
            }
            all.extend(fill);
            all.extend(front);
            all.extend(self.kept);
        }
        all.extend(self.tail);
        let mut out = blank_half();
        for ((to, draft), seq) in out.iter_mut().zip(&all).zip(base_seq..) {
            *to = draft.row(seq, base);
        }
        Some(out)
    }
}

/// The same rows, numbered anew.
fn plain(rows: &Half, base_seq: u32) -> Half {
    let mut out = *rows;
    for (row, seq) in out.iter_mut().zip(base_seq..) {
        let one = |r: &Reading| match r {
            Reading::Record(b) => Reading::Record(row_of(kind(b), b[1], link(b), seq, data(b))),
            other => *other,
        };
        *row = Row::any(row.readings().iter().map(one).collect());
    }
    out
}
