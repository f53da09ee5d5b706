//! The device as a board: console on UART1, network, credentials, and the agent
//! in a super-loop.
//!
//! What needs no hardware compiles and is tested on a host as well.

pub mod command;
pub mod line;
pub mod link;
pub mod net;
pub mod saved;
pub mod slip;
pub mod store;
