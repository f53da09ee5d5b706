//! Proof of `ota-bootlib`: power cuts at and inside every flash operation, in
//! pairs and in sequences, with torn and unstable bits.
//!
//! A *world* is a device without a processor: flash, partitions, two images and
//! what the new one does. A *sweep* runs its boot loader through cuts and checks
//! the promises of `docs/power-safety.md` after each.

pub mod bugs;
mod cli;
pub mod definitions;
pub mod explore;
mod figures;
pub mod format;
pub mod images;
pub mod in_place;
pub mod layout;
pub mod replay;
pub mod stream;
pub mod sweep;
pub mod table;
mod watch;
pub mod world;

pub use cli::main;
pub use sweep::{Plan, Row, Sweep};
pub use world::{App, Known, Layout, World, Wrong};

/// Sectors that differ from each other and, with `name`, from another image's.
pub fn image<const S: usize, const U: usize>(sectors: u32, total: u32, name: u8) -> Known {
    let mut bytes = vec![0xFF; sectors as usize * S];
    for (i, b) in bytes.iter_mut().enumerate().take(total as usize) {
        *b = (i as u32)
            .wrapping_mul(0x9E37_79B1)
            .wrapping_add(u32::from(name) * 0x51) as u8
            ^ (i / S) as u8
            ^ name;
    }
    Known::new::<S, U>(bytes, total, name)
}
