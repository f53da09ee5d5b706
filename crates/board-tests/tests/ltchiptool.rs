//! The line coding against a packer we did not write.

use board_tests::images::{file, packed};
use hal_mk3060::line_code;
use ota_verify::build::strip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `ltchiptool soc bkpackager crc` of `plain`, which it wants in whole lines.
fn coded_by_ltchiptool(dir: &Path, plain: &[u8]) -> Vec<u8> {
    let python = std::env::var_os("UOTA_PYTHON").expect(
        "UOTA_PYTHON names a Python with tests/python/requirements.txt: cargo xtask setup --yes",
    );
    let program = PathBuf::from(python).with_file_name("ltchiptool");
    let (input, output) = (dir.join("plain.bin"), dir.join("coded.bin"));
    std::fs::write(&input, plain).unwrap();
    let done = Command::new(&program)
        .args(["soc", "bkpackager", "crc"])
        .args([&input, &output])
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    std::fs::read(output).unwrap()
}

#[test]
fn our_lines_are_ltchiptools_lines() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["boot2.bin", "otaapp.bin"] {
        let mut plain = file(name);
        let ours: Vec<u8> = line_code::encode(&plain).flatten().collect();
        plain.resize(plain.len().next_multiple_of(line_code::LINE), 0xFF);
        let theirs = coded_by_ltchiptool(dir.path(), &plain);
        assert!(theirs.len() > plain.len());
        assert!(
            ours == theirs,
            "{name}: {} and {} bytes",
            ours.len(),
            theirs.len()
        );
        println!(
            "{name}: {} coded bytes, the same as ltchiptool's",
            ours.len()
        );
    }
    // The application as it is uploaded: 28 pad bytes, then those lines.
    let image = packed("app-1.0.0", &file("otaapp.bin"), None);
    let lines = &strip(&image).unwrap()[28..];
    let plain: Vec<u8> = line_code::decode(lines)
        .flat_map(|line| line.expect("a line"))
        .collect();
    assert!(lines == coded_by_ltchiptool(dir.path(), &plain));
}
