//! The journal: an append-only log of the boot state in two halves of a
//! partition. `docs/journal.md` is the specification; names follow it.
//!
//! Two rules carry the safety of everything else:
//!
//! * **Row after solid row.** A row is programmed only when the row before it is
//!   known to be programmed to its end, so at most two rows behind the last
//!   solid one can be anything else than blank. The first write after a reset
//!   therefore closes these rows with zeros (which repeat without harm) and goes
//!   on behind them.
//! * **Nothing is acted on before it is written afresh.** What was read after a
//!   reset may rest on bits that read differently next time, so the first write
//!   after a reset is a snapshot of the whole state, [`Journal::settle`].

use embedded_storage::nor_flash::NorFlash;
use ota_verify::crc32;

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, FaultKind, Part};
use crate::state::{CELL, CELLS, State, cell};

/// Bytes of a record.
pub const ROW: usize = 32;

const CORE: u8 = 0xA1;
const PART: u8 = 0xA2;
const DELTA: u8 = 0xA3;
const UNKNOWN_FROM: u8 = 0x01;

/// Unknown records that are carried to the other half, at most.
const KEEP: usize = 8;
/// Rows a half must have: two snapshots, the closed rows between them, kept
/// unknown records and a little to write.
const MIN_ROWS: u32 = 2 * CELLS as u32 + KEEP as u32 + 8;

/// A decoded record.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    kind: u8,
    /// Cell of the payload.
    cell: u8,
    /// `CORE`: rows of the snapshot in front of it. `DELTA`: row of its snapshot's core.
    link: u16,
    seq: u32,
    data: [u8; CELL],
}

impl Row {
    fn encode(&self) -> [u8; ROW] {
        let mut b = [0; ROW];
        b[0] = self.kind;
        b[1] = self.cell;
        b[2..4].copy_from_slice(&self.link.to_le_bytes());
        b[4..8].copy_from_slice(&self.seq.to_le_bytes());
        b[8..28].copy_from_slice(&self.data);
        let crc = crc32(&b[..28]);
        b[28..].copy_from_slice(&crc.to_le_bytes());
        b
    }

    fn decode(b: &[u8; ROW]) -> Option<Self> {
        if b[0] < UNKNOWN_FROM || b[0] == 0xFF {
            return None;
        }
        if crc32(&b[..28]) != u32::from_le_bytes([b[28], b[29], b[30], b[31]]) {
            return None;
        }
        let mut data = [0; CELL];
        data.copy_from_slice(&b[8..28]);
        Some(Self {
            kind: b[0],
            cell: b[1],
            link: u16::from_le_bytes([b[2], b[3]]),
            seq: u32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            data,
        })
    }

    fn is_known(&self) -> bool {
        matches!(self.kind, CORE | PART | DELTA)
    }
}

/// The boot journal on one partition of two halves.
pub struct Journal<P> {
    flash: P,
    state: State,
    /// Half that holds the state: 0 or 1.
    half: u8,
    /// The partition holds no state at all.
    blank: bool,
    /// The other half holds an older row 0: it is not half-way through a change of halves.
    other_ok: bool,
    /// The last non-blank row is a valid record.
    tail_ok: bool,
    /// The rows behind the old end were closed since the reset.
    closed: bool,
    /// A snapshot was written since the reset.
    settled: bool,
    /// Cell of the newest record, when it is a `DELTA` and the last row.
    tail_cell: Option<u8>,
    /// Next row to write.
    next: u16,
    /// Row of the newest snapshot's core.
    core: u16,
    /// Sequence number of the next row.
    seq: u32,
}

impl<P: NorFlash> Journal<P> {
    /// Distance of rows: a row fills at least one program unit.
    const STRIDE: u32 = if P::WRITE_SIZE > ROW {
        P::WRITE_SIZE as u32
    } else {
        ROW as u32
    };
    const ERASE: u32 = P::ERASE_SIZE as u32;

