//! The images that `cargo xtask` has built, packed as they are uploaded.

use hal_mk3060::line_code;
use ota_verify::build::{Layout, PackOptions, PrivateKey, pack};
use ota_verify::{Coding, ImageKind, Module, Version};
use std::path::PathBuf;

/// A file of the folder that `UOTA_BOARD_IMAGES` names.
///
/// # Panics
/// When it is not there: `cargo xtask test --only board` builds all of them.
#[must_use]
pub fn file(name: &str) -> Vec<u8> {
    let Some(dir) = std::env::var_os("UOTA_BOARD_IMAGES") else {
        panic!("UOTA_BOARD_IMAGES is not set: run this through cargo xtask");
    };
    let path = PathBuf::from(dir).join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `program` as an application image: padded, coded, with trailer, and signed
/// if there is a key.
///
/// # Panics
/// When the version is none, or the program cannot be packed.
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

/// The example `tinyapp`; `tail` bytes of filling make images that differ in
/// more sectors.
#[must_use]
pub fn tiny(version: &str, tail: usize, fill: u8) -> Vec<u8> {
    filled("tinyapp.bin", version, tail, fill)
}

/// As [`tiny`], with other bytes in every sector.
#[must_use]
pub fn other_tiny(version: &str, tail: usize, fill: u8) -> Vec<u8> {
    filled("tinyapp2.bin", version, tail, fill)
}

fn filled(name: &str, version: &str, tail: usize, fill: u8) -> Vec<u8> {
    let mut program = file(name);
    program.extend(std::iter::repeat_n(fill, tail));
    packed(version, &program, None)
}
