//! Bad input: each offer that must not be taken, by what is wrong with it.
//!
//! Each case: version 1 runs, a bad offer of version 2 comes, and its failure is
//! reported with the right step and cause; the running image is untouched. The same
//! package comes again, well this time: it is installed, unless the cause was
//! permanent. Then version 3 is offered, and works.

mod common;

use common::server::Fault;
use common::*;
use ota_verify::{Requirement, Trailer, md5};
use serde_json::{Value, json};

/// Program unit of the flash.
const UNIT: usize = 32;

/// What becomes of the same package when all is well.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    Works,
    /// Refused without a download.
    Barred,
}

struct Case {
    name: &'static str,
    /// Changes the world and the push before it is offered.
    spoil: fn(&mut World, &mut Value),
    /// Step and text of the report.
    expect: (i64, &'static str),
    again: Again,
    /// Requests for the file that the bad offer may cause.
    requests: (usize, usize),
}

fn data(push: &mut Value, field: &str, value: impl Into<Value>) {
    push["data"][field] = value.into();
}

fn remove(push: &mut Value, field: &str) {
    push["data"].as_object_mut().unwrap().remove(field);
}

/// Replaces the file on the server and what the offer says of it.
fn replace(w: &mut World, push: &mut Value, file: &[u8]) {
    let good = offer("2.0.0", file, "http://files.example/2.0.0.bin");
    *push = good;
    w.net
        .server
        .borrow_mut()
        .files
        .insert("/2.0.0.bin".into(), file.to_vec());
}

fn require(w: &mut World) {
    w.keys = vec![key().public().clone()];
    w.policy.image_signature = Requirement::Required;
}

fn always(w: &mut World, fault: Fault) {
    w.net.server.borrow_mut().always = Some(fault);
}

const NONE: (usize, usize) = (0, 0);
const ONE: (usize, usize) = (1, 1);

fn cases() -> Vec<Case> {
    use Again::*;
    let case = |name, spoil, expect, again, requests| Case {
        name,
        spoil,
        expect,
        again,
        requests,
    };
    vec![
        // What the offer says.
        case(
            "size 0",
            |_, p| data(p, "size", 0),
            (-1, "size is 0"),
            Works,
            NONE,
        ),
        case(
            "size as text that is none",
            |_, p| data(p, "size", "4k"),
            (-1, "bad value"),
            Works,
            NONE,
        ),
        case(
            "no size",
            |_, p| remove(p, "size"),
            (-1, "without size"),
            Works,
            NONE,
        ),
        case(
            "no version",
            |_, p| remove(p, "version"),
            (-1, "without version"),
            Works,
            NONE,
        ),
        case(
            "no url",
            |_, p| remove(p, "url"),
            (-1, "without url"),
            Works,
            NONE,
        ),
        case(
            "no digest",
            |_, p| remove(p, "sign"),
            (-1, "without sign"),
            Works,
            NONE,
        ),
        case(
            "larger than the slot",
            |_, p| data(p, "size", 40_000),
            (-1, "larger than slot"),
            Works,
            NONE,
        ),
        case(
            "short digest",
            |_, p| data(p, "sign", "abcd"),
            (-3, "wrong length"),
            Works,
            NONE,
        ),
        case(
            "digest not hex",
            |_, p| data(p, "sign", "x".repeat(64)),
            (-3, "not hex"),
            Works,
            NONE,
        ),
        case(
            "no signMethod",
            |_, p| remove(p, "signMethod"),
            (-3, "without signMethod"),
            Works,
            NONE,
        ),
        case(
            "unknown signMethod",
            |_, p| data(p, "signMethod", "SHA3"),
            (-3, "unknown signMethod"),
            Works,
            NONE,
        ),
        case(
            "sign and md5 disagree",
            |_, p| {
                data(p, "signMethod", "MD5");
                data(p, "sign", "0".repeat(32));
                data(p, "md5", "1".repeat(32));
            },
            (-3, "disagree"),
            Works,
            NONE,
        ),
        case(
            "isDiff",
            |_, p| data(p, "isDiff", 1),
            (-1, "differential"),
            Works,
            NONE,
        ),
        case(
            "files",
            |_, p| data(p, "files", json!([{"fileName": "a"}])),
            (-1, "multi-file"),
            Works,
            NONE,
        ),
        case(
            "dProtocol",
            |_, p| data(p, "dProtocol", "mqtt"),
            (-2, "protocol not supported"),
            Works,
            NONE,
        ),
        case(
            "module",
            |_, p| data(p, "module", "modem"),
            (-1, "another module"),
            Works,
            NONE,
        ),
        case(
            "not newer",
            |_, p| data(p, "version", "0.9.9"),
            (-1, "not newer"),
            Works,
            NONE,
        ),
        case(
            "not comparable",
            |_, p| data(p, "version", "two"),
            (-1, "not newer"),
            Works,
            NONE,
        ),
        case(
            "url of another kind",
            |_, p| data(p, "url", "ftp://h/f"),
            (-2, "neither http nor https"),
            Works,
            NONE,
        ),
        case(
            "https without TLS",
            |_, p| data(p, "url", "https://h/f"),
            (-2, "https not supported"),
            Works,
            NONE,
        ),
        case(
            "deep nesting",
            |_, p| {
                let deep = (0..40).fold(json!(1), |v, _| json!([v]));
                data(p, "extData", deep);
            },
            (-1, "not valid JSON"),
            Works,
            NONE,
        ),
        // Signatures.
        case(
            "unsigned",
            |w, _| w.policy.package_signature = Requirement::Required,
            (-3, "signature required"),
            Works,
            NONE,
        ),
        case(
            "signature of another digest",
            |w, p| {
                w.keys = vec![key().public().clone()];
                let other = ota_verify::Digest::Sha256([7; 32]);
                data(p, "digestsign", key().digestsign(&other).unwrap());
            },
            (-3, "digestsign"),
            Works,
            NONE,
        ),
        case(
            "bad base64",
            |w, p| {
                w.keys = vec![key().public().clone()];
                data(p, "digestsign", "###");
            },
            (-3, "digestsign"),
            Works,
            NONE,
        ),
        // What the server says.
        case(
            "another size on the server",
            |w, _| always(w, Fault::WrongTotal(9)),
            (-2, "differs from offer"),
            Barred,
            ONE,
        ),
        case(
            "gzip",
            |w, _| always(w, Fault::Gzip),
            (-2, "content-encoding"),
            Works,
            ONE,
        ),
        case(
            "multipart",
            |w, _| always(w, Fault::Multipart),
            (-2, "multipart"),
            Works,
            ONE,
        ),
        case(
            "wrong Content-Range",
            |w, _| always(w, Fault::WrongRange),
            (-2, "content-range"),
            Works,
            (10, 10),
        ),
        case(
            "not HTTP",
            |w, _| always(w, Fault::Garbage),
            (-2, "malformed"),
            Works,
            (10, 10),
        ),
        case(
            "never any byte",
            |w, _| always(w, Fault::Reset(0)),
            (-2, "reset"),
            Works,
            (10, 10),
        ),
        case(
            "silence",
            |w, _| always(w, Fault::Mute),
            (-2, "timed out"),
            Works,
            (10, 10),
        ),
        case(
            "server down",
            |w, _| always(w, Fault::Status(503)),
            (-2, "unavailable"),
            Works,
            (10, 10),
        ),
        case(
            "teapot",
            |w, _| always(w, Fault::Status(418)),
            (-2, "status refused"),
            Works,
            ONE,
        ),
        case(
            "redirect loop",
            |w, _| always(w, Fault::Redirect("/2.0.0.bin".into())),
            (-2, "too many redirects"),
            Works,
            (6, 6),
        ),
        case(
            "redirect to nowhere",
            |w, _| always(w, Fault::Redirect("gopher://x/".into())),
            (-2, "neither http nor https"),
            Works,
            ONE,
        ),
        case(
            "expired for ever",
            |w, _| always(w, Fault::Status(403)),
            (-2, "expired"),
            Works,
            (2, 30),
        ),
        case(
            "no DNS",
            |w, _| {
                let dns = ota_agent::ConnectFailure::Dns;
                w.net
                    .no_server
                    .replace(std::iter::repeat_n(dns, 10).collect());
            },
            (-2, "host not found"),
            Works,
            NONE,
        ),
        case(
            "refused connection",
            |w, _| {
                let refused = ota_agent::ConnectFailure::Connect;
                w.net
                    .no_server
                    .replace(std::iter::repeat_n(refused, 10).collect());
            },
            (-2, "connection refused"),
            Works,
            NONE,
        ),
        // What the file is.
        case(
            "spoilt twice",
            |w, _| always(w, Fault::Spoilt),
            (-3, "digest mismatch"),
            Barred,
            (2, 2),
        ),
        case(
            "no trailer",
            |w, p| {
                let mut file = image("2.0.0", 20_000, None);
                let end = file.len() - 28;
                file.truncate(end);
                replace(w, p, &file);
            },
            (-3, "trailer"),
            Barred,
            ONE,
        ),
        case(
            "trailer of another size",
            |w, p| {
                let mut file = image("2.0.0", 20_000, None);
                let at = file.len() - 28;
                let mut trailer = Trailer::parse(&file[at..]).unwrap();
                trailer.size += 1;
                file[at..].copy_from_slice(&trailer.to_bytes());
                replace(w, p, &file);
            },
            (-3, "size wrong"),
            Barred,
            ONE,
        ),
        case(
            "image damaged before it was packed",
            |w, p| {
                let mut file = image("2.0.0", 20_000, None);
                file[9_000] ^= 1;
                replace(w, p, &file);
            },
            (-3, "trailer"),
            Barred,
            ONE,
        ),
        case(
            "descriptor of another version",
            |w, p| {
                let file = image("2.0.1", 20_000, None);
                replace(w, p, &file);
            },
            (-3, "another version"),
            Barred,
            ONE,
        ),
        case(
            "image unsigned",
            |w, _| require(w),
            (-3, "not signed"),
            Barred,
            ONE,
        ),
        case(
            "image signed by another key",
            |w, p| {
                let pem = include_str!("../../ota-verify/tests/vectors/rsa-3072.key.pem");
                let other = ota_verify::build::PrivateKey::from_pem(pem).unwrap();
                let file = image("2.0.0", 20_000, Some(&other));
                require(w);
                replace(w, p, &file);
            },
            (-3, "signature mismatch"),
            Barred,
            ONE,
        ),
        case(
            "journal fails",
            |w, _| {
                for sector in 0..2 {
                    w.fault(w.update + sector, ota_flash::sim::Fault::ProgramFails);
                }
            },
            (-4, "flash"),
            Works,
            NONE,
        ),
        // Flash that does not hold what is written.
        case(
            "erase fails",
            |w, _| w.fault(2, ota_flash::sim::Fault::EraseFails),
            (-4, "flash"),
            Works,
            NONE,
        ),
        case(
            "program fails",
            |w, _| w.fault(2, ota_flash::sim::Fault::ProgramFails),
            (-4, "flash"),
            Works,
            ONE,
        ),
        case(
            "erase does nothing",
            |w, _| {
                // The slot is full of another image.
                let noise = vec![0; 8 * SECTOR];
                w.flash.borrow_mut().load(w.active * SECTOR as u32, &noise);
                w.fault(2, ota_flash::sim::Fault::EraseIgnored);
            },
            (-4, "flash"),
            Works,
            ONE,
        ),
        case(
            "program does nothing",
            |w, _| w.fault(2, ota_flash::sim::Fault::ProgramIgnored),
            (-4, "flash"),
            Works,
            ONE,
        ),
    ]
}

impl World {
    /// A defect in a sector of the update slot.
    fn fault(&self, sector: u32, fault: ota_flash::sim::Fault) {
        let at = (self.active + sector) * SECTOR as u32;
        self.flash.borrow_mut().add_fault(at, fault);
    }

