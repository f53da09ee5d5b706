//! The response: framing, header fields, and what they mean for the range asked for.

use super::Range;
use super::head::{ContentRange, FNV_START, fnv, number};

/// Longest header section that is read, in bytes.
const HEAD_MAX: u32 = 16 * 1024;
/// Longest value that must be understood: `bytes 4294967295-4294967295/4294967295`.
const LINE: usize = 48;

/// Why a response cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpError {
    /// Not an HTTP/1.x response, or broken framing.
    Malformed,
    /// The header section is longer than 16 KiB.
    HeadTooLong,
    /// 403, 404 or 410 (also 401): the URL is no longer good; ask for a fresh one.
    Expired(u16),
    /// 408, 425, 429 or 5xx: try again later.
    Unavailable(u16),
    /// Another status that is no success.
    Status(u16),
    /// 206 without a usable `Content-Range`, or with one that starts elsewhere.
    WrongRange,
    /// The file on the server has another size than the offer says.
    SizeMismatch {
        /// Size by the offer.
        offered: u32,
        /// Size by the server.
        found: u64,
    },
    /// `Content-Length` contradicts the range, or itself.
    WrongLength,
    /// 416, though something is missing here.
    RangeRefused,
    /// `multipart/byteranges`.
    Multipart,
    /// The body is compressed though `identity` was asked for.
    ContentEncoding,
    /// A transfer coding other than `chunked`.
    TransferEncoding,
    /// `ETag` or `Last-Modified` differs from the one before: the file has changed; start at 0.
    Changed,
    /// A redirect without `Location`, or one that does not fit the buffer.
    Location,
    /// The connection ended before the body did.
    ShortBody,
    /// More bytes than the range has.
    LongBody,
}

impl HttpError {
    /// Short text for logs and reports.
    pub const fn desc(&self) -> &'static str {
        match self {
            HttpError::Malformed => "malformed http response",
            HttpError::HeadTooLong => "http header too long",
            HttpError::Expired(_) => "url expired",
            HttpError::Unavailable(_) => "http server unavailable",
            HttpError::Status(_) => "http status refused",
            HttpError::WrongRange => "wrong content-range",
            HttpError::SizeMismatch { .. } => "size on server differs from offer",
            HttpError::WrongLength => "wrong content-length",
            HttpError::RangeRefused => "range not satisfiable",
            HttpError::Multipart => "multipart response refused",
            HttpError::ContentEncoding => "content-encoding refused",
            HttpError::TransferEncoding => "transfer-encoding refused",
            HttpError::Changed => "file changed on server",
            HttpError::Location => "bad redirect",
            HttpError::ShortBody => "connection closed early",
            HttpError::LongBody => "body too long",
        }
    }
}

impl core::fmt::Display for HttpError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            HttpError::Expired(s) | HttpError::Unavailable(s) | HttpError::Status(s) => {
                write!(f, "{} (status {s})", self.desc())
            }
            HttpError::SizeMismatch { offered, found } => {
                write!(f, "{} (offered {offered}, found {found})", self.desc())
            }
            _ => f.write_str(self.desc()),
        }
    }
}

impl core::error::Error for HttpError {}

/// What tells one state of a file on the server from another: a hash of its `ETag`, else of its `Last-Modified`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validator {
    hash: u32,
    etag: bool,
}

/// What the header section said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// 200 or 206.
    pub status: u16,
    /// False if the server ignored the range (200): the body runs to the end of the file.
    pub ranged: bool,
    /// Bytes that will be given out. A server may send fewer than were asked for: ask on.
    pub len: u32,
    /// To be given to the next [`Response::new`] of the same file.
    pub validator: Option<Validator>,
}

/// What [`Response::feed`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is used up; more is needed.
    More,
    /// The header section is complete and good.
    Head(Head),
    /// Bytes of the file, in order, from `range.start` on.
    Body(&'a [u8]),
    /// Go elsewhere: so many bytes of `Location` lie at the front of the location buffer
    /// (see [`follow`](super::follow)). Nothing more comes; close the connection.
    Redirect(usize),
    /// All bytes of the range were given.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Status,
    Name,
    Value(Field),
    /// Body of `Content-Length` bytes: so many to come.
    Fixed(u64),
    UntilClose,
    ChunkSize,
    /// Behind `;` of a chunk size.
    ChunkExtension,
    Chunk(u64),
    /// CRLF behind a chunk.
    ChunkEnd,
    /// Trailer fields; whether the line has any byte.
    Trailer(bool),
    Redirect(usize),
    Done,
    Failed(HttpError),
}

/// Reads one response to a ranged `GET`.
#[derive(Debug, Clone)]
pub struct Response {
    range: Range,
    known: Option<Validator>,
    state: State,
    line: [u8; LINE],
    /// Bytes collected in `line`; more than `LINE` if some were dropped.
    len: usize,
    /// The last byte was CR.
    cr: bool,
    head_bytes: u32,
    status: u16,
    http10: bool,
    close: bool,
    chunked: bool,
    content_length: Option<u64>,
    content_range: Option<ContentRange>,
    bad_range: bool,
    multipart: bool,
    encoded: bool,
    transfer: bool,
    etag: Option<u32>,
    modified: Option<u32>,
    location: Option<usize>,
    chunk: u64,
    chunk_digits: u8,
    /// Bytes still to be dropped, then bytes still to be given out.
    skip: u32,
    left: u32,
}

