//! What surrounds a board on a desk: a cable to the network, a console, a file
//! that keeps the flash.

mod file;
pub mod gdb;
mod net;
mod session;
mod slip;

pub use file::FlashFile;
pub use net::{Map, MapError, Net, Peer, Peers};
pub use session::Session;
