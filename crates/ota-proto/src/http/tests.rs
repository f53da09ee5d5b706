//! URLs, requests, and responses in every chunking; httparse is the oracle for header sections.

use super::*;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

#[test]
fn urls() {
    let u = Url::parse(
        "https://iotx-ota.oss-cn-shanghai.aliyuncs.com/ota/x?Expires=1&Signature=a%2Fb#frag",
    )
    .unwrap();
    assert_eq!((u.scheme, u.port), (Scheme::Https, 443));
    assert_eq!(u.host, "iotx-ota.oss-cn-shanghai.aliyuncs.com");
    assert_eq!(u.target, "/ota/x?Expires=1&Signature=a%2Fb");
    let u = Url::parse("HTTP://[2001:db8::1]:8080?q").unwrap();
    assert_eq!(
        (u.scheme, u.host, u.port),
        (Scheme::Http, "2001:db8::1", 8080)
    );
    assert_eq!((u.authority, u.target), ("[2001:db8::1]:8080", "?q"));
    let u = Url::parse("http://127.0.0.1:").unwrap();
    assert_eq!(
        (u.host, u.port, u.authority, u.target),
        ("127.0.0.1", 80, "127.0.0.1", "")
    );
}

#[test]
fn bad_urls() {
    use UrlError as E;
    for (url, error) in [
        ("", E::Scheme),
        ("ftp://h/", E::Scheme),
        ("http:/h/", E::Scheme),
        ("//h/", E::Scheme),
        ("http://", E::Host),
        ("http:///x", E::Host),
        ("http://:80/", E::Host),
        ("http://h\\x/", E::Host),
        ("http://h<x/", E::Host),
        ("http://[::1/", E::Host),
        ("http://[::g]/", E::Host),
        ("http://[::1]x/", E::Host),
        ("http://a:b:c/", E::Port),
        ("http://h:0/", E::Port),
        ("http://h:65536/", E::Port),
        ("http://h:+80/", E::Port),
        ("http://u:p@h/", E::UserInfo),
        ("http://u@h/", E::UserInfo),
        ("http://h/ x", E::Character),
        ("http://h/\r\nHost: x", E::Character),
        ("http://h/\u{e9}", E::Character),
    ] {
        assert_eq!(Url::parse(url), Err(error), "{url}");
    }
    assert_eq!(
        Url::parse(&format!("http://h/{}", "x".repeat(2040))),
        Err(E::TooLong)
    );
    assert!(Url::parse(&format!("http://h/{}", "x".repeat(2039))).is_ok());
}

fn redirect(base: &str, location: &str) -> Result<String, UrlError> {
    let mut buf = [0; 64];
    buf[..location.len()].copy_from_slice(location.as_bytes());
    let n = follow(&Url::parse(base).unwrap(), &mut buf, location.len())?;
    Ok(String::from_utf8(buf[..n].to_vec()).unwrap())
}

#[test]
fn redirects() {
    for (base, location, target) in [
        ("http://h:81/a/b?c", "http://other/", "http://other/"),
        ("http://h:81/a/b?c", "https://other/", "https://other/"),
        ("http://h:81/a/b?c", "//other/x", "http://other/x"),
        ("http://h:81/a/b?c", "/x", "http://h:81/x"),
        ("http://h:81/a/b?c/d", "x?y:z", "http://h:81/a/x?y:z"),
        ("http://h:81/a/b?c", "?d", "http://h:81/a/b?d"),
        ("http://h", "x", "http://h/x"),
        ("http://h", "?d", "http://h?d"),
        ("https://[::1]/a/", "./x", "https://[::1]/a/./x"),
    ] {
        assert_eq!(redirect(base, location).as_deref(), Ok(target));
    }
    for (base, location, error) in [
        ("https://h/", "http://h/", UrlError::Downgrade),
        ("http://h/", "ftp://h/", UrlError::Scheme),
        ("http://h/", "mailto:x", UrlError::Scheme),
        ("http://h/", "http://u@h/", UrlError::UserInfo),
        ("http://h/", "", UrlError::Host),
        ("http://h/", "a b", UrlError::Character),
        (
            "http://h/0123456789/",
            "x123456789x123456789x123456789x123456789x123456789",
            UrlError::TooLong,
        ),
    ] {
        assert_eq!(redirect(base, location), Err(error), "{location}");
    }
}

