//! Sans-IO protocol cores for AliOS-style OTA: MQTT 3.1.1, ranged HTTP, sign-on, messages, update session.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod backoff;
pub mod http;
pub mod json;
pub mod messages;
pub mod mqtt;
pub mod session;
pub mod signon;
pub mod topics;
