//! Images.

use ota_verify::build::{self, Layout, PackOptions, PrivateKey};
use ota_verify::{ImageKind, Module, Version};

/// A packed image.
#[derive(Debug, Clone)]
pub struct Made {
    /// Its version.
    pub version: String,
    /// What is uploaded.
    pub bytes: Vec<u8>,
}

/// `len` bytes that look random, the same for the same seed.
#[must_use]
pub fn program(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// A packed image of `program`, signed when there is a key.
#[must_use]
pub fn image(version: &str, program: &[u8], key: Option<&PrivateKey>) -> Made {
    let options = PackOptions {
        kind: ImageKind::App,
        layout: Layout::Host,
        version: Some(&Version::new(version).expect("a version")),
        module: Module::DEFAULT,
        key,
    };
    Made {
        version: version.into(),
        bytes: build::pack(program, &options).expect("packed").bytes,
    }
}
