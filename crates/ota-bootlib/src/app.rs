//! What an application does with the journal: ask for an update, confirm,
//! remember downloads and failed offers.

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

use crate::Hooks;
use crate::bugs::{self, Bug};
use crate::fault::Fault;
use crate::journal::Journal;
use crate::state::{FailCode, Failure, Phase, ResumeIdentity, Strategy, VersionText, cell, flag};

/// An update to be installed at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// How. The loader must have been built with it.
    pub strategy: Strategy,
    /// Length of the new image with signed block and trailer; 0 when only the
    /// image itself knows (patches).
    pub image_len: u32,
    /// SHA-256 of the new image proper; zeros when only the image itself knows.
    pub sha256: [u8; 32],
    /// Version that was offered.
    pub version: VersionText,
    /// First 16 bytes of the digest of the package, see [`Journal::offer_failed`].
    pub offer: [u8; 16],
    /// `PatchSwap`, `InPlace`: length of the stored patch.
    pub package_len: u32,
    /// `PatchSwap`, `InPlace`: offset of the patch in the update slot.
    pub package_at: u32,
    /// `PatchSwap`, `InPlace`: length of a slice, whole sectors; 0: 64 KiB.
    pub slice_len: u32,
    /// How often the new image is started before it counts as failed; 0: 3 times.
    pub tries: u8,
}

impl Request {
    /// A whole image of `image_len` bytes at the start of the update slot.
    pub const fn image(strategy: Strategy, image_len: u32, sha256: [u8; 32]) -> Self {
        Self {
            strategy,
            image_len,
            sha256,
            version: VersionText::NONE,
            offer: [0; 16],
            package_len: 0,
            package_at: 0,
            slice_len: 0,
            tries: 0,
        }
    }
}

/// The boot state in one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootState {
    /// The running image is confirmed; the update slot is free.
    Idle,
    /// An update will be installed at the next start.
    Requested {
        /// How.
        strategy: Strategy,
    },
    /// The loader is installing. An application never sees this.
    Installing {
        /// Steps done.
        progress: u16,
    },
    /// The running image is not confirmed. The update slot holds the only copy
    /// of the old one: it must not be written.
    Trial {
        /// Starts so far, this one included.
        started: u8,
        /// Starts allowed.
        tries: u8,
    },
    /// The old image goes back at the next start.
    Reverting,
    /// No image may run; serial recovery.
    ActiveInvalid,
    /// Written by a newer program.
    Unknown,
}

/// Why the journal could not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppError {
    /// The flash failed. What was to be written may or may not be there.
    Flash(Fault),
    /// Not in this state: confirm first, or wait for the restart.
    State(BootState),
    /// The request contradicts itself.
    Request,
}

impl From<Fault> for AppError {
    fn from(f: Fault) -> Self {
        Self::Flash(f)
    }
}

impl core::fmt::Display for AppError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Flash(fault) => fault.fmt(f),
            Self::State(s) => write!(f, "not possible in boot state {s:?}"),
            Self::Request => f.write_str("update request contradicts itself"),
        }
    }
}

impl core::error::Error for AppError {}

impl NorFlashError for AppError {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// Starts before an unconfirmed image counts as failed, unless a request says otherwise.
pub(crate) const DEFAULT_TRIES: u8 = 3;

impl<P: NorFlash> Journal<P> {
    /// The boot state.
    pub fn boot_state(&self) -> BootState {
        let s = self.state();
        match s.phase() {
            Some(Phase::Idle) => BootState::Idle,
            Some(Phase::Requested) => match s.strategy() {
                Some(strategy) => BootState::Requested { strategy },
                None => BootState::Unknown,
            },
            Some(Phase::Moving | Phase::Rebuilding | Phase::Installing) => BootState::Installing {
                progress: s.progress(),
            },
            Some(Phase::Trial) => BootState::Trial {
                started: s.started(),
                tries: effective_tries(s.tries()),
            },
            Some(Phase::Reverting) => BootState::Reverting,
            Some(Phase::ActiveInvalid) => BootState::ActiveInvalid,
            None => BootState::Unknown,
        }
    }

