//! Pushes, answers, progress, success and failure.

mod common;
use common::*;
use ota_cloud::{Error, EventKind, Firmware, Job, JobSpec, Method, Mode, TaskState, Upload};
use serde_json::{Value, json};

fn upload(b: &Bench, version: &str) -> Firmware {
    let bytes: Vec<u8> = version.bytes().cycle().take(100_000).collect();
    b.cloud
        .upload(PK, &Upload::bytes("app.bin", bytes, version))
        .unwrap()
}

fn validate(b: &Bench, version: &str) -> Job {
    let f = upload(b, version);
    b.cloud.validate(f.id, Mode::Full, DN).unwrap()
}

fn state(b: &Bench, job: &Job) -> TaskState {
    b.cloud.job(job.id).unwrap().tasks[0].state
}

fn wait_state(b: &Bench, job: &Job, want: TaskState) {
    b.cloud
        .wait_event(0, WAIT, want.as_str(), |e| {
            e.kind == EventKind::State && e.job == Some(job.id) && e.text == want.as_str()
        })
        .unwrap();
    assert_eq!(state(b, job), want);
}

#[test]
fn an_update_from_push_to_success_without_a_subscription() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let job = validate(&b, "2.0.0");
    let push = c.next();
    assert_eq!(push.topic, format!("/ota/device/upgrade/{PK}/{DN}"));
    assert_eq!(push.qos, 1);
    let v = push.json();
    assert_eq!(v["code"], "1000");
    assert_eq!(v["message"], "success");
    assert_eq!(v["data"]["version"], "2.0.0");
    assert_eq!(v["data"]["size"], 100_000);
    assert_eq!(v["data"]["signMethod"], "SHA256");
    assert_eq!(v["data"].get("md5"), None);
    assert_eq!(v["data"].get("digestsign"), None);
    wait_state(&b, &job, TaskState::Notified);
    c.progress(0, "");
    assert_eq!(state(&b, &job), TaskState::InProgress);
    let r = get(v["data"]["url"].as_str().unwrap(), "");
    assert_eq!((r.status, r.body.len()), (200, 100_000));
    c.progress(100, "");
    assert_eq!(
        state(&b, &job),
        TaskState::InProgress,
        "100 percent is no success"
    );
    drop(c);
    // The device restarts with the new version.
    let mut c = b.online("2.0.0");
    assert_eq!(state(&b, &job), TaskState::Succeeded);
    assert!(c.pending().is_empty());
    let job = b.cloud.job(job.id).unwrap();
    assert!(job.succeeded() && job.is_over());
    assert_eq!(
        b.cloud.firmware(job.firmware).unwrap().validated,
        Some(Mode::Full)
    );
}

#[test]
fn a_device_that_comes_later_is_pushed_then() {
    let b = bench();
    let job = validate(&b, "2.0.0");
    assert_eq!(state(&b, &job), TaskState::Queued);
    // Not before it has informed its version: that may be the very target.
    let mut c = b.sign_on();
    assert!(c.pending().is_empty());
    c.inform("1.0.0");
    assert_eq!(c.next().json()["data"]["version"], "2.0.0");
}

#[test]
fn a_device_that_never_informs_is_pushed_too() {
    let b = bench_with(|c| c.inform_grace = SECOND / 20);
    validate(&b, "2.0.0");
    let mut c = b.sign_on();
    assert_eq!(c.next().json()["data"]["version"], "2.0.0");
}

#[test]
fn each_inform_repeats_the_push_until_the_update_is_over() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let job = validate(&b, "2.0.0");
    c.next();
    wait_state(&b, &job, TaskState::Notified);
    c.inform("1.0.0");
    c.next();
    c.progress(10, "");
    c.inform("1.0.0");
    assert_eq!(c.next().json()["data"]["version"], "2.0.0");
    c.progress(-4, "flash is worn out");
    c.inform("1.0.0");
    assert!(
        c.pending().is_empty(),
        "a failed update is not offered again"
    );
    let task = &b.cloud.job(job.id).unwrap().tasks[0];
    assert_eq!((task.state, task.step), (TaskState::Failed, Some(-4)));
    assert_eq!(task.desc, "flash is worn out");
    assert_eq!(b.cloud.firmware(job.firmware).unwrap().validated, None);
}

#[test]
fn a_push_without_acknowledgement_is_sent_again_on_the_next_connection() {
    let b = bench();
    let mut c = b.sign_on();
    c.ack = false;
    c.inform("1.0.0");
    let job = validate(&b, "2.0.0");
    c.next();
    assert_eq!(state(&b, &job), TaskState::Queued);
    drop(c);
    let mut c = b.online("1.0.0");
    c.next();
    wait_state(&b, &job, TaskState::Notified);
    assert_eq!(b.cloud.job(job.id).unwrap().tasks[0].pushes, 1);
}

