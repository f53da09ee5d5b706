//! The header section and the framing's lines, byte by byte.

use super::{ContentRange, Head, HttpError, LINE, Response, State};
use crate::http::head::{FNV_START, fnv, number};

/// Longest header section that is read, in bytes.
const HEAD_MAX: u32 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    ContentLength,
    ContentRange,
    ContentType,
    ContentEncoding,
    TransferEncoding,
    Connection,
    ETag,
    LastModified,
    Location,
    Other,
}

/// Characters of a field name.
fn token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

const FIELDS: [(&[u8], Field); 9] = [
    (b"content-length", Field::ContentLength),
    (b"content-range", Field::ContentRange),
    (b"content-type", Field::ContentType),
    (b"content-encoding", Field::ContentEncoding),
    (b"transfer-encoding", Field::TransferEncoding),
    (b"connection", Field::Connection),
    (b"etag", Field::ETag),
    (b"last-modified", Field::LastModified),
    (b"location", Field::Location),
];

impl Response {
    fn collect(&mut self, byte: u8) {
        if let Some(slot) = self.line.get_mut(self.len) {
            *slot = byte;
        }
        self.len = self.len.saturating_add(1);
    }

    /// What was collected, or `None` if it was too long.
    fn collected(&self) -> Option<&[u8]> {
        self.line.get(..self.len)
    }

    /// One byte outside the body.
    pub(super) fn byte(
        &mut self,
        byte: u8,
        location: &mut [u8],
    ) -> Result<Option<Head>, HttpError> {
        self.head_bytes += 1;
        if self.head_bytes > HEAD_MAX {
            return Err(HttpError::HeadTooLong);
        }
        if byte == b'\r' && !self.cr {
            self.cr = true;
            return Ok(None);
        }
        if (self.cr && byte != b'\n') || (byte.is_ascii_control() && !matches!(byte, b'\n' | b'\t'))
        {
            return Err(HttpError::Malformed);
        }
        self.cr = false;
        if byte == b'\n' {
            return self.line_end(location);
        }
        match self.state {
            State::Status => self.collect(byte),
            State::Name if byte == b':' => {
                let name = self.collected().unwrap_or(&[]);
                let field = FIELDS
                    .iter()
                    .find(|(n, _)| n.eq_ignore_ascii_case(name))
                    .map_or(Field::Other, |(_, f)| *f);
                if self.len == 0 {
                    return Err(HttpError::Malformed);
                }
                self.len = 0;
                match field {
                    Field::ETag => self.etag = Some(FNV_START),
                    Field::LastModified => self.modified = Some(FNV_START),
                    Field::Location if self.location.replace(0).is_some() => {
                        return Err(HttpError::Location);
                    }
                    _ => {}
                }
                self.state = State::Value(field);
            }
            // A blank in a name is either line folding or an attempt at smuggling.
            State::Name if token(byte) => self.collect(byte),
            State::Value(field) => self.value_byte(field, byte, location)?,
            State::ChunkSize => match byte {
                b';' | b' ' | b'\t' if self.chunk_digits > 0 => self.state = State::ChunkExtension,
                _ => {
                    let digit = char::from(byte).to_digit(16).ok_or(HttpError::Malformed)?;
                    if self.chunk >> 60 != 0 {
                        return Err(HttpError::Malformed);
                    }
                    self.chunk = self.chunk << 4 | u64::from(digit);
                    self.chunk_digits = 1;
                }
            },
            State::ChunkExtension => {}
            State::Trailer(_) => self.state = State::Trailer(true),
            _ => return Err(HttpError::Malformed),
        }
        Ok(None)
    }

    fn value_byte(&mut self, field: Field, byte: u8, location: &mut [u8]) -> Result<(), HttpError> {
        let blank = matches!(byte, b' ' | b'\t');
        match field {
            Field::Other => {}
            Field::ETag if !blank => self.etag = self.etag.map(|h| fnv(h, byte)),
            Field::LastModified if !blank => self.modified = self.modified.map(|h| fnv(h, byte)),
            Field::ETag | Field::LastModified => {}
            Field::Location if !blank => {
                // Only a redirect's Location counts, so a long one elsewhere is no error yet.
                let at = self.location.unwrap_or(0);
                if let Some(slot) = location.get_mut(at) {
                    *slot = byte;
                }
                self.location = Some(at.saturating_add(1));
            }
            Field::Location => {}
            _ if blank && self.len == 0 => {}
            _ => self.collect(byte),
        }
        Ok(())
    }