    /// The slot that runs. With `Switch` a download goes to the other one.
    pub fn active_slot(&self) -> crate::Slot {
        if self.state().has(flag::SECOND) {
            crate::Slot::Second
        } else {
            crate::Slot::First
        }
    }

    /// Whether a download may be written to the update slot.
    pub fn update_slot_free(&self) -> bool {
        matches!(
            self.boot_state(),
            BootState::Idle | BootState::ActiveInvalid
        )
    }

    fn need(&self, allowed: bool) -> Result<(), AppError> {
        if allowed {
            Ok(())
        } else {
            Err(AppError::State(self.boot_state()))
        }
    }

    /// Asks for an update at the next start. When this returns `Ok` the request
    /// is durable.
    ///
    /// # Errors
    /// [`AppError::State`] unless idle; [`AppError::Request`]; flash faults.
    pub fn request(&mut self, r: &Request, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        self.need(self.boot_state() == BootState::Idle)?;
        let patch = matches!(r.strategy, Strategy::PatchSwap | Strategy::InPlace);
        if patch != (r.package_len != 0) || !patch && r.image_len == 0 {
            return Err(AppError::Request);
        }
        let s = self.state_mut();
        s.forget_update();
        s.set_phase(Phase::Requested);
        s.set_raw_strategy(r.strategy as u8);
        s.set_tries(r.tries);
        s.set_image_len(r.image_len);
        s.set_new_sha256(&r.sha256);
        s.set_version(&r.version);
        s.set_offer(&r.offer);
        s.set_package_len(r.package_len);
        s.set_package_at(r.package_at);
        s.set_slice_len(r.slice_len);
        s.clear_cells(cell::RESUME, 3);
        Ok(self.write_all(hooks)?)
    }

    /// Keeps the running image. With `raise_floor` its version becomes the
    /// lowest that may be installed from now on; the caller compares versions.
    ///
    /// Confirming an image that is confirmed already does nothing.
    ///
    /// # Errors
    /// [`AppError::State`] when there is nothing to confirm; flash faults.
    pub fn confirm(&mut self, raise_floor: bool, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        if self.boot_state() == BootState::Idle {
            return Ok(());
        }
        self.need(matches!(self.boot_state(), BootState::Trial { .. }))?;
        Ok(self.confirm_trial(raise_floor, hooks)?)
    }

    pub(crate) fn confirm_trial(
        &mut self,
        raise_floor: bool,
        hooks: &mut (impl Hooks + ?Sized),
    ) -> Result<(), Fault> {
        let s = self.state_mut();
        let version = s.version();
        if raise_floor && !version.is_empty() {
            s.set_floor(&version);
        }
        s.set_phase(Phase::Idle);
        s.forget_update();
        self.write_all(hooks)
    }

    /// Goes back to the old image at the next start, without further tries.
    ///
    /// # Errors
    /// [`AppError::State`] unless on trial; flash faults.
    pub fn revert(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        self.need(matches!(self.boot_state(), BootState::Trial { .. }))?;
        let s = self.state_mut();
        s.set_phase(Phase::Reverting);
        s.set_failure(Failure {
            phase: Phase::Trial,
            code: FailCode::AppRevert,
            offset: 0,
        });
        Ok(self.write_all(hooks)?)
    }

    /// Sets the lowest version that may be installed.
    ///
    /// # Errors
    /// Flash faults.
    pub fn set_floor(
        &mut self,
        floor: &VersionText,
        hooks: &mut dyn Hooks,
    ) -> Result<(), AppError> {
        self.state_mut().set_floor(floor);
        Ok(self.write_all(hooks)?)
    }

    /// Forgets the last failure: it has been reported.
    ///
    /// # Errors
    /// Flash faults.
    pub fn acknowledge_failure(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        if self.state().failure().is_none() {
            return Ok(());
        }
        self.state_mut().set(flag::REPORT, false);
        Ok(self.write_cell(cell::CORE, hooks)?)
    }

    /// Counts a failure of the offer whose package digest starts with `digest`.
    /// It becomes permanent at once with `permanent`, else after two failures.
    ///
    /// # Errors
    /// Flash faults.
    pub fn offer_failed(
        &mut self,
        digest: &[u8; 16],
        permanent: bool,
        hooks: &mut dyn Hooks,
    ) -> Result<(), AppError> {
        self.state_mut().remember_offer(digest, permanent, 2);
        Ok(self.write_all(hooks)?)
    }

