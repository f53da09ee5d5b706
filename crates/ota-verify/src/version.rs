//! Version texts and the two rules for "newer".

use core::cmp::Ordering;

/// A version text: 1 to 64 printable ASCII characters without blank, `"` and `\`.
///
/// ```
/// use ota_verify::{Version, VersionOrder, VersionRule};
/// let old = Version::new("app-1.0.9-20190530.1700").unwrap();
/// let new = Version::new("app-1.0.10-20190530.1700").unwrap();
/// assert_eq!(VersionRule::Numeric.compare(&new, &old), VersionOrder::Newer);
/// // The original compares bytes: '1' is below '9'.
/// assert_eq!(VersionRule::Alios.compare(&new, &old), VersionOrder::Older);
/// ```
#[derive(Clone, Copy)]
pub struct Version {
    text: [u8; Version::MAX_LEN],
    len: u8,
}

/// Why a text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionError {
    /// No characters.
    Empty,
    /// More than 64 characters; the value is the length.
    Long(usize),
    /// The byte at this index is not allowed.
    Character(usize),
}

impl Version {
    /// Longest version text the cloud takes.
    pub const MAX_LEN: usize = 64;

    /// Checks and copies `text`.
    ///
    /// # Errors
    /// [`VersionError`] says which limit `text` breaks.
    pub fn new(text: &str) -> Result<Self, VersionError> {
        Self::from_bytes(text.as_bytes())
    }

    /// As [`Version::new`], from bytes.
    ///
    /// # Errors
    /// [`VersionError`] says which limit `text` breaks.
    pub fn from_bytes(text: &[u8]) -> Result<Self, VersionError> {
        if text.is_empty() {
            return Err(VersionError::Empty);
        }
        let mut out = Self {
            text: [0; Self::MAX_LEN],
            len: text.len() as u8,
        };
        let room = out
            .text
            .get_mut(..text.len())
            .ok_or(VersionError::Long(text.len()))?;
        for (index, (to, &from)) in room.iter_mut().zip(text).enumerate() {
            if !Self::allows(from) {
                return Err(VersionError::Character(index));
            }
            *to = from;
        }
        Ok(out)
    }

    /// Whether `text` is a version: what [`Version::from_bytes`] takes.
    #[must_use]
    pub fn is_valid(text: &[u8]) -> bool {
        (1..=Self::MAX_LEN).contains(&text.len()) && text.iter().all(|c| Self::allows(*c))
    }

    /// Whether a version (or module name) may hold this character.
    pub(crate) const fn allows(c: u8) -> bool {
        c.is_ascii_graphic() && c != b'"' && c != b'\\'
    }

    /// The text as bytes (ASCII).
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Version {}

impl core::fmt::Display for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::fmt::Debug for Version {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl core::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        Self::new(text)
    }
}

/// How two version texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VersionRule {
    /// Field by field, numbers as numbers: `1.0.10` is newer than `1.0.9`, and
    /// `1.0.0-rc1` is older than `1.0.0`. The text in front of the first digit
    /// must be the same, or the two cannot be compared. Precisely defined in
    /// `docs/image-format.md`.
    #[default]
    Numeric,
    /// What the original device does: `strncmp(new, current, strlen(new)) > 0`.
    /// `1.0.10` is older than `1.0.9`, and `1.0` is the same as `1.0.5`.
    Alios,
}

/// Where a new version stands to a current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionOrder {
    /// The new one is newer.
    Newer,
    /// They count as the same.
    Same,
    /// The new one is older.
    Older,
    /// The texts are built differently; which is newer cannot be told.
    Unrelated,
}

impl From<Ordering> for VersionOrder {
    fn from(order: Ordering) -> Self {
        match order {
            Ordering::Greater => Self::Newer,
            Ordering::Equal => Self::Same,
            Ordering::Less => Self::Older,
        }
    }
}

impl VersionRule {
    /// `numeric` or `alios`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Alios => "alios",
        }
    }

    /// Where `new` stands to `current`.
    #[must_use]
    pub fn compare(self, new: &Version, current: &Version) -> VersionOrder {
        self.compare_texts(new.as_bytes(), current.as_bytes())
    }

    /// The same, for texts that need not have been checked.
    pub(crate) fn compare_texts(self, new: &[u8], current: &[u8]) -> VersionOrder {
        match self {
            Self::Numeric => numeric(new, current),
            Self::Alios => {
                // A shorter current text ends in NUL, which is below any character.
                let current = current.get(..new.len()).unwrap_or(current);
                new.cmp(current).into()
            }
        }
    }
}

/// One field: a run of letters, or a run of digits without leading zeros. A
/// text that has ended goes on with number 0 (no digits).
struct Field<'a> {
    number: bool,
    text: &'a [u8],
}

impl Field<'_> {
    /// Numbers are above letters. A longer number is the larger one.
    fn compare(&self, other: &Self) -> Ordering {
        let rank = |f: &Self| if f.number { f.text.len() + 1 } else { 0 };
        let order = rank(self).cmp(&rank(other));
        if order == Ordering::Equal {
            self.text.cmp(other.text)
        } else {
            order
        }
    }
}

fn numeric(mut new: &[u8], mut current: &[u8]) -> VersionOrder {
    // In front of the first digit the two must be equal.
    loop {
        match (new, current) {
            ([a, ..], [b, ..]) if a.is_ascii_digit() && b.is_ascii_digit() => break,
            ([a, rest_a @ ..], [b, rest_b @ ..]) if a == b => (new, current) = (rest_a, rest_b),
            ([], []) => return VersionOrder::Same,
            _ => return VersionOrder::Unrelated,
        }
    }
    while !new.is_empty() || !current.is_empty() {
        let order = next_field(&mut new).compare(&next_field(&mut current));
        if order != Ordering::Equal {
            return order.into();
        }
    }
    VersionOrder::Same
}

/// Takes the next field off `text`.
#[inline(never)]
fn next_field<'a>(text: &mut &'a [u8]) -> Field<'a> {
    while let [first, rest @ ..] = text {
        if first.is_ascii_alphanumeric() {
            break;
        }
        *text = rest;
    }
    let number = text.first().is_none_or(u8::is_ascii_digit);
    let start = *text;
    let mut len = 0;
    while let [first, rest @ ..] = *text {
        let in_field = if number {
            first.is_ascii_digit()
        } else {
            first.is_ascii_alphabetic()
        };
        if !in_field {
            break;
        }
        len += 1;
        *text = rest;
    }
    let mut field = start.get(..len).unwrap_or(&[]);
    while let ([b'0', rest @ ..], true) = (field, number) {
        field = rest;
    }
    Field {
        number,
        text: field,
    }
}
