//! A hostile download server.
//!
//! * However the bytes are cut into pieces, the same comes out.
//! * Exactly as many bytes are given out as the head says, and a body framed by
//!   its length is what lay behind the head.
//! * A head that is taken is one for `httparse`, too, with the same status.
//! * Errors and ends are final.
//! * A redirect leads to a URL, never from https to http; the request for any
//!   URL is one request with one host (`httparse` again).
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_proto::http::{Event, Head, HttpError, Range, Request, Response, Scheme, Url, follow};
use uota_fuzz::Input;

#[derive(Debug, PartialEq)]
struct Seen {
    head: Option<Head>,
    /// Bytes up to the end of the head.
    head_len: usize,
    body: Vec<u8>,
    end: Result<Option<usize>, HttpError>,
    location: Vec<u8>,
}

fn run(range: Range, stream: &[u8], piece: usize) -> (Seen, Response) {
    let mut r = Response::new(range, None);
    let mut location = [0; 64];
    let mut seen = Seen {
        head: None,
        head_len: 0,
        body: vec![],
        end: Ok(None),
        location: vec![],
    };
    let mut at = 0;
    'stream: for part in stream.chunks(piece).chain([&[][..]]) {
        let mut rest = part;
        loop {
            match r.feed(rest, &mut location) {
                Ok((used, event)) => {
                    rest = &rest[used..];
                    at += used;
                    match event {
                        Event::More => {
                            assert!(rest.is_empty());
                            continue 'stream;
                        }
                        Event::Head(head) => {
                            assert!(seen.head.replace(head).is_none(), "two heads");
                            seen.head_len = at;
                        }
                        Event::Body(bytes) => {
                            assert!(!bytes.is_empty() && seen.head.is_some());
                            seen.body.extend(bytes);
                        }
                        Event::Redirect(len) => {
                            seen.location = location[..len].to_vec();
                            seen.end = Ok(Some(len));
                            return (seen, r);
                        }
                        Event::End => return (seen, r),
                    }
                }
                Err(e) => {
                    assert_eq!(r.feed(b"x", &mut location), Err(e), "errors are final");
                    assert!(!r.keep_alive());
                    seen.end = Err(e);
                    return (seen, r);
                }
            }
        }
    }
    seen.end = match r.close() {
        Ok(Event::Redirect(_)) => unreachable!("was given before"),
        Ok(Event::End) => Ok(None),
        Ok(other) => panic!("{other:?} at the end"),
        Err(e) => Err(e),
    };
    assert!(!r.keep_alive());
    (seen, r)
}

fn check_head(range: Range, stream: &[u8], seen: &Seen) {
    let Some(head) = seen.head else { return };
    assert!(head.len as usize >= seen.body.len());
    assert!(head.len <= range.size);
    if seen.end == Ok(None) {
        assert_eq!(seen.body.len(), head.len as usize);
    }
    // Interim responses are other heads in front of this one.
    let mut start = 0;
    let mut chunked = false;
    while start < seen.head_len {
        let mut fields = [httparse::EMPTY_HEADER; 512];
        let mut theirs = httparse::Response::new(&mut fields);
        let bytes = &stream[start..seen.head_len];
        match theirs.parse(bytes) {
            Ok(httparse::Status::Complete(n)) => start += n,
            // 1.2 to 1.9 is to be read as 1.1; they do not.
            Err(httparse::Error::TooManyHeaders | httparse::Error::Version) => return,
            other => panic!("taken, but {other:?}: {:?}", String::from_utf8_lossy(bytes)),
        }
        let code = theirs.code.unwrap_or(0);
        assert!(if start < seen.head_len {
            code < 200
        } else {
            code == head.status
        });
        chunked = theirs
            .headers
            .iter()
            .any(|h| h.name.eq_ignore_ascii_case("transfer-encoding"));
    }
    if !chunked {
        let skip = if head.ranged { 0 } else { range.start as usize };
        let from = &stream[seen.head_len..];
        assert_eq!(
            seen.body,
            from.get(skip..skip + seen.body.len()).unwrap_or(&[])
        );
    }
}

fn check_request(url: &Url<'_>, range: Range) {
    let mut bytes = [0; 4096];
    let len = Request::new(url, range, "uota/1")
        .write_to(&mut bytes)
        .expect("room for any URL");
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut theirs = httparse::Request::new(&mut fields);
    assert_eq!(
        theirs.parse(&bytes[..len]),
        Ok(httparse::Status::Complete(len))
    );
    assert_eq!(theirs.headers.len(), 5);
    assert!(
        theirs
            .path
            .is_some_and(|p| p.starts_with('/') && p.ends_with(url.target))
    );
    assert_eq!(theirs.headers[0].value, url.authority.as_bytes());
    assert!(url.authority.trim_start_matches('[').starts_with(url.host));
    assert_ne!(url.port, 0);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let size = u32::from(input.u8()) + 1;
    let start = input.u32() % size;
    let range = Range {
        start,
        end: start + 1 + input.u32() % (size - start),
        size,
    };
    let piece = usize::from(input.u8()).max(1);
    let base = ["http://a/b/c?d", "https://a.b:8443", "https://[::1]/x/"][input.below(3)];
    let stream = input.rest();

    let (whole, state) = run(range, stream, stream.len().max(1));
    let (mut parts, other) = run(range, stream, piece);
    // Before an error, small pieces get more through.
    if whole.end.is_err() && parts.body.starts_with(&whole.body) {
        parts.body.truncate(whole.body.len());
    }
    assert_eq!(whole, parts);
    assert_eq!(state.keep_alive(), other.keep_alive());
    check_head(range, stream, &whole);

    if let Ok(text) = core::str::from_utf8(stream)
        && let Ok(url) = Url::parse(text)
    {
        check_request(&url, range);
    }
    let base = Url::parse(base).expect("good URLs");
    for target in [&whole.location[..], stream] {
        let mut buf = [0; 256];
        if target.len() > buf.len() {
            continue;
        }
        buf[..target.len()].copy_from_slice(target);
        if let Ok(len) = follow(&base, &mut buf, target.len()) {
            let text = core::str::from_utf8(&buf[..len]).expect("ASCII");
            let url = Url::parse(text).expect("follow gives URLs");
            assert!(
                base.scheme == Scheme::Http || url.scheme == Scheme::Https,
                "downgrade"
            );
            check_request(&url, range);
            if Url::parse(&String::from_utf8_lossy(target)).is_ok() {
                assert_eq!(text.as_bytes(), target, "an absolute URL stays as it is");
            }
        }
    }
});
