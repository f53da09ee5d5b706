//! The device as a board: console on UART1, network, credentials, and the agent
//! in a super-loop.
//!
//! What needs no hardware compiles and is tested on a host as well.

pub mod command;
pub mod line;
pub mod link;
pub mod log;
pub mod net;
pub mod rng;
pub mod saved;
pub mod slip;
pub mod store;
#[cfg(feature = "vendor-link")]
pub mod vendor;

#[cfg(target_os = "none")]
mod app;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod hardware;

#[cfg(target_os = "none")]
pub use app::{fault, panic, run};
#[cfg(target_os = "none")]
pub use hardware::on_interrupt;
