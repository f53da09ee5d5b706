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