fn request(url: &str, range: Range, agent: &str, close: bool) -> String {
    let url = Url::parse(url).unwrap();
    let request = Request::new(&url, range, agent);
    let request = if close { request.close() } else { request };
    let mut buf = [0; 256];
    let n = request.write_to(&mut buf).unwrap();
    assert!(request.write_to(&mut [0; 256][..n - 1]).is_err());
    String::from_utf8(buf[..n].to_vec()).unwrap()
}

#[test]
fn requests() {
    assert_eq!(
        request(
            "http://h:81/x?y",
            Range {
                start: 65536,
                end: 131072,
                size: 400000
            },
            "uota/1",
            false
        ),
        "GET /x?y HTTP/1.1\r\nHost: h:81\r\nRange: bytes=65536-131071\r\nUser-Agent: uota/1\r\n\
         Accept: */*\r\nAccept-Encoding: identity\r\n\r\n"
    );
    let text = request(
        "https://h?y",
        Range::from(u32::MAX - 1, u32::MAX),
        "a\r\nb",
        true,
    );
    assert!(
        text.starts_with("GET /?y HTTP/1.1\r\nHost: h\r\nRange: bytes=4294967294-\r\nAccept: ")
    );
    assert!(text.ends_with("\r\nConnection: close\r\n\r\n"));
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut parsed = httparse::Request::new(&mut headers);
    assert!(parsed.parse(text.as_bytes()).unwrap().is_complete());
}

/// What a whole conversation came to.
#[derive(Debug, PartialEq, Clone)]
enum Got {
    Body(Head, Vec<u8>),
    /// Complete with nothing to fetch (416).
    Nothing,
    Redirect(String),
    Bad(HttpError),
}

/// Feeds `bytes` in pieces of the given sizes (repeated), then closes.
fn run_from(range: Range, known: Option<Validator>, bytes: &[u8], sizes: &[usize]) -> (Got, bool) {
    let mut r = Response::new(range, known);
    let mut location = [0; 32];
    let (mut head, mut body) = (None, vec![]);
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    let mut pending = &rest[..0];
    loop {
        let event = match r.feed(pending, &mut location) {
            Ok((used, event)) => {
                assert!(used <= pending.len());
                pending = &pending[used..];
                event
            }
            Err(e) => {
                assert_eq!(r.feed(pending, &mut location), Err(e), "errors stay");
                return (Got::Bad(e), r.keep_alive());
            }
        };
        let event = if event == Event::More {
            assert!(pending.is_empty());
            if rest.is_empty() {
                match r.close() {
                    Ok(event) => event,
                    Err(e) => return (Got::Bad(e), r.keep_alive()),
                }
            } else {
                let n = (*sizes.next().unwrap()).clamp(1, rest.len());
                (pending, rest) = rest.split_at(n);
                continue;
            }
        } else {
            event
        };
        match event {
            Event::More => unreachable!(),
            Event::Head(h) => assert_eq!(head.replace(h), None, "one head"),
            Event::Body(b) => {
                assert!(head.is_some() && !b.is_empty());
                body.extend_from_slice(b);
            }
            Event::Redirect(n) => {
                let to = String::from_utf8_lossy(&location[..n]).into_owned();
                return (Got::Redirect(to), false);
            }
            Event::End => {
                return (
                    head.map_or(Got::Nothing, |h| Got::Body(h, body)),
                    r.keep_alive(),
                );
            }
        }
    }
}

const RANGE: Range = Range {
    start: 4,
    end: 10,
    size: 10,
};

fn run(bytes: &str) -> Got {
    let whole = run_from(RANGE, None, bytes.as_bytes(), &[usize::MAX]);
    for sizes in [&[1][..], &[2], &[3, 1], &[7]] {
        assert_eq!(
            run_from(RANGE, None, bytes.as_bytes(), sizes),
            whole,
            "{sizes:?} {bytes}"
        );
    }
    whole.0
}

fn bad(head: &str) -> HttpError {
    match run(&format!("{head}\r\n\r\n456789")) {
        Got::Bad(e) => e,
        other => panic!("{head}: {other:?}"),
    }
}

