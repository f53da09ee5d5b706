//! The one entry point of a boot loader: carry on with whatever is in hand and
//! say what to start.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::app::effective_tries;
use crate::bugs::{self, Bug};
use crate::fault::{Fault, Part};
use crate::io::{Pieces, Place};
use crate::journal::Journal;
use crate::patch::Patch;
use crate::state::{FailCode, Failure, Phase, Strategy, VersionText, cell, flag};
use crate::verify::{Image, Refused, Verify};

/// The partitions a loader works on, all of one type.
///
/// Active and update slot may have different lengths; sectors and program units
/// are those of `P`.
#[derive(Debug)]
pub struct Partitions<P> {
    /// The slot the image runs from (`Switch`: the first slot).
    pub active: P,
    /// The slot a download goes to (`Switch`: the second slot).
    pub update: P,
    /// The boot journal: two halves of at least 56 records each.
    pub journal: P,
    /// `PARAMETER_1`; `None` where no C firmware ever ran.
    pub mailbox: Option<P>,
}

/// What a board decides about start-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// Verify the active image at each start instead of trusting the verdict.
    pub secure_boot: bool,
}

/// A slot an image can be started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The active slot (`Switch`: the first slot).
    First,
    /// `Switch`: the second slot.
    Second,
}

/// What the loader is to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Start the image in this slot. With `trial` arm the watchdog first.
    Start {
        /// Where.
        slot: Slot,
        /// The image is not confirmed yet.
        trial: bool,
    },
    /// Start nothing; wait for a new image over a cable.
    Recovery {
        /// Why.
        reason: RecoveryReason,
    },
}

/// Why nothing may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryReason {
    /// The active slot holds no image that may run.
    NoImage(FailCode),
    /// Serial recovery was interrupted.
    Unfinished,
    /// The flash failed while the active slot was being changed.
    Flash(Fault),
    /// This loader was built without the strategy that is under way.
    Strategy,
}

impl RecoveryReason {
    /// One word in ASCII, for a console with little room.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::NoImage(code) => code.name(),
            Self::Unfinished => b"unfinished",
            Self::Flash(_) => FailCode::Flash.name(),
            Self::Strategy => FailCode::Strategy.name(),
        }
    }
}

/// Carries on with whatever the journal says is in hand, and decides what to start.
///
/// Always ends: each pass through the state machine moves forward. `buf` is
/// scratch space of at least two program units; two sectors are best.
///
/// What is returned may be started at once: a trial start is already counted.
pub fn start_up<P: NorFlash, V: Verify<P>, H: Hooks>(
    parts: &mut Partitions<P>,
    verify: &mut V,
    hooks: &mut H,
    config: &Config,
    buf: &mut [u8],
) -> Decision {
    run(parts, verify, None, hooks, config, buf)
}

/// As [`start_up`], for a loader that can apply patches of the format `patch`.
#[cfg(any(feature = "patch-swap", feature = "in-place"))]
pub fn start_up_with_patch<P: NorFlash, V: Verify<P>, H: Hooks>(
    parts: &mut Partitions<P>,
    verify: &mut V,
    patch: &mut dyn Patch,
    hooks: &mut H,
    config: &Config,
    buf: &mut [u8],
) -> Decision {
    run(parts, verify, Some(patch), hooks, config, buf)
}

fn run<P: NorFlash, V: Verify<P>, H: Hooks>(
    parts: &mut Partitions<P>,
    verify: &mut V,
    #[cfg_attr(
        not(any(feature = "patch-swap", feature = "in-place")),
        allow(unused_variables)
    )]
    patch: Option<&mut dyn Patch>,
    hooks: &mut H,
    config: &Config,
    buf: &mut [u8],
) -> Decision {
    let Partitions {
        active,
        update,
        journal,
        ..
    } = parts;
    let place = Place::new;
    let mut l = Loader {
        active: place(Part::Active, active),
        update: place(Part::Update, update),
        #[cfg(feature = "mailbox")]
        mailbox: {
            let mailbox = parts.mailbox.as_mut();
            mailbox.map(|flash| place(Part::Mailbox, flash))
        },
        verify,
        #[cfg(any(feature = "patch-swap", feature = "in-place"))]
        patch: patch.map(|p| p as _),
        hooks,
        pieces: Pieces::new::<P>(buf),
        secure: V::EACH_START && config.secure_boot,
        refused: Refused {
            code: FailCode::Flash,
            offset: 0,
        },
        decision: None,
        steps: 0,
        journal: Journal::closed(journal),
        image: Image::NONE,
        sum: [0; 32],
    };
    l.run()
}

