//! The one entry point of a boot loader: carry on with whatever is in hand and
//! say what to start.

use embedded_storage::nor_flash::NorFlash;

use crate::Hooks;
use crate::app::effective_tries;
use crate::fault::{Fault, FaultKind, Part};
use crate::io::{Place, chunk_len};
use crate::journal::Journal;
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

/// Carries on with whatever the journal says is in hand, and decides what to start.
///
/// Always ends: each pass through the state machine moves forward. `buf` is
/// scratch space of at least one program unit and 64 bytes; a sector is best.
///
/// What is returned may be started at once: a trial start is already counted.
pub fn start_up<P: NorFlash, V: Verify<P>>(
    parts: &mut Partitions<P>,
    verify: &mut V,
    hooks: &mut dyn Hooks,
    config: &Config,
    buf: &mut [u8],
) -> Decision {
    let Partitions {
        active,
        update,
        journal,
        mailbox,
    } = parts;
    match Journal::open(journal) {
        Ok(journal) => {
            let mut l = Loader {
                active: Place {
                    part: Part::Active,
                    flash: active,
                },
                update: Place {
                    part: Part::Update,
                    flash: update,
                },
                mailbox: mailbox.as_mut().map(|flash| Place {
                    part: Part::Mailbox,
                    flash,
                }),
                journal,
                verify,
                hooks,
                buf,
                secure: config.secure_boot,
            };
            l.run()
        }
        // Without a journal nothing can be in hand that could be carried on.
        Err(_) => match verify.verify(active, None, &VersionText::NONE, buf, hooks) {
            Ok(_) => Decision::Start {
                slot: Slot::First,
                trial: false,
            },
            Err(r) => Decision::Recovery {
                reason: RecoveryReason::NoImage(r.code),
            },
        },
    }
}

/// What a strategy works with.
pub(crate) struct Loader<'a, P, V> {
    pub active: Place<'a, P>,
    pub update: Place<'a, P>,
    #[cfg_attr(not(feature = "mailbox"), allow(dead_code))]
    pub mailbox: Option<Place<'a, P>>,
    pub journal: Journal<&'a mut P>,
    pub verify: &'a mut V,
    pub hooks: &'a mut dyn Hooks,
    pub buf: &'a mut [u8],
    pub secure: bool,
}

/// Why a step of an update stopped.
pub(crate) enum Stop {
    /// The flash failed; the next start tries again.
    Fault(Fault),
    /// The update is given up.
    Refused(Refused),
}

impl From<Fault> for Stop {
    fn from(f: Fault) -> Self {
        Self::Fault(f)
    }
}

impl From<Refused> for Stop {
    fn from(r: Refused) -> Self {
        Self::Refused(r)
    }
}

/// Passes through the state machine before it is declared stuck. The longest
/// way is blank, idle, requested, moving, rebuilding, installing, reverting, idle.
const PASSES: usize = 12;

