//! The abstraction: the one flash that stands for all that behave like it.
//!
//! What may be changed without any code noticing, and why:
//!
//! - **Slot sectors.** A sector holds one of the contents it has between the
//!   steps of a run without cuts, or is *torn*: anything else. A torn sector may
//!   read as blank, as garbage, or as any of those contents, anew at each read,
//!   so it does everything that any particular torn sector can do.
//! - **Rows that are neither blank nor a record.** No code tells closed from torn.
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
//!   with a half that cannot hold a snapshot at all, however it reads.
//! - **The end of the log**, in the older half when the newer one's first row is
//!   solid: it is not written again before it is erased.
//!
//! - **Starts of a trial without a way back** (`Overwrite`, `InPlace`) beyond the
//!   second: they are counted, and nothing depends on the count.
//!
//! Checked too, because the rest stands on it: a first row behind which a state
//! may lie is solid, and no delta belongs to an unstable snapshot.

use super::model::{ROWS, Reading, Row};
use ota_bootlib::ROW;

const CORE: u8 = 0xA1;
const PART: u8 = 0xA2;
const DELTA: u8 = 0xA3;
const CELLS: usize = 20;

type Cells = [[u8; 20]; CELLS];

fn kind(b: &[u8; ROW]) -> u8 {
    b[0]
}
fn link(b: &[u8; ROW]) -> usize {
    usize::from(u16::from_le_bytes([b[2], b[3]]))
}
fn seq(b: &[u8; ROW]) -> u32 {
    u32::from_le_bytes([b[4], b[5], b[6], b[7]])
}

/// The record of this kind that the row may read as.
fn record(row: &Row, of: u8) -> Option<&[u8; ROW]> {
    row.readings().iter().find_map(|r| match r {
        Reading::Record(b) if kind(b) == of => Some(b),
        _ => None,
    })
}

fn solid(row: &Row) -> bool {
    matches!(row, Row::Solid(_))
}

fn row_of(kind: u8, cell: u8, link: usize, seq: u32, data: [u8; 20]) -> [u8; ROW] {
    let mut b = [0; ROW];
    b[0] = kind;
    b[1] = cell;
    b[2..4].copy_from_slice(&(link as u16).to_le_bytes());
    b[4..8].copy_from_slice(&seq.to_le_bytes());
    b[8..28].copy_from_slice(&data);
    let crc = ota_verify::crc32(&b[..28]);
    b[28..].copy_from_slice(&crc.to_le_bytes());
    b
}

/// A snapshot: its rows are `core - parts ..= core`.
struct Snapshot {
    core: usize,
    parts: usize,
    /// It reads whole each time.
    solid: bool,
}

/// The snapshot whose core may be at `core`, if it may read whole.
fn snapshot(rows: &[Row], core: usize) -> Option<Snapshot> {
    let b = record(&rows[core], CORE)?;
    let parts = link(b);
    let mut all = solid(&rows[core]);
    for i in 0..parts {
        let row = rows.get(core.checked_sub(parts)? + i)?;
        let part = record(row, PART)?;
        if seq(part).wrapping_add((parts - i) as u32) != seq(b) {
            return None;
        }
        all &= solid(row);
    }
    Some(Snapshot {
        core,
        parts,
        solid: all,
    })
}

fn data(b: &[u8; ROW]) -> [u8; 20] {
    let mut d = [0; 20];
    d.copy_from_slice(&b[8..28]);
    d
}

fn put(cells: &mut Cells, b: &[u8; ROW]) {
    if let Some(c) = cells.get_mut(usize::from(b[1])) {
        *c = data(b);
    }
}

fn load(rows: &[Row], s: &Snapshot) -> Cells {
    let mut cells = [[0; 20]; CELLS];
    for row in &rows[s.core - s.parts..s.core] {
        if let Some(b) = record(row, PART) {
            put(&mut cells, b);
        }
    }
    if let Some(b) = record(&rows[s.core], CORE) {
        put(&mut cells, b);
    }
    cells
}

/// A row of a canonical half, before it is numbered.
#[derive(Clone)]
enum Draft {
    Bad,
    /// A record that says nothing.
    Silent,
    Record {
        kind: u8,
        cell: u8,
        /// `None`: the core of the solid snapshot.
        link: Option<usize>,
        data: [u8; 20],
        blank: bool,
        bad: bool,
        torn: bool,
    },
    /// Unstable, and never a record.
    Weak,
}

