//! `ota delta make | apply | info`.

use std::path::Path;
use std::process::{Command, Output};

fn ota(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ota"))
        .current_dir(dir)
        .arg("delta")
        .args(args)
        .output()
        .unwrap()
}

fn good(dir: &Path, args: &[&str]) -> String {
    let out = ota(dir, args);
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn both_formats_there_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let old: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(i) >> 9) as u8)
        .collect();
    let mut new = old.clone();
    new.splice(70_000..70_100, *b"fixed in version two");
    std::fs::write(dir.join("old"), &old).unwrap();
    std::fs::write(dir.join("new"), &new).unwrap();
    for format in ["ptr", "nbdiff"] {
        let facts = good(
            dir,
            &[
                "make", "old", "new", "-o", format, "--format", format, "--json",
            ],
        );
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        let patch = std::fs::metadata(dir.join(format)).unwrap().len();
        assert_eq!(facts["patch"], patch);
        assert!(patch < 1000);
        good(dir, &["apply", "old", format, "-o", "made", "--force"]);
        assert_eq!(std::fs::read(dir.join("made")).unwrap(), new);
        let facts = good(dir, &["info", format, "--json"]);
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        assert_eq!(
            (&facts["format"], &facts["new"]),
            (&format.into(), &new.len().into())
        );
    }
    let wrong = ota(dir, &["apply", "new", "ptr", "-o", "bad"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&wrong.stderr)
            .contains("not the image this patch was made against")
    );
    assert!(!dir.join("bad").exists());
    let again = ota(dir, &["make", "old", "new", "-o", "ptr"]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "nothing is overwritten unasked"
    );
}

#[test]
fn coded_board_images_without_trailer_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut coded = vec![0; 28];
    for n in 0..200u8 {
        coded.extend(hal_mk3060::line_code::encode_line(&[n; 32]));
    }
    let mut whole = coded.clone();
    let trailer = ota_verify::Trailer {
        kind: ota_verify::ImageKind::App,
        size: coded.len() as u32,
        md5: ota_verify::md5(&coded),
    };
    whole.extend(trailer.to_bytes());
    std::fs::write(dir.join("app.ota.bin"), &coded).unwrap();
    std::fs::write(dir.join("app.ota.md5.bin"), &whole).unwrap();
    for (new, warned) in [("app.ota.bin", true), ("app.ota.md5.bin", false)] {
        let out = ota(
            dir,
            &["make", "app.ota.md5.bin", new, "-o", "patch", "--force"],
        );
        assert!(out.status.success());
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(
            text.contains("warning: no trailer at the end (app.ota.bin)"),
            warned,
            "{text}"
        );
    }
}

#[test]
fn options_of_the_other_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("a"), [1; 100]).unwrap();
    for (format, option, value) in [
        ("nbdiff", "--arch", "thumb"),
        ("nbdiff", "--base", "0x10000"),
        ("ptr", "--slice", "4096"),
    ] {
        let args = [
            "make", "a", "a", "-o", "p", "--format", format, option, value,
        ];
        let out = ota(dir, &args);
        assert_eq!(out.status.code(), Some(2));
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(text.contains(option), "{text}");
        assert!(!dir.join("p").exists());
    }
}

#[test]
fn a_patch_larger_than_the_packed_image_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let noise = |mut x: u32| {
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            (x >> 8) as u8
        };
        (0..20_000).map(|_| next()).collect::<Vec<u8>>()
    };
    std::fs::write(dir.join("a"), noise(1)).unwrap();
    let mut same = noise(1);
    same[500] ^= 1;
    std::fs::write(dir.join("b"), same).unwrap();
    std::fs::write(dir.join("c"), noise(77_777)).unwrap();
    let note = |new: &str, patch: &str| {
        let out = ota(dir, &["make", "a", new, "-o", patch, "--format", "nbdiff"]);
        assert!(out.status.success());
        String::from_utf8_lossy(&out.stderr).contains("note: the whole image")
    };
    assert!(!note("b", "p"));
    assert!(note("c", "q"));
}
