//! Snapshots of the state in a half, as far as they may read whole.

use super::super::row::{CORE, Half, PART, Row, data, link, seq};
use ota_bootlib::ROW;

const CELLS: usize = 20;

/// The cells of a state.
pub type Cells = [[u8; 20]; CELLS];

/// A snapshot: its rows are `core - parts ..= core`.
pub struct Snapshot {
    /// Row of its core.
    pub core: usize,
    /// Rows in front of that which belong to it.
    pub parts: usize,
    /// It reads whole each time.
    pub solid: bool,
}

impl Snapshot {
    /// The one whose core may be at `core`, if it may read whole.
    pub fn at(rows: &Half, core: usize) -> Option<Self> {
        let b = rows[core].record(CORE)?;
        let parts = link(b);
        let mut solid = rows[core].is_solid();
        for i in 0..parts {
            let row = rows.get(core.checked_sub(parts)? + i)?;
            let part = row.record(PART)?;
            if seq(part).wrapping_add((parts - i) as u32) != seq(b) {
                return None;
            }
            solid &= row.is_solid();
        }
        Some(Self { core, parts, solid })
    }

    /// Its first row.
    pub fn first(&self) -> usize {
        self.core - self.parts
    }

    /// The state it holds.
    pub fn cells(&self, rows: &[Row]) -> Cells {
        let mut cells = [[0; 20]; CELLS];
        for row in &rows[self.first()..self.core] {
            if let Some(b) = row.record(PART) {
                put(&mut cells, b);
            }
        }
        if let Some(b) = rows[self.core].record(CORE) {
            put(&mut cells, b);
        }
        cells
    }
}

/// Takes the payload of a record into the state.
pub fn put(cells: &mut Cells, b: &[u8; ROW]) {
    if let Some(c) = cells.get_mut(usize::from(b[1])) {
        *c = data(b);
    }
}