    /// Reads the journal. Nothing is written.
    ///
    /// A partition without a valid state opens too: see [`is_blank`](Self::is_blank).
    ///
    /// # Errors
    /// [`FaultKind::Geometry`] when a half (half of the partition, rounded down
    /// to whole sectors) has fewer than 56 rows, or the program unit is no power
    /// of two up to 256; else what the flash driver reports.
    pub fn open(flash: P) -> Result<Self, Fault> {
        let mut j = Self {
            flash,
            state: State::new(),
            half: 1,
            blank: true,
            other_ok: false,
            tail_ok: false,
            closed: false,
            settled: false,
            tail_cell: None,
            next: 0,
            core: 0,
            seq: 1,
        };
        if !P::WRITE_SIZE.is_power_of_two()
            || P::WRITE_SIZE > 256
            || !(P::READ_SIZE == 1 || ROW.is_multiple_of(P::READ_SIZE))
            || !Self::ERASE.is_multiple_of(Self::STRIDE)
            || j.rows() < MIN_ROWS
            || j.rows() > 0x7FFF
        {
            return Err(Fault {
                part: Part::Journal,
                offset: 0,
                kind: FaultKind::Geometry,
            });
        }
        let first = [j.read(0, 0)?.1, j.read(1, 0)?.1];
        let seqs = first.map(|row| row.map_or(0, |r| r.seq));
        let newer = u8::from(seqs[1] > seqs[0]);
        for half in [newer, 1 - newer] {
            let (own, other) = if half == 0 {
                (seqs[0], seqs[1])
            } else {
                (seqs[1], seqs[0])
            };
            j.seq = j.seq.max(own.saturating_add(1));
            if own != 0 && j.load(half)? {
                j.half = half;
                j.blank = false;
                j.other_ok = other != 0 && other < own;
                return Ok(j);
            }
        }
        j.state = State::new();
        Ok(j)
    }

    /// No valid state was found: first start, or the journal was lost.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// The state as of the last [`open`](Self::open) or write.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Gives the partition back.
    pub fn release(self) -> P {
        self.flash
    }

    /// The state to change before [`write_all`](Self::write_all) or [`write_cell`](Self::write_cell).
    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    // ---- reading ------------------------------------------------------------

    fn half_len(&self) -> u32 {
        self.flash.capacity() as u32 / 2 / Self::ERASE * Self::ERASE
    }

    fn rows(&self) -> u32 {
        self.half_len() / Self::STRIDE
    }

    fn addr(&self, half: u8, row: u16) -> u32 {
        let base = if half == 0 { 0 } else { self.half_len() };
        base + u32::from(row) * Self::STRIDE
    }

    /// Reads a row: whether it is blank, and the record if it is one.
    fn read(&mut self, half: u8, row: u16) -> Result<(bool, Option<Row>), Fault> {
        let at = self.addr(half, row);
        let mut b = [0; ROW];
        self.flash
            .read(at, &mut b)
            .map_err(|e| Fault::from_driver(Part::Journal, at, &e))?;
        Ok((b.iter().all(|&x| x == 0xFF), Row::decode(&b)))
    }

    /// The last row that is not blank, given that row 0 is not. Single blank
    /// rows among others are possible (an interrupted one), two in a row are not.
    fn tail(&mut self, half: u8) -> Result<u16, Fault> {
        let rows = self.rows() as u16;
        let (mut used, mut free) = (0, rows);
        while free - used > 1 {
            let mid = used + (free - used) / 2;
            let blank = self.read(half, mid)?.0 && (mid + 1 >= rows || self.read(half, mid + 1)?.0);
            if blank {
                free = mid;
            } else {
                used = mid;
            }
        }
        Ok(used)
    }

    /// Finds the newest whole snapshot of `half` and applies what follows it.
    fn load(&mut self, half: u8) -> Result<bool, Fault> {
        let tail = self.tail(half)?;
        let mut row = tail;
        loop {
            let found = self.read(half, row)?.1;
            let mut before = row;
            if let Some(r) = found {
                self.seq = self.seq.max(r.seq.saturating_add(1));
                let core = match r.kind {
                    CORE => Some(row),
                    DELTA if r.link < row => Some(r.link),
                    _ => None,
                };
                if let Some(core) = core {
                    if self.load_from(half, core, tail)? {
                        return Ok(true);
                    }
                    before = core;
                }
            }
            let Some(previous) = before.checked_sub(1) else {
                return Ok(false);
            };
            row = previous;
        }
    }

