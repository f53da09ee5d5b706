//! serde_json is the oracle: it decides what is JSON and what a value is.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

/// Reads any value by way of the typed calls.
fn read(r: &mut Reader<'_>) -> Result<Value, Error> {
    Ok(match r.kind()? {
        Kind::Object => {
            let mut map = serde_json::Map::new();
            r.begin_object()?;
            while let Some(key) = r.next_key()? {
                let value = read(r)?;
                map.insert(key.to_string(), value);
            }
            Value::Object(map)
        }
        Kind::Array => {
            let mut list = vec![];
            r.begin_array()?;
            while r.next_element()? {
                list.push(read(r)?);
            }
            Value::Array(list)
        }
        Kind::String => {
            let text = r.string()?;
            let mut buf = vec![0; text.len()];
            let copied = text.copy_to(&mut buf)?.to_string();
            assert_eq!(copied, text.to_string());
            assert!(text.is_empty() || text.copy_to(&mut vec![0; text.len() - 1]).is_err());
            if let Some(plain) = text.plain() {
                assert_eq!(plain, copied);
            }
            Value::String(copied)
        }
        Kind::Number => {
            let start = r.offset();
            let mut ahead = r.clone();
            r.skip()?;
            let text = core::str::from_utf8(&r.bytes[start..r.offset()]).unwrap();
            let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
            // `unsigned` takes exactly what serde_json takes for a u64.
            assert_eq!(
                ahead.unsigned().ok(),
                serde_json::from_str::<u64>(text)
                    .ok()
                    .filter(|_| text != "-0")
            );
            value
        }
        Kind::Bool => Value::Bool(r.boolean()?),
        Kind::Null => {
            assert!(r.null()?);
            Value::Null
        }
    })
}

fn ours(doc: &[u8]) -> Result<Value, Error> {
    let mut r = Reader::new(doc);
    let value = read(&mut r)?;
    r.end()?;
    Ok(value)
}

fn skipped(doc: &[u8]) -> Result<(), Error> {
    let mut r = Reader::new(doc);
    r.skip()?;
    r.end()
}

/// Same verdict and value as serde_json, and skipping judges like reading.
fn compare(doc: &[u8]) {
    let mine = ours(doc);
    assert_eq!(
        mine.as_ref().err(),
        skipped(doc).as_ref().err(),
        "{:?}",
        String::from_utf8_lossy(doc)
    );
    let reference = serde_json::from_slice::<Value>(doc.strip_suffix(&[0]).unwrap_or(doc));
    match (mine, reference) {
        (Ok(a), Ok(b)) => assert_eq!(a, b),
        (Err(e), Err(_)) => assert!(e.offset <= doc.len()),
        // The one value that differs: serde_json refuses what no f64 holds.
        (Ok(_), Err(e)) if e.to_string().contains("out of range") => {}
        (Err(e), Ok(_)) if e.kind == ErrorKind::TooDeep => {}
        (a, b) => panic!("{:?}: {a:?} {b:?}", String::from_utf8_lossy(doc)),
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(|v| v.into()),
        any::<i64>().prop_map(|v| v.into()),
        (-1e9..1e9f64).prop_map(|v| v.into()),
        ".{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::hash_map("[a-z\"\\\\\u{e9}]{0,6}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Every character outside plain ASCII (and some within) as \u escapes.
fn escaped(doc: &str) -> String {
    let mut out = String::new();
    for c in doc.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|u| out.push_str(&format!("\\u{u:04X}")));
        }
    }
    out
}

