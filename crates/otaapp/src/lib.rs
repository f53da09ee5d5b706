#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std)]

pub mod board;
#[cfg(not(target_os = "none"))]
pub mod host;
