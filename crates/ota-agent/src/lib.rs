#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod agent;
mod broker;
mod control;
#[cfg(any(feature = "ptr", feature = "xz"))]
mod decode;
mod download;
mod event;
#[cfg(feature = "bootlib")]
mod journal;
mod judge;
#[cfg(feature = "nbdiff")]
mod patch;
mod seams;
mod settings;
mod slot;
#[cfg(feature = "ptr")]
mod target;

pub use agent::{Agent, Outcome, Parts};
pub use control::Control;
#[cfg(any(feature = "ptr", feature = "xz"))]
pub use decode::{Decoders, PackageSlot};
pub use event::{Event, Observer};
#[cfg(feature = "bootlib")]
pub use journal::BootJournal;
pub use ota_delta::PackageKind;
#[cfg(feature = "nbdiff")]
pub use patch::PatchSlot;
pub use seams::{
    BootRequest, Clock, Connect, ConnectFailure, DECODED, PackageId, ResumeStore, Rng, Security,
    SinkError, StoredPatch, Trial, UpdateSink, Verified, VerifyImage,
};
pub use settings::{Broker, Buffers, Settings};
pub use slot::ImageSlot;
