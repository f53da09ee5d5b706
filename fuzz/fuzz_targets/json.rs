//! A hostile cloud.
//!
//! * The reader takes exactly the documents that `serde_json` takes (up to its
//!   own limit of depth), and reads the same from them.
//! * An offer says what `serde_json` finds in the message.
//! * Whatever texts a device reports, the message is JSON that says them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ota_proto::json::{Error, ErrorKind, Kind, Reader};
use ota_proto::messages::{
    Push, Step, URL_MAX, VERSION_MAX, write_firmware_get, write_inform, write_progress,
};
use serde_json::{Map, Number, Value};

/// Reads a value with our reader into their type.
fn value(r: &mut Reader<'_>) -> Result<Value, Error> {
    let text = |s: ota_proto::json::Str<'_>| {
        let text: String = s.chars().collect();
        assert_eq!(text.len(), s.len());
        assert_eq!(text.is_empty(), s.is_empty());
        assert!(s == text.as_str());
        assert!(s.plain().is_none_or(|p| p == text));
        let mut buf = vec![0; text.len()];
        assert_eq!(s.copy_to(&mut buf), Ok(text.as_str()));
        if let Some(short) = buf.len().checked_sub(1) {
            assert!(s.copy_to(&mut buf[..short]).is_err());
        }
        text
    };
    Ok(match r.kind()? {
        Kind::Object => {
            let mut map = Map::new();
            r.begin_object()?;
            while let Some(key) = r.next_key()? {
                map.insert(text(key), value(r)?);
            }
            Value::Object(map)
        }
        Kind::Array => {
            let mut list = vec![];
            r.begin_array()?;
            while r.next_element()? {
                list.push(value(r)?);
            }
            Value::Array(list)
        }
        Kind::String => Value::String(text(r.string()?)),
        Kind::Number => match r.clone().unsigned() {
            Ok(n) => {
                r.unsigned()?;
                Value::Number(Number::from(n))
            }
            Err(_) => {
                r.skip()?;
                Value::Null
            }
        },
        Kind::Bool => Value::Bool(r.boolean()?),
        Kind::Null => {
            assert_eq!(r.null(), Ok(true));
            Value::Null
        }
    })
}

/// Numbers we do not read are `null`; all others as text, for `1` and `1.0` differ.
fn level(v: Value) -> Value {
    match v {
        Value::Number(n) => n
            .to_string()
            .parse::<u64>()
            .map_or(Value::Null, Value::from),
        Value::Array(list) => list.into_iter().map(level).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, level(v))).collect(),
        other => other,
    }
}

fn check_documents(data: &[u8]) {
    let mut r = Reader::new(data);
    let ours = r.skip().and_then(|()| r.end());
    let theirs: Result<Value, _> = serde_json::from_slice(data.strip_suffix(&[0]).unwrap_or(data));
    match (ours, theirs) {
        (Ok(()), Ok(theirs)) => {
            let mut r = Reader::new(data);
            let ours = value(&mut r).expect("was skipped before");
            assert_eq!(ours, level(theirs));
        }
        (
            Err(Error {
                kind: ErrorKind::TooDeep,
                ..
            }),
            _,
        ) => {}
        (Err(e), theirs) => {
            assert!(theirs.is_err(), "refused ({e}), but {theirs:?}");
            assert!(e.offset <= data.len());
        }
        (Ok(()), Err(e)) => panic!("taken, but {e}"),
    }
}

fn check_offer(data: &[u8]) {
    let Ok(push) = Push::parse(data) else { return };
    let message: Value =
        serde_json::from_slice(data.strip_suffix(&[0]).unwrap_or(data)).expect("good JSON");
    let Push::Offer(offer) = push else { return };
    let theirs = &message["data"];
    // A field given as a value and again as null: theirs is the last.
    let is = |name: &str, ours: &str| {
        let field = &theirs[name];
        assert!(field.is_null() || field.as_str() == Some(ours), "{name}");
    };
    let (mut url, mut version) = ([0; URL_MAX], [0; VERSION_MAX]);
    is("url", offer.url.copy_to(&mut url).expect("fits"));
    is(
        "version",
        offer.version.copy_to(&mut version).expect("fits"),
    );
    assert!(offer.to_offer().is_ok_and(|o| o.same_package(&offer)));
    assert_ne!(offer.size, 0);
    match &theirs["size"] {
        Value::String(s) => assert_eq!(s.parse(), Ok(offer.size)),
        Value::Number(n) => assert_eq!(n.as_u64(), Some(offer.size.into())),
        other => assert!(other.is_null()),
    }
}

fn check_reports(text: &str) {
    let mut buf = [0; 4096];
    let json = |buf: &[u8], n: usize| -> Value {
        serde_json::from_slice(&buf[..n]).expect("what we write is JSON")
    };
    if let Ok(n) = write_progress(&mut buf, 7, Step::Check, text, Some(text)) {
        let v = json(&buf, n);
        assert_eq!(
            (&v["id"], &v["params"]["step"]),
            (&"7".into(), &"-3".into())
        );
        assert_eq!(
            (v["params"]["desc"].as_str(), v["params"]["module"].as_str()),
            (Some(text), Some(text))
        );
    }
    if let Ok(n) = write_inform(&mut buf, u32::MAX, text, None) {
        assert_eq!(json(&buf, n)["params"]["version"].as_str(), Some(text));
    }
    if let Ok(n) = write_firmware_get(&mut buf, 0, Some(text)) {
        assert_eq!(json(&buf, n)["params"]["module"].as_str(), Some(text));
    }
}

fuzz_target!(|data: &[u8]| {
    check_documents(data);
    check_offer(data);
    if let Ok(text) = core::str::from_utf8(data) {
        check_reports(text);
    }
});