#[test]
fn falling_back_after_success_shows_as_failure() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let job = validate(&b, "2.0.0");
    c.next();
    c.inform("2.0.0");
    assert_eq!(state(&b, &job), TaskState::Succeeded);
    c.inform("1.0.0");
    let task = &b.cloud.job(job.id).unwrap().tasks[0];
    assert_eq!(
        (task.state, task.desc.as_str()),
        (TaskState::Failed, "runs 1.0.0")
    );
    assert!(c.pending().is_empty());
}

#[test]
fn firmware_get_and_the_older_request() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let get = format!("/sys/{PK}/{DN}/thing/ota/firmware/get");
    // Nothing to install, asked as the SDKs ask.
    for (question, id) in [
        (
            r#"{"id":"123","version":"1.0","params":{"module":"MCU"},"method":"thing.ota.firmware.get"}"#,
            json!("123"),
        ),
        (r#"{"id": 1, "params": {}}"#, json!(1)),
    ] {
        c.publish_qos0(&get, question);
        let reply = c.next();
        assert_eq!(reply.topic, format!("{get}_reply"));
        assert_eq!(reply.json(), json!({"id": id, "code": 200, "data": {}}));
    }
    let job = validate(&b, "2.0.0");
    let push = c.next().json();
    c.publish_qos0(&get, r#"{"id":7,"params":{}}"#);
    let reply = c.next().json();
    assert_eq!((&reply["id"], &reply["code"]), (&json!(7), &json!(200)));
    for field in ["size", "version", "sign", "signMethod"] {
        assert_eq!(reply["data"][field], push["data"][field]);
    }
    let request = format!("/ota/device/request/{PK}/{DN}");
    c.publish(&request, r#"{"id":"8","params":{"version":"1.0.0"}}"#);
    let reply = c.next();
    assert_eq!(reply.topic, request);
    assert_eq!(reply.json()["code"], "1000");
    assert!(reply.json()["data"]["url"].is_string());
    // Asking for another module gets nothing.
    c.publish_qos0(&get, r#"{"id":9,"params":{"module":"mcu"}}"#);
    assert_eq!(c.next().json()["data"], json!({}));
    assert_eq!(
        b.cloud.cancel_job(job.id).unwrap().tasks[0].state,
        TaskState::Canceled
    );
    c.publish_qos0(&get, r#"{"id":10,"params":{}}"#);
    assert_eq!(c.next().json()["data"], json!({}));
}

#[test]
fn md5_packages_carry_md5_besides_sign() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let bytes = b"hello firmware".repeat(10);
    let f = Upload::bytes("app.bin", bytes, "2.0.0").method(Method::Md5);
    let f = b.cloud.upload(PK, &f).unwrap();
    b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    let data = &c.next().json()["data"];
    assert_eq!(data["signMethod"], "Md5");
    assert_eq!(data["sign"], data["md5"]);
    assert_eq!(data["sign"].as_str().unwrap().len(), 32);
}

#[test]
fn modules_are_updated_apart() {
    let b = bench();
    let mut c = b.online("1.0.0");
    c.publish(
        &format!("/ota/device/inform/{PK}/{DN}"),
        r#"{"id": 1,"params": {"version":"5","module": "mcu"}}"#,
    );
    let f = Upload::bytes("mcu.bin", *b"mcu", "6").module("mcu");
    let f = b.cloud.upload(PK, &f).unwrap();
    let job = b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    let push = c.next().json();
    assert_eq!(push["data"]["module"], "mcu");
    c.inform("6");
    assert_ne!(state(&b, &job), TaskState::Succeeded);
    c.publish(
        &format!("/ota/device/inform/{PK}/{DN}"),
        r#"{"id": 1,"params": {"version":"6","module": "mcu"}}"#,
    );
    assert_eq!(state(&b, &job), TaskState::Succeeded);
    let modules = b.cloud.device(PK, DN).unwrap().versions;
    let modules: Vec<_> = modules.iter().map(|v| (&*v.module, &*v.version)).collect();
    assert_eq!(modules, [("default", "6"), ("mcu", "6")]);
}

#[test]
fn a_rollout_needs_a_validated_firmware() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let f = upload(&b, "2.0.0");
    let spec = JobSpec::new(f.id);
    assert!(matches!(b.cloud.start_job(&spec), Err(Error::NotValidated(id)) if id == f.id));
    let job = b.cloud.validate(f.id, Mode::Full, DN).unwrap();
    c.next();
    c.inform("2.0.0");
    assert_eq!(state(&b, &job), TaskState::Succeeded);
    b.cloud.add_device(PK, "dev002").unwrap();
    let job = b.cloud.start_job(&spec).unwrap();
    let states: Vec<_> = job.tasks.iter().map(|t| (&*t.dn, t.state)).collect();
    // The validated device has the version already.
    assert_eq!(
        states,
        [
            ("dev001", TaskState::Succeeded),
            ("dev002", TaskState::Queued)
        ]
    );
    assert!(c.pending().is_empty());
}

#[test]
fn a_device_is_in_one_job_at_a_time_unless_replaced() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let old = validate(&b, "2.0.0");
    c.next();
    let f = upload(&b, "3.0.0");
    let refused = b.cloud.validate(f.id, Mode::Full, DN).unwrap_err();
    assert!(matches!(&refused, Error::Busy { job, .. } if *job == old.id));
    assert!(refused.help().contains(&format!("job cancel {}", old.id)));
    let spec = JobSpec {
        unvalidated: true,
        replace: true,
        devices: vec![DN.into()],
        ..JobSpec::new(f.id)
    };
    let new = b.cloud.start_job(&spec).unwrap();
    assert_eq!(c.next().json()["data"]["version"], "3.0.0");
    assert_eq!(state(&b, &old), TaskState::Canceled);
    c.inform("3.0.0");
    assert_eq!(state(&b, &new), TaskState::Succeeded);
}

#[test]
fn another_process_on_the_same_directory_starts_jobs() {
    let b = bench();
    let mut c = b.online("1.0.0");
    let other = ota_cloud::Cloud::open(b.dir.path()).unwrap();
    assert!(other.is_served());
    let f = other
        .upload(PK, &Upload::bytes("app.bin", *b"new", "2.0.0"))
        .unwrap();
    let job = other.validate(f.id, Mode::Full, DN).unwrap();
    let started = std::time::Instant::now();
    c.next();
    assert!(started.elapsed() < SECOND);
    c.progress(50, "");
    c.inform("2.0.0");
    let mut steps = Vec::new();
    let job = other
        .wait_job(job.id, WAIT, |e| steps.extend(e.step))
        .unwrap();
    assert!(job.succeeded());
    assert_eq!(steps, [50]);
    // One server per directory.
    let again = ota_cloud::Cloud::start(ota_cloud::Config::new(b.dir.path()));
    assert!(matches!(again, Err(Error::InUse(_))));
}

#[test]
fn everything_survives_a_restart_of_the_cloud() {
    let b = bench();
    let job = validate(&b, "2.0.0");
    let Bench { cloud, dir, .. } = b;
    cloud.stop();
    let cloud = ota_cloud::Cloud::start(ota_cloud::Config::new(dir.path())).unwrap();
    let device = cloud.device(PK, DN).unwrap();
    let b = Bench { cloud, device, dir };
    let mut c = b.online("1.0.0");
    let push = c.next().json();
    assert_eq!(get(push["data"]["url"].as_str().unwrap(), "").status, 200);
    c.inform("2.0.0");
    assert_eq!(state(&b, &job), TaskState::Succeeded);
}

#[test]
fn uploads_the_console_refuses() {
    let b = bench();
    let try_upload =
        |name: &str, version: &str| b.cloud.upload(PK, &Upload::bytes(name, *b"x", version));
    for name in [
        "app.exe", "app", "a b.bin", "", "../x.bin", "x/y.bin", "ü.bin", ".bin.", "app.BIN ",
    ] {
        let refused = try_upload(name, "1").unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Name {
                    what: "file name",
                    ..
                }
            ),
            "{name}: {refused}"
        );
    }
    for version in ["", "1 0", "1/0", "v1\n", "1&2", &"1".repeat(65)] {
        let refused = try_upload("app.bin", version).unwrap_err();
        assert!(
            matches!(
                refused,
                Error::Name {
                    what: "version",
                    ..
                }
            ),
            "{version}: {refused}"
        );
    }
    try_upload("otaapp@mk3060.ota.md5.bin", "app-1.0.0-20261123.0900").unwrap();
    let again = try_upload("app.bin", "app-1.0.0-20261123.0900").unwrap_err();
    assert!(matches!(again, Error::VersionExists { .. }));
    let empty = b.cloud.upload(PK, &Upload::bytes("app.bin", [], "2"));
    assert!(matches!(empty, Err(Error::Size { size: 0, .. })));
    let nowhere = b
        .cloud
        .upload("none", &Upload::bytes("app.bin", *b"x", "2"));
    assert!(matches!(nowhere, Err(Error::NoProduct(_))));
    let missing = b
        .cloud
        .upload(PK, &Upload::file("/does/not/exist.bin", "2"));
    assert!(matches!(missing, Err(Error::Io { .. })));
}