proptest! {
    #[test]
    fn documents_read_like_serde_json(v in value(), nul in any::<bool>(), pretty in any::<bool>()) {
        let mut doc = if pretty { serde_json::to_string_pretty(&v) } else { serde_json::to_string(&v) }.unwrap();
        // Not `v` itself: serde_json reads floats to within one bit only.
        let v: Value = serde_json::from_str(&doc).unwrap();
        prop_assert_eq!(&ours(escaped(&doc).as_bytes()).unwrap(), &v);
        if nul {
            doc.push('\0');
        }
        prop_assert_eq!(&ours(doc.as_bytes()).unwrap(), &v);
    }

    #[test]
    fn every_truncation_is_judged_like_serde_json(v in value()) {
        let doc = serde_json::to_vec(&v).unwrap();
        for end in 0..doc.len() {
            compare(&doc[..end]);
        }
    }

    #[test]
    fn damaged_documents_are_judged_like_serde_json(
        v in value(), at in any::<prop::sample::Index>(), byte in any::<u8>(), insert in any::<bool>()
    ) {
        let mut doc = serde_json::to_vec(&v).unwrap();
        let at = at.index(doc.len());
        if insert { doc.insert(at, byte) } else { doc[at] = byte }
        compare(&doc);
    }

    #[test]
    fn token_soup_is_judged_like_serde_json(
        doc in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "0", "-", "1.5", "e", "+", ".", "true", "fals",
            "null", " ", "\n", "\\", "\\u", "\\ud83d", "\\ude00", "d800", "\u{7f}", "\t", "é",
        ]), 0..14)
    ) {
        compare(doc.concat().as_bytes());
    }

    #[test]
    fn bytes_never_panic(doc in prop::collection::vec(any::<u8>(), 0..200)) {
        compare(&doc);
    }
}

#[test]
fn escapes() {
    let mut r = Reader::new(br#""\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00""#);
    assert_eq!(r.string().unwrap(), "\"\\/\u{8}\u{c}\n\r\tA\u{e9}\u{1F600}");
    for (doc, kind, offset) in [
        (&br#""\x""#[..], ErrorKind::BadEscape, 1),
        (br#""ab\ud83d""#, ErrorKind::BadEscape, 3),
        (br#""\ude00""#, ErrorKind::BadEscape, 1),
        (br#""\ud83d\u0041""#, ErrorKind::BadEscape, 1),
        (br#""\u12"#, ErrorKind::BadEscape, 1),
        (b"\"a\nb\"", ErrorKind::BadString, 2),
        (b"\"a\xffb\"", ErrorKind::BadString, 2),
        (b"\"abc", ErrorKind::Truncated, 4),
    ] {
        assert_eq!(
            Reader::new(doc).string().unwrap_err(),
            Error { kind, offset }
        );
    }
}

#[test]
fn numbers_or_strings() {
    let unsigned = |doc: &str| Reader::new(doc.as_bytes()).unsigned();
    assert_eq!(unsigned("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(unsigned("\"432945\""), Ok(432_945));
    assert_eq!(unsigned("\"\\u0031\""), Ok(1));
    for bad in [
        "18446744073709551616",
        "-1",
        "1.0",
        "1e3",
        "\"\"",
        "\"1 \"",
        "\"0x10\"",
        "01",
    ] {
        assert_eq!(
            unsigned(bad).unwrap_err().kind,
            ErrorKind::BadNumber,
            "{bad}"
        );
    }
    assert_eq!(unsigned("true").unwrap_err().kind, ErrorKind::WrongType);
    assert_eq!(unsigned("").unwrap_err().kind, ErrorKind::Truncated);
}

#[test]
fn depth_is_bounded() {
    let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
    let max = usize::from(MAX_DEPTH);
    assert_eq!(skipped(nest(max).as_bytes()), Ok(()));
    let error = Error {
        kind: ErrorKind::TooDeep,
        offset: max,
    };
    assert_eq!(skipped(nest(max + 1).as_bytes()), Err(error));
    assert_eq!(skipped(nest(100_000).as_bytes()), Err(error));
    assert_eq!(error.to_string(), "JSON nested too deeply (offset 24)");
}

#[test]
fn only_one_nul_is_dropped() {
    assert_eq!(skipped(b"{}\0"), Ok(()));
    let error = Error {
        kind: ErrorKind::Trailing,
        offset: 2,
    };
    assert_eq!(skipped(b"{}\0\0"), Err(error));
    assert_eq!(skipped(b"{}x"), Err(error));
}

#[test]
fn compare_ignores_case_only_when_asked() {
    let doc = b"\"Sha\\u003256\"";
    let text = Reader::new(doc).string().unwrap();
    assert!(text.eq_ignore_case("SHA256") && text != "SHA256" && text == "Sha256");
    assert!(!text.eq_ignore_case("SHA2567") && !text.eq_ignore_case("SHA25"));
    assert_eq!(format!("{text:?}"), "\"Sha256\"");
    let all: Vec<char> = text.chars().collect();
    assert_eq!(all.len(), 6);
}
