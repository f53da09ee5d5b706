//! A bounded pull reader for JSON (RFC 8259) over a byte slice.
//!
//! Written for messages that a device cannot trust: nothing is allocated,
//! nothing recurses, nesting is limited to [`MAX_DEPTH`], and every error names
//! the byte offset. Strings stay in the input as [`Str`] (checked: escapes,
//! surrogate pairs, UTF-8) and are unescaped only when copied out, so a member
//! nobody asked for costs no memory however long it is. Numbers may come as
//! strings, as cloud messages do. One trailing NUL byte is not part of the
//! document: C senders count it in.
//!
//! ```
//! use ota_proto::json::Reader;
//!
//! let mut r = Reader::new(b"{\"id\":\"7\",\"url\":\"http:\\/\\/a\",\"x\":[{}]}\0");
//! let mut url = [0; 16];
//! r.begin_object()?;
//! while let Some(key) = r.next_key()? {
//!     if key == "id" {
//!         assert_eq!(r.unsigned()?, 7);
//!     } else if key == "url" {
//!         assert_eq!(r.string()?.copy_to(&mut url)?, "http://a");
//!     } else {
//!         r.skip()?;
//!     }
//! }
//! r.end()?;
//! # Ok::<(), ota_proto::json::Error>(())
//! ```

mod text;
pub use text::{Chars, Str, unescape};

/// Deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: u8 = 24;

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The document ends inside a value.
    Truncated,
    /// A byte that cannot stand here.
    Unexpected,
    /// A value of another type than the one asked for.
    WrongType,
    /// A number that is malformed, negative, fractional or too large where an unsigned integer is asked for.
    BadNumber,
    /// An unknown escape, or half a surrogate pair.
    BadEscape,
    /// A string that is not UTF-8, or holds a raw control character.
    BadString,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Something other than blanks follows the document.
    Trailing,
    /// An unescaped string does not fit the buffer given for it.
    TooLong,
}

/// Why a document was refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Byte offset in the document.
    pub offset: usize,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self.kind {
            ErrorKind::Truncated => "JSON ends too early",
            ErrorKind::Unexpected => "unexpected byte in JSON",
            ErrorKind::WrongType => "JSON value of another type",
            ErrorKind::BadNumber => "bad number in JSON",
            ErrorKind::BadEscape => "bad escape in JSON string",
            ErrorKind::BadString => "bad JSON string",
            ErrorKind::TooDeep => "JSON nested too deeply",
            ErrorKind::Trailing => "bytes after the JSON document",
            ErrorKind::TooLong => "JSON string too long",
        };
        write!(f, "{text} (offset {})", self.offset)
    }
}

impl core::error::Error for Error {}

/// The type of the next value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A digit or `-`.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
}

/// Reads one document from front to back.
///
/// After `begin_object` call [`next_key`](Self::next_key) until it gives
/// `None`, reading or skipping exactly one value after each key; after
/// `begin_array` likewise with [`next_element`](Self::next_element).
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: u8,
    /// No member of the innermost open container has been read yet.
    first: bool,
}

impl<'a> Reader<'a> {
    /// Reads `document`; one trailing NUL is ignored.
    pub fn new(document: &'a [u8]) -> Self {
        let bytes = document.strip_suffix(&[0]).unwrap_or(document);
        Reader {
            bytes,
            pos: 0,
            depth: 0,
            first: true,
        }
    }

    /// Offset of the next byte to be read.
    pub fn offset(&self) -> usize {
        self.pos
    }

    /// An error of this kind at the present offset.
    pub fn error(&self, kind: ErrorKind) -> Error {
        Error {
            kind,
            offset: self.pos,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.pos += 1;
        }
    }

    /// The next byte that is no blank, not consumed.
    fn next(&mut self) -> Result<u8, Error> {
        self.blanks();
        self.peek().ok_or(self.error(ErrorKind::Truncated))
    }

    fn take(&mut self, wanted: u8) -> Result<(), Error> {
        if self.next()? != wanted {
            return Err(self.error(ErrorKind::Unexpected));
        }
        self.pos += 1;
        Ok(())
    }

    /// The type of the value that comes next.
    pub fn kind(&mut self) -> Result<Kind, Error> {
        match self.next()? {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'"' => Ok(Kind::String),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            _ => Err(self.error(ErrorKind::Unexpected)),
        }
    }

    fn expect(&mut self, kind: Kind) -> Result<(), Error> {
        if self.kind()? != kind {
            return Err(self.error(ErrorKind::WrongType));
        }
        Ok(())
    }

    fn begin(&mut self, kind: Kind) -> Result<(), Error> {
        self.expect(kind)?;
        if self.depth >= MAX_DEPTH {
            return Err(self.error(ErrorKind::TooDeep));
        }
        self.pos += 1;
        self.depth += 1;
        self.first = true;
        Ok(())
    }

    /// Whether another member follows; if not, `close` is consumed.
    fn more(&mut self, close: u8) -> Result<bool, Error> {
        let byte = self.next()?;
        if byte == close {
            self.pos += 1;
            self.depth = self.depth.saturating_sub(1);
            self.first = false;
            return Ok(false);
        }
        if !self.first {
            self.take(b',')?;
            if self.next()? == close {
                return Err(self.error(ErrorKind::Unexpected));
            }
        }
        self.first = false;
        Ok(true)
    }

