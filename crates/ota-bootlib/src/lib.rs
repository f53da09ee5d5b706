#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
// A build without a loader uses the journal only.
#![cfg_attr(not(feature = "swap"), allow(dead_code))]

mod app;
mod bugs;
mod fault;
#[cfg(feature = "in-place")]
mod in_place;
mod io;
mod journal;
#[cfg(feature = "mailbox")]
mod mailbox;
#[cfg(feature = "nbdiff")]
mod nbdiff;
#[cfg(feature = "overwrite")]
mod overwrite;
mod patch;
#[cfg(feature = "patch-swap")]
mod patch_swap;
#[cfg(any(feature = "patch-swap", feature = "in-place"))]
mod rebuild;
#[cfg(any(feature = "swap", feature = "overwrite"))]
mod sectors;
mod start;
mod state;
#[cfg(feature = "swap")]
mod swap;
#[cfg(feature = "switch")]
mod switch;
mod verify;

pub use app::{AppError, BootState, Request, VerdictGuard};
pub use bugs::Bug;
#[cfg(feature = "planted-bugs")]
pub use bugs::{plant, small_journal};
pub use fault::{Fault, FaultKind, Part};
pub use journal::{Journal, ROW};
#[cfg(feature = "mailbox")]
pub use mailbox::{MAIL_LEN, Mail};
#[cfg(feature = "nbdiff")]
pub use nbdiff::Nbdiff;
pub use patch::{Patch, Section};
#[cfg(any(feature = "patch-swap", feature = "in-place"))]
pub use start::start_up_with_patch;
pub use start::{Config, Decision, Partitions, RecoveryReason, Slot, start_up};
pub use state::{
    CELL, CELLS, FailCode, FailedOffer, Failure, OFFERS, Phase, ResumeIdentity, State, Strategy,
    VERSION_LEN, VersionText,
};
pub use verify::{Image, ImageCheck, Refused, RuleCheck, Verify};

/// Called before each flash operation and during long reads.
///
/// Feed a watchdog here; the longest time between two calls is that of one
/// sector erase, or of hashing one buffer.
pub trait Hooks {
    /// Something is about to take time.
    fn tick(&mut self) {}
}

impl<H: Hooks + ?Sized> Hooks for &mut H {
    fn tick(&mut self) {
        H::tick(self);
    }
}

/// Hooks that do nothing.
impl Hooks for () {}