    /// Loads the snapshot whose core is at `core` and the records up to `tail`.
    /// Each row is read once: what is read here is what is acted on.
    fn load_from(&mut self, half: u8, core: u16, tail: u16) -> Result<bool, Fault> {
        self.state = State::new();
        let Some(head) = self.read(half, core)?.1 else {
            return Ok(false);
        };
        let parts = head.link;
        if head.kind != CORE || head.cell != cell::CORE || parts > core || parts >= CELLS as u16 {
            return Ok(false);
        }
        self.state.cells[0] = head.data;
        for back in 1..=parts {
            let part = self.read(half, core - back)?.1;
            match part {
                Some(r)
                    if r.kind == PART
                        && r.seq == head.seq.wrapping_sub(back.into())
                        && self.put(&r) => {}
                _ => return Ok(false),
            }
        }
        self.tail_ok = core == tail;
        self.tail_cell = None;
        let mut row = core;
        while row < tail {
            row += 1;
            let record = self.read(half, row)?.1;
            self.tail_ok = record.is_some();
            self.tail_cell = None;
            if let Some(r) = record {
                self.seq = self.seq.max(r.seq.saturating_add(1));
                if r.kind == DELTA && r.link == core && self.put(&r) {
                    self.tail_cell = Some(r.cell);
                }
            }
        }
        self.core = core;
        self.next = tail + 1;
        self.seq = self.seq.max(head.seq.saturating_add(1));
        Ok(true)
    }

    fn put(&mut self, r: &Row) -> bool {
        match self.state.cells.get_mut(usize::from(r.cell)) {
            Some(c) => {
                *c = r.data;
                true
            }
            None => false,
        }
    }

    // ---- writing ------------------------------------------------------------

    /// Makes sure that a snapshot of the state was written since the reset.
    /// To be called before anything that cannot be undone.
    ///
    /// # Errors
    /// The flash failed; nothing that depends on the state may be done then.
    pub fn settle(&mut self, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        if bugs::has(Bug::UnstableRecordTrusted) && !self.blank {
            return Ok(());
        }
        if self.settled {
            Ok(())
        } else {
            self.write_all(hooks)
        }
    }

    /// Writes a snapshot of the whole state: one change, however much changed.
    pub(crate) fn write_all(&mut self, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        let need = self.snapshot_rows();
        if self.make_room(need, hooks)? {
            match self.snapshot(hooks) {
                Err(f) if f.kind == FaultKind::ReadBack => self.change_halves(hooks),
                other => other,
            }
        } else {
            Ok(())
        }
    }

    /// Writes one cell of the state. All other cells must be as they were last
    /// written. A snapshot is written instead when the state is not settled.
    pub(crate) fn write_cell(&mut self, cell: u8, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        // The last row may be unstable. That does no harm when the record to
        // be written replaces exactly what that row says.
        let replaces = self.tail_ok && self.tail_cell == Some(cell);
        if !self.settled && !replaces {
            return self.write_all(hooks);
        }
        if !self.make_room(1, hooks)? {
            return Ok(());
        }
        let data = self
            .state
            .cells
            .get(usize::from(cell))
            .copied()
            .unwrap_or([0; CELL]);
        let row = Row {
            kind: DELTA,
            cell,
            link: self.core,
            seq: self.seq,
            data,
        };
        match self.append(&row.encode(), hooks) {
            Ok(()) => {
                self.tail_cell = Some(cell);
                Ok(())
            }
            Err(f) if f.kind == FaultKind::ReadBack => self.change_halves(hooks),
            Err(f) => Err(f),
        }
    }

    fn snapshot_rows(&self) -> u16 {
        1 + self
            .state
            .cells
            .iter()
            .skip(1)
            .filter(|c| **c != [0; CELL])
            .count() as u16
    }

    /// Gets ready to append `need` rows. `false`: the other half was opened
    /// with a snapshot, and nothing is left to write.
    fn make_room(&mut self, need: u16, hooks: &mut dyn Hooks) -> Result<bool, Fault> {
        let close = if self.closed { 0 } else { 2 };
        if self.blank
            || !self.other_ok
            || u32::from(self.next) + u32::from(close + need) > self.rows()
        {
            self.change_halves(hooks)?;
            return Ok(false);
        }
        if close != 0 {
            if !self.tail_ok {
                self.close_row(self.next - 1, hooks)?;
            }
            for _ in 0..close {
                self.close_row(self.next, hooks)?;
                self.next += 1;
            }
            self.closed = true;
        }
        Ok(true)
    }