/// What a strategy works with. In this order: short offsets make short code.
#[repr(C)]
pub(crate) struct Loader<'a, P, V, H> {
    pub active: Place<&'a mut P>,
    pub update: Place<&'a mut P>,
    #[cfg(feature = "mailbox")]
    pub mailbox: Option<Place<&'a mut P>>,
    pub verify: &'a mut V,
    #[cfg(any(feature = "patch-swap", feature = "in-place"))]
    pub patch: Option<&'a mut dyn Patch>,
    pub hooks: &'a mut H,
    pub pieces: Pieces<'a>,
    /// See [`Loader::is_secure`].
    pub secure: bool,
    /// Steps of the strategy passed so far.
    pub steps: u16,
    /// Why an image was refused, or why the update stops.
    pub refused: Refused,
    /// What to do, once that is known.
    pub decision: Option<Decision>,
    pub journal: Journal<&'a mut P>,
    /// The image verified last.
    pub image: Image,
    /// What `Swap` hashed last.
    #[cfg_attr(not(feature = "swap"), allow(dead_code))]
    pub sum: [u8; 32],
}

/// Passes through the state machine before it is declared stuck. The longest
/// way is blank, idle, requested, moving, rebuilding, installing, reverting, idle.
const PASSES: usize = 12;

/// Whether a request may come that names no digest: one for a patch, or one of C
/// firmware. Then the image's version says whether it is the one that was offered.
const NAMED: bool = cfg!(any(
    feature = "patch-swap",
    feature = "in-place",
    feature = "mailbox"
));

