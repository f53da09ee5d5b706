//! The response: its states and its body. Header fields are read in `fields`, and judged
//! in `judge`.

mod fields;
mod judge;

use super::head::ContentRange;
use super::{HttpError, Range};
use fields::Field;

/// Longest value that must be understood: `bytes 4294967295-4294967295/4294967295`.
const LINE: usize = 48;

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
}
