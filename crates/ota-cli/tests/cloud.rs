//! `ota cloud`, as processes: one serves, others operate on the same directory.
#![allow(missing_docs)]

#[path = "../../ota-cloud/tests/common/mod.rs"]
mod common;

use common::{Client, get};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn ota(data: &Path, args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ota"))
        .arg("cloud")
        .args(args.split_whitespace())
        .env("OTA_CLOUD_DATA", data)
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed.
fn ok(data: &Path, args: &str) -> String {
    let out = ota(data, args);
    assert!(out.status.success(), "{args}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

fn json(data: &Path, args: &str) -> Value {
    serde_json::from_str(&ok(data, &format!("{args} --json"))).unwrap()
}

/// Standard error of a command that must fail with status 1.
fn fails(data: &Path, args: &str) -> String {
    let out = ota(data, args);
    assert_eq!(out.status.code(), Some(1), "{args}: {out:?}");
    String::from_utf8(out.stderr).unwrap()
}

struct Served {
    child: Child,
    mqtt: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(data: &Path) -> Served {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ota"))
        .args([
            "cloud",
            "serve",
            "--mqtt",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
        ])
        .args(["--json", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    // Somebody must read on, or the pipe fills up.
    std::thread::spawn(move || out.lines().for_each(drop));
    let facts: Value = serde_json::from_str(&line).unwrap();
    let mqtt = facts["mqtt"].as_str().unwrap().parse().unwrap();
    Served { child, mqtt }
}

fn topic(kind: &str) -> String {
    format!("/ota/device/{kind}/{}/{}", common::PK, common::DN)
}

#[test]
fn from_a_product_to_a_finished_rollout() {
    let dir = tempfile::tempdir().unwrap();
    let data = &dir.path().join("cloud");
    let file = dir.path().join("app.bin");
    std::fs::write(&file, vec![7; 50_000]).unwrap();
    let pk = common::PK;

    // Everything but `serve` works without a server.
    assert_eq!(json(data, &format!("product create {pk}"))["pk"], pk);
    let device = json(data, &format!("device add {pk} {}", common::DN));
    assert_eq!(device["ds"].as_str().unwrap().len(), 32);
    assert_eq!(device["online"], false);
    let upload = format!("firmware upload {pk} {} --fw-version 2.0.0", file.display());
    assert_eq!(json(data, &upload)["id"], 1);
    let missing = fails(data, "job start 1");
    assert!(
        missing.contains("ota cloud firmware validate 1"),
        "{missing}"
    );

    // The secret of the published vectors, so that this device can sign on.
    let cloud = ota_cloud::Cloud::open(data).unwrap();
    cloud.create_product("a1TestPK001").unwrap();
    cloud
        .add_device_with_secret("a1TestPK001", "dev001", common::DS)
        .unwrap();
    let upload = format!(
        "firmware upload a1TestPK001 {} --fw-version 2.0.0 --method md5",
        file.display()
    );
    assert_eq!(json(data, &upload)["id"], 2);
    let server = serve(data);
    let mut c = Client::connect(
        server.mqtt,
        "a1TestPK001&dev001|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1795422568|",
        "dev001&a1TestPK001",
        "e6bb34a7ff39646a4ab5c232c505def62dfc262d",
        60,
    )
    .unwrap();
    let own = |kind: &str| topic(kind).replace(pk, "a1TestPK001");
    c.publish(&own("inform"), r#"{"id":1,"params":{"version":"1.0.0"}}"#);
    let shown = ok(data, "device show a1TestPK001 dev001");
    assert!(
        shown.contains("online") && shown.contains("1.0.0"),
        "{shown}"
    );
    assert!(ok(data, "device list a1TestPK001").contains("1.0.0"));

    let job = json(data, "firmware validate 2 --mode full --device dev001");
    assert_eq!(job["tasks"][0]["state"], "QUEUED");
    let push = c.next().json();
    assert_eq!(push["data"]["version"], "2.0.0");
    assert_eq!(
        get(push["data"]["url"].as_str().unwrap(), "").body,
        vec![7; 50_000]
    );
    let id = job["id"].as_i64().unwrap();
    let watch = Command::new(env!("CARGO_BIN_EXE_ota"))
        .args(["cloud", "job", "watch", &id.to_string(), "--timeout", "30"])
        .env("OTA_CLOUD_DATA", data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    c.publish(
        &own("progress"),
        r#"{"id":1,"params":{"step":"60","desc":""}}"#,
    );
    c.publish(&own("inform"), r#"{"id":2,"params":{"version":"2.0.0"}}"#);
    let watched = watch.wait_with_output().unwrap();
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.status.success(), "{text}");
    assert!(
        text.contains("60 %") && text.contains("SUCCEEDED"),
        "{text}"
    );

    // Validated: now a roll-out may start, to the device that has it already.
    let job = json(data, "job start 2 --device dev001");
    assert_eq!(job["tasks"][0]["state"], "SUCCEEDED");
}

#[test]
fn a_failed_or_canceled_job_ends_with_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    let cloud = ota_cloud::Cloud::open(data).unwrap();
    cloud.create_product("p1").unwrap();
    cloud.add_device("p1", "d1").unwrap();
    let file = data.join("x.bin");
    std::fs::write(&file, "x").unwrap();
    ok(
        data,
        &format!("firmware upload p1 {} --fw-version 2", file.display()),
    );
    let started = ota(data, "job start 1 --unvalidated");
    let text = String::from_utf8(started.stderr).unwrap();
    assert!(text.contains("ota cloud serve"), "{text}");
    let waiting = fails(data, "job watch 1 --timeout 0");
    assert!(waiting.contains("did not happen in time"), "{waiting}");
    let canceled = ok(data, "job cancel 1");
    assert!(canceled.contains("CANCELED"), "{canceled}");
    fails(data, "job watch 1");
}

#[test]
fn the_public_key_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    ok(data, "product create p1");
    let none = fails(data, "product pubkey p1");
    assert!(none.contains("secure-upgrade p1 on"), "{none}");
    ok(data, "product secure-upgrade p1 on");
    assert!(ok(data, "product pubkey p1").starts_with("-----BEGIN PUBLIC KEY-----"));
    let header = data.join("ota_public_key_config.h");
    let write = format!("product pubkey p1 -o {}", header.display());
    ok(data, &write);
    assert!(
        std::fs::read_to_string(&header)
            .unwrap()
            .contains("ota_pubn_buf")
    );
    assert!(fails(data, &write).contains("--force"));
    ok(data, &format!("{write} --force"));
}

#[test]
fn errors_name_what_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    ok(data, "product create other");
    for (args, help) in [
        ("device add p1 d1", "ota cloud product create p1"),
        ("device list p1", "ota cloud product create p1"),
        ("job watch 5", "job numbers are printed by"),
        (
            "firmware validate 9 --mode full --device d",
            "firmware upload",
        ),
    ] {
        let text = fails(data, args);
        assert!(text.starts_with("error: "), "{text}");
        assert!(text.contains("\nhelp: ") && text.contains(help), "{text}");
    }
    let image = data.join("no-image.bin");
    std::fs::write(&image, [0x5A; 300]).unwrap();
    for (args, help) in [
        (
            "firmware upload other /no/such.bin --fw-version 1",
            "check the path",
        ),
        (
            "firmware validate 1 --mode full --format ptr --device d",
            "plain, xz",
        ),
    ] {
        if args.contains("validate") {
            let upload = format!("firmware upload other {} --fw-version 1", image.display());
            let note = String::from_utf8(ota(data, &upload).stderr).unwrap();
            assert!(note.contains("does not end in an image trailer"), "{note}");
        }
        let text = fails(data, args);
        assert!(text.contains("\nhelp: ") && text.contains(help), "{text}");
    }
    // Usage errors are status 2.
    assert_eq!(ota(data, "product").status.code(), Some(2));
    assert_eq!(
        ota(data, "firmware validate 1 --mode half --device d")
            .status
            .code(),
        Some(2)
    );
    assert_eq!(ota(data, "serve --tls-cert x").status.code(), Some(2));
}

#[test]
fn a_wrong_data_directory_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        "product pubkey p1",
        "device add p1 d1",
        "device list p1",
        "job watch 1",
        "firmware validate 1 --mode full --device d1",
    ] {
        let typo = dir.path().join("typo");
        let text = fails(&typo, args);
        assert!(text.contains("no cloud keeps its data here"), "{text}");
        assert!(text.contains("--data"), "{text}");
        assert!(!typo.exists(), "{args} made the directory");
        // Nor is a directory that is there for something else filled.
        std::fs::create_dir(&typo).unwrap();
        fails(&typo, args);
        assert_eq!(std::fs::read_dir(&typo).unwrap().count(), 0, "{args}");
        std::fs::remove_dir(&typo).unwrap();
    }
}
