//! The vendor's Python SDK as a device of our cloud.
#![cfg(feature = "peers")]

mod common;
use common::*;
use ota_cloud::{EventKind, Method, Mode, TaskState, Upload};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const REMEDY: &str = "run `cargo xtask setup --yes`, or set UOTA_PYTHON to a Python that has \
     aliyun-iot-linkkit 1.2.13 and paho-mqtt below 2";

/// Python with the SDK: named by `cargo xtask test`, else its usual place.
fn python() -> PathBuf {
    let python = std::env::var_os("UOTA_PYTHON").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
                PathBuf::from,
            );
            target.join("venv/bin/python")
        },
        PathBuf::from,
    );
    let found = Command::new(&python)
        .args([
            "-c",
            "import linkkit, paho.mqtt; assert paho.mqtt.__version__ < '2'",
        ])
        .output();
    let good = found.is_ok_and(|o| o.status.success());
    assert!(good, "{} lacks the SDK: {REMEDY}", python.display());
    python
}

struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(b: &Bench, secret: &str, way: &str) -> Peer {
    let child = Command::new(python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/peers/linkkit_device.py"
        ))
        .arg(b.cloud.mqtt_addr().port().to_string())
        .args([PK, DN, secret, way])
        .arg(b.dir.path().join("downloaded"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Peer(child)
}

fn run(method: Method, way: &str) {
    let b = bench();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i % 253) as u8).collect();
    let upload = Upload::bytes("app.bin", bytes.clone(), "2.0.0").method(method);
    let f = b.cloud.upload(PK, &upload).unwrap();
    let file = b.dir.path().join("downloaded");
    let (mut peer, job) = if way == "push" {
        let peer = start(&b, DS, way);
        let online = |e: &ota_cloud::Event| e.kind == EventKind::Inform && e.text == "1.0.0";
        b.cloud.wait_event(0, WAIT * 2, "inform", online).unwrap();
        (peer, b.cloud.validate(f.id, Mode::Full, DN).unwrap())
    } else {
        // Waiting already when the device asks.
        let job = b.cloud.validate(f.id, Mode::Full, DN).unwrap();
        (start(&b, DS, way), job)
    };
    let mut said = Vec::new();
    for line in BufReader::new(peer.0.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let last = line == "waiting";
        said.push(line);
        if last {
            break;
        }
    }
    assert_eq!(
        said.first().map(String::as_str),
        Some("connect 0"),
        "{said:?}"
    );
    assert_eq!(said.last().map(String::as_str), Some("waiting"), "{said:?}");
    assert!(
        said.iter()
            .any(|l| l.contains("2.0.0 300000") && l.contains(method.as_str()))
    );
    // The SDK has compared the digest; so do we, with the bytes themselves.
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let job = b.cloud.wait_job(job.id, WAIT, |_| {}).unwrap();
    assert_eq!(job.tasks[0].state, TaskState::Succeeded);
    let refused = |e: &&ota_cloud::Event| e.kind == EventKind::Ignored;
    let events = b.cloud.events_after(0).unwrap();
    assert_eq!(events.iter().find(refused), None);
    let asked = events.iter().any(|e| e.kind == EventKind::Asked);
    assert_eq!(asked, way == "pull");
}

#[test]
fn the_sdk_takes_a_push_with_sha256() {
    run(Method::Sha256, "push");
}

#[test]
fn the_sdk_takes_a_push_with_md5() {
    run(Method::Md5, "push");
}

#[test]
fn the_sdk_asks_for_its_upgrade() {
    run(Method::Sha256, "pull");
}

#[test]
fn the_sdk_is_refused_with_a_wrong_secret() {
    let b = bench();
    let _peer = start(&b, "00000000000000000000000000000000", "push");
    let refused = |e: &ota_cloud::Event| e.kind == EventKind::Refused && e.dn == DN;
    let e = b.cloud.wait_event(0, WAIT * 2, "refusal", refused).unwrap();
    assert!(e.text.contains("password"), "{}", e.text);
    assert!(!b.cloud.device(PK, DN).unwrap().online);
}
