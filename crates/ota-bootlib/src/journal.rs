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
use crate::io::Place;
use crate::state::{CELLS, Cell, State, cell};

/// Bytes of a record.
pub const ROW: usize = 32;

const CORE: u8 = 0xA1;
const PART: u8 = 0xA2;
const DELTA: u8 = 0xA3;

/// Unknown records that are carried to the other half, at most.
const KEEP: usize = 8;
/// Rows a half must have: two snapshots, the closed rows between them, kept
/// unknown records and a little to write.
const MIN_ROWS: u32 = 2 * CELLS as u32 + KEEP as u32 + 8;

/// A row; aligned, so that its little-endian words are read at once.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
struct Row([u8; ROW]);

impl Row {
    const CLOSED: Self = Self([0; ROW]);

    /// Whether this is a record at all, of whatever type.
    #[inline(never)]
    fn is_record(&self) -> bool {
        let torn = bugs::has(Bug::TornStateSaved) && !self.is_unknown();
        self.kind() != 0 && self.kind() != 0xFF && (self.word(28) == self.crc() || torn)
    }

    fn is_blank(&self) -> bool {
        crate::io::is_blank(&self.0)
    }

    fn word(&self, at: usize) -> u32 {
        let (_, rest) = self.0.split_at(at);
        rest.first_chunk().map_or(0, |w| u32::from_le_bytes(*w))
    }

    fn set_word(&mut self, at: usize, word: u32) {
        let (_, rest) = self.0.split_at_mut(at);
        if let Some(w) = rest.first_chunk_mut() {
            *w = word.to_le_bytes();
        }
    }

    fn crc(&self) -> u32 {
        crc32(self.0.first_chunk::<28>().unwrap_or(&[0; 28]))
    }

    fn kind(&self) -> u8 {
        self.0[0]
    }

    /// Cell of the payload.
    fn cell(&self) -> usize {
        usize::from(self.0[1])
    }

    /// `CORE`: rows of the snapshot in front of it. `DELTA`: row of its snapshot's core.
    fn link(&self) -> u32 {
        self.word(0) >> 16
    }

    fn seq(&self) -> u32 {
        self.word(4)
    }

    fn data(&self) -> &Cell {
        let [_, _, _, _, _, _, _, _, data @ .., _, _, _, _] = &self.0;
        data
    }

    fn data_mut(&mut self) -> &mut Cell {
        let [_, _, _, _, _, _, _, _, data @ .., _, _, _, _] = &mut self.0;
        data
    }

    /// Takes the payload into a state.
    #[inline(never)]
    fn put(&self, state: &mut State) {
        if let Some(c) = state.cell_mut(self.cell()) {
            *c = *self.data();
        }
    }

    fn is_unknown(&self) -> bool {
        !matches!(self.kind(), CORE | PART | DELTA)
    }
}

/// The boot journal on one partition of two halves.
///
/// In this order: short offsets make short code, and what begins as zeros lies together.
#[repr(C)]
pub struct Journal<P> {
    place: Place<P>,
    /// Sequence number of the next row.
    seq: u32,
    /// The partition holds no state at all.
    blank: bool,
    /// Cell of the newest record, when it is a `DELTA` and the last row; else [`NO_CELL`].
    tail_cell: u8,
    /// The other half holds an older row 0: it is not half-way through a change of halves.
    other_ok: bool,
    /// The last non-blank row is a valid record.
    tail_ok: bool,
    /// The rows behind the old end were closed since the reset.
    closed: bool,
    /// A snapshot was written since the reset.
    settled: bool,
    /// Address of the half that holds the state, and of the other one.
    half: u32,
    other: u32,
    /// Next row to write.
    next: u32,
    /// Row of the newest snapshot's core.
    core: u32,
    /// The row read last.
    row: Row,
    state: State,
    /// The newest snapshot's core as it was read at the reset, when nothing else
    /// in its half says that it is solid: of type 0 otherwise.
    unproven: Row,
}