impl<P: NorFlash, V: Verify<P>> Loader<'_, P, V> {
    pub const SECTOR: u32 = P::ERASE_SIZE as u32;

    fn run(&mut self) -> Decision {
        if chunk_len::<P>(self.buf) == 0 {
            let fault = Fault {
                part: Part::Active,
                offset: 0,
                kind: FaultKind::Geometry,
            };
            return Decision::Recovery {
                reason: RecoveryReason::Flash(fault),
            };
        }
        for _ in 0..PASSES {
            let phase = self.journal.state().phase();
            match self.pass(phase) {
                Ok(Some(decision)) => return decision,
                Ok(None) => {}
                Err(fault) => return self.flash_failed(fault),
            }
        }
        Decision::Recovery {
            reason: RecoveryReason::Unfinished,
        }
    }

    /// One pass; `None`: the state moved on, look again.
    fn pass(&mut self, phase: Option<Phase>) -> Result<Option<Decision>, Fault> {
        match phase {
            Some(Phase::Idle) => self.idle(),
            Some(Phase::Requested) => self.requested(),
            Some(Phase::Installing) => self.installing(),
            Some(Phase::Trial) => self.trial(),
            Some(Phase::Reverting) => self.reverting(),
            Some(Phase::ActiveInvalid) => self.active_invalid(),
            _ => Ok(Some(self.start_if_valid())),
        }
    }

    /// The flash failed. When the active slot is whole all the same, start it.
    fn flash_failed(&mut self, fault: Fault) -> Decision {
        match self.journal.state().phase() {
            Some(Phase::Idle | Phase::Requested | Phase::Moving | Phase::Trial) | None => {
                self.start_if_valid()
            }
            _ => Decision::Recovery {
                reason: RecoveryReason::Flash(fault),
            },
        }
    }

    pub fn active_slot(&self) -> Slot {
        if self.journal.state().has(flag::SECOND) {
            Slot::Second
        } else {
            Slot::First
        }
    }

    fn start(&self, trial: bool) -> Decision {
        Decision::Start {
            slot: self.active_slot(),
            trial,
        }
    }

    /// Verifies the image in the active slot.
    fn verify_active(&mut self) -> Result<Image, Refused> {
        let slot = match self.active_slot() {
            Slot::First => &mut *self.active.flash,
            Slot::Second => &mut *self.update.flash,
        };
        self.verify
            .verify(slot, None, &VersionText::NONE, self.buf, self.hooks)
    }

    /// Decides without writing anything.
    fn start_if_valid(&mut self) -> Decision {
        let trial = self.journal.state().phase() == Some(Phase::Trial);
        match self.verify_active() {
            Ok(_) => self.start(trial),
            Err(r) => Decision::Recovery {
                reason: RecoveryReason::NoImage(r.code),
            },
        }
    }

    fn idle(&mut self) -> Result<Option<Decision>, Fault> {
        let known = self.journal.state().has(flag::VERDICT);
        if !known || self.secure {
            self.secure = false;
            match self.verify_active() {
                Ok(_) => {
                    if !known {
                        self.journal.state_mut().set(flag::VERDICT, true);
                        // A verdict that cannot be kept is found again next time.
                        let _ = self.journal.write_cell(cell::CORE, self.hooks);
                    }
                }
                Err(r) => {
                    let s = self.journal.state_mut();
                    s.set(flag::VERDICT, false);
                    s.set_failure(Failure {
                        phase: Phase::Idle,
                        code: r.code,
                        offset: r.offset,
                    });
                    s.set_phase(Phase::ActiveInvalid);
                    self.journal.write_cell(cell::CORE, self.hooks)?;
                    return Ok(Some(no_image(r.code)));
                }
            }
        }
        Ok(Some(self.start(false)))
    }

    fn requested(&mut self) -> Result<Option<Decision>, Fault> {
        let begun = match self.journal.state().strategy() {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap) => self.swap_begin(),
            Some(_) => Err(refuse(FailCode::Strategy, 0)),
            None => Err(refuse(FailCode::Request, 0)),
        };
        match begun {
            Ok(()) => Ok(None),
            Err(Stop::Fault(f)) => Err(f),
            Err(Stop::Refused(r)) => {
                self.give_up(r)?;
                Ok(None)
            }
        }
    }

    /// Back to idle with the old image, which was not touched.
    pub fn give_up(&mut self, r: Refused) -> Result<(), Fault> {
        let s = self.journal.state_mut();
        let phase = s.phase().unwrap_or(Phase::Requested);
        s.set_failure(Failure {
            phase,
            code: r.code,
            offset: r.offset,
        });
        s.set_phase(Phase::Idle);
        s.forget_update();
        self.journal.write_all(self.hooks)
    }

    fn installing(&mut self) -> Result<Option<Decision>, Fault> {
        match self.journal.state().strategy() {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap | Strategy::PatchSwap) => self.swap_install(),
            _ => Ok(Some(Decision::Recovery {
                reason: RecoveryReason::Strategy,
            })),
        }
    }

    fn trial(&mut self) -> Result<Option<Decision>, Fault> {
        let s = self.journal.state();
        let (started, tries) = (s.started(), effective_tries(s.tries()));
        if started >= tries {
            self.begin_revert(FailCode::NotConfirmed)?;
            return Ok(None);
        }
        if self.secure {
            self.secure = false;
            if let Err(r) = self.verify_active() {
                self.begin_revert(r.code)?;
                return Ok(None);
            }
        }
        self.journal.state_mut().set_started(started + 1);
        self.journal.write_cell(cell::CORE, self.hooks)?;
        Ok(Some(self.start(true)))
    }

    pub fn begin_revert(&mut self, code: FailCode) -> Result<(), Fault> {
        let s = self.journal.state_mut();
        let phase = s.phase().unwrap_or(Phase::Trial);
        s.set_failure(Failure {
            phase,
            code,
            offset: 0,
        });
        s.set_phase(Phase::Reverting);
        s.set(flag::VERDICT, false);
        self.journal.write_all(self.hooks)
    }

    fn reverting(&mut self) -> Result<Option<Decision>, Fault> {
        match self.journal.state().strategy() {
            #[cfg(feature = "swap")]
            Some(Strategy::Swap | Strategy::PatchSwap) => self.swap_revert(),
            _ => Ok(Some(Decision::Recovery {
                reason: RecoveryReason::Strategy,
            })),
        }
    }

    fn active_invalid(&mut self) -> Result<Option<Decision>, Fault> {
        if self.journal.state().has(flag::WRITING) {
            return Ok(Some(Decision::Recovery {
                reason: RecoveryReason::Unfinished,
            }));
        }
        match self.verify_active() {
            Ok(_) => {
                let s = self.journal.state_mut();
                s.set_phase(Phase::Idle);
                s.forget_update();
                s.set(flag::VERDICT, true);
                self.journal.write_all(self.hooks)?;
                self.secure = false;
                Ok(None)
            }
            Err(r) => Ok(Some(no_image(r.code))),
        }
    }

    /// Nothing in the active slot may run, and nothing can be restored.
    pub fn lost(&mut self, code: FailCode) -> Result<Option<Decision>, Fault> {
        let s = self.journal.state_mut();
        let phase = s.phase().unwrap_or(Phase::Idle);
        s.set_failure(Failure {
            phase,
            code,
            offset: 0,
        });
        s.set_phase(Phase::ActiveInvalid);
        s.set(flag::VERDICT, false);
        self.journal.write_all(self.hooks)?;
        Ok(Some(no_image(code)))
    }
}

pub(crate) fn refuse(code: FailCode, offset: u32) -> Stop {
    Stop::Refused(Refused { code, offset })
}

fn no_image(code: FailCode) -> Decision {
    Decision::Recovery {
        reason: RecoveryReason::NoImage(code),
    }
}
