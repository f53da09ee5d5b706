//! The request.

use super::Url;
use crate::messages::{Decimal, NoRoom};

/// Bytes `start..end` of a file of `size` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u32,
    /// One past the last byte, at most `size`. An `end` equal to `size` leaves the range open.
    pub end: u32,
    /// Bytes of the whole file, as offered.
    pub size: u32,
}

impl Range {
    /// From `start` to the end.
    pub const fn from(start: u32, size: u32) -> Self {
        Range {
            start,
            end: size,
            size,
        }
    }
}

/// A `GET` with a `Range`, given out in parts.
///
/// The connection is kept alive (the default of HTTP/1.1), unless
/// [`close`](Self::close) was called.
pub struct Request<'a> {
    url: Url<'a>,
    start: Decimal,
    last: Option<Decimal>,
    user_agent: &'a str,
    close: bool,
}

impl<'a> Request<'a> {
    /// A request for `range`. `user_agent` must be a token like `uota/1.0`;
    /// one with control characters is left out.
    pub fn new(url: &Url<'a>, range: Range, user_agent: &'a str) -> Self {
        let good = user_agent.bytes().all(|b| matches!(b, 0x20..=0x7e));
        Request {
            url: *url,
            start: Decimal::new(i64::from(range.start)),
            last: (range.end < range.size && range.end > range.start)
                .then(|| Decimal::new(i64::from(range.end) - 1)),
            user_agent: if good { user_agent } else { "" },
            close: false,
        }
    }

    /// Asks the server to close the connection after its answer.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The request's bytes, to be sent in this order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let agent = !self.user_agent.is_empty();
        [
            "GET ",
            if self.url.target.starts_with('/') {
                ""
            } else {
                "/"
            },
            self.url.target,
            " HTTP/1.1\r\nHost: ",
            self.url.authority,
            "\r\nRange: bytes=",
            self.start.as_str(),
            "-",
            self.last.as_ref().map_or("", Decimal::as_str),
            if agent { "\r\nUser-Agent: " } else { "" },
            self.user_agent,
            "\r\nAccept: */*\r\nAccept-Encoding: identity\r\n",
            if self.close {
                "Connection: close\r\n\r\n"
            } else {
                "\r\n"
            },
        ]
        .into_iter()
        .map(str::as_bytes)
        .filter(|part| !part.is_empty())
    }

    /// Writes the request into `buf` and gives its length.
    pub fn write_to(&self, buf: &mut [u8]) -> Result<usize, NoRoom> {
        let mut at = 0;
        for part in self.parts() {
            buf.get_mut(at..at + part.len())
                .ok_or(NoRoom)?
                .copy_from_slice(part);
            at += part.len();
        }
        Ok(at)
    }
}
