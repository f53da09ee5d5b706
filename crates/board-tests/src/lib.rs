//! Tests of uota's board images on the emulated board, and the desk that the
//! board stands on.

mod desk;
mod image;
mod world;

pub use desk::Desk;
pub use image::{file, packed, symbol};
pub use world::{DN, PK, World, app};