    /// All is well from now on.
    fn heal(&mut self) {
        self.flash.borrow_mut().clear_faults();
        let mut server = self.net.server.borrow_mut();
        server.always = None;
        server.faults.clear();
        self.net.no_server.borrow_mut().clear();
        self.policy = ota_verify::Policy::DEFAULT;
        self.keys.clear();
    }
}

#[test]
fn bad_offers() {
    let old = image("1.0.0", 20_000, Some(&key()));
    let good = image("2.0.0", 20_000, None);
    let next = image("3.0.0", 19_000, None);
    let mut wrong = Vec::new();
    for case in cases() {
        let name = case.name;
        let judged = std::panic::catch_unwind(|| judge(&case, &old, &good, &next));
        if judged.is_err() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn judge(case: &Case, old: &[u8], good: &[u8], next: &[u8]) {
    let name = case.name;
    let mut w = World::new(old, 8);
    let mut push = offer("2.0.0", good, "http://files.example/2.0.0.bin");
    w.publish("2.0.0", good);
    (case.spoil)(&mut w, &mut push);
    let file = w.net.server.borrow().files["/2.0.0.bin"].clone();
    w.publish_as("2.0.0", &file, push.clone());

    assert_eq!(w.live(60 * MINUTE), Stop::Idle, "{name}");
    {
        let broker = w.net.broker.borrow();
        let failures = broker.failures();
        let (step, text) = failures
            .last()
            .unwrap_or_else(|| panic!("{name}: {}", w.tail()));
        assert_eq!(*step, case.expect.0, "{name}: {failures:?}");
        assert!(text.contains(case.expect.1), "{name}: {failures:?}");
        assert_eq!(failures.len(), 1, "{name}: {failures:?}");
        assert_eq!(broker.versions, ["1.0.0"], "{name}");
    }
    assert!(w.runs(old) && w.is_settled(), "{name}");
    let (least, most) = case.requests;
    assert!(
        (least..=most).contains(&w.asked()),
        "{name}: {} requests",
        w.asked()
    );

    // The same package once more, and nothing in its way.
    w.heal();
    w.publish("2.0.0", &file);
    let before = w.asked();
    w.net.broker.borrow_mut().steps.clear();
    w.live(60 * MINUTE);
    let failures = w.net.broker.borrow().failures();
    match case.again {
        Again::Works => {
            assert!(w.runs(&file) && failures.is_empty(), "{name}: {}", w.tail());
        }
        Again::Barred => {
            assert_eq!(failures, [(-1, "package failed before".into())], "{name}");
            assert!(w.runs(old) && w.asked() == before, "{name}");
        }
    }

    // The next good offer works.
    w.publish("3.0.0", next);
    assert_eq!(w.live(60 * MINUTE), Stop::Idle, "{name}");
    assert!(w.runs(next) && w.is_settled(), "{name}: {}", w.tail());
}

#[test]
fn malformed_messages_change_nothing() {
    let old = image("1.0.0", 20_000, None);
    let next = image("3.0.0", 19_000, None);
    let good = offer("2.0.0", &old, "http://files.example/2.0.0.bin").to_string();
    let long = format!(r#"{{"data":{{"x":"{}"}}}}"#, "y".repeat(5000));
    let huge = long.len();
    for (text, expect) in [
        ("", Some((-1, "not valid JSON"))),
        ("{", Some((-1, "not valid JSON"))),
        (&good[..good.len() / 2], Some((-1, "not valid JSON"))),
        ("[1,2]", Some((-1, "not valid JSON"))),
        ("\u{1}\u{2}", Some((-1, "not valid JSON"))),
        ("{\"code\":\"1000\",\"data\":{}}", None),
        (&long, None),
    ] {
        let w = World::new(&old, 8);
        {
            let mut broker = w.net.broker.borrow_mut();
            broker
                .extra
                .push((broker::When::Inform(1), text.as_bytes().to_vec()));
        }
        w.live(5 * MINUTE);
        let failures = w.net.broker.borrow().failures();
        let seen = failures.first().map(|(step, text)| (*step, text.clone()));
        match expect {
            Some((step, desc)) => {
                let (s, d) = seen.unwrap_or_else(|| panic!("{text:?}: {}", w.tail()));
                assert!(s == step && d.contains(desc), "{text:?}: {failures:?}");
            }
            None => assert_eq!(seen, None, "{text:?}"),
        }
        assert_eq!(w.saw("Oversized"), text.len() == huge, "{text:?}");
        // Read past or refused, it is acknowledged: it does not come for ever.
        assert_eq!(w.net.broker.borrow().acks, 1, "{text:?}");
        assert!(w.runs(&old));
        w.publish("3.0.0", &next);
        w.live(30 * MINUTE);
        assert!(w.runs(&next) && w.is_settled(), "{text:?}: {}", w.tail());
    }
}

#[test]
fn offers_that_are_good_all_the_same() {
    let old = image("1.0.0", 20_000, None);
    let signed = image("2.0.0", 20_000, Some(&key()));
    let url = "http://files.example/2.0.0.bin";
    let good = || offer("2.0.0", &signed, url);
    let md5_offer = {
        let mut push = good();
        data(&mut push, "signMethod", "Md5");
        data(&mut push, "sign", hex(&md5(&signed)).to_uppercase());
        data(&mut push, "md5", hex(&md5(&signed)));
        push.to_string()
    };
    let signed_offer = {
        let mut push = good();
        let digest = ota_verify::Digest::Sha256(ota_verify::sha256(&signed));
        data(&mut push, "digestsign", key().digestsign(&digest).unwrap());
        push.to_string()
    };
    let text_size = {
        let mut push = good();
        data(&mut push, "size", signed.len().to_string());
        push.to_string()
    };
    let unknown = {
        let mut push = good();
        data(
            &mut push,
            "extData",
            json!({"a": [1, {"b": null}], "_package_udi": "x"}),
        );
        push["method"] = "thing.ota.firmware.get".into();
        push.to_string()
    };
    let escaped = good()
        .to_string()
        .replace('/', "\\/")
        .replace("files", "\\u0066iles");
    for (name, push) in [
        ("md5", md5_offer),
        ("signed", signed_offer),
        ("size as text", text_size),
        ("unknown fields", unknown),
        ("escapes", escaped),
        ("trailing NUL", good().to_string() + "\0"),
    ] {
        let mut w = World::new(&old, 8);
        w.policy.image_signature = Requirement::Required;
        w.policy.package_signature = match name {
            "signed" => Requirement::Required,
            _ => Requirement::Optional,
        };
        w.keys = vec![key().public().clone()];
        // What runs now was installed before signatures were required.
        w.flash
            .borrow_mut()
            .load(0, &image("1.0.0", 20_000, Some(&key())));
        w.publish("2.0.0", &signed);
        w.net.broker.borrow_mut().offer = Some(("2.0.0".into(), push.into_bytes()));
        w.live(30 * MINUTE);
        assert!(w.runs(&signed) && w.is_settled(), "{name}: {}", w.tail());
    }
}
