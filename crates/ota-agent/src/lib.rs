//! The device side of an over-the-air update, composed over small seams.
#![no_std]
#![forbid(unsafe_code)]
