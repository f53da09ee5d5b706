//! The file server: whole files and single ranges, by signed addresses.

use crate::store::now_ms;
use crate::url::{Refused, Signer};
use crate::{Cloud, EventKind};
use ntex::http::body::{BodySize, MessageBody};
use ntex::http::{Method, Request, Response, StatusCode, header};
use ntex::util::Bytes;
use std::error::Error as StdError;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Answers one request.
pub(crate) fn serve(cloud: &Cloud, signer: &Signer, req: &Request) -> Response {
    let head = *req.method() == Method::HEAD;
    if !head && *req.method() != Method::GET {
        return Response::build(StatusCode::METHOD_NOT_ALLOWED)
            .header(header::ALLOW, "GET, HEAD")
            .finish();
    }
    let (path, query) = (req.uri().path(), req.uri().query().unwrap_or(""));
    let task = match signer.check(path, query, now_ms() / 1000) {
        Ok(task) => task,
        Err(why) => {
            let text = match why {
                Refused::Expired => "403 address has expired",
                Refused::Signature => "403 signature does not match",
            };
            let _ = cloud.note(EventKind::Download, ("", ""), None, None, text);
            return plain(StatusCode::FORBIDDEN, text);
        }
    };
    let Ok((file, size, etag)) = open(cloud, task) else {
        return plain(StatusCode::NOT_FOUND, "404 no such file");
    };
    let text = |name| req.headers().get(name).and_then(|v| v.to_str().ok());
    // A range of another file than the one asked about would be spliced in.
    let same = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let range = text(header::RANGE)
        .filter(|_| same)
        .map_or(Range::Whole, |r| Range::parse(r, size));
    let (status, first, len) = match range {
        Range::Whole => (StatusCode::OK, 0, size),
        Range::Part { first, len } => (StatusCode::PARTIAL_CONTENT, first, len),
        Range::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
    };
    note(cloud, task, status, first, len, size);
    let mut resp = Response::build(status);
    resp.header(header::ACCEPT_RANGES, "bytes");
    resp.header(header::ETAG, etag);
    resp.header(header::CACHE_CONTROL, "no-transform");
    resp.content_type("application/octet-stream");
    match status {
        StatusCode::RANGE_NOT_SATISFIABLE => {
            resp.header(header::CONTENT_RANGE, format!("bytes */{size}"));
            return resp.finish();
        }
        StatusCode::PARTIAL_CONTENT => {
            let last = first + len - 1;
            resp.header(
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{size}"),
            );
        }
        _ => {}
    }
    match FileBody::new(file, first, len) {
        Ok(body) if head => {
            resp.message_body(ntex::http::body::Body::from_message(HeadBody(body.left)))
        }
        Ok(body) => resp.message_body(ntex::http::body::Body::from_message(body)),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "500 file cannot be read"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    Response::build(status)
        .content_type("text/plain")
        .body(text)
}

fn note(cloud: &Cloud, task: i64, status: StatusCode, first: u64, len: u64, size: u64) {
    if let Ok(t) = cloud.task(task) {
        let to = first + len.saturating_sub(1);
        let text = format!("{} bytes {first}-{to}/{size}", status.as_u16());
        let _ = cloud.note(
            EventKind::Download,
            (&t.pk, &t.dn),
            Some(t.job),
            None,
            &text,
        );
    }
}

fn open(cloud: &Cloud, task: i64) -> crate::Result<(File, u64, String)> {
    let package = cloud.package(cloud.task(task)?.package)?;
    let path = cloud.package_path(&package);
    let io = crate::Error::io;
    let file = File::open(&path).map_err(io(&path))?;
    let size = file.metadata().map_err(io(&path))?.len();
    Ok((file, size, format!("\"{}\"", package.md5)))
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// None, one that is not understood, or several: the whole file is sent.
    Whole,
    /// Bytes `first .. first + len`, `len > 0`.
    Part { first: u64, len: u64 },
    /// Nothing of it exists: 416.
    Unsatisfiable,
}

impl Range {
    /// RFC 9110, section 14.1.2.
    fn parse(text: &str, size: u64) -> Self {
        let Some((from, to)) = text
            .strip_prefix("bytes=")
            .and_then(|r| r.trim().split_once('-'))
        else {
            return Self::Whole;
        };
        let number = |s: &str| {
            let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
            // More digits than fit: beyond any file.
            digits.then(|| s.parse().unwrap_or(u64::MAX))
        };
        let (first, last) = match (number(from), number(to)) {
            (Some(a), Some(b)) if a > b => return Self::Whole,
            (Some(a), Some(b)) => (a, b.min(size.saturating_sub(1))),
            (Some(a), None) if to.is_empty() => (a, size.saturating_sub(1)),
            (None, Some(n)) if from.is_empty() => {
                if n == 0 {
                    return Self::Unsatisfiable;
                }
                (size.saturating_sub(n), size.saturating_sub(1))
            }
            _ => return Self::Whole,
        };
        if first >= size {
            return Self::Unsatisfiable;
        }
        Self::Part {
            first,
            len: last - first + 1,
        }
    }
}

/// A part of a file, read as it is sent.
struct FileBody {
    file: File,
    left: u64,
}

impl FileBody {
    fn new(mut file: File, first: u64, len: u64) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(first))?;
        Ok(Self { file, left: len })
    }
}

impl MessageBody for FileBody {
    fn size(&self) -> BodySize {
        BodySize::Sized(self.left)
    }

    fn poll_next_chunk(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Rc<dyn StdError>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut buf = vec![0; self.left.min(32 * 1024) as usize];
        Poll::Ready(Some(match self.file.read_exact(&mut buf) {
            Ok(()) => {
                self.left -= buf.len() as u64;
                Ok(Bytes::from(buf))
            }
            Err(e) => Err(Rc::new(e) as Rc<dyn StdError>),
        }))
    }
}

/// Only the length: the answer to HEAD.
struct HeadBody(u64);

impl MessageBody for HeadBody {
    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next_chunk(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Rc<dyn StdError>>>> {
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use super::Range::{self, *};

    #[test]
    fn ranges() {
        let part = |first, len| Part { first, len };
        for (text, want) in [
            ("bytes=0-", part(0, 1000)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=10-19", part(10, 10)),
            ("bytes=990-2000", part(990, 10)),
            ("bytes=999-", part(999, 1)),
            ("bytes=-1", part(999, 1)),
            ("bytes=-5000", part(0, 1000)),
            ("bytes=0-99999999999999999999999", part(0, 1000)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=1000-1001", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-4", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=0-1,5-6", Whole),
            ("items=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(Range::parse(text, 1000), want, "{text}");
        }
        assert_eq!(Range::parse("bytes=0-", 0), Unsatisfiable);
    }
}
