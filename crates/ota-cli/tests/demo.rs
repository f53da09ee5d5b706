//! `ota demo`, as a user runs it.
#![allow(missing_docs)]

use std::process::{Command, Output};

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ota"));
    // No tool but itself: an empty PATH shows it.
    command.arg("demo").args(args).env("PATH", "");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a demo that must succeed.
fn ok(args: &[&str]) -> String {
    let out = demo(args);
    assert!(out.status.success(), "{args:?}: {out:?}");
    let stdout = text(&out.stdout);
    let last = stdout.lines().last().unwrap();
    assert_eq!(last, "app-2.0.0 confirmed, cloud: success", "{args:?}");
    let digest = |name: &str| {
        let line = stdout.lines().find(|l| l.contains(name)).unwrap();
        line.split(' ').next_back().unwrap().to_owned()
    };
    assert_eq!(digest("active slot SHA-256"), digest("packed file SHA-256"));
    stdout
}

#[test]
fn version_1_to_version_2_in_each_mode() {
    let full = ok(&[]);
    assert!(full.contains("start app-2.0.0 (on trial)"));
    let diff = ok(&["--mode", "diff"]);
    assert!(diff.contains("OTA patch pass"), "{diff}");
    let secure = ok(&["--mode", "secure"]);
    assert!(secure.contains("signature:by key "), "{secure}");
}

#[test]
fn any_bytes_are_an_image_and_what_is_kept_can_be_compared() {
    let dir = tempfile::tempdir().unwrap();
    let (file, keep) = (dir.path().join("any"), dir.path().join("kept"));
    let bytes: Vec<u8> = (0..77_777u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    std::fs::write(&file, &bytes).unwrap();
    let args = [
        "--image",
        file.to_str().unwrap(),
        "--keep",
        keep.to_str().unwrap(),
    ];
    ok(&args);
    // The bytes lie in the active slot, behind the block with the descriptor.
    let flash = std::fs::read(keep.join("device.flash")).unwrap();
    let start = 0x1_C000 + ota_verify::HOST_HEADER_LEN as usize;
    assert!(flash[start..start + bytes.len()] == bytes);
    assert!(keep.join("cloud/cloud.db").is_file());

    let empty = dir.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    ok(&["--image", empty.to_str().unwrap()]);

    let large = dir.path().join("large");
    std::fs::write(&large, vec![7; 0xE_4000]).unwrap();
    let out = demo(&["--image", large.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("the slot takes 933888"),
        "{out:?}"
    );
}

#[test]
fn a_cut_fires_and_the_device_recovers() {
    // In the download, in the swap, near the end.
    for at in ["0", "3000", "8000", "9990"] {
        let stdout = ok(&["--cut", at]);
        let fired = format!("*** power cut fired at flash operation {at} ***");
        assert!(stdout.contains(&fired), "{stdout}");
    }
    let out = demo(&["--cut", "1000000"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(
        text(&out.stderr).contains("the power cut did not fire"),
        "{out:?}"
    );
}

#[test]
fn a_version_that_fails_its_self_test_is_taken_back_also_with_a_cut() {
    // In the way there, and twice in the way back.
    for at in [None, Some("9000"), Some("10800"), Some("11600")] {
        let mut args = vec!["--revert"];
        args.extend(at.iter().flat_map(|at| ["--cut", at]));
        let out = demo(&args);
        assert!(out.status.success(), "{args:?}: {out:?}");
        let stdout = text(&out.stdout);
        let starts = stdout.matches("start app-2.0.0 (on trial)").count();
        assert_eq!(starts, 3, "{stdout}");
        let last = stdout.lines().last().unwrap();
        assert!(last.starts_with("app-1.0.0 is back, cloud: reverted: not confirmed"));
        if let Some(at) = at {
            let fired = format!("*** power cut fired at flash operation {at} ***");
            assert!(stdout.contains(&fired), "{stdout}");
        }
    }
    let out = demo(&["--revert", "--cut", "1000000"]);
    assert_eq!(out.status.code(), Some(1));
}

#[test]
fn corrupted_firmware_ends_with_status_1_and_an_unchanged_slot() {
    let out = demo(&["--corrupt"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(text(&out.stdout).contains("== active slot: unchanged"));
    let stderr = text(&out.stderr);
    assert!(stderr.starts_with("error: the update failed: "), "{stderr}");
    assert!(
        stderr.contains("see docs/troubleshooting.md#check"),
        "{stderr}"
    );
}

#[test]
fn a_board_demo_without_images_says_how_to_get_them() {
    let out = demo(&["--board", "mk3060"]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let stderr = text(&out.stderr);
    assert!(
        stderr.contains("--board mk3060 wants --images DIR"),
        "{stderr}"
    );
    assert!(
        stderr.contains("cargo xtask demo --board mk3060"),
        "{stderr}"
    );
}