    fn line_end(&mut self, location: &[u8]) -> Result<Option<Head>, HttpError> {
        match self.state {
            State::Status => self.status_line()?,
            State::Name if self.len == 0 => return self.head_end(location),
            State::Name => return Err(HttpError::Malformed),
            State::Value(field) => {
                self.field(field)?;
                self.state = State::Name;
            }
            State::ChunkSize if self.chunk_digits == 0 => return Err(HttpError::Malformed),
            State::ChunkSize | State::ChunkExtension => {
                self.state = if self.chunk == 0 {
                    State::Trailer(false)
                } else {
                    State::Chunk(self.chunk)
                };
                self.chunk = 0;
                self.chunk_digits = 0;
            }
            State::ChunkEnd => {
                // Each chunk may have its own lines; the limit is on one run of them.
                self.head_bytes = 0;
                self.state = State::ChunkSize;
            }
            State::Trailer(true) => self.state = State::Trailer(false),
            State::Trailer(false) => self.finish()?,
            _ => return Err(HttpError::Malformed),
        }
        self.len = 0;
        Ok(None)
    }

    fn status_line(&mut self) -> Result<(), HttpError> {
        // "HTTP/1.1 206 reason"; the reason may be missing or cut off.
        let line = self.line.get(..self.len.min(LINE)).unwrap_or(&[]);
        let rest = line.strip_prefix(b"HTTP/1.").ok_or(HttpError::Malformed)?;
        let (minor, status, behind) = match *rest {
            [minor @ b'0'..=b'9', b' ', a, b, c, ref behind @ ..] => (minor, [a, b, c], behind),
            _ => return Err(HttpError::Malformed),
        };
        if !matches!(behind.first(), None | Some(b' ')) {
            return Err(HttpError::Malformed);
        }
        self.http10 = minor == b'0';
        self.status = number(&status)
            .and_then(|s| u16::try_from(s).ok())
            .filter(|s| *s >= 100)
            .ok_or(HttpError::Malformed)?;
        self.state = State::Name;
        Ok(())
    }

    /// A field whose value is complete.
    fn field(&mut self, field: Field) -> Result<(), HttpError> {
        let text = self.collected().map(<[u8]>::trim_ascii_end);
        let is = |word: &[u8]| text.is_some_and(|t| t.eq_ignore_ascii_case(word));
        match field {
            Field::ContentLength => {
                let n = text.and_then(number).ok_or(HttpError::WrongLength)?;
                if self.content_length.replace(n).is_some_and(|old| old != n) {
                    return Err(HttpError::WrongLength);
                }
            }
            Field::ContentRange => {
                let parsed = text.and_then(ContentRange::parse);
                self.bad_range |= parsed.is_none() || self.content_range.is_some();
                self.content_range = parsed;
            }
            Field::ContentType => {
                // Parameters may follow, beyond the line buffer.
                let start = self.line.get(..self.len.min(LINE)).unwrap_or(&[]);
                let kind = b"multipart/byteranges";
                self.multipart |= start
                    .get(..kind.len())
                    .is_some_and(|t| t.eq_ignore_ascii_case(kind));
            }
            Field::ContentEncoding => self.encoded |= !is(b"identity") && !is(b""),
            Field::TransferEncoding => {
                if is(b"chunked") && !self.chunked {
                    self.chunked = true;
                } else if !is(b"identity") {
                    self.transfer = true;
                }
            }
            Field::Connection => {
                let close = self.collected().is_none_or(|list| {
                    list.split(|b| *b == b',')
                        .any(|w| w.trim_ascii().eq_ignore_ascii_case(b"close"))
                });
                self.close |= close;
            }
            _ => {}
        }
        Ok(())
    }
}