#[test]
fn an_upload_over_the_limit_is_refused_and_leaves_nothing() {
    let b = bench_with(|c| c.max_firmware = 10);
    let r = b.cloud.upload(PK, &Upload::bytes("app.bin", [0; 11], "2"));
    assert!(matches!(
        r,
        Err(Error::Size {
            size: 11,
            limit: 10
        })
    ));
    assert_eq!(
        std::fs::read_dir(b.dir.path().join("files"))
            .unwrap()
            .count(),
        0
    );
    b.cloud
        .upload(PK, &Upload::bytes("app.bin", [0; 10], "2"))
        .unwrap();
}

#[test]
fn every_error_a_user_can_meet_names_a_remedy() {
    let b = bench();
    for e in [
        b.cloud.product("x").unwrap_err(),
        b.cloud.create_product(PK).unwrap_err(),
        b.cloud.create_product("no spaces").unwrap_err(),
        b.cloud.device(PK, "x").unwrap_err(),
        b.cloud.add_device(PK, DN).unwrap_err(),
        b.cloud.public_key_pem(PK).unwrap_err(),
        b.cloud.firmware(99).unwrap_err(),
        b.cloud.job(99).unwrap_err(),
        b.cloud
            .validate(upload(&b, "2").id, Mode::Diff, DN)
            .unwrap_err(),
    ] {
        assert!(!e.help().is_empty(), "{e}");
    }
}

