//! Journal rows: what reads of one may see.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use ota_bootlib::ROW;

/// Rows of a half of the journal: as few as it takes.
pub const ROWS: usize = 56;

/// What a read of a journal row may see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reading {
    /// Erased.
    Blank,
    /// Neither blank nor a record: closed, or torn.
    Bad,
    /// As bad, but only bits are missing of the record that this row may be: to
    /// program that again makes it whole.
    Torn,
    /// A record.
    Record([u8; ROW]),
}

impl Reading {
    /// What these bytes are.
    pub fn of(bytes: [u8; ROW]) -> Self {
        let crc = u32::from_le_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]);
        if bytes == [0xFF; ROW] {
            Self::Blank
        } else if !matches!(bytes[0], 0 | 0xFF) && ota_verify::crc32(&bytes[..28]) == crc {
            Self::Record(bytes)
        } else {
            Self::Bad
        }
    }

    /// What a read returns.
    pub fn bytes(&self) -> [u8; ROW] {
        match self {
            Self::Blank => [0xFF; ROW],
            // Closed, as it is written; no code tells it from torn.
            Self::Bad | Self::Torn => [0; ROW],
            Self::Record(b) => *b,
        }
    }
}

/// A journal row. Each distinct one is held once, and until the process ends, so
/// that states are copied and compared without looking into their rows.
#[derive(Clone, Copy, Debug)]
pub struct Row(&'static Held);

#[derive(Debug)]
struct Held {
    /// All it may read as, at least one, in ascending order.
    readings: Box<[Reading]>,
    /// Differs from that of any other row.
    print: u128,
}

thread_local! {
    static ROWS_HELD: RefCell<HashMap<&'static [Reading], Row>> = RefCell::default();
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.print == other.0.print
    }
}

impl Eq for Row {}

impl Row {
    /// A row that reads the same each time.
    pub fn solid(reading: Reading) -> Self {
        Self::held(&[reading])
    }

    /// A row each read of which sees any of these.
    ///
    /// Where it may be bad, torn adds nothing: both read alike, and what programming it
    /// again makes of torn, it makes of the record that is there as well.
    pub fn any(mut readings: Vec<Reading>) -> Self {
        readings.sort_unstable();
        readings.dedup();
        if readings.contains(&Reading::Bad) {
            readings.retain(|r| *r != Reading::Torn);
        }
        Self::held(&readings)
    }

    fn held(readings: &[Reading]) -> Self {
        ROWS_HELD.with_borrow_mut(|all| {
            if let Some(row) = all.get(readings) {
                return *row;
            }
            let half = |salt: u64| {
                let mut h = DefaultHasher::new();
                (salt, readings).hash(&mut h);
                u128::from(h.finish())
            };
            let held: &'static Held = Box::leak(Box::new(Held {
                readings: readings.into(),
                print: half(1) << 64 | half(2),
            }));
            all.insert(&held.readings, Self(held));
            Self(held)
        })
    }

    /// All it may read as.
    pub fn readings(&self) -> &'static [Reading] {
        &self.0.readings
    }

    /// It reads the same each time.
    pub fn is_solid(&self) -> bool {
        self.0.readings.len() == 1
    }

    /// It may read as `reading`.
    pub fn may_be(&self, reading: Reading) -> bool {
        self.0.readings.contains(&reading)
    }

    /// It always reads as `reading`.
    pub fn is(&self, reading: Reading) -> bool {
        *self.0.readings == [reading]
    }

    /// This row with more things that it may read as.
    pub fn or(&self, more: &[Reading]) -> Self {
        Self::any([self.readings(), more].concat())
    }

    /// The record of this kind that it may read as.
    pub fn record(&self, of: u8) -> Option<&'static [u8; ROW]> {
        self.readings().iter().find_map(|r| match r {
            Reading::Record(b) if kind(b) == of => Some(b),
            _ => None,
        })
    }
}

/// The rows of a half.
pub type Half = [Row; ROWS];

/// A half that was just erased.
pub fn blank_half() -> Half {
    [Row::solid(Reading::Blank); ROWS]
}

/// How many rows of a half are unstable.
pub fn unstable(rows: &Half) -> usize {
    rows.iter().filter(|r| !r.is_solid()).count()
}

/// A number for these halves that no others have.
pub fn print(halves: &[Half; 2]) -> u128 {
    let mut print = Print::default();
    for row in halves.iter().flatten() {
        print.word(row.0.print);
    }
    print.finish()
}

/// Makes one number of many, which are well mixed already.
#[derive(Default)]
pub struct Print(u64, u64);

impl Print {
    /// Takes in a number.
    pub fn word(&mut self, word: u128) {
        let (high, low) = ((word >> 64) as u64, word as u64);
        self.0 = (self.0.rotate_left(29) ^ high).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.1 = (self.1.rotate_left(23) ^ low).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }

    /// What all of them make.
    pub fn finish(&self) -> u128 {
        let (a, b) = (self.0 ^ self.0 >> 32, self.1 ^ self.1 >> 32);
        u128::from(a) << 64 | u128::from(b)
    }
}

/// For maps whose keys are such numbers already.
#[derive(Default)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only for numbers of 128 bits");
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }
}

/// A map from such numbers.
pub type PrintMap<T> = HashMap<u128, T, BuildHasherDefault<Mixed>>;

/// A complete state.
pub const CORE: u8 = 0xA1;
/// What a core needs besides.
pub const PART: u8 = 0xA2;
/// A change to a state.
pub const DELTA: u8 = 0xA3;

/// What record it is.
pub fn kind(b: &[u8; ROW]) -> u8 {
    b[0]
}

/// Parts of a core; the core of a delta.
pub fn link(b: &[u8; ROW]) -> usize {
    usize::from(u16::from_le_bytes([b[2], b[3]]))
}

/// Sequence number.
pub fn seq(b: &[u8; ROW]) -> u32 {
    u32::from_le_bytes([b[4], b[5], b[6], b[7]])
}

/// Payload.
pub fn data(b: &[u8; ROW]) -> [u8; 20] {
    let mut d = [0; 20];
    d.copy_from_slice(&b[8..28]);
    d
}

/// The record with this content.
pub fn row_of(kind: u8, cell: u8, link: usize, seq: u32, data: [u8; 20]) -> [u8; ROW] {
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
