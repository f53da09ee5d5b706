#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "encode", test))]
extern crate std;

pub mod crc;
pub mod io;
mod kind;
mod lzma2;
#[cfg(feature = "encode")]
mod matching;
pub mod nbdiff;
pub mod ptr;
pub mod xz;

pub use io::{IoError, ReadAt};
pub use kind::PackageKind;