fn body(head: &str, body: &str) -> (Head, String) {
    match run(&format!("{head}\r\n\r\n{body}")) {
        Got::Body(h, b) => (h, String::from_utf8(b).unwrap()),
        other => panic!("{head}: {other:?}"),
    }
}

const PARTIAL: &str = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 4-9/10";

#[test]
fn partial_content() {
    for extra in [
        "\r\nContent-Length: 6",
        "\r\ncontent-length:6 \r\nETag: \"x\"",
        "\r\nTransfer-Encoding: identity\r\nContent-Length: 6",
        "\r\nContent-Encoding: identity",
        "",
    ] {
        let (head, b) = body(&format!("{PARTIAL}{extra}"), "456789");
        assert!(head.ranged && head.status == 206);
        assert_eq!(b, "456789");
    }
    // An unknown total, a shorter answer, a bare LF, no reason phrase.
    assert_eq!(
        body("HTTP/1.1 206\nContent-Range: bytes 4-9/*", "456789").1,
        "456789"
    );
    let (head, short) = body("HTTP/1.1 206 x\r\nContent-Range: bytes 4-5/10", "45");
    assert_eq!((head.len, short.as_str()), (2, "45"));
}

#[test]
fn chunked() {
    let head = format!("{PARTIAL}\r\nTransfer-Encoding: chunked");
    for text in [
        "6\r\n456789\r\n0\r\n\r\n",
        "1;a=b\r\n4\r\n5 \r\n56789\r\n0\r\nTrailer: x\r\n\r\n",
        "0000000000000006\r\n456789\r\n0\r\n\r\n",
    ] {
        assert_eq!(body(&head, text).1, "456789");
    }
    for (text, error) in [
        ("6\r\n4567890\r\n", HttpError::Malformed),
        ("7\r\n4567890\r\n0\r\n\r\n", HttpError::LongBody),
        ("5\r\n45678\r\n0\r\n\r\n", HttpError::ShortBody),
        ("x\r\n", HttpError::Malformed),
        ("\r\n", HttpError::Malformed),
        ("-1\r\n", HttpError::Malformed),
        ("10000000000000006\r\n456789", HttpError::Malformed),
    ] {
        assert_eq!(
            run(&format!("{head}\r\n\r\n{text}")),
            Got::Bad(error),
            "{text}"
        );
    }
}

#[test]
fn range_ignored_skips_what_is_there() {
    for extra in ["\r\nContent-Length: 10", ""] {
        let (head, b) = body(&format!("HTTP/1.1 200 OK{extra}"), "0123456789");
        assert!(!head.ranged);
        assert_eq!(b, "456789");
    }
    assert_eq!(
        bad("HTTP/1.1 200 OK\r\nContent-Length: 11"),
        HttpError::SizeMismatch {
            offered: 10,
            found: 11
        }
    );
    // The window is left: the body goes on to the end of the file.
    let range = Range {
        start: 4,
        end: 6,
        size: 10,
    };
    let got = run_from(range, None, b"HTTP/1.1 200 OK\r\n\r\n0123456789", &[3]).0;
    assert!(matches!(got, Got::Body(_, b) if b == b"456789"));
}

#[test]
fn statuses() {
    for (status, error) in [
        (401, HttpError::Expired(401)),
        (403, HttpError::Expired(403)),
        (404, HttpError::Expired(404)),
        (410, HttpError::Expired(410)),
        (408, HttpError::Unavailable(408)),
        (429, HttpError::Unavailable(429)),
        (500, HttpError::Unavailable(500)),
        (503, HttpError::Unavailable(503)),
        (101, HttpError::Status(101)),
        (204, HttpError::Status(204)),
        (300, HttpError::Status(300)),
        (304, HttpError::Status(304)),
        (400, HttpError::Status(400)),
        (999, HttpError::Status(999)),
        (416, HttpError::RangeRefused),
    ] {
        assert_eq!(bad(&format!("HTTP/1.1 {status} x")), error);
        assert!(!error.to_string().is_empty());
    }
    // Interim answers are skipped, their fields do not count.
    let interim = format!(
        "HTTP/1.1 100 Continue\r\nContent-Length: 99\r\n\r\nHTTP/1.1 103 x\r\n\r\n{PARTIAL}"
    );
    assert_eq!(body(&interim, "456789").1, "456789");
    let all = Range::from(10, 10);
    let got = run_from(
        all,
        None,
        b"HTTP/1.1 416 x\r\nContent-Range: bytes */10\r\n\r\n",
        &[5],
    );
    assert_eq!(got, (Got::Nothing, false));
    let got = run_from(
        all,
        None,
        b"HTTP/1.1 416 x\r\nContent-Range: bytes */11\r\n\r\n",
        &[5],
    )
    .0;
    assert_eq!(
        got,
        Got::Bad(HttpError::SizeMismatch {
            offered: 10,
            found: 11
        })
    );
}

