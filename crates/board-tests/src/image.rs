//! Images of the board, as `cargo xtask test --only board` has built them.

use hal_mk3060::line_code;
use ota_verify::build::{Layout, PackOptions, PrivateKey, pack};
use ota_verify::{Coding, ImageKind, Module, Version};
use std::path::PathBuf;

/// A file of the build.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn file(name: &str) -> Vec<u8> {
    let path = path(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").expect("UOTA_BOARD_IMAGES")).join(name)
}

/// The application as it is uploaded: version 1, or the program of version 2.
#[must_use]
pub fn app(version: &str) -> Vec<u8> {
    let name = if version.starts_with("app-1") {
        "otaapp.bin"
    } else {
        "otaapp-2.bin"
    };
    packed(version, &file(name), None)
}

/// A program as it is uploaded, signed if there is a key.
///
/// # Panics
/// When `version` is none, or the program too long.
#[must_use]
pub fn packed(version: &str, program: &[u8], key: Option<&PrivateKey>) -> Vec<u8> {
    let version = Version::new(version).expect("a version");
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Board {
            coding: Coding::MK3060,
            encode: |plain| line_code::encode(plain).flatten().collect(),
        },
        version: Some(&version),
        module: Module::DEFAULT,
        key,
    };
    pack(program, &options).expect("packed").bytes
}

/// Address of the function whose path ends in `name`, in the program of that
/// name.
///
/// # Panics
/// When the program has no such function, or several.
#[must_use]
pub fn symbol(program: &str, name: &str) -> u32 {
    let symbols = file(&format!("{program}.sym"));
    let symbols = String::from_utf8_lossy(&symbols);
    let found: Vec<_> = symbols
        .lines()
        .filter(|line| line.ends_with(name))
        .collect();
    let [line] = found[..] else {
        panic!("{name}: {found:?}")
    };
    let address = line.split(' ').next().unwrap_or_default();
    u32::from_str_radix(address, 16).expect("an address") & !1
}
