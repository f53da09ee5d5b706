//! A text that is kept at the end of the receive buffer.

use crate::http::{Url, UrlError, follow};
use crate::json::unescape;
use crate::mqtt::*;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

const OPTIONS: ConnectOptions<'static> = ConnectOptions {
    client_id: "id",
    username: None,
    password: None,
    keep_alive_s: 60,
    clean_session: true,
};

fn connected<'b>(rx: &'b mut [u8], tx: &'b mut [u8]) -> Client<'b> {
    let mut c = Client::new(rx, tx, Config::DEFAULT);
    c.connect(&OPTIONS, 0).unwrap();
    c.transmitted(c.transmit().len());
    c.receive(b"\x20\x02\x00\x00");
    assert!(matches!(c.poll(0), Ok(Some(Event::Connected { .. }))));
    c
}

fn message(payload: &str) -> Vec<u8> {
    let mut packet = vec![0; payload.len() + 16];
    let n = wire::encode_publish(&mut packet, "t", None, &mut |room| {
        room[..payload.len()].copy_from_slice(payload.as_bytes());
        Some(payload.len())
    });
    packet.truncate(n.unwrap());
    packet
}

/// Takes everything in, keeps what stands between `<` and `>` of a message;
/// the payloads, and what was too large.
fn hear(c: &mut Client<'_>, mut bytes: &[u8]) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let taken = c.receive(bytes);
        bytes = &bytes[taken..];
        loop {
            let mut part = None;
            match c.poll(0).unwrap() {
                None => break,
                Some(Event::Message(m)) => {
                    let text = core::str::from_utf8(m.payload).unwrap();
                    seen.push(text.to_string());
                    if let (Some(from), Some(to)) = (text.find('<'), text.find('>')) {
                        part = Some((text.len() - from - 1, to - from - 1));
                    }
                }
                Some(Event::Oversized { size, limit, .. }) => seen.push(format!("{size}>{limit}")),
                Some(other) => panic!("{other:?}"),
            }
            if let Some((behind, len)) = part {
                assert!(c.keep(behind, len, unescape));
            }
        }
        if bytes.is_empty() || taken == 0 {
            return seen;
        }
    }
}

fn kept(c: &Client<'_>) -> String {
    String::from_utf8(c.kept().to_vec()).unwrap()
}

#[test]
fn room_shrinks_by_what_is_kept_and_comes_back() {
    let (mut rx, mut tx) = ([0; 600], [0; 64]);
    let mut c = connected(&mut rx, &mut tx);
    assert_eq!((c.keep_max(), c.kept().len()), (600 - Client::LEAST_RX, 0));
    let url = "u".repeat(300);
    hear(&mut c, &message(&format!("a<{url}>b")));
    assert_eq!(kept(&c), url);
    let (fits, not) = ("x".repeat(290), "y".repeat(300));
    assert_eq!(hear(&mut c, &message(&fits)), [fits.as_str()]);
    assert_eq!(hear(&mut c, &message(&not)), ["306>300"]);
    assert_eq!(kept(&c), url);
    // It outlives the connection.
    c.disconnected();
    c.connect(&OPTIONS, 0).unwrap();
    assert_eq!(kept(&c), url);
    c.receive(b"\x20\x02\x00\x00");
    assert!(matches!(c.poll(0), Ok(Some(Event::Connected { .. }))));
    c.forget();
    assert_eq!(hear(&mut c, &message(&not)), [not.as_str()]);
    assert_eq!(kept(&c), "");
}

#[test]
fn what_cannot_be_kept_changes_nothing() {
    let (mut rx, mut tx) = ([0; 600], [0; 64]);
    let mut c = connected(&mut rx, &mut tx);
    hear(&mut c, &message("<first>"));
    for (behind, len, edited) in [
        (500, 500, Some(400)),
        (5, 6, Some(1)),
        (900, 1, Some(1)),
        (5, 5, None),
        (5, 5, Some(6)),
    ] {
        c.receive(&message(&"m".repeat(500)));
        assert!(matches!(c.poll(0), Ok(Some(Event::Message(_)))));
        assert!(
            !c.keep(behind, len, |_| edited),
            "{behind} {len} {edited:?}"
        );
        assert_eq!(c.poll(0), Ok(None));
        assert_eq!(kept(&c), "first");
    }
    // Without a message there is nothing to keep.
    assert!(!c.keep(0, 1, |_| Some(1)));
    assert_eq!(hear(&mut c, &message("more")), ["more"]);
}

