//! Golden messages, and every way an offer can be bad.

use super::*;
use crate::http::UrlError;
use crate::json::{self, ErrorKind};
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn text(f: impl FnOnce(&mut [u8]) -> Result<usize, NoRoom>) -> String {
    let mut buf = [0; 256];
    let n = f(&mut buf).unwrap();
    String::from_utf8(buf[..n].to_vec()).unwrap()
}

#[test]
fn bytes_on_the_wire() {
    assert_eq!(
        text(|b| write_inform(b, 1, "app-1.0.0-20190530.1700", None)),
        r#"{"id":"1","params":{"version":"app-1.0.0-20190530.1700"}}"#
    );
    assert_eq!(
        text(|b| write_inform(b, u32::MAX, "2.0.0", Some("wifi"))),
        r#"{"id":"4294967295","params":{"version":"2.0.0","module":"wifi"}}"#
    );
    assert_eq!(
        text(|b| write_progress(b, 0, Step::Percent(10), "", None)),
        r#"{"id":"0","params":{"step":"10","desc":""}}"#
    );
    assert_eq!(
        text(|b| write_progress(b, 2, Step::Check, "digest \"x\"", Some("m"))),
        r#"{"id":"2","params":{"step":"-3","desc":"digest \"x\"","module":"m"}}"#
    );
    assert_eq!(
        text(|b| write_firmware_get(b, 123, Some("MCU"))),
        r#"{"id":"123","version":"1.0","params":{"module":"MCU"},"method":"thing.ota.firmware.get"}"#
    );
    assert_eq!(
        text(|b| write_firmware_get(b, 3, None)),
        r#"{"id":"3","version":"1.0","params":{},"method":"thing.ota.firmware.get"}"#
    );
}

#[test]
fn steps_stay_within_the_clouds_codes() {
    for (step, code) in [
        (Step::Percent(0), 1),
        (Step::Percent(255), 100),
        (Step::Upgrade, -1),
        (Step::Download, -2),
        (Step::Check, -3),
        (Step::Burn, -4),
    ] {
        assert_eq!(step.code(), code);
    }
}

#[test]
fn a_small_buffer_is_an_error_not_a_cut_message() {
    let whole = text(|b| write_inform(b, 7, "1.0.0", None)).len();
    for n in 0..whole {
        assert_eq!(write_inform(&mut vec![0; n], 7, "1.0.0", None), Err(NoRoom));
    }
    assert_eq!(
        write_inform(&mut vec![0; whole], 7, "1.0.0", None),
        Ok(whole)
    );
}

proptest! {
    #[test]
    fn written_text_reads_back(version in ".{0,30}", id in any::<u32>()) {
        let mut buf = [0; 512];
        let n = write_inform(&mut buf, id, &version, None).unwrap();
        let v: serde_json::Value = serde_json::from_slice(&buf[..n]).unwrap();
        prop_assert_eq!(v["params"]["version"].as_str(), Some(version.as_str()));
        let id = id.to_string();
        prop_assert_eq!(v["id"].as_str(), Some(id.as_str()));
    }
}

const MD5: &str = "93230c3bde425a9d7984a594ac55ea1e";
const SHA: &str = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08";

/// The documented push, as a serde_json value to be changed.
fn push() -> serde_json::Value {
    serde_json::json!({
        "code": "1000", "message": "success", "id": 1507707025,
        "data": {
            "size": 432945, "version": "2.0.0", "url": "https://iotx-ota.oss-cn-shanghai.aliyuncs.com/nopoll.tar.gz?Expires=1502955804&Signature=XfgJu7P6DW",
            "sign": MD5, "signMethod": "Md5", "md5": MD5,
            "extData": {"key1": "value1", "_package_udi": "{\"ota_notice\":\"x\"}"}
        }
    })
}

fn with(change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) -> Vec<u8> {
    let mut p = push();
    change(p["data"].as_object_mut().unwrap());
    serde_json::to_vec(&p).unwrap()
}

fn offer(payload: &[u8]) -> Result<OfferRef<'_>, OfferError> {
    match Push::parse(payload)? {
        Push::Offer(o) => Ok(o),
        Push::Nothing => panic!("no offer"),
    }
}