    /// Programs a row to zeros, whatever it held. Repeating it does no harm.
    fn close_row(&mut self, row: u16, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        if bugs::has(Bug::BlankIsEvidence) {
            return Ok(());
        }
        self.program(self.addr(self.half, row), &[0; ROW], hooks)
    }

    fn snapshot(&mut self, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        let mut parts = 0;
        for i in 1..CELLS {
            let data = self.state.cells.get(i).copied().unwrap_or([0; CELL]);
            if data != [0; CELL] {
                let row = Row {
                    kind: PART,
                    cell: i as u8,
                    link: 0,
                    seq: self.seq,
                    data,
                };
                self.append(&row.encode(), hooks)?;
                parts += 1;
            }
        }
        let row = Row {
            kind: CORE,
            cell: cell::CORE,
            link: parts,
            seq: self.seq,
            data: self.state.cells[0],
        };
        self.append(&row.encode(), hooks)?;
        self.core = self.next - 1;
        self.settled = true;
        self.tail_cell = None;
        Ok(())
    }

    /// Erases the other half, carries unknown records over and opens it with a
    /// snapshot. The half that holds the state is not touched.
    fn change_halves(&mut self, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        let from = self.half;
        let end = self.next;
        let to = 1 - from;
        let base = self.addr(to, 0);
        let mut at = base;
        while at < base + self.half_len() {
            hooks.tick();
            self.flash
                .erase(at, at + Self::ERASE)
                .map_err(|e| Fault::from_driver(Part::Journal, at, &e))?;
            at += Self::ERASE;
        }
        self.half = to;
        self.next = 0;
        let moved = self.fill_half(from, end, hooks);
        if moved.is_err() {
            self.half = from;
            self.next = end;
            // Whatever the other half holds now is newer: it must be erased again.
            self.other_ok = false;
            return moved;
        }
        self.blank = false;
        self.other_ok = true;
        self.closed = true;
        self.tail_ok = true;
        Ok(())
    }

    fn fill_half(&mut self, from: u8, end: u16, hooks: &mut dyn Hooks) -> Result<(), Fault> {
        if !self.blank {
            let mut seen = [0u8; KEEP];
            let mut kept = 0;
            let mut row = end;
            while row > 0 && kept < KEEP {
                row -= 1;
                if let Some(r) = self.read(from, row)?.1
                    && !r.is_known()
                    && !seen.contains(&r.kind)
                    && let Some(s) = seen.get_mut(kept)
                {
                    *s = r.kind;
                    kept += 1;
                    let copy = Row { seq: self.seq, ..r };
                    self.append(&copy.encode(), hooks)?;
                }
            }
        }
        self.snapshot(hooks)
    }

    fn append(&mut self, row: &[u8; ROW], hooks: &mut dyn Hooks) -> Result<(), Fault> {
        let at = self.addr(self.half, self.next);
        // Until it is known to be good, this row may be anything: should the
        // caller go on after an error, it closes it first.
        let closed = core::mem::replace(&mut self.closed, false);
        self.program(at, row, hooks)?;
        let mut back = [0; ROW];
        self.flash
            .read(at, &mut back)
            .map_err(|e| Fault::from_driver(Part::Journal, at, &e))?;
        if back != *row {
            return Err(Fault {
                part: Part::Journal,
                offset: at,
                kind: FaultKind::ReadBack,
            });
        }
        self.closed = closed;
        self.next += 1;
        self.seq = self.seq.saturating_add(1);
        Ok(())
    }

    fn program(&mut self, at: u32, row: &[u8; ROW], hooks: &mut dyn Hooks) -> Result<(), Fault> {
        hooks.tick();
        let done = if P::WRITE_SIZE <= ROW {
            self.flash.write(at, row)
        } else {
            let mut unit = [0xFF; 256];
            unit[..ROW].copy_from_slice(row);
            self.flash
                .write(at, unit.get(..P::WRITE_SIZE).unwrap_or(&[]))
        };
        done.map_err(|e| Fault::from_driver(Part::Journal, at, &e))
    }
}