    /// Forgets all failed offers, so that each may be tried again.
    ///
    /// # Errors
    /// Flash faults.
    pub fn forget_failed_offers(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        self.state_mut()
            .clear_cells(cell::OFFERS, crate::state::OFFERS as u8);
        Ok(self.write_all(hooks)?)
    }

    /// Whether the offer must not be tried again.
    pub fn is_offer_barred(&self, digest: &[u8; 16]) -> bool {
        self.state()
            .failed_offers()
            .any(|o| o.permanent && o.digest == *digest)
    }

    /// Notes that a download of `id` begins at offset 0.
    ///
    /// # Errors
    /// [`AppError::State`] unless the update slot is free; flash faults.
    pub fn resume_begin(
        &mut self,
        id: &ResumeIdentity,
        version: &VersionText,
        hooks: &mut dyn Hooks,
    ) -> Result<(), AppError> {
        self.need(self.update_slot_free())?;
        if id.method == 0 {
            return Err(AppError::Request);
        }
        let s = self.state_mut();
        s.set_resume(id);
        s.set_raw_resume_offset(0);
        s.set_version(version);
        Ok(self.write_all(hooks)?)
    }

    /// Notes that the first `offset` bytes of the download are in the slot.
    ///
    /// # Errors
    /// Flash faults.
    pub fn resume_advance(&mut self, offset: u32, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        self.state_mut().set_raw_resume_offset(offset);
        Ok(self.write_cell(cell::OFFSET, hooks)?)
    }

    /// Forgets the download.
    ///
    /// # Errors
    /// Flash faults.
    pub fn resume_clear(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        if self.state().resume().is_none() {
            return Ok(());
        }
        self.state_mut().clear_cells(cell::RESUME, 3);
        Ok(self.write_all(hooks)?)
    }

    /// Takes the verdict "the active image is good" back, durably. To be called
    /// before anything changes the active slot; see [`VerdictGuard`].
    ///
    /// # Errors
    /// Flash faults; the active slot must not be changed then.
    pub fn revoke_verdict(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        if bugs::has(Bug::VerdictKept) {
            return Ok(());
        }
        if self.is_blank() || self.state().has(flag::VERDICT) {
            self.state_mut().set(flag::VERDICT, false);
            self.write_all(hooks)?;
        }
        Ok(self.settle(hooks)?)
    }

    /// Notes, durably, that the active slot is about to be overwritten from
    /// outside: until [`recovery_end`](Self::recovery_end) nothing is started.
    ///
    /// # Errors
    /// Flash faults; the active slot must not be changed then.
    pub fn recovery_begin(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        let s = self.state_mut();
        s.set_phase(Phase::ActiveInvalid);
        s.forget_update();
        s.set(flag::VERDICT, false);
        s.set(flag::WRITING, true);
        Ok(self.write_all(hooks)?)
    }

    /// The active slot was written to its end: the next start verifies it.
    ///
    /// # Errors
    /// [`AppError::State`] when recovery has not begun; flash faults.
    pub fn recovery_end(&mut self, hooks: &mut dyn Hooks) -> Result<(), AppError> {
        self.need(self.boot_state() == BootState::ActiveInvalid)?;
        self.state_mut().set(flag::WRITING, false);
        Ok(self.write_all(hooks)?)
    }
}

pub(crate) const fn effective_tries(tries: u8) -> u8 {
    if tries == 0 { DEFAULT_TRIES } else { tries }
}

/// Stands in front of the active slot (`ota_flash::GuardedPartition`) and
/// revokes the verdict durably before the first change.
pub struct VerdictGuard<'a, P> {
    /// The journal.
    pub journal: &'a mut Journal<P>,
    /// Called before each flash operation.
    pub hooks: &'a mut dyn Hooks,
}

impl<P: NorFlash> ota_flash::BeforeErase for VerdictGuard<'_, P> {
    type Error = AppError;

    fn before_erase(&mut self, _from: u32, _to: u32) -> Result<(), AppError> {
        self.journal.revoke_verdict(self.hooks)
    }
}