#[test]
fn documented_push() {
    let doc = with(|_| ());
    let o = offer(&doc).unwrap();
    assert_eq!(
        (o.size, o.diff, o.module.is_none(), o.digestsign.is_none()),
        (432945, None, true, true)
    );
    assert_eq!(o.version, "2.0.0");
    assert_eq!(o.digest.method(), Method::Md5);
    assert_eq!(o.digest.as_bytes()[..3], [0x93, 0x23, 0x0c]);
    assert_eq!(o.digest.as_bytes().len(), 16);
    let short = o.to_offer().unwrap();
    assert!(short.same_package(&o));
    assert!(core::mem::size_of::<Offer>() <= 160);
}

#[test]
fn shapes_that_are_understood() {
    for doc in [
        with(|d| drop(d.insert("size".into(), "432945".into()))),
        with(|d| drop(d.insert("signMethod".into(), "MD5".into()))),
        with(|d| drop(d.remove("md5"))),
        with(|d| drop(d.remove("sign"))),
        with(|d| {
            d.remove("sign");
            d.remove("signMethod");
        }),
        with(|d| drop(d.insert("isDiff".into(), 0.into()))),
        with(|d| drop(d.insert("module".into(), "default".into()))),
        with(|d| drop(d.insert("digestsign".into(), serde_json::Value::Null))),
        with(|d| drop(d.insert("dProtocol".into(), "https".into()))),
    ] {
        let o = offer(&doc).unwrap();
        assert_eq!((o.size, o.diff, o.module.is_none()), (432945, None, true));
    }
    for method in ["SHA256", "Sha256", "sha256"] {
        let doc = with(|d| {
            d.insert("signMethod".into(), method.into());
            d.insert("sign".into(), SHA.into());
        });
        let digest = offer(&doc).unwrap().digest;
        assert_eq!(
            digest,
            Digest::new(Method::Sha256, digest.as_bytes()).unwrap()
        );
        assert_eq!(digest.as_bytes()[..2], [0x9f, 0x86]);
    }
    let mut nul = with(|_| ());
    nul.push(0);
    assert!(offer(&nul).is_ok());
}

#[test]
fn extras() {
    let doc = with(|d| {
        d.insert("isDiff".into(), 1.into());
        d.insert("splictSize".into(), "65536".into());
        d.insert("module".into(), "MCU".into());
        d.insert("digestsign".into(), "QUJD".into());
    });
    let o = offer(&doc).unwrap();
    assert_eq!(o.diff, Some(Diff { slice: 65536 }));
    assert_eq!(o.module.unwrap(), "MCU");
    assert_eq!(o.digestsign.unwrap(), "QUJD");
}

#[test]
fn nothing_to_install() {
    for doc in [
        r#"{"id":"123","code":200,"data":{}}"#,
        "{\"data\":{},\"code\":\"200\"}\0",
    ] {
        assert!(matches!(Push::parse(doc.as_bytes()), Ok(Push::Nothing)));
    }
}