fn drafts_of(cells: &Cells) -> Vec<Draft> {
    let part = |(cell, data): (usize, &[u8; 20])| {
        (*data != [0; 20]).then_some(Draft::Record {
            kind: PART,
            cell: cell as u8,
            link: Some(0),
            data: *data,
            blank: false,
            bad: false,
            torn: false,
        })
    };
    let mut all: Vec<_> = cells.iter().enumerate().skip(1).filter_map(part).collect();
    let parts = all.len();
    all.push(Draft::Record {
        kind: CORE,
        cell: 0,
        link: Some(parts),
        data: cells[0],
        blank: false,
        bad: false,
        torn: false,
    });
    all
}

/// Last row that is not blank for sure, plus one.
fn used(rows: &[Row]) -> usize {
    let last = rows.iter().rposition(|r| !r.is(Reading::Blank));
    last.map_or(0, |r| r + 1)
}

/// Whether a state may be read from a half whose first row counts.
fn may_hold(rows: &[Row]) -> bool {
    (0..used(rows)).any(|core| snapshot(rows, core).is_some())
}

/// Canonical rows of a half that may be read. `anchored`: where the log ends counts.
fn half(rows: &[Row], base_seq: u32, anchored: bool) -> Result<Vec<Row>, String> {
    let used = used(rows);
    let blank = |i: usize| rows.get(i).is_none_or(|r| r.may_be(Reading::Blank));
    for i in 1..used.saturating_sub(2) {
        if blank(i) && blank(i + 1) {
            return Err(format!("rows {i} and {} may both be blank", i + 1));
        }
    }
    let base = (0..used)
        .rev()
        .filter_map(|core| snapshot(rows, core))
        .find(|s| s.solid);
    let end = (0..used)
        .rev()
        .find(|i| solid(&rows[*i]) && !rows[*i].is(Reading::Blank))
        .unwrap_or(0);
    let from = base.as_ref().map_or(0, |s| s.core + 1);
    let mut cells = base.as_ref().map(|s| load(rows, s));
    let of_base = |b: &[u8; ROW]| base.as_ref().is_some_and(|s| link(b) == s.core);
    let mut kept: Vec<Draft> = Vec::new();
    // Without a solid snapshot: how the half opens, as far as the loader looks.
    let mut lead = 0;
    let mut tail: Vec<Draft> = Vec::new();
    // What lies behind the last solid row stays where it is, and so do the
    // parts in front of a core there.
    let tail_from = (end + 1..used)
        .filter_map(|i| snapshot(rows, i).map(|s| s.core - s.parts))
        .min()
        .unwrap_or(end)
        .min(end);
    for i in from..used {
        let at_end = i >= tail_from && anchored;
        let kept_is_empty = kept.is_empty();
        let out = if at_end { &mut tail } else { &mut kept };
        let row = &rows[i];
        let may = |r| row.may_be(r);
        if let Some(b) = record(row, DELTA)
            && base.is_none_or_unstable(rows, link(b))
        {
            return Err(format!("row {i} is a delta of an unstable snapshot"));
        }
        let draft = if let Some(s) = snapshot(rows, i) {
            let made = load(rows, &s);
            if !at_end {
                let mut all = drafts_of(&made);
                if let Some(Draft::Record { bad, torn, .. }) = all.last_mut() {
                    *bad = may(Reading::Bad) || solid(row);
                    *torn = !*bad;
                }
                // The same again adds nothing to what may be read.
                if cells.as_ref() != Some(&made) {
                    if cells.is_none() && kept_is_empty {
                        lead = match s.core - s.parts {
                            far @ 9.. => 9.min(far),
                            near => near.min(1),
                        };
                        // With the parts that say nothing.
                        let silent = Draft::Record {
                            kind: PART,
                            cell: 1,
                            link: Some(0),
                            data: [0; 20],
                            blank: false,
                            bad: false,
                            torn: false,
                        };
                        while all.len() <= s.parts {
                            all.insert(0, silent.clone());
                        }
                        if let Some(Draft::Record { link, .. }) = all.last_mut() {
                            *link = Some(s.parts);
                        }
                    }
                    out.append(&mut all);
                    out.push(Draft::Bad);
                }
                continue;
            }
            let weak_part = !s.solid && solid(row);
            Draft::Record {
                kind: CORE,
                cell: 0,
                link: Some(s.parts),
                data: made[0],
                blank: may(Reading::Blank),
                bad: may(Reading::Bad) || weak_part,
                torn: may(Reading::Torn),
            }
        } else if let Some(b) = record(row, DELTA).filter(|b| of_base(b)) {
            let fold = solid(row) && kept.is_empty() && tail_is_silent(&tail);
            if let (true, Some(cells)) = (fold, &mut cells) {
                put(cells, b);
            }
            let out = if at_end { &mut tail } else { &mut kept };
            if !at_end {
                if !fold {
                    out.push(Draft::Record {
                        kind: DELTA,
                        cell: b[1],
                        link: None,
                        data: data(b),
                        blank: false,
                        bad: !solid(row),
                        torn: false,
                    });
                    if !solid(row) {
                        out.push(Draft::Bad);
                    }
                }
                continue;
            }
            Draft::Record {
                kind: DELTA,
                cell: b[1],
                link: None,
                data: data(b),
                blank: may(Reading::Blank),
                bad: may(Reading::Bad),
                torn: may(Reading::Torn),
            }
        } else if !at_end {
            continue;
        } else if let Some(b) = part_of_tail(rows, i, used) {
            Draft::Record {
                kind: PART,
                cell: b[1],
                link: Some(0),
                data: data(b),
                blank: false,
                bad: false,
                torn: false,
            }
        } else if row
            .readings()
            .iter()
            .any(|r| matches!(r, Reading::Record(_)))
        {
            if solid(row) {
                Draft::Silent
            } else {
                Draft::Record {
                    kind: PART,
                    cell: 1,
                    link: Some(0),
                    data: [0; 20],
                    blank: may(Reading::Blank),
                    bad: may(Reading::Bad),
                    torn: may(Reading::Torn),
                }
            }
        } else if solid(row) {
            if may(Reading::Blank) {
                // Between unstable rows.
                Draft::Record {
                    kind: 0,
                    cell: 0,
                    link: Some(0),
                    data: [0; 20],
                    blank: true,
                    bad: false,
                    torn: false,
                }
            } else {
                Draft::Bad
            }
        } else {
            Draft::Weak
        };
        let out = if at_end { &mut tail } else { &mut kept };
        out.push(draft);
    }
    // The core of the base itself may be the last row.
    if anchored && from > tail_from {
        tail.insert(0, Draft::Silent);
    }
    let front = cells.as_ref().map(drafts_of).unwrap_or_default();
    let core = front.len().wrapping_sub(1);
    let len = lead + front.len() + kept.len() + tail.len();
    let total = if anchored { used } else { len };
    if len > total || total > ROWS {
        // No room to write it that way: it stands for itself.
        return Ok(plain(rows, base_seq));
    }
    let fill = vec![Draft::Bad; total - len];
    let mut before = fill.len();
    let mut all = Vec::new();
    if cells.is_some() {
        all.extend(fill);
        if let Some(first) = all.first_mut() {
            *first = Draft::Silent;
        }
        all.extend(front);
        all.extend(kept);
    } else {
        // Without a solid snapshot it counts that the half opens with the first one.
        before = 0;
        all.extend(vec![Draft::Silent; lead]);
        all.extend(kept);
        all.extend(fill);
    }
    all.extend(tail);
    let mut out: Vec<Row> = (base_seq..)
        .zip(&all)
        .map(|(seq, draft)| match draft {
            Draft::Bad => Row::Solid(Reading::Bad),
            Draft::Silent => Row::Solid(Reading::Record(row_of(PART, 1, 0, seq, [0; 20]))),
            Draft::Weak => Row::any(vec![Reading::Blank, Reading::Bad]),
            Draft::Record {
                kind,
                cell,
                link,
                data,
                blank,
                bad,
                torn,
            } => {
                let link = link.unwrap_or(before + core);
                let mut readings = Vec::new();
                if *kind != 0 {
                    readings.push(Reading::Record(row_of(*kind, *cell, link, seq, *data)));
                }
                if *blank {
                    readings.push(Reading::Blank);
                }
                // Only of a core does it count whether it can be made whole.
                if *bad || *torn && *kind != CORE {
                    readings.push(Reading::Bad);
                } else if *torn {
                    readings.push(Reading::Torn);
                }
                Row::any(readings)
            }
        })
        .collect();
    out.resize(ROWS, Row::Solid(Reading::Blank));
    Ok(out)
}

