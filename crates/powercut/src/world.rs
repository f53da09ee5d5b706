//! A device without a processor: flash, partitions, images, an application.

mod build;

use core::cell::{Cell, RefCell};

use ota_bootlib::{
    AppError, BootState, Config, Decision, Hooks, Journal, Nbdiff, Patch, Slot, Strategy, start_up,
    start_up_with_patch,
};
use ota_delta::nbdiff::Workspace;
use ota_flash::sim::{CutVariant, Op, SimFlash};

use crate::format::TestPatch;
pub use crate::images::{Judge, Known};
pub use crate::layout::{Layout, View};
pub use crate::watch::Memo;
use crate::watch::Watch;

/// What the new image does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum App {
    /// Confirms at its first start.
    Confirms,
    /// Never confirms: each start ends in a reset.
    NeverConfirms,
    /// Asks to go back at its first start.
    AsksBack,
    /// C firmware: confirms through `PARAMETER_1`, as AliOS does.
    CConfirms,
    /// C firmware that erases `PARAMETER_1` at each start and never confirms.
    CErases,
    /// C firmware that asks, through `PARAMETER_1`, to go back.
    CAsksBack,
}

/// A device with an update requested.
#[derive(Clone)]
pub struct World<const S: usize, const U: usize> {
    /// Sizes.
    pub layout: Layout,
    /// The strategy of the request.
    pub strategy: Strategy,
    /// Flash with the request durable.
    pub flash: SimFlash<S, U>,
    /// What runs now.
    pub old: Known,
    /// What is to run.
    pub new: Known,
    /// What the new image does.
    pub app: App,
    /// The update image is damaged: it must be refused.
    pub bad: bool,
    /// There is a mailbox.
    pub mailbox: bool,
    /// Patches are AliOS nbdiff, not the format of these tests.
    pub nbdiff: bool,
}

/// A violated promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(pub String);

macro_rules! wrong {
    ($($t:tt)*) => { return Err(Wrong(format!($($t)*))) };
}

/// One planned cut: that many operations after the last one (or the beginning).
pub type Cut = (u64, CutVariant);

/// What happened so far, as far as promises depend on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past {
    /// Trial starts decided.
    pub starts: u64,
    /// The application was told that the image is confirmed.
    pub confirmed: bool,
    /// Cuts so far.
    pub cuts: u64,
}

/// One operation of a recorded run, and what was true in front of it.
#[derive(Debug, Clone)]
pub struct Step {
    /// Erase or program, and where.
    pub op: Op,
    /// What was programmed.
    pub data: Vec<u8>,
    /// What happened before it.
    pub past: Past,
}

/// How a run went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Run {
    /// Planned cuts that fired.
    pub fired: usize,
    /// Boots of it.
    pub boots: u32,
}

thread_local! {
    static WORKSPACE: RefCell<Box<Workspace>> = RefCell::new(Box::default());
}

/// Boots after which a run counts as a loop.
const MAX_BOOTS: u32 = 40;
/// Starts of an image that never confirms.
const TRIES: u64 = 3;

