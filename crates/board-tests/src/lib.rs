#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod board;
pub mod counts;
mod desk;
mod image;
pub mod images;
pub mod powercut;
pub mod symbols;
mod world;

pub use desk::Desk;
pub use image::{file, packed, symbol};
pub use world::{DN, PK, World, app};