#[test]
fn refused_heads() {
    use HttpError as E;
    let mismatch = E::SizeMismatch {
        offered: 10,
        found: 11,
    };
    for (head, error) in [
        ("HTTP/2 206 x", E::Malformed),
        ("HTTP/1.1 20 x", E::Malformed),
        ("HTTP/1.1 2066 x", E::Malformed),
        ("HTTP/1.1 099 x", E::Malformed),
        ("ICY 200 OK", E::Malformed),
        ("HTTP/1.1 200 a\x7fb", E::Malformed),
        ("HTTP/1.1 206 x", E::WrongRange),
        ("HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/11", mismatch),
        (
            "HTTP/1.1 206 x\r\nContent-Range: bytes 3-9/10",
            E::WrongRange,
        ),
        (
            "HTTP/1.1 206 x\r\nContent-Range: bytes 4-10/10",
            E::WrongRange,
        ),
        (
            "HTTP/1.1 206 x\r\nContent-Range: bytes 9-4/10",
            E::WrongRange,
        ),
        ("HTTP/1.1 206 x\r\nContent-Range: bytes */10", E::WrongRange),
        (
            "HTTP/1.1 206 x\r\nContent-Range: lines 4-9/10",
            E::WrongRange,
        ),
        (
            "HTTP/1.1 206 x\r\nContent-Range: bytes 4-9/10\r\nContent-Range: bytes 4-9/10",
            E::WrongRange,
        ),
        (
            "HTTP/1.1 206 x\r\nContent-Range: bytes 4-99999999999999999999/10",
            E::WrongRange,
        ),
        (&format!("{PARTIAL}\r\nContent-Length: 7"), E::WrongLength),
        (
            &format!("{PARTIAL}\r\nContent-Length: 6\r\nContent-Length: 7"),
            E::WrongLength,
        ),
        (
            &format!("{PARTIAL}\r\nContent-Length: 6, 6"),
            E::WrongLength,
        ),
        (&format!("{PARTIAL}\r\nContent-Length: -6"), E::WrongLength),
        (
            &format!("{PARTIAL}\r\nContent-Encoding: gzip"),
            E::ContentEncoding,
        ),
        (
            &format!("{PARTIAL}\r\nTransfer-Encoding: gzip, chunked"),
            E::TransferEncoding,
        ),
        (
            &format!("{PARTIAL}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            E::TransferEncoding,
        ),
        (
            "HTTP/1.1 206 x\r\nContent-Type: Multipart/ByteRanges; boundary=THIS_STRING_SEPARATES_AND_IS_LONG",
            E::Multipart,
        ),
        (&format!("{PARTIAL}\r\nBad Name: x"), E::Malformed),
        (&format!("{PARTIAL}\r\n folded"), E::Malformed),
        (&format!("{PARTIAL}\r\nnocolon"), E::Malformed),
        (&format!("{PARTIAL}\r\n: x"), E::Malformed),
        (&format!("{PARTIAL}\r\nX: a\rb"), E::Malformed),
        (&format!("{PARTIAL}\r\nX: a\0b"), E::Malformed),
        (
            &format!("{PARTIAL}\r\nX: {}", "y".repeat(20_000)),
            E::HeadTooLong,
        ),
        (&"HTTP/1.1 100 x\r\n\r\n".repeat(2_000), E::HeadTooLong),
    ] {
        assert_eq!(bad(head), error, "{}", &head[..head.len().min(120)]);
    }
}

#[test]
fn long_uninteresting_fields_are_skipped() {
    let long = "c".repeat(5000);
    let head = format!("{PARTIAL}\r\nSet-Cookie: {long}\r\nLocation: {long}\r\nX{long}: y");
    assert_eq!(body(&head, "456789").1, "456789");
    // A long name that only begins like a known one is another.
    assert_eq!(
        body(&format!("{PARTIAL}\r\nContent-Length{long}: 7"), "456789").1,
        "456789"
    );
}

#[test]
fn redirect_targets() {
    for status in [301, 302, 303, 307, 308] {
        let text =
            format!("HTTP/1.1 {status} x\r\nlocation:  http://o/x \r\nContent-Length: 9\r\n\r\n");
        assert_eq!(run(&text), Got::Redirect("http://o/x".into()));
    }
    assert_eq!(bad("HTTP/1.1 302 x"), HttpError::Location);
    assert_eq!(bad("HTTP/1.1 302 x\r\nLocation: "), HttpError::Location);
    assert_eq!(
        bad("HTTP/1.1 302 x\r\nLocation: /a\r\nLocation: /b"),
        HttpError::Location
    );
    let long = "x".repeat(33);
    assert_eq!(
        bad(&format!("HTTP/1.1 302 x\r\nLocation: {long}")),
        HttpError::Location
    );
    assert_eq!(
        run(&format!(
            "HTTP/1.1 302 x\r\nLocation: {}\r\n\r\n",
            &long[1..]
        )),
        Got::Redirect(long[1..].into())
    );
}

fn head_of(fields: &str) -> Head {
    body(&format!("{PARTIAL}{fields}"), "456789").0
}

#[test]
fn a_changed_file_is_noticed() {
    let one = head_of("\r\nETag: \"one\"\r\nLast-Modified: Mon").validator;
    assert_eq!(
        one,
        head_of("\r\nETag:\"one\"\r\nLast-Modified: Tue").validator
    );
    assert_eq!(head_of("").validator, None);
    let next = |known, fields: &str| {
        run_from(
            RANGE,
            known,
            format!("{PARTIAL}{fields}\r\n\r\n456789").as_bytes(),
            &[9],
        )
        .0
    };
    assert_eq!(next(one, "\r\nETag: \"two\""), Got::Bad(HttpError::Changed));
    assert!(matches!(next(one, "\r\nETag: \"one\""), Got::Body(..)));
    // Nothing to compare is no change; the digest has the last word.
    assert!(matches!(next(one, ""), Got::Body(..)));
    assert!(matches!(next(one, "\r\nLast-Modified: Tue"), Got::Body(..)));
    let date = head_of("\r\nLast-Modified: Mon").validator;
    assert_eq!(
        next(date, "\r\nLast-Modified: Tue"),
        Got::Bad(HttpError::Changed)
    );
    assert_eq!(
        run_from(
            RANGE,
            one,
            b"HTTP/1.1 200 OK\r\nETag: \"two\"\r\n\r\n",
            &[9]
        )
        .0,
        Got::Bad(HttpError::Changed)
    );
}

#[test]
fn connections_are_kept_only_when_that_is_safe() {
    let kept = |head: &str, body: &str| {
        run_from(
            RANGE,
            None,
            format!("{head}\r\n\r\n{body}").as_bytes(),
            &[5],
        )
        .1
    };
    let length = format!("{PARTIAL}\r\nContent-Length: 6");
    let chunks = format!("{PARTIAL}\r\nTransfer-Encoding: chunked");
    assert!(kept(&length, "456789"));
    assert!(kept(&chunks, "6\r\n456789\r\n0\r\n\r\n"));
    assert!(kept(
        &format!("{length}\r\nConnection: keep-alive"),
        "456789"
    ));
    assert!(!kept(
        &format!("{length}\r\nConnection: x, Close"),
        "456789"
    ));
    assert!(!kept(
        &format!("{chunks}\r\nContent-Length: 6"),
        "6\r\n456789\r\n0\r\n\r\n"
    ));
    assert!(!kept(&length.replace("1.1", "1.0"), "456789"));
    assert!(!kept(PARTIAL, "456789"));
    // The last chunk's end is missing, its content is not.
    assert!(!kept(&chunks, "6\r\n456789"));
}

#[test]
fn bytes_behind_the_end_are_left_alone() {
    let mut r = Response::new(RANGE, None);
    let input = format!("{PARTIAL}\r\nContent-Length: 6\r\n\r\n456789HTTP/1.1");
    let (n, _) = r.feed(input.as_bytes(), &mut []).unwrap();
    let (m, event) = r.feed(&input.as_bytes()[n..], &mut []).unwrap();
    assert_eq!(event, Event::Body(b"456789"));
    assert_eq!(
        r.feed(&input.as_bytes()[n + m..], &mut []),
        Ok((0, Event::End))
    );
}

#[test]
fn every_truncation_is_a_short_body() {
    for head in [
        format!("{PARTIAL}\r\nContent-Length: 6\r\n\r\n456789"),
        format!("{PARTIAL}\r\n\r\n456789"),
        format!("{PARTIAL}\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n456789"),
        "HTTP/1.1 200 OK\r\n\r\n0123456789".into(),
        "HTTP/1.1 302 x\r\nLocation: /x\r\n\r".into(),
    ] {
        for end in 0..head.len() {
            assert_eq!(
                run(&head[..end]),
                Got::Bad(HttpError::ShortBody),
                "{end} {head}"
            );
        }
    }
}

#[test]
fn it_is_small() {
    assert!(
        core::mem::size_of::<Response>() <= 256,
        "{}",
        core::mem::size_of::<Response>()
    );
}

fn conversation() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "Content-Length: 6",
        "Content-Length: 10",
        "Content-Range: bytes 4-9/10",
        "ETag: \"a\"",
        "Transfer-Encoding: chunked",
        "Connection: close",
        "Location: /x",
        "Content-Encoding: gzip",
        "X: y",
        "Set-Cookie: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "Content-Type: multipart/byteranges; boundary=x",
        " folded",
        "bad",
        "",
    ]);
    let status = prop::sample::select(vec![100, 200, 206, 206, 206, 302, 403, 416, 500]);
    let tail = prop::sample::select(vec![
        "456789",
        "0123456789",
        "6\r\n456789\r\n0\r\n\r\n",
        "3\r\n456\r\n",
        "",
    ]);
    (status, prop::collection::vec(field, 0..5), tail)
        .prop_map(|(s, f, t)| format!("HTTP/1.1 {s} x\r\n{}\r\n\r\n{t}", f.join("\r\n")))
}