/// The same rows, numbered anew.
fn plain(rows: &[Row], base_seq: u32) -> Vec<Row> {
    let numbered = |(seq, row): (u32, &Row)| {
        let one = |r: &Reading| match r {
            Reading::Record(b) => Reading::Record(row_of(kind(b), b[1], link(b), seq, data(b))),
            other => *other,
        };
        Row::any(row.readings().iter().map(one).collect())
    };
    (base_seq..).zip(rows).map(numbered).collect()
}

fn tail_is_silent(tail: &[Draft]) -> bool {
    tail.iter().all(|d| matches!(d, Draft::Bad | Draft::Silent))
}

/// The part at `i` of a core that may lie behind it.
fn part_of_tail(rows: &[Row], i: usize, used: usize) -> Option<&[u8; ROW]> {
    (i + 1..used)
        .filter_map(|core| snapshot(rows, core))
        .find(|s| s.core - s.parts <= i)?;
    record(&rows[i], PART)
}

trait Base {
    fn is_none_or_unstable(&self, rows: &[Row], core: usize) -> bool;
}

impl Base for Option<Snapshot> {
    /// Whether a delta of this core counts though the core may not read whole.
    fn is_none_or_unstable(&self, rows: &[Row], core: usize) -> bool {
        let newer = self.as_ref().is_none_or(|s| core > s.core);
        newer && core < rows.len() && snapshot(rows, core).is_some()
    }
}

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
    match row {
        Row::Solid(r) => Row::Solid(one(r)),
        row => Row::any(row.readings().iter().map(one).collect()),
    }
}

