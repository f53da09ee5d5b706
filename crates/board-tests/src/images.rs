//! Images of the example `tinyapp`.

pub use crate::image::{file, packed};

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
