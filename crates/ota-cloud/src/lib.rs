#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod digest;
mod error;
mod events;
mod firmware;
mod format;
mod http;
mod jobs;
mod messages;
mod mqtt;
mod package;
mod products;
mod server;
mod signon;
mod state;
mod store;
mod url;

pub use error::{Error, Result};
pub use events::{Event, EventKind};
pub use firmware::{Firmware, Method, Mode, Upload};
pub use format::Format;
pub use jobs::{Job, JobKind, JobSpec, Task};
pub use package::Package;
pub use products::{Device, Product, Reported};
pub use server::{Config, Server, TlsFiles};
pub use state::{Fact, TaskState};
pub use store::Cloud;
