//! Whole-system tests of uota: what they share.
//!
//! Helpers panic when they cannot do their work: that fails the test.

mod device;
mod image;
pub mod peers;
mod proxy;
mod world;

pub use device::{Running, failed, updated};
pub use image::{Made, image, program};
pub use proxy::Proxy;
pub use world::{DN, OLD, PK, World};

use std::time::Duration;

/// Longer than anything may take on a busy machine; nothing is judged by it.
pub const LIMIT: Duration = Duration::from_secs(60);