#[test]
fn a_push_is_what_the_real_cloud_sends() {
    let b = bench();
    let mut c = b.online("1.0.0");
    validate(&b, "2.0.0");
    let v = c.next().json();
    let keys = |v: &Value| -> Vec<String> { v.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&v), ["code", "data", "id", "message"]);
    assert_eq!(
        keys(&v["data"]),
        ["sign", "signMethod", "size", "url", "version"]
    );
}

/// The new image from an nbdiff patch and the old one.
fn patched(old: &[u8], patch: &[u8], slice: u32) -> Vec<u8> {
    use ota_delta::nbdiff::{SliceDecoder, Workspace, scan};
    let len = patch.len() as u32;
    let mut sections = Vec::new();
    scan(&mut &patch[..], len, slice, &mut |s| {
        sections.push(*s);
        Ok(())
    })
    .unwrap();
    let mut new = Vec::new();
    let mut ws = Workspace::default();
    for s in sections {
        let mut view = new.clone();
        view.extend_from_slice(old.get(new.len()..).unwrap_or_default());
        let n = view.len() as u32;
        let at = s.section_offset;
        let mut d = SliceDecoder::begin(&mut ws, &mut &patch[..], at, len, slice, n).unwrap();
        let mut out = vec![0; s.header.new_len as usize];
        let made = d.read(&mut &patch[..], &mut &view[..], &mut out).unwrap();
        assert_eq!(made, out.len());
        new.extend(out);
    }
    new
}

#[test]
fn differential_packages_are_made_for_what_the_device_runs() {
    let b = bench();
    let old: Vec<u8> = (0..40_000u32).flat_map(|i| (i * 7).to_le_bytes()).collect();
    let mut new = old.clone();
    new.splice(1000..1000, *b"AliOS");
    let up = |bytes: &[u8], v: &str| {
        b.cloud
            .upload(PK, &Upload::bytes("a.bin", bytes, v))
            .unwrap()
    };
    let (one, two) = (up(&old, "1"), up(&new, "2"));
    // Never reported: nothing to make a difference to.
    let r = b.cloud.validate(two.id, Mode::Diff, DN);
    assert!(matches!(r, Err(Error::NeverReported(_))));
    let mut c = b.online("0.9");
    let r = b.cloud.validate(two.id, Mode::Diff, DN).unwrap_err();
    assert!(
        matches!(&r, Error::Diff { why, .. } if why.contains("0.9")),
        "{r}"
    );
    c.inform("1");
    let job = b.cloud.validate(two.id, Mode::Diff, DN).unwrap();
    let data = &c.next().json()["data"];
    assert_eq!(data["isDiff"], 1);
    let patch = get(data["url"].as_str().unwrap(), "").body;
    assert_eq!(data["size"], patch.len());
    assert!(patch.len() < new.len() / 20, "{}", patch.len());
    let slice = data["splictSize"].as_u64().unwrap() as u32;
    assert!(patched(&old, &patch, slice) == new, "patched image differs");
    c.inform("2");
    assert_eq!(state(&b, &job), TaskState::Succeeded);
    assert_eq!(
        b.cloud.firmware(two.id).unwrap().validated,
        Some(Mode::Diff)
    );
    assert_eq!(b.cloud.firmware(one.id).unwrap().validated, None);
}
