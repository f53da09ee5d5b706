//! Rows of a canonical half, before they are numbered.

use super::super::row::{CORE, PART, Reading, Row, row_of};
use super::snapshot::Cells;

/// A row that is not numbered yet.
#[derive(Clone)]
pub enum Draft {
    /// Neither blank nor a record.
    Bad,
    /// A record that says nothing.
    Silent,
    /// Unstable, and never a record.
    Weak,
    /// Blank, between unstable rows.
    Gap,
    /// It may read as a record.
    Record(Record),
}

/// A record that a row may read as, and what else.
#[derive(Clone)]
pub struct Record {
    kind: u8,
    cell: u8,
    link: Link,
    data: [u8; 20],
    /// It may read as blank.
    pub blank: bool,
    /// It may read as bad.
    pub bad: bool,
    /// It may read as torn.
    pub torn: bool,
}

/// What a record's link says.
#[derive(Clone, Copy)]
pub enum Link {
    /// A core's parts; 0 of other records.
    Parts(usize),
    /// The core of the solid snapshot.
    Base,
}

impl Record {
    /// One that reads whole each time.
    pub fn whole(kind: u8, cell: u8, link: Link, data: [u8; 20]) -> Self {
        Self {
            kind,
            cell,
            link,
            data,
            blank: false,
            bad: false,
            torn: false,
        }
    }

    /// With whatever else `row` may read as.
    pub fn like(self, row: &Row) -> Self {
        Self {
            blank: row.may_be(Reading::Blank),
            bad: row.may_be(Reading::Bad),
            torn: row.may_be(Reading::Torn),
            ..self
        }
    }

    /// A part that says nothing.
    pub fn silent() -> Self {
        Self::whole(PART, 1, Link::Parts(0), [0; 20])
    }

    /// Its core has so many parts.
    pub fn set_parts(&mut self, parts: usize) {
        self.link = Link::Parts(parts);
    }

    fn row(&self, seq: u32, base: usize) -> Row {
        let link = match self.link {
            Link::Parts(n) => n,
            Link::Base => base,
        };
        let record = row_of(self.kind, self.cell, link, seq, self.data);
        let mut readings = vec![Reading::Record(record)];
        if self.blank {
            readings.push(Reading::Blank);
        }
        // Only of a core does it count whether it can be made whole.
        if self.bad || self.torn && self.kind != CORE {
            readings.push(Reading::Bad);
        } else if self.torn {
            readings.push(Reading::Torn);
        }
        Row::any(readings)
    }
}

impl Draft {
    /// The row, numbered; the core of the solid snapshot is row `base`.
    pub fn row(&self, seq: u32, base: usize) -> Row {
        match self {
            Self::Bad => Row::solid(Reading::Bad),
            Self::Silent => Record::silent().row(seq, base),
            Self::Weak => Row::any(vec![Reading::Blank, Reading::Bad]),
            Self::Gap => Row::solid(Reading::Blank),
            Self::Record(record) => record.row(seq, base),
        }
    }
}

/// The rows of a solid snapshot of this state: parts, then the core.
pub fn snapshot(cells: &Cells) -> Vec<Draft> {
    let part = |(cell, data): (usize, &[u8; 20])| {
        let says = *data != [0; 20];
        says.then(|| Record::whole(PART, cell as u8, Link::Parts(0), *data))
    };
    let parts = cells.iter().enumerate().skip(1).filter_map(part);
    let mut all: Vec<_> = parts.map(Draft::Record).collect();
    let core = Record::whole(CORE, 0, Link::Parts(all.len()), cells[0]);
    all.push(Draft::Record(core));
    all
}
