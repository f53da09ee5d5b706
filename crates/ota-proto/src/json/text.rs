//! Strings that stay escaped in the input until they are copied out.

use super::{Error, ErrorKind};

/// A checked JSON string, still escaped, inside the document.
#[derive(Clone, Copy)]
pub struct Str<'a> {
    /// Between the quotation marks. Escapes, surrogate pairs and UTF-8 were checked by `scan`.
    raw: &'a str,
    offset: usize,
}

/// Reads four hex digits at the front of `s`.
fn hex4(s: &[u8]) -> Option<u32> {
    s.get(..4)?
        .iter()
        .try_fold(0u32, |v, b| Some(v << 4 | char::from(*b).to_digit(16)?))
}

/// Decodes the escape behind a backslash: the character and the bytes it took.
/// `Err` says whether the text ended too early.
fn escape(s: &[u8]) -> Result<(char, usize), ErrorKind> {
    let simple = match s.first().ok_or(ErrorKind::Truncated)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode(s),
        _ => return Err(ErrorKind::BadEscape),
    };
    Ok((simple, 1))
}

fn unicode(s: &[u8]) -> Result<(char, usize), ErrorKind> {
    let bad = ErrorKind::BadEscape;
    let high = hex4(s.get(1..).unwrap_or(&[])).ok_or(bad)?;
    if !(0xD800..0xDC00).contains(&high) {
        // A low half alone is no character either.
        return char::from_u32(high).map(|c| (c, 5)).ok_or(bad);
    }
    let rest = s.get(5..).unwrap_or(&[]);
    let low = rest.strip_prefix(b"\\u").and_then(hex4).ok_or(bad)?;
    if !(0xDC00..0xE000).contains(&low) {
        return Err(bad);
    }
    let code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    char::from_u32(code).map(|c| (c, 11)).ok_or(bad)
}

impl<'a> Str<'a> {
    /// Checks the string that starts at `rest` (behind its quotation mark).
    pub(super) fn scan(rest: &'a [u8], offset: usize) -> Result<Self, Error> {
        let mut at = 0;
        loop {
            let error = |kind| Error {
                kind,
                offset: offset + at,
            };
            match rest.get(at) {
                None => return Err(error(ErrorKind::Truncated)),
                Some(b'"') => break,
                Some(0..=0x1f) => return Err(error(ErrorKind::BadString)),
                Some(b'\\') => match escape(rest.get(at + 1..).unwrap_or(&[])) {
                    Ok((_, n)) => at += 1 + n,
                    Err(kind) => return Err(error(kind)),
                },
                Some(_) => at += 1,
            }
        }
        let raw = rest.get(..at).unwrap_or(&[]);
        match core::str::from_utf8(raw) {
            Ok(raw) => Ok(Str { raw, offset }),
            Err(e) => Err(Error {
                kind: ErrorKind::BadString,
                offset: offset + e.valid_up_to(),
            }),
        }
    }

    /// Bytes of the string as it stands in the document, with its escapes.
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }

    /// Offset of the first character in the document.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The characters, unescaped.
    pub fn chars(&self) -> Chars<'a> {
        Chars { rest: self.raw }
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Bytes of the unescaped string in UTF-8.
    pub fn len(&self) -> usize {
        self.chars().map(char::len_utf8).sum()
    }

    /// The string itself, if it holds no escape.
    pub fn plain(&self) -> Option<&'a str> {
        (!self.raw.contains('\\')).then_some(self.raw)
    }

    /// Compares without regard to ASCII case.
    pub fn eq_ignore_case(&self, other: &str) -> bool {
        self.chars()
            .map(|c| c.to_ascii_lowercase())
            .eq(other.chars().map(|c| c.to_ascii_lowercase()))
    }

    /// Unescapes into the front of `buf`.
    ///
    /// # Errors
    /// [`ErrorKind::TooLong`] if it does not fit; `buf` then holds rubbish.
    pub fn copy_to<'b>(&self, buf: &'b mut [u8]) -> Result<&'b str, Error> {
        let too_long = Error {
            kind: ErrorKind::TooLong,
            offset: self.offset,
        };
        let mut at = 0;
        for c in self.chars() {
            let space = buf.get_mut(at..at + c.len_utf8()).ok_or(too_long)?;
            at += c.encode_utf8(space).len();
        }
        core::str::from_utf8(buf.get(..at).unwrap_or(&[])).map_err(|_| too_long)
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        self.chars().eq(other.chars())
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

impl core::fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.chars()
            .try_for_each(|c| core::fmt::Write::write_char(f, c))
    }
}

impl core::fmt::Debug for Str<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("\"")?;
        self.chars()
            .try_for_each(|c| core::fmt::Display::fmt(&c.escape_debug(), f))?;
        f.write_str("\"")
    }
}

/// Unescaped characters of a [`Str`].
#[derive(Debug, Clone)]
pub struct Chars<'a> {
    rest: &'a str,
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        let (c, taken) = match self.rest.strip_prefix('\\') {
            // `scan` let only good escapes pass.
            Some(behind) => escape(behind.as_bytes()).map(|(c, n)| (c, n + 1)).ok()?,
            None => (c, c.len_utf8()),
        };
        self.rest = self.rest.get(taken..)?;
        Some(c)
    }
}

/// Unescapes, in place, a string that was checked as a [`Str`]: `raw` holds its
/// [`raw_len`](Str::raw_len) bytes. Gives the length of the text then at the front,
/// or `None` if it is no such string.
pub fn unescape(raw: &mut [u8]) -> Option<usize> {
    let (mut read, mut written) = (0, 0);
    while let Some(&byte) = raw.get(read) {
        let mut utf8 = [byte, 0, 0, 0];
        let (len, used) = match byte {
            b'\\' => {
                let (c, n) = escape(raw.get(read + 1..)?).ok()?;
                // An escape is never shorter than its character.
                (c.encode_utf8(&mut utf8).len(), n + 1)
            }
            _ => (1, 1),
        };
        raw.get_mut(written..written + len)?
            .copy_from_slice(utf8.get(..len)?);
        read += used;
        written += len;
    }
    Some(written)
}