#[test]
fn escapes_become_shorter() {
    for (raw, plain) in [
        (r"http:\/\/h\/f?a=1\u0026b=2", "http://h/f?a=1&b=2"),
        (r#"\"\\\b\f\n\r\t"#, "\"\\\u{8}\u{c}\n\r\t"),
        (r"\ud83d\ude00\u00e9\u4e2d", "\u{1f600}\u{e9}\u{4e2d}"),
        ("\u{1f600}plain", "\u{1f600}plain"),
        ("", ""),
    ] {
        let mut bytes = raw.as_bytes().to_vec();
        let n = unescape(&mut bytes).unwrap();
        assert_eq!(core::str::from_utf8(&bytes[..n]), Ok(plain));
    }
    for bad in [r"\", r"\x", r"\u12", r"\ud83d", r"a\"] {
        assert_eq!(unescape(&mut bad.as_bytes().to_vec()), None, "{bad}");
    }
}

#[test]
fn lent_room_is_left_alone_until_it_is_given_back() {
    let (mut rx, mut tx) = ([0; 1000], [0; 64]);
    let mut c = connected(&mut rx, &mut tx);
    hear(&mut c, &message("<http://h/old/f>"));
    let room = c.lend().len();
    assert_eq!(room, 1000 - "http://h/old/f".len() - Client::LEND_GAP);
    c.lend()[..5].copy_from_slice(b"new/f");
    // A packet that does not fit beside it waits; it is not lost.
    let long = "z".repeat(400);
    let packet = message(&long);
    let first = c.receive(&packet);
    assert_eq!((first, c.rx_space().len()), (Client::LEND_GAP, 0));
    assert_eq!(c.poll(0), Ok(None));
    assert_eq!((c.lend().len(), &c.lend()[..5]), (room, &b"new/f"[..]));
    c.replace_kept(|old, room| {
        let old = core::str::from_utf8(old).map_err(|_| UrlError::Character)?;
        follow(&Url::parse(old)?, room, 5)
    })
    .unwrap();
    assert_eq!(kept(&c), "http://h/old/new/f");
    assert_eq!(hear(&mut c, &packet[first..]), [long.as_str()]);
    assert_eq!(kept(&c), "http://h/old/new/f");
    // An error leaves what was there.
    c.lend()[..2].copy_from_slice(b" x");
    assert_eq!(c.replace_kept(|_, _| Err(7)), Err(7));
    assert_eq!(kept(&c), "http://h/old/new/f");
    c.lend();
    c.give_back();
    assert_eq!(hear(&mut c, &packet), [long.as_str()]);
}

proptest! {
    /// Messages of any length in pieces of any length, some with a text to keep:
    /// none is damaged, and the text is always the last one.
    #[test]
    fn keeping_damages_no_message(
        sizes in prop::collection::vec((0usize..120, prop::option::of(0usize..200)), 1..30),
        piece in 1usize..90,
    ) {
        let (mut rx, mut tx) = ([0; 700], [0; 64]);
        let mut c = connected(&mut rx, &mut tx);
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        let mut last = String::new();
        for (i, (len, url)) in sizes.iter().enumerate() {
            let mut text = format!("{i}{}", "m".repeat(*len));
            if let Some(url) = url {
                last = format!("u{i}{}", "/".repeat(*url));
                text += &format!("<{}>tail", last.replace('/', "\\/"));
            }
            stream.extend(message(&text));
            expected.push(text);
        }
        let limit = 700;
        let fits = expected.iter().all(|t| t.len() + 8 < limit - 210);
        let mut seen = Vec::new();
        for chunk in stream.chunks(piece) {
            seen.extend(hear(&mut c, chunk));
        }
        if fits {
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(kept(&c), last);
        }
    }
}
