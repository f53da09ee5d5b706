#![doc = include_str!("../README.md")]
#![no_std]

pub mod line_code;
pub mod memory;
pub mod regs;
