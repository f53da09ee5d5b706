#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "encode", test))]
extern crate std;

#[cfg(feature = "encode")]
pub mod compress;
mod display;
pub mod io;
mod kind;
mod lzma2;
#[cfg(feature = "encode")]
mod matching;
pub mod nbdiff;
pub mod ptr;
pub mod xz;

pub use io::IoError;
pub use kind::PackageKind;
pub use ota_verify::{ReadAt, ReadError};