proptest! {
    #[test]
    fn chunking_does_not_matter(
        text in conversation(), sizes in prop::collection::vec(1usize..20, 1..8), cut in any::<prop::sample::Index>()
    ) {
        let bytes = &text.as_bytes()[..=cut.index(text.len())];
        let bytes = if bytes.len() % 3 == 0 { text.as_bytes() } else { bytes };
        let whole = run_from(RANGE, None, bytes, &[usize::MAX]);
        prop_assert_eq!(run_from(RANGE, None, bytes, &sizes), whole.clone());
        if let Got::Body(_, b) = whole.0 {
            prop_assert!(b.len() == 6);
        }
    }

    #[test]
    fn damage_never_gives_other_than_the_range(
        text in conversation(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Got::Body(_, b) = run_from(RANGE, None, &bytes, &[3]).0 {
            prop_assert!(b.len() <= 6);
        }
    }

    #[test]
    fn rubbish_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let got = run_from(RANGE, None, &bytes, &[5]).0;
        prop_assert!(matches!(got, Got::Bad(_)), "{:?}", got);
    }

    /// Where both take a header section, they agree on status and fields; what httparse refuses we refuse.
    #[test]
    fn heads_read_like_httparse(
        status in 100u16..600, names in prop::collection::vec("[ -~]{0,8}", 0..6), values in prop::collection::vec("[ -~\t]{0,12}", 6)
    ) {
        let fields: String = names.iter().zip(&values).map(|(n, v)| format!("{n}:{v}\r\n")).collect();
        let text = format!("HTTP/1.1 {status} reason\r\n{fields}\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut oracle = httparse::Response::new(&mut headers);
        let good = oracle.parse(text.as_bytes()).is_ok_and(|s| s.is_complete());
        let got = run_from(RANGE, None, text.as_bytes(), &[4]).0;
        prop_assert_eq!(got == Got::Bad(HttpError::Malformed), !good, "{:?}", got);
        if let (true, Got::Bad(HttpError::Expired(s) | HttpError::Unavailable(s) | HttpError::Status(s))) = (good, got) {
            prop_assert_eq!(oracle.code, Some(s));
        }
    }
}
