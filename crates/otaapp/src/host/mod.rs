//! The device as a process: its flash is a file, its boot loader a function call.
//!
//! Power on -> `ota_bootlib::start_up` decides what to start -> the app serves
//! updates -> a "reboot" goes through `start_up` again. Killing the process at
//! any moment is a power cut. What "runs" is the version in the descriptor of the
//! image that was started: a host image is descriptor plus data, it is not
//! executed.

#![forbid(unsafe_code)]

mod cli;
mod console;
mod device;
mod error;
mod flash;
mod help;
mod net;

pub use cli::main;
pub use console::Console;
pub use device::{End, Identity, Note, Options, Watch, run};
pub use error::Error;
pub use flash::{ACTIVE, FLASH_LEN, Flash, MAX_IMAGE, SECTOR, UNIT, UPDATE, init, read_slot};
pub use help::Topic;
pub use net::Roots;