/// How many rows of a half are unstable.
pub fn unstable(rows: &[Row]) -> usize {
    rows.iter().filter(|r| !solid(r)).count()
}

/// The canonical journal for these halves.
///
/// # Errors
/// What the abstraction stands on does not hold.
pub fn journal(halves: &[Vec<Row>; 2]) -> Result<[Vec<Row>; 2], String> {
    let counted = |h: &Vec<Row>| h.iter().map(few_starts).collect::<Vec<_>>();
    let halves = &halves.each_ref().map(counted);
    let first = |rows: &[Row]| -> Vec<u32> {
        let records = rows[0].readings().iter();
        records
            .map(|r| match r {
                Reading::Record(b) => seq(b),
                _ => 0,
            })
            .collect()
    };
    let based =
        |rows: &[Row]| (0..used(rows)).any(|core| snapshot(rows, core).is_some_and(|s| s.solid));
    let none = || vec![Row::Solid(Reading::Blank); ROWS];
    let firsts = [first(&halves[0]), first(&halves[1])];
    let top = |i: usize| firsts[i].iter().copied().max().unwrap_or(0);
    let low = |i: usize| firsts[i].iter().copied().min().unwrap_or(0);
    let weak_first = |i: usize| low(i) == 0 && top(i) != 0;
    // The half in force: the newest that surely holds a state.
    let force = (0..2)
        .filter(|i| based(&halves[*i]) && low(*i) != 0)
        .max_by_key(|i| low(*i));
    let Some(own) = force else {
        // The journal may read as lost. That is right only before anything was
        // ever written to its end.
        let mut out = [none(), none()];
        for i in 0..2 {
            if top(i) != 0 && may_hold(&halves[i]) {
                if weak_first(i) {
                    return Err("a state behind a first row that is not solid".into());
                }
                let seq = if top(i) > top(1 - i) { 1000 } else { 1 };
                out[i] = half(&halves[i], seq, true)?;
            }
        }
        return Ok(out);
    };
    let other = 1 - own;
    let newer = top(other) > low(own);
    if newer && may_hold(&halves[other]) {
        if weak_first(other) {
            return Err("a state behind a first row that is not solid".into());
        }
        return Ok([
            half(&halves[own], 1, false)?,
            half(&halves[other], 1000, true)?,
        ]);
    }
    // The first row of the other half, if it may be an older record.
    let older = Reading::Record(row_of(PART, 1, 0, 1, [0; 20]));
    let mut rest = none();
    let mut anchored = false;
    if !newer && top(other) != 0 {
        anchored = true;
        rest[0] = if weak_first(other) {
            Row::any(vec![Reading::Bad, older])
        } else {
            Row::Solid(older)
        };
    }
    Ok([half(&halves[own], 1000, anchored)?, rest])
}
