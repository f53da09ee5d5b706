#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod board;
pub mod counts;
mod desk;
mod image;
pub mod images;
pub mod powercut;
pub mod scripted;
pub mod symbols;
#[cfg(feature = "cloud")]
mod world;

pub use desk::{Desk, StackUse};
pub use image::{app, file, packed, symbol};
#[cfg(feature = "cloud")]
pub use world::World;

/// Product of the tests.
pub const PK: &str = "a1Demo";
/// Its device.
pub const DN: &str = "dev1";