const STUCK: Decision = Decision::Recovery {
    reason: RecoveryReason::Unfinished,
};

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    pub const SECTOR: u32 = P::ERASE_SIZE as u32;

    #[inline(never)]
    fn run(&mut self) -> Decision {
        // Without a journal nothing can be in hand that could be carried on.
        if self.journal.find().is_err() || self.pieces.b.is_empty() {
            self.journal.forget();
            self.start_if_valid();
            return self.decision.unwrap_or(STUCK);
        }
        if self.planted() {
            return Decision::Start {
                slot: self.active_slot(),
                trial: false,
            };
        }
        for _ in 0..PASSES {
            let mut passed = self.pass();
            if passed == Err(Fault::GIVEN_UP) {
                passed = self.go(Phase::Idle, self.known_good(), true);
            }
            if let Err(fault) = passed
                && self.decision.is_none()
            {
                self.flash_failed(fault);
            }
            if let Some(decision) = self.decision {
                return decision;
            }
        }
        STUCK
    }

    /// Planted bugs that act on what a reset left. `true`: start whatever there is.
    #[inline(always)]
    fn planted(&mut self) -> bool {
        let phase = self.journal.state().phase();
        if bugs::has(Bug::NeverRanReverts)
            && phase == Some(Phase::Trial)
            && self.journal.state().started() == 0
        {
            self.refuse(FailCode::NotConfirmed, 0);
            let _ = self.go(Phase::Reverting, false, true);
        }
        let installing = phase == Some(Phase::Installing);
        #[cfg(feature = "mailbox")]
        let mut head = [0; 32];
        #[cfg(feature = "mailbox")]
        if bugs::has(Bug::StateInMailbox) && installing {
            let mailbox = self.mailbox.as_mut();
            let read = mailbox.is_some_and(|m| m.read(0, &mut head).is_ok());
            return read && head == [0xFF; 32];
        }
        bugs::has(Bug::LostStateIsNormal) && installing && self.journal.is_torn()
    }

    /// One pass. Without a decision the state moved on: look again.
    fn pass(&mut self) -> Result<(), Fault> {
        self.steps = 0;
        let strategy = self.strategy();
        match self.journal.state().phase() {
            Some(Phase::Idle) => self.idle(),
            Some(Phase::Requested) => self.requested(strategy),
            #[cfg(any(feature = "patch-swap", feature = "in-place"))]
            Some(Phase::Moving) => self.patch_move(),
            #[cfg(any(feature = "patch-swap", feature = "in-place"))]
            Some(Phase::Rebuilding) => self.patch_rebuild(),
            Some(Phase::Installing) => self.installing(strategy),
            Some(Phase::Trial) => self.trial(),
            Some(Phase::Reverting) => self.reverting(strategy),
            Some(Phase::ActiveInvalid) => self.active_invalid(),
            _ => {
                self.start_if_valid();
                Ok(())
            }
        }
    }

    /// The flash failed. When the active slot is whole all the same, start it.
    fn flash_failed(&mut self, fault: Fault) {
        let s = self.journal.state();
        let untouched = match s.phase() {
            // The first step writes to the update slot.
            Some(Phase::Installing) => s.progress() == 0,
            Some(Phase::Reverting | Phase::ActiveInvalid) => false,
            _ => true,
        };
        if untouched {
            self.start_if_valid();
        } else {
            self.recover(RecoveryReason::Flash(fault));
        }
    }

    pub fn active_slot(&self) -> Slot {
        // Without `Switch` nobody sets the flag.
        if cfg!(feature = "switch") && self.journal.state().has(flag::SECOND) {
            Slot::Second
        } else {
            Slot::First
        }
    }

    /// The strategy in hand. All but `Switch` take the first slot for the one
    /// that runs: with the second one running they must not touch anything.
    pub fn strategy(&self) -> Option<Strategy> {
        let strategy = self.journal.state().strategy();
        strategy.filter(|s| *s == Strategy::Switch || self.active_slot() == Slot::First)
    }

    /// Whether the active image is still to be verified at this start.
    fn is_secure(&self) -> bool {
        V::EACH_START && self.secure
    }

    fn start(&mut self) {
        let trial = self.journal.state().phase() == Some(Phase::Trial);
        self.decision = Some(Decision::Start {
            slot: self.active_slot(),
            trial,
        });
    }

    pub fn recover(&mut self, reason: RecoveryReason) {
        self.decision = Some(Decision::Recovery { reason });
    }

    /// Verifies the image in a slot, which must be as long and have the digest and
    /// the version the state says, where it says so. `false`: see [`Loader::refused`].
    #[inline(never)]
    pub fn judge(&mut self, slot: Part, total: u32) -> bool {
        let slot = match slot {
            Part::Active => &mut *self.active.flash,
            _ => &mut *self.update.flash,
        };
        let total = if total == 0 { None } else { Some(total) };
        let floor = self.journal.state().floor();
        let image = &mut self.image;
        match self
            .verify
            .verify_into(slot, total, &floor, self.pieces.a, self.hooks, image)
        {
            Ok(()) => {
                if total.is_none() {
                    return true;
                }
                let (s, image) = (self.journal.state(), &self.image);
                // A patch is judged by what it makes: only here does its version show.
                let code = if NAMED
                    && !s.is_version(&VersionText::NONE)
                    && !image.version.is_empty()
                    && !s.is_version(&image.version)
                {
                    FailCode::Version
                } else if !s.is_clear(cell::NEW) && *s.new_sum() != image.sha256 {
                    // A cell is enough of a digest to tell one from none.
                    FailCode::Digest
                } else {
                    return true;
                };
                self.refuse(code, 0);
                false
            }
            Err(refused) => {
                self.refused = refused;
                false
            }
        }
    }

    /// Verifies the image in the slot that is to run, whatever its length.
    pub fn judge_active(&mut self) -> bool {
        let part = match self.active_slot() {
            Slot::First => Part::Active,
            Slot::Second => Part::Update,
        };
        self.judge(part, 0)
    }

    /// Notes the image that was just verified as the one to install.
    #[cfg_attr(
        not(any(feature = "overwrite", feature = "switch", feature = "swap")),
        allow(dead_code)
    )]
    pub fn take_image(&mut self) {
        let s = self.journal.state_mut();
        s.set_image_len(self.image.total);
        s.set_new_sha256(&self.image.sha256);
        if NAMED {
            s.set_version(&self.image.version);
        }
    }

    /// Decides without writing anything.
    fn start_if_valid(&mut self) {
        if self.judge_active() {
            self.start();
        } else {
            self.recover(RecoveryReason::NoImage(self.refused.code));
        }
    }

    /// Goes to `next` and writes the state. `good`: the active slot holds what
    /// may run; `failed`: for the reason in [`Loader::refused`].
    #[inline(never)]
    pub fn go(&mut self, next: Phase, good: bool, failed: bool) -> Result<(), Fault> {
        let s = self.journal.state_mut();
        if failed {
            let phase = s.phase().unwrap_or(Phase::Idle);
            s.set_failure(Failure {
                phase,
                code: self.refused.code,
                offset: self.refused.offset,
            });
        }
        s.set_phase(next);
        s.set(flag::VERDICT, good);
        if matches!(next, Phase::Idle | Phase::ActiveInvalid) {
            s.forget_update();
        }
        self.journal.write_all(self.hooks)
    }

    pub fn refuse(&mut self, code: FailCode, offset: u32) {
        self.refused = Refused { code, offset };
    }

    /// Gives the update up: the loader then goes back to idle and notes why.
    pub fn give_up(&mut self, code: FailCode, offset: u32) -> Result<(), Fault> {
        self.refuse(code, offset);
        Err(Fault::GIVEN_UP)
    }

    /// Nothing in the active slot may run, and nothing can be restored.
    pub fn lost(&mut self) -> Result<(), Fault> {
        self.go(Phase::ActiveInvalid, false, true)?;
        self.recover(RecoveryReason::NoImage(self.refused.code));
        Ok(())
    }

    fn idle(&mut self) -> Result<(), Fault> {
        let known = self.journal.state().has(flag::VERDICT);
        if !known || self.is_secure() {
            self.secure = false;
            if !self.judge_active() {
                return self.lost();
            }
            if !known {
                self.journal.state_mut().set(flag::VERDICT, true);
                // A verdict that cannot be kept is found again next time.
                let _ = self.journal.write_cell(cell::CORE, self.hooks);
            }
        }
        #[cfg(feature = "mailbox")]
        if self.take_request()? {
            return Ok(());
        }
        self.start();
        Ok(())
    }

    fn requested(&mut self, strategy: Option<Strategy>) -> Result<(), Fault> {
        #[cfg(feature = "mailbox")]
        self.clear_mailbox()?;
        self.refuse(FailCode::Strategy, 0);
        match strategy {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap) => self.swap_begin(),
            #[cfg(feature = "patch-swap")]
            Some(Strategy::PatchSwap) => self.patch_swap_begin(),
            #[cfg(feature = "overwrite")]
            Some(Strategy::Overwrite) => self.overwrite_begin(),
            #[cfg(feature = "in-place")]
            Some(Strategy::InPlace) => self.in_place_begin(),
            #[cfg(feature = "switch")]
            Some(Strategy::Switch) => self.switch_begin(),
            _ => Err(Fault::GIVEN_UP),
        }
    }

    /// The verdict as it stands.
    pub fn known_good(&self) -> bool {
        self.journal.state().has(flag::VERDICT)
    }

    fn installing(&mut self, strategy: Option<Strategy>) -> Result<(), Fault> {
        match strategy {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap | Strategy::PatchSwap) => self.swap_install(),
            #[cfg(feature = "overwrite")]
            Some(Strategy::Overwrite | Strategy::InPlace) => self.overwrite_install(),
            _ => {
                self.recover(RecoveryReason::Strategy);
                Ok(())
            }
        }
    }

    fn trial(&mut self) -> Result<(), Fault> {
        #[cfg(feature = "mailbox")]
        if self.trial_ended_by_mail()? {
            return Ok(());
        }
        let s = self.journal.state();
        let (started, tries) = (s.started(), effective_tries(s.tries()));
        let back = !cfg!(feature = "overwrite")
            || !matches!(s.strategy(), Some(Strategy::Overwrite | Strategy::InPlace));
        self.refuse(FailCode::NotConfirmed, 0);
        let mut good = started < tries || !back;
        if good && self.is_secure() {
            self.secure = false;
            good = self.judge_active();
        }
        if !good {
            return if back {
                self.go(Phase::Reverting, false, true)
            } else {
                self.lost()
            };
        }
        #[cfg(feature = "mailbox")]
        self.hand_over()?;
        // Last: a start that did not come to this point did not happen.
        self.journal
            .state_mut()
            .set_started(started.saturating_add(1));
        self.journal.write_cell(cell::CORE, self.hooks)?;
        self.start();
        Ok(())
    }

    fn reverting(&mut self, strategy: Option<Strategy>) -> Result<(), Fault> {
        match strategy {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap | Strategy::PatchSwap) => self.swap_revert(),
            #[cfg(feature = "switch")]
            Some(Strategy::Switch) => self.switch_revert(),
            _ => {
                self.recover(RecoveryReason::Strategy);
                Ok(())
            }
        }
    }

    fn active_invalid(&mut self) -> Result<(), Fault> {
        if self.journal.state().has(flag::WRITING) {
            self.recover(RecoveryReason::Unfinished);
            Ok(())
        } else if self.judge_active() {
            self.secure = false;
            self.go(Phase::Idle, true, false)
        } else {
            self.recover(RecoveryReason::NoImage(self.refused.code));
            Ok(())
        }
    }
}