impl<const S: usize, const U: usize> World<S, U> {
    /// Runs the device through `cuts` to its end and checks every promise on
    /// the way. `flash` is left as it was at the end.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn run(
        &self,
        flash: &mut SimFlash<S, U>,
        past: Past,
        cuts: &[Cut],
        mut memo: Option<&mut Memo>,
        mut record: Option<&mut Vec<Step>>,
    ) -> Result<Run, Wrong> {
        let past = Cell::new(past);
        let mut run = Run::default();
        let mut planned = false;
        let mut seen = Vec::new();
        if record.is_some() {
            flash.start_trace();
        }
        for boots in 1..=MAX_BOOTS {
            run.boots = boots;
            flash.power_on();
            if !planned && let Some((after, variant)) = cuts.get(run.fired) {
                flash.cut_after(*after, *variant);
                planned = true;
            }
            let last = run.fired == cuts.len();
            let cell = RefCell::new(core::mem::replace(flash, SimFlash::new(S)));
            let mut watch = Watch {
                record: record.as_deref_mut(),
                memo: memo.as_deref().filter(|_| last),
                ..Watch::new(&cell, &past, self.layout.journal_sectors())
            };
            let end = self.boot(&cell, &mut watch, &past);
            watch.take();
            seen.append(&mut watch.seen);
            let hit = watch.hit;
            drop(watch);
            *flash = cell.into_inner();
            if hit {
                self.keep(memo, seen);
                return Ok(run);
            }
            if !flash.is_powered() {
                if flash.fired().is_none() {
                    wrong!("power went without a cut");
                }
                run.fired += 1;
                past.set(Past {
                    cuts: past.get().cuts + 1,
                    ..past.get()
                });
                planned = false;
                continue;
            }
            if let Some(is_new) = end? {
                self.check_end(is_new, past.get())?;
                self.keep(memo.take(), seen);
                return Ok(run);
            }
        }
        wrong!("no end after {MAX_BOOTS} boots")
    }

    /// Prints the journal, for the one who looks for a mistake.
    pub fn dump(&self, flash: &SimFlash<S, U>) {
        for s in self.layout.journal_sectors() {
            for (i, row) in flash.dump((s * S) as u32, S).chunks(U.max(32)).enumerate() {
                if row.iter().any(|b| *b != 0xFF) {
                    let unstable = flash.unstable_bits_in(s);
                    println!("sector {s} row {i} ({unstable} unstable in the sector): {row:02x?}");
                }
            }
        }
    }

    fn check_end(&self, is_new: bool, past: Past) -> Result<(), Wrong> {
        let back = self.bad || !matches!(self.app, App::Confirms | App::CConfirms);
        // Cuts may use up the tries of an image that would have confirmed.
        let tired = !past.confirmed && past.cuts >= TRIES;
        if is_new == back && (is_new || !tired) {
            wrong!("ends with the {} image", if is_new { "new" } else { "old" });
        }
        let Past { starts, cuts, .. } = past;
        if back
            && !self.bad
            && matches!(self.app, App::NeverConfirms | App::CErases)
            && starts + cuts < TRIES
        {
            wrong!("reverted after {starts} starts and {cuts} cuts");
        }
        Ok(())
    }

    fn keep(&self, memo: Option<&mut Memo>, seen: Vec<u128>) {
        if let Some(memo) = memo {
            memo.extend(seen);
        }
    }

    /// Runs boot loader and application once, records what they do and checks
    /// what one boot can show. Returns what is past then.
    ///
    /// # Errors
    /// The promise that was broken.
    pub fn one_boot(
        &self,
        flash: &mut SimFlash<S, U>,
        past: Past,
        record: &mut Vec<Step>,
    ) -> Result<Past, Wrong> {
        flash.power_on();
        flash.start_trace();
        let past = Cell::new(past);
        let cell = RefCell::new(core::mem::replace(flash, SimFlash::new(S)));
        let mut watch = Watch {
            record: Some(record),
            ..Watch::new(&cell, &past, self.layout.journal_sectors())
        };
        let end = self.boot(&cell, &mut watch, &past);
        watch.take();
        *flash = cell.into_inner();
        flash.take_trace();
        end.map(|_| past.get())
    }

    /// Runs the boot loader alone, once.
    pub fn start_only(&self, cell: &RefCell<SimFlash<S, U>>) -> Decision {
        let mut parts = self.layout.open(cell);
        let good = [self.old.clone(), self.new.clone()];
        let mut judge = Judge {
            flash: cell,
            good: &good,
        };
        let mut buf = vec![0; S.max(2 * U)];
        let config = Config::default();
        start_up(&mut parts, &mut judge, &mut (), &config, &mut buf)
    }

    /// What C firmware does with the mailbox. `true`: done to its end.
    fn c_firmware(&self, mailbox: &mut View<'_, S, U>) -> bool {
        use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};
        let mut head = [0; 32];
        if mailbox.read(0, &mut head).is_err() {
            return false;
        }
        // It confirms only when it finds itself on probation.
        let (count, flag) = (head[18], &head[14..18]);
        let known = count != 0 && count != 0xFF && *flag == *b"VVER";
        let (write, flag) = match self.app {
            App::CConfirms => (known, [0; 4]),
            App::CAsksBack => (known, *b"KBOR"),
            _ => return mailbox.erase(0, S as u32).is_ok(),
        };
        write
            && mailbox.erase(0, S as u32).is_ok()
            && mailbox.write(0, &build::mail::<U>(34, flag, 0)).is_ok()
    }

    /// Boot loader and, when it starts something, the application. `Some`: this
    /// is the end, with the new image or with the old one. Results are only
    /// looked at when power stayed on.
    fn boot(
        &self,
        cell: &RefCell<SimFlash<S, U>>,
        hooks: &mut dyn Hooks,
        past: &Cell<Past>,
    ) -> Result<Option<bool>, Wrong> {
        let mut parts = self.layout.open(cell);
        parts.mailbox = parts.mailbox.filter(|_| self.mailbox);
        let good = [self.old.clone(), self.new.clone()];
        let mut judge = Judge {
            flash: cell,
            good: &good,
        };
        let mut buf = vec![0; S.max(2 * U)];
        let mut start = |patch: &mut dyn Patch| {
            let (hooks, config) = (&mut &mut *hooks, Config::default());
            start_up_with_patch(&mut parts, &mut judge, patch, hooks, &config, &mut buf)
        };
        let d = if self.nbdiff {
            WORKSPACE.with_borrow_mut(|room| start(&mut Nbdiff::new(room)))
        } else {
            start(&mut TestPatch::default())
        };
        if !cell.borrow().is_powered() {
            return Ok(None);
        }
        let Decision::Start { slot, trial } = d else {
            wrong!("decided {d:?}");
        };
        let (old, new) = {
            let flash = cell.borrow();
            let first = if slot == Slot::First {
                0
            } else {
                self.layout.active as usize
            };
            (
                self.old.lies_at(&flash, first),
                self.new.lies_at(&flash, first),
            )
        };
        if !old && !new {
            wrong!("started a mixture (trial {trial})");
        }
        if past.get().confirmed && !new {
            wrong!("the confirmed image is gone");
        }
        if self.bad && new && !old {
            wrong!("started a bad image");
        }
        hooks.tick(); // Operations so far belong to the past so far.
        past.set(Past {
            starts: past.get().starts + u64::from(trial),
            ..past.get()
        });
        let mut journal = match Journal::open(parts.journal) {
            Ok(j) => j,
            Err(f) => wrong!("{f}"),
        };
        let state = journal.boot_state();
        // The newest record, "confirmed", may be unstable: seen by the loader and not by
        // the application, which then confirms again.
        let journal_sectors = self.layout.journal_sectors();
        let weak = journal_sectors
            .into_iter()
            .any(|s| cell.borrow().unstable_bits_in(s) != 0);
        if trial != matches!(state, BootState::Trial { .. }) && (trial || !weak) {
            wrong!("trial is {trial} in state {state:?}");
        }
        match (state, self.app) {
            (BootState::Trial { .. }, App::Confirms) => {
                match journal.confirm(true, hooks) {
                    Ok(()) => {
                        hooks.tick();
                        past.set(Past {
                            confirmed: true,
                            ..past.get()
                        });
                    }
                    Err(AppError::Flash(_)) if !cell.borrow().is_powered() => {}
                    Err(e) => wrong!("confirm: {e}"),
                }
                Ok(None)
            }
            (BootState::Trial { .. }, App::NeverConfirms) => Ok(None),
            (BootState::Trial { .. }, App::CConfirms | App::CErases | App::CAsksBack) => {
                let Some(mut mailbox) = parts.mailbox else {
                    wrong!("no mailbox")
                };
                if self.c_firmware(&mut mailbox) && self.app == App::CConfirms {
                    hooks.tick();
                    past.set(Past {
                        confirmed: true,
                        ..past.get()
                    });
                }
                Ok(None)
            }
            (BootState::Trial { .. }, App::AsksBack) => match journal.revert(hooks) {
                Err(e) if cell.borrow().is_powered() => wrong!("revert: {e}"),
                _ => Ok(None),
            },
            (BootState::Idle, _) => {
                let failed = journal.state().failure().is_some();
                if failed == (new && !old) {
                    wrong!("image is new: {new}, failure recorded: {failed}");
                }
                Ok(Some(new && !old))
            }
            // Likewise "reverted" or "refused": the application sees the state
            // before, and restarts.
            (BootState::Reverting | BootState::Requested { .. }, _) if weak => Ok(None),
            (state, _) => wrong!("started in state {state:?}"),
        }
    }
}
