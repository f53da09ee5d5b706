#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

mod agent;
mod broker;
mod control;
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

pub use agent::{Agent, Outcome, Parts};
pub use control::Control;
pub use event::{Event, Observer};
#[cfg(feature = "bootlib")]
pub use journal::BootJournal;
#[cfg(feature = "nbdiff")]
pub use patch::PatchSlot;
pub use seams::{
    BootRequest, Clock, Connect, ConnectFailure, PackageId, ResumeStore, Rng, Security, SinkError,
    StoredPatch, Trial, UpdateSink, Verified, VerifyImage,
};
pub use settings::{Broker, Buffers, Settings};
pub use slot::ImageSlot;