const NO_CELL: u8 = 0xFF;

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
        let mut j = Self::closed(flash);
        j.find()?;
        Ok(j)
    }

    /// A journal that was not looked at: blank.
    #[inline(never)]
    pub(crate) const fn closed(flash: P) -> Self {
        Self {
            place: Place::new(Part::Journal, flash),
            seq: 1,
            blank: true,
            tail_cell: NO_CELL,
            other_ok: false,
            tail_ok: false,
            closed: false,
            settled: false,
            half: 0,
            other: 0,
            next: 0,
            core: 0,
            row: Row::CLOSED,
            // No call: all of the zeros are written by one loop.
            state: const { State::new() },
            unproven: Row::CLOSED,
        }
    }

    /// Looks for the state. Without one, or after an error, it is a new one.
    #[inline(never)]
    pub(crate) fn find(&mut self) -> Result<(), Fault> {
        let found = self.search();
        // `scan` takes over whole snapshots only.
        if self.blank && !bugs::is_small() {
            self.forget();
        }
        found
    }

    /// Takes the state for a new one, whatever was read.
    pub(crate) fn forget(&mut self) {
        self.state = State::new();
    }

    fn search(&mut self) -> Result<(), Fault> {
        // Half 0 is "the other one" when there is no state: it is written first.
        let second = self.half_len();
        self.half = second;
        let rows = self.rows();
        if !P::WRITE_SIZE.is_power_of_two()
            || P::WRITE_SIZE > 256
            || !(P::READ_SIZE == 1 || ROW.is_multiple_of(P::READ_SIZE))
            || !Self::ERASE.is_multiple_of(Self::STRIDE)
            || !(MIN_ROWS..0x8000).contains(&rows)
        {
            return Err(Fault::new(Part::Journal, 0, FaultKind::Geometry));
        }
        let (a, b) = (self.first_seq(0)?, self.first_seq(second)?);
        // A half without a row 0 holds nothing; and one whose newest snapshot is
        // torn leaves it to the other, older one, which is then on its own.
        let (mut half, mut seq, mut other) = if b > a { (second, b, a) } else { (0, a, b) };
        loop {
            if seq != 0 {
                self.load(half)?;
            }
            if !self.blank {
                self.half = half;
                self.other = second - half;
                self.other_ok = other != 0;
                return Ok(());
            }
            if other == 0 {
                return Ok(());
            }
            half = second - half;
            seq = other;
            other = 0;
        }
    }

    /// No valid state was found: first start, or the journal was lost.
    pub fn is_blank(&self) -> bool {
        self.blank
    }

    /// The newest row was interrupted. Only planted bugs ask.
    pub(crate) fn is_torn(&self) -> bool {
        !self.tail_ok
    }

    /// The state as of the last [`open`](Self::open) or write.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Gives the partition back.
    pub fn release(self) -> P {
        self.place.flash
    }

    /// The state to change before [`write_all`](Self::write_all) or [`write_cell`](Self::write_cell).
    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    // ---- reading ------------------------------------------------------------

    fn half_len(&self) -> u32 {
        self.place.flash.capacity() as u32 / 2 / Self::ERASE * Self::ERASE
    }

    fn rows(&self) -> u32 {
        self.half_len() / Self::STRIDE
    }

    /// Reads a row of the half at `half` into `self.row`.
    #[inline(never)]
    fn read(&mut self, half: u32, row: u32) -> Result<(), Fault> {
        let at = half + row * Self::STRIDE;
        self.place.read(at, &mut self.row.0)
    }

    /// Sequence number of a half's first row, 0 when that is no record.
    fn first_seq(&mut self, half: u32) -> Result<u32, Fault> {
        self.read(half, 0)?;
        Ok(if self.saw() { self.row.seq() } else { 0 })
    }

    /// Whether the row is a record; later rows are numbered above it then.
    #[inline(never)]
    fn saw(&mut self) -> bool {
        let is_record = self.row.is_record();
        if is_record {
            self.seq = self.seq.max(self.row.seq().saturating_add(1));
        }
        is_record
    }

    /// The last row that is not blank, given that row 0 is not. Single blank
    /// rows among others are possible (an interrupted one), two in a row are not.
    fn tail(&mut self, half: u32) -> Result<u32, Fault> {
        let rows = self.rows();
        let (mut used, mut free) = (0, rows);
        while free - used > 1 {
            let mid = (used + free) / 2;
            self.read(half, mid)?;
            if self.row.is_blank() && mid + 1 < rows {
                self.read(half, mid + 1)?;
            }
            if self.row.is_blank() {
                free = mid;
            } else {
                used = mid;
            }
        }
        Ok(used)
    }

    /// Finds the newest whole snapshot of `half` and applies what follows it.
    /// The journal stays blank when there is none.
    #[inline(never)]
    fn load(&mut self, half: u32) -> Result<(), Fault> {
        if bugs::is_small() {
            return self.scan(half);
        }
        let tail = self.tail(half)?;
        let mut row = tail;
        while self.blank {
            self.read(half, row)?;
            let core = match self.row.kind() {
                CORE => row,
                DELTA => self.row.link(),
                _ => !0,
            };
            if core <= row && self.row.is_record() {
                row = core;
                self.load_from(half, core, tail)?;
            }
            if row == 0 {
                break;
            }
            row -= 1;
        }
        Ok(())
    }

    /// [`load`](Self::load) in less code: every row is looked at, from the first to
    /// the last, and of all snapshots that are whole the last one counts.
    fn scan(&mut self, half: u32) -> Result<(), Fault> {
        let (mut row, rows) = (0, self.rows());
        while row < rows {
            self.read(half, row)?;
            let is_record = self.saw();
            if !self.row.is_blank() {
                self.next = row + 1;
                self.tail_ok = is_record;
            }
            match self.row.kind() {
                CORE if is_record => self.take_snapshot(half, row)?,
                DELTA if is_record && self.row.link() == self.core && !self.blank => {
                    self.row.put(&mut self.state);
                    self.unproven.0[0] = 0;
                }
                _ => {}
            }
            row += 1;
        }
        Ok(())
    }

    /// Takes the snapshot whose core was just read from row `at`, if it is whole.
    #[inline(always)]
    fn take_snapshot(&mut self, half: u32, at: u32) -> Result<(), Fault> {
        let (core, seq) = (self.row, self.row.seq());
        let mut state = State::new();
        core.put(&mut state);
        let mut left = core.link();
        let Some(first) = at.checked_sub(left) else {
            return Ok(());
        };
        while left != 0 {
            self.read(half, at - left)?;
            if self.row.kind() != PART || self.row.seq().wrapping_add(left) != seq || !self.saw() {
                return Ok(());
            }
            self.row.put(&mut state);
            left -= 1;
        }
        self.state = state;
        self.core = at;
        self.blank = false;
        // As `load_from` says.
        self.unproven = core;
        if first > KEEP as u32 {
            self.unproven.0[0] = 0;
        }
        Ok(())
    }

    /// Loads the snapshot whose core is at `core` and the records up to `tail`;
    /// the journal stays blank when it is not whole.
    /// Each row is read once: what is read here is what is acted on.
    #[inline(never)]
    fn load_from(&mut self, half: u32, core: u32, tail: u32) -> Result<(), Fault> {
        self.state = State::new();
        self.core = core;
        self.next = tail + 1;
        self.read(half, core)?;
        let (parts, seq) = (self.row.link(), self.row.seq());
        if self.row.kind() != CORE || !self.put() || parts > core {
            return Ok(());
        }
        let mut row = core - parts;
        // A half opens with a snapshot. A later one was only written because
        // that one was read, and a delta only behind a core that was whole.
        self.unproven = self.row;
        if row > KEEP as u32 {
            self.unproven.0[0] = 0;
        }
        while row < core {
            self.read(half, row)?;
            if self.row.kind() != PART
                || self.row.seq().wrapping_add(core - row) != seq
                || !self.put()
            {
                return Ok(());
            }
            row += 1;
        }
        self.tail_ok = true;
        self.tail_cell = NO_CELL;
        while row < tail {
            row += 1;
            self.read(half, row)?;
            let delta = self.row.kind() == DELTA && self.row.link() == core;
            self.tail_ok = if delta { self.put() } else { self.saw() };
            self.tail_cell = NO_CELL;
            if delta && self.tail_ok {
                self.tail_cell = self.row.0[1];
                self.unproven.0[0] = 0;
            }
        }
        self.blank = false;
        Ok(())
    }

    /// Whether the row is a record; takes its payload into the state then.
    #[inline(never)]
    fn put(&mut self) -> bool {
        let is_record = self.saw();
        if is_record {
            self.row.put(&mut self.state);
        }
        is_record
    }

    // ---- writing ------------------------------------------------------------

    /// Makes sure that a snapshot of the state was written since the reset.
    /// To be called before anything that cannot be undone.
    ///
    /// # Errors
    /// The flash failed; nothing that depends on the state may be done then.
    pub fn settle<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
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
    #[inline(never)]
    pub(crate) fn write_all<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
        self.write(NO_CELL, hooks)
    }

    /// Writes one cell of the state. All other cells must be as they were last
    /// written. A snapshot is written instead when the state is not settled.
    #[inline(never)]
    pub(crate) fn write_cell<H: Hooks + ?Sized>(
        &mut self,
        cell: u8,
        hooks: &mut H,
    ) -> Result<(), Fault> {
        // The last row may be unstable. That does no harm when the record to
        // be written replaces exactly what that row says.
        let replaces = !bugs::is_small() && self.tail_ok && self.tail_cell == cell;
        let alone = self.settled || replaces;
        self.write(if alone { cell } else { NO_CELL }, hooks)
    }

    fn set_tail_cell(&mut self, cell: u8) {
        if !bugs::is_small() {
            self.tail_cell = cell;
        }
    }

    /// Writes a cell, or with [`NO_CELL`] a snapshot.
    #[inline(never)]
    fn write<H: Hooks + ?Sized>(&mut self, cell: u8, hooks: &mut H) -> Result<(), Fault> {
        let close = if self.closed { 0 } else { 2 };
        let need = if cell == NO_CELL {
            self.snapshot_rows()
        } else {
            1
        };
        if self.other_ok && self.next + close + need <= self.rows() {
            match self.write_here(cell, close, hooks) {
                // This half is worn, try the other.
                Err(f) if f.kind() == FaultKind::ReadBack => {}
                done => return done,
            }
        }
        if self.other_ok && !self.settled {
            self.affirm(hooks)?;
        }
        self.change_halves(hooks)
    }

    /// The same, where it is known that there is room: `close` rows to be
    /// closed, then what is to be written.
    fn write_here<H: Hooks + ?Sized>(
        &mut self,
        cell: u8,
        close: u32,
        hooks: &mut H,
    ) -> Result<(), Fault> {
        if close != 0 {
            // Closing the last row too, when it is no record.
            let end = self.next + close;
            let mut row = self.next - u32::from(!self.tail_ok);
            while row < end {
                self.close_row(row, hooks)?;
                row += 1;
            }
            self.next = end;
            self.closed = true;
        }
        if cell == NO_CELL {
            return self.snapshot(hooks);
        }
        self.append(DELTA, cell, self.core, hooks)?;
        self.set_tail_cell(cell);
        Ok(())
    }

    fn snapshot_rows(&self) -> u32 {
        let mut rows = 1;
        for cell in 1..CELLS as u8 {
            rows += u32::from(!self.state.is_clear(cell));
        }
        rows
    }

    /// Before the other half, the older one, is erased: makes sure that this half
    /// holds the state. Only after many cuts in a row is there a doubt, and then
    /// the one record on which all rests is programmed again as it is.
    fn affirm<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
        if self.unproven.kind() == 0 || bugs::has(Bug::LastSureStateErased) {
            return Ok(());
        }
        self.row = self.unproven;
        self.program(self.core, hooks)
    }

    /// Programs a row to zeros, whatever it held. Repeating it does no harm.
    fn close_row<H: Hooks + ?Sized>(&mut self, row: u32, hooks: &mut H) -> Result<(), Fault> {
        if bugs::has(Bug::RowsNotClosed) {
            return Ok(());
        }
        self.row = Row::CLOSED;
        self.program(row, hooks)
    }

    #[inline(never)]
    fn snapshot<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
        let mut parts = 0;
        for cell in 1..CELLS as u8 {
            // A half opens with two parts at least. Row 0 says whether it counts, so
            // it must be known to be whole when there is a state; and the first row
            // to be closed, should this be cut, must not be the core.
            let first = !self.other_ok
                && parts < 2
                && cell >= CELLS as u8 - 2
                && !bugs::has(Bug::RowZeroHole);
            if first || !self.state.is_clear(cell) {
                self.append(PART, cell, 0, hooks)?;
                parts += 1;
            }
        }
        self.append(CORE, cell::CORE, parts, hooks)?;
        self.core = self.next - 1;
        self.settled = true;
        self.set_tail_cell(NO_CELL);
        Ok(())
    }

    /// Erases the other half, carries unknown records over and opens it with a
    /// snapshot. The half that holds the state is not touched.
    #[inline(never)]
    fn change_halves<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
        // Until this is through, what the other half holds is not to be trusted.
        let older = core::mem::replace(&mut self.other_ok, false);
        let (half, next) = (self.half, self.next);
        self.half = self.other;
        self.other = half;
        let opened = self.open_half(older, next, hooks);
        if opened.is_ok() {
            self.blank = false;
            self.other_ok = true;
            self.closed = true;
        } else {
            self.other = self.half;
            self.half = half;
            self.next = next;
        }
        opened
    }

    /// Erases the half, which is known to be the older one or not.
    fn erase_half<H: Hooks + ?Sized>(&mut self, older: bool, hooks: &mut H) -> Result<(), Fault> {
        if !older && !bugs::has(Bug::ErasedWhileReadable) && self.first_seq(self.half)? != 0 {
            // A change to this half was cut. What now reads as no state may read
            // as one next time, also while the half is being erased. So first its
            // rows are made to be none for good; all but the first, whose loss
            // would take back what is read from the others.
            let mut end = self.rows();
            if !bugs::is_small() {
                end = end.min(self.tail(self.half)? + 3);
            }
            for row in 1..end {
                self.close_row(row, hooks)?;
            }
        }
        let mut at = self.half;
        let end = at + self.half_len();
        while at < end {
            self.place.erase(at, hooks)?;
            at += Self::ERASE;
        }
        self.next = 0;
        Ok(())
    }

    /// Erases the half, carries unknown records over from the `end` rows of the
    /// other one, the newest of each type, and writes a snapshot behind them.
    fn open_half<H: Hooks + ?Sized>(
        &mut self,
        older: bool,
        end: u32,
        hooks: &mut H,
    ) -> Result<(), Fault> {
        self.erase_half(older, hooks)?;
        if bugs::is_small() {
            return self.snapshot(hooks);
        }
        let mut seen = [0u8; KEEP];
        let mut kept = 0;
        let mut row = end;
        while row > 0 {
            row -= 1;
            self.read(self.other, row)?;
            let kind = self.row.kind();
            // `contains` is a word-wise search, ten times as long.
            #[allow(clippy::manual_contains)]
            if self.row.is_unknown() && self.row.is_record() && !seen.iter().any(|s| *s == kind) {
                let Some(s) = seen.get_mut(kept) else { break };
                *s = kind;
                kept += 1;
                self.append_row(hooks)?;
            }
        }
        self.snapshot(hooks)
    }

    /// Appends a record with the content of `cell`.
    fn append<H: Hooks + ?Sized>(
        &mut self,
        kind: u8,
        cell: u8,
        link: u32,
        hooks: &mut H,
    ) -> Result<(), Fault> {
        let what = u32::from(kind) | u32::from(cell) << 8;
        self.row.set_word(0, what | link << 16);
        if let Some(data) = self.state.cell(usize::from(cell)) {
            *self.row.data_mut() = *data;
        }
        self.append_row(hooks)
    }

    /// Appends the record in `self.row`, numbered anew.
    #[inline(never)]
    fn append_row<H: Hooks + ?Sized>(&mut self, hooks: &mut H) -> Result<(), Fault> {
        self.row.set_word(4, self.seq);
        self.row.set_word(28, self.row.crc());
        // Until it is known to be good, this row may be anything: should the
        // caller go on after an error, it closes it first.
        let closed = core::mem::replace(&mut self.closed, false);
        self.program(self.next, hooks)?;
        self.closed = closed;
        self.tail_ok = true;
        self.next += 1;
        self.seq = self.seq.saturating_add(1);
        Ok(())
    }

    /// Programs `self.row` as row `row` and reads it back.
    #[inline(never)]
    fn program<H: Hooks + ?Sized>(&mut self, row: u32, hooks: &mut H) -> Result<(), Fault> {
        let at = self.half + row * Self::STRIDE;
        if Self::STRIDE as usize == ROW {
            let mut back = [0; ROW];
            return self.place.program(at, &self.row.0, &mut back, hooks);
        }
        let (mut unit, mut back) = ([0xFF; 256], [0; 256]);
        for (to, from) in unit.iter_mut().zip(&self.row.0) {
            *to = *from;
        }
        let unit = unit.get(..Self::STRIDE as usize).unwrap_or(&[]);
        let back = back.get_mut(..unit.len()).unwrap_or_default();
        self.place.program(at, unit, back, hooks)
    }
}