impl Response {
    /// Expects the answer to a request for `range`. `known` is the validator of an
    /// earlier response for the same file in this download, if there was one.
    pub fn new(range: Range, known: Option<Validator>) -> Self {
        Response {
            range,
            known,
            state: State::Status,
            line: [0; LINE],
            len: 0,
            cr: false,
            head_bytes: 0,
            status: 0,
            http10: false,
            close: false,
            chunked: false,
            content_length: None,
            content_range: None,
            bad_range: false,
            multipart: false,
            encoded: false,
            transfer: false,
            etag: None,
            modified: None,
            location: None,
            chunk: 0,
            chunk_digits: 0,
            skip: 0,
            left: 0,
        }
    }

    /// Whether the connection can carry another request. Only meaningful after [`Event::End`].
    pub fn keep_alive(&self) -> bool {
        self.state == State::Done && !self.close && !self.http10
    }

    /// Whether the header section is being read, so that [`feed`](Self::feed) may
    /// write to its location buffer.
    pub fn in_head(&self) -> bool {
        matches!(
            self.state,
            State::Status | State::Name | State::Value(_) | State::Redirect(_)
        )
    }

    /// Whether the location buffer holds something that is still needed.
    pub fn holds_location(&self) -> bool {
        self.location.is_some() && self.in_head()
    }

