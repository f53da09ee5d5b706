//! Sans-IO protocol cores for AliOS-style OTA: MQTT 3.1.1, ranged HTTP, sign-on, messages, update session.
#![no_std]
#![forbid(unsafe_code)]

pub mod http;
pub mod json;
pub mod messages;
pub mod session;