    /// Enters an object.
    pub fn begin_object(&mut self) -> Result<(), Error> {
        self.begin(Kind::Object)
    }

    /// The next key of the object, or `None` at its end. One value must be read after each key.
    pub fn next_key(&mut self) -> Result<Option<Str<'a>>, Error> {
        if !self.more(b'}')? {
            return Ok(None);
        }
        if self.next()? != b'"' {
            return Err(self.error(ErrorKind::Unexpected));
        }
        let key = self.string()?;
        self.take(b':')?;
        Ok(Some(key))
    }

    /// Enters an array.
    pub fn begin_array(&mut self) -> Result<(), Error> {
        self.begin(Kind::Array)
    }

    /// Whether another element follows, which then must be read.
    pub fn next_element(&mut self) -> Result<bool, Error> {
        self.more(b']')
    }

    /// Reads a string, left in place.
    pub fn string(&mut self) -> Result<Str<'a>, Error> {
        self.expect(Kind::String)?;
        let rest = self.bytes.get(self.pos + 1..).unwrap_or(&[]);
        let text = Str::scan(rest, self.pos + 1)?;
        self.pos += text.raw_len() + 2;
        Ok(text)
    }

    /// The text of a number, checked against the grammar.
    fn number(&mut self) -> Result<&'a [u8], Error> {
        self.expect(Kind::Number)?;
        let rest = self.bytes.get(self.pos..).unwrap_or(&[]);
        let digits = |at: usize| {
            rest.get(at..)
                .unwrap_or(&[])
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count()
        };
        let fail = |at: usize| {
            let kind = if at >= rest.len() {
                ErrorKind::Truncated
            } else {
                ErrorKind::BadNumber
            };
            Error {
                kind,
                offset: self.pos + at,
            }
        };
        let mut at = usize::from(rest.first() == Some(&b'-'));
        let whole = digits(at);
        if whole == 0 {
            return Err(fail(at));
        }
        if whole > 1 && rest.get(at) == Some(&b'0') {
            return Err(fail(at + 1));
        }
        at += whole;
        if rest.get(at) == Some(&b'.') {
            let n = digits(at + 1);
            if n == 0 {
                return Err(fail(at + 1));
            }
            at += 1 + n;
        }
        if let Some(b'e' | b'E') = rest.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = rest.get(at) {
                at += 1;
            }
            let n = digits(at);
            if n == 0 {
                return Err(fail(at));
            }
            at += n;
        }
        let text = rest.get(..at).unwrap_or(&[]);
        self.pos += at;
        Ok(text)
    }

    /// Reads an unsigned integer given as a number or as a string of decimal digits.
    pub fn unsigned(&mut self) -> Result<u64, Error> {
        let kind = self.kind()?;
        let at = self.pos;
        let bad = Error {
            kind: ErrorKind::BadNumber,
            offset: at,
        };
        let mut value = Some(0u64);
        let mut count = 0usize;
        let mut digit = |c: u32| {
            count += 1;
            value = match c.wrapping_sub(0x30) {
                d @ 0..=9 => value
                    .and_then(|v| v.checked_mul(10))
                    .and_then(|v| v.checked_add(u64::from(d))),
                _ => None,
            };
        };
        match kind {
            Kind::Number => self.number()?.iter().for_each(|b| digit(u32::from(*b))),
            Kind::String => self.string()?.chars().for_each(|c| digit(u32::from(c))),
            _ => return Err(self.error(ErrorKind::WrongType)),
        }
        if count == 0 {
            Err(bad)
        } else {
            value.ok_or(bad)
        }
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self) -> Result<bool, Error> {
        self.expect(Kind::Bool)?;
        let value = self.peek() == Some(b't');
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Error> {
        for &b in word {
            match self.peek() {
                Some(c) if c == b => self.pos += 1,
                Some(_) => return Err(self.error(ErrorKind::Unexpected)),
                None => return Err(self.error(ErrorKind::Truncated)),
            }
        }
        Ok(())
    }

    /// Reads a scalar of any type and drops it.
    fn scalar(&mut self, kind: Kind) -> Result<(), Error> {
        match kind {
            Kind::String => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Bool => self.boolean().map(drop),
            _ => self.word(b"null"),
        }
    }

    /// Reads a `null`, if one comes next; says whether it did.
    pub fn null(&mut self) -> Result<bool, Error> {
        if self.kind()? != Kind::Null {
            return Ok(false);
        }
        self.word(b"null")?;
        Ok(true)
    }

    /// Reads a value of any type and drops it. It is checked all the same.
    pub fn skip(&mut self) -> Result<(), Error> {
        let floor = self.depth;
        // One bit a level: whether it is an object.
        let mut objects = 0u32;
        loop {
            match self.kind()? {
                kind @ (Kind::Object | Kind::Array) => {
                    self.begin(kind)?;
                    objects = objects << 1 | u32::from(kind == Kind::Object);
                }
                kind => self.scalar(kind)?,
            }
            loop {
                if self.depth == floor {
                    self.first = false;
                    return Ok(());
                }
                let more = if objects & 1 == 1 {
                    self.next_key()?.is_some()
                } else {
                    self.next_element()?
                };
                if more {
                    break;
                }
                objects >>= 1;
            }
        }
    }

    /// Checks that nothing but blanks follows.
    pub fn end(&mut self) -> Result<(), Error> {
        self.blanks();
        if self.pos < self.bytes.len() {
            return Err(self.error(ErrorKind::Trailing));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