#[test]
fn each_bad_offer_has_its_error_and_step() {
    let set = |key: &str, v: serde_json::Value| with(|d| drop(d.insert(key.into(), v)));
    let del = |key: &str| with(|d| drop(d.remove(key)));
    use OfferError as E;
    let cases: Vec<(Vec<u8>, OfferError, i8)> = vec![
        (del("size"), E::Missing(Field::Size), -1),
        (del("version"), E::Missing(Field::Version), -1),
        (del("url"), E::Missing(Field::Url), -1),
        (
            set("size", serde_json::Value::Null),
            E::Missing(Field::Size),
            -1,
        ),
        (
            with(|d| {
                d.remove("sign");
                d.remove("md5");
            }),
            E::Missing(Field::Sign),
            -1,
        ),
        (
            with(|d| {
                d.remove("sign");
                d.remove("md5");
                d.remove("signMethod");
            }),
            E::Missing(Field::Sign),
            -1,
        ),
        (set("size", 0.into()), E::SizeZero, -1),
        (set("size", (-5).into()), E::BadValue(Field::Size), -1),
        (
            set("size", (1u64 << 32).into()),
            E::BadValue(Field::Size),
            -1,
        ),
        (set("size", true.into()), E::BadValue(Field::Size), -1),
        (set("url", 5.into()), E::BadValue(Field::Url), -1),
        (set("url", "".into()), E::BadLength(Field::Url), -1),
        (
            set("url", "a\u{7f}".into()),
            E::BadUrl(UrlError::Character),
            -2,
        ),
        (
            set("url", "http://h/\r\nX: y".into()),
            E::BadUrl(UrlError::Character),
            -2,
        ),
        (
            set("url", format!("http://h/{}", "x".repeat(2040)).into()),
            E::BadLength(Field::Url),
            -1,
        ),
        (set("version", "".into()), E::BadLength(Field::Version), -1),
        (
            set("version", "v".repeat(65).into()),
            E::BadLength(Field::Version),
            -1,
        ),
        (set("sign", MD5[1..].into()), E::DigestLength, -3),
        (set("sign", SHA.into()), E::DigestLength, -3),
        (set("sign", "".into()), E::DigestLength, -3),
        (set("sign", "x".into()), E::DigestNotHex, -3),
        (
            set("md5", "93230c3bde425a9d7984a594ac55ea1f".into()),
            E::DigestsDisagree,
            -3,
        ),
        (set("signMethod", "CRC32".into()), E::UnknownSignMethod, -3),
        (set("signMethod", "".into()), E::UnknownSignMethod, -3),
        (del("signMethod"), E::NoSignMethod, -3),
        (
            set("digestsign", "".into()),
            E::BadLength(Field::DigestSign),
            -1,
        ),
        (
            set("digestsign", "A".repeat(685).into()),
            E::BadLength(Field::DigestSign),
            -1,
        ),
        (set("isDiff", 2.into()), E::BadValue(Field::IsDiff), -1),
        (
            set("splictSize", "big".into()),
            E::BadValue(Field::SplictSize),
            -1,
        ),
        (set("dProtocol", "mqtt".into()), E::Protocol, -2),
        (
            set("files", serde_json::json!([{"fileSize": 1}])),
            E::MultiFile,
            -1,
        ),
        (br#"{"code":400,"data":{}}"#.to_vec(), E::Refused(400), -1),
        (br#"{"code":200}"#.to_vec(), E::Missing(Field::Data), -1),
        (
            br#"{"code":200,"data":7}"#.to_vec(),
            E::BadValue(Field::Data),
            -1,
        ),
        (
            br#"{"data":{},"data":{}}"#.to_vec(),
            E::Twice(Field::Data),
            -1,
        ),
        (
            br#"{"data":{"size":1,"size":2}}"#.to_vec(),
            E::Twice(Field::Size),
            -1,
        ),
        (
            b"".to_vec(),
            E::Json(json::Error {
                kind: ErrorKind::Truncated,
                offset: 0,
            }),
            -1,
        ),
        (
            b"[]".to_vec(),
            E::Json(json::Error {
                kind: ErrorKind::WrongType,
                offset: 0,
            }),
            -1,
        ),
    ];
    for (doc, error, step) in cases {
        let got = Push::parse(&doc).expect_err(&String::from_utf8_lossy(&doc));
        assert_eq!(got, error, "{}", String::from_utf8_lossy(&doc));
        assert_eq!(got.step().code(), step, "{got}");
        assert!(!got.to_string().is_empty() && got.desc().len() <= 40);
    }
}

#[test]
fn long_texts_are_taken() {
    let url = format!("http://h/{}", "x".repeat(2039));
    assert_eq!(url.len(), 2048);
    let doc = with(|d| {
        d.insert("url".into(), url.clone().into());
        d.insert("digestsign".into(), "A".repeat(684).into());
        d.insert("extData".into(), "\\\"y".repeat(400).into());
    });
    assert!(doc.len() > 4096);
    let o = offer(&doc).unwrap();
    let mut buf = [0; URL_MAX];
    assert_eq!(o.url.copy_to(&mut buf).unwrap(), url);
}

#[test]
fn every_truncation_is_refused() {
    let doc = with(|_| ());
    for end in 0..doc.len() {
        assert!(
            matches!(Push::parse(&doc[..end]), Err(OfferError::Json(_))),
            "{end}"
        );
    }
}

proptest! {
    #[test]
    fn any_damage_gives_an_error_or_a_good_offer(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut doc = with(|_| ());
        let at = at.index(doc.len());
        doc[at] = byte;
        if let Ok(Push::Offer(o)) = Push::parse(&doc) {
            prop_assert!(o.size > 0 && o.url.len() <= URL_MAX && o.to_offer().is_ok());
            // serde_json refuses a number that no f64 holds (an `E` in the id); ours is skipped.
            let reference = serde_json::from_slice::<serde_json::Value>(&doc);
            prop_assert!(reference.map_or_else(|e| e.to_string().contains("out of range"), |_| true));
        }
    }
}