    /// Reads from `input`; gives the number of bytes used and what was found.
    ///
    /// Call again with the unused rest until [`Event::More`]. `location` takes
    /// the target of a redirect and must be the same buffer for the whole
    /// response; it is written only if the response carries a `Location`.
    ///
    /// # Errors
    /// [`HttpError`]; the connection is then of no further use, and every
    /// further call gives the same error.
    pub fn feed<'a>(
        &mut self,
        input: &'a [u8],
        location: &mut [u8],
    ) -> Result<(usize, Event<'a>), HttpError> {
        let result = self.step(input, location);
        if let Err(e) = result {
            self.state = State::Failed(e);
        }
        result
    }

    /// The peer has closed the connection (end of file, not a time-out).
    ///
    /// # Errors
    /// [`HttpError::ShortBody`] if something is missing.
    pub fn close(&mut self) -> Result<Event<'static>, HttpError> {
        self.close = true;
        match self.state {
            State::Failed(e) => Err(e),
            State::Redirect(len) => Ok(Event::Redirect(len)),
            State::Status | State::Name | State::Value(_) => self.fail(HttpError::ShortBody),
            State::Done => Ok(Event::End),
            // Framing may lack its last bytes; the content is what counts.
            _ if self.left == 0 => {
                self.state = State::Done;
                Ok(Event::End)
            }
            _ => self.fail(HttpError::ShortBody),
        }
    }

    fn fail<T>(&mut self, e: HttpError) -> Result<T, HttpError> {
        self.state = State::Failed(e);
        Err(e)
    }

    fn step<'a>(
        &mut self,
        input: &'a [u8],
        location: &mut [u8],
    ) -> Result<(usize, Event<'a>), HttpError> {
        let mut used = 0;
        loop {
            match self.state {
                State::Failed(e) => return Err(e),
                State::Done => return Ok((used, Event::End)),
                State::Redirect(len) => return Ok((used, Event::Redirect(len))),
                State::Fixed(0) => {
                    self.finish()?;
                    continue;
                }
                State::UntilClose if self.left == 0 => {
                    self.close = true;
                    self.finish()?;
                    continue;
                }
                _ => {}
            }
            let rest = input.get(used..).unwrap_or(&[]);
            let Some(&byte) = rest.first() else {
                return Ok((used, Event::More));
            };
            let take = match self.state {
                State::Fixed(n) | State::Chunk(n) => {
                    usize::try_from(n).unwrap_or(usize::MAX).min(rest.len())
                }
                // What is asked for ends the body here; a longer file is the digest's to notice.
                State::UntilClose => {
                    let wanted = u64::from(self.skip) + u64::from(self.left);
                    usize::try_from(wanted)
                        .unwrap_or(usize::MAX)
                        .min(rest.len())
                }
                _ => {
                    used += 1;
                    if let Some(head) = self.byte(byte, location)? {
                        return Ok((used, Event::Head(head)));
                    }
                    continue;
                }
            };
            let raw = rest.get(..take).unwrap_or(&[]);
            used += take;
            match self.state {
                State::Fixed(n) => self.state = State::Fixed(n.saturating_sub(take as u64)),
                State::Chunk(n) => {
                    let n = n.saturating_sub(take as u64);
                    self.state = if n == 0 {
                        State::ChunkEnd
                    } else {
                        State::Chunk(n)
                    };
                }
                _ => {}
            }
            let body = self.content(raw)?;
            if !body.is_empty() {
                return Ok((used, Event::Body(body)));
            }
        }
    }

    /// Of bytes of the body, those to be given out.
    fn content<'a>(&mut self, raw: &'a [u8]) -> Result<&'a [u8], HttpError> {
        let skip = raw.len().min(self.skip as usize);
        self.skip -= skip as u32;
        let body = raw.get(skip..).unwrap_or(&[]);
        match u32::try_from(body.len())
            .ok()
            .and_then(|n| self.left.checked_sub(n))
        {
            Some(left) => self.left = left,
            None => return Err(HttpError::LongBody),
        }
        Ok(body)
    }

    /// The framing says that the body ends here.
    fn finish(&mut self) -> Result<(), HttpError> {
        if self.left > 0 {
            return Err(HttpError::ShortBody);
        }
        self.state = State::Done;
        Ok(())
    }

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
    fn byte(&mut self, byte: u8, location: &mut [u8]) -> Result<Option<Head>, HttpError> {
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

    fn validator(&self) -> Option<Validator> {
        match (self.etag, self.modified) {
            (Some(hash), _) => Some(Validator { hash, etag: true }),
            (None, Some(hash)) => Some(Validator { hash, etag: false }),
            (None, None) => None,
        }
    }

    /// The header section is complete: judge it.
    fn head_end(&mut self, location: &[u8]) -> Result<Option<Head>, HttpError> {
        match self.status {
            // Switching protocols was not asked for.
            101 => return Err(HttpError::Status(101)),
            100..=199 => {
                // Interim: another header section follows. Keep the count against endless ones.
                let head_bytes = self.head_bytes;
                *self = Response {
                    head_bytes,
                    ..Response::new(self.range, self.known)
                };
                return Ok(None);
            }
            200 | 206 => {}
            301 | 302 | 303 | 307 | 308 => {
                let len = self.location.filter(|n| *n > 0 && *n <= location.len());
                self.state = State::Redirect(len.ok_or(HttpError::Location)?);
                return Ok(None);
            }
            401 | 403 | 404 | 410 => return Err(HttpError::Expired(self.status)),
            408 | 425 | 429 | 500..=599 => return Err(HttpError::Unavailable(self.status)),
            416 => return self.nothing_left(),
            other => return Err(HttpError::Status(other)),
        }
        if self.encoded {
            return Err(HttpError::ContentEncoding);
        }
        if self.transfer {
            return Err(HttpError::TransferEncoding);
        }
        if self.multipart {
            return Err(HttpError::Multipart);
        }
        let validator = self.validator();
        if let (Some(new), Some(old)) = (validator, self.known)
            && new.etag == old.etag
            && new.hash != old.hash
        {
            return Err(HttpError::Changed);
        }
        let ranged = self.status == 206;
        if ranged {
            self.partial()?
        } else {
            self.whole()?
        }
        let total = u64::from(self.skip) + u64::from(self.left);
        self.state = if self.chunked {
            State::ChunkSize
        } else if let Some(n) = self.content_length {
            if n != total {
                return Err(HttpError::WrongLength);
            }
            State::Fixed(n)
        } else {
            State::UntilClose
        };
        // Both framings at once: the length is not to be trusted, nor the connection.
        self.close |= self.chunked && self.content_length.is_some();
        self.len = 0;
        self.head_bytes = 0;
        Ok(Some(Head {
            status: self.status,
            ranged,
            len: self.left,
            validator,
        }))
    }

    fn size_is(&self, found: u64) -> Result<(), HttpError> {
        let offered = self.range.size;
        if found != u64::from(offered) {
            return Err(HttpError::SizeMismatch { offered, found });
        }
        Ok(())
    }

    fn partial(&mut self) -> Result<(), HttpError> {
        let range = self
            .content_range
            .filter(|_| !self.bad_range)
            .ok_or(HttpError::WrongRange)?;
        if let Some(total) = range.total {
            self.size_is(total)?;
        }
        let (first, last) = range.bytes.ok_or(HttpError::WrongRange)?;
        // A server may send less than was asked for, but not other bytes.
        if first != u64::from(self.range.start) || last >= u64::from(self.range.end) {
            return Err(HttpError::WrongRange);
        }
        self.left = u32::try_from(last - first + 1).map_err(|_| HttpError::WrongRange)?;
        Ok(())
    }

    fn whole(&mut self) -> Result<(), HttpError> {
        if let (Some(n), false) = (self.content_length, self.chunked) {
            self.size_is(n)?;
        }
        self.skip = self.range.start.min(self.range.size);
        self.left = self.range.size - self.skip;
        Ok(())
    }

    /// 416.
    fn nothing_left(&mut self) -> Result<Option<Head>, HttpError> {
        if let Some(ContentRange {
            total: Some(total), ..
        }) = self.content_range
        {
            self.size_is(total)?;
        }
        if self.range.start < self.range.size {
            return Err(HttpError::RangeRefused);
        }
        self.close = true;
        self.state = State::Done;
        Ok(None)
    }
}
