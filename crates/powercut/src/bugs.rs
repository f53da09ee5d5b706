//! Does the harness bite? Mistakes of other loaders, planted one at a time.

use core::cell::RefCell;

use embedded_storage::nor_flash::NorFlash;
use ota_bootlib::{Bug, Decision, Journal, Slot, Strategy, VerdictGuard, plant};
use ota_flash::GuardedPartition;

use crate::explore::{Goal, explore};
use crate::table::whole;
use crate::world::Wrong;
use crate::{App, Layout, Plan, Sweep};

const LAYOUT: Layout = Layout::new(3, 4, 16);

/// Cuts through updates of a small device, pairs from every n-th operation on;
/// the first broken promise.
fn updates(pairs: u64) -> Option<String> {
    let plan = Plan {
        every_unit: true,
        pairs,
        step: 1,
        sequences: 0,
        seed: 1,
    };
    [App::Confirms, App::NeverConfirms]
        .into_iter()
        .find_map(|app| {
            let world = whole::<256, 32>(LAYOUT, Strategy::Swap, app, 3, 0);
            Sweep {
                world: &world,
                plan,
            }
            .run("", "")
            .first
        })
}

/// Cuts while the active slot is overwritten from outside, behind a
/// [`VerdictGuard`]; the loader must start the old image, the new one, or nothing.
fn overwritten() -> Result<u64, Wrong> {
    let world = whole::<256, 32>(LAYOUT, Strategy::Swap, App::Confirms, 3, 0);
    let mut cuts = 0;
    for op in 0.. {
        for variant in ota_flash::sim::CutVariant::for_erase(op) {
            let mut flash = world.confirmed();
            let before = flash.ops();
            flash.cut_after(op, variant);
            let cell = RefCell::new(flash);
            let parts = world.layout.open(&cell);
            if let Ok(mut journal) = Journal::open(parts.journal) {
                let guard = VerdictGuard {
                    journal: &mut journal,
                    hooks: &mut (),
                };
                let mut slot = GuardedPartition::new(parts.active, guard);
                let _ = slot.erase(0, 3 * 256).is_ok() && slot.write(0, &world.new.bytes).is_ok();
            }
            let mut flash = cell.into_inner();
            if flash.fired().is_none() {
                return Ok(cuts + u64::from(flash.ops() == before));
            }
            cuts += 1;
            flash.power_on();
            let cell = RefCell::new(flash);
            let d = world.start_only(&cell);
            let flash = cell.borrow();
            let whole = world.old.lies_at(&flash, 0) || world.new.lies_at(&flash, 0);
            let weak = (0..3).any(|s| flash.unstable_bits_in(s) != 0);
            if d == (Decision::Start {
                slot: Slot::First,
                trial: false,
            }) && !whole
                && !weak
            {
                return Err(Wrong(format!(
                    "started a mixture after {variant:?} at {op}"
                )));
            }
        }
    }
    Ok(cuts)
}

/// All states of a swap, as far as one unstable journal row at a time leads.
fn explored(app: App) -> Option<String> {
    let goal = Goal {
        strategy: Strategy::Swap,
        app,
        bad: false,
        unstable: 1,
    };
    explore(goal).wrong
}

/// Looks for what is wrong with a planted bug.
type Hunt = fn() -> Option<String>;

/// What is to catch a bug.
fn hunt(bug: Bug) -> (&'static str, Hunt) {
    match bug {
        Bug::VerdictKept => ("cuts while the slot is overwritten", || {
            overwritten().err().map(|e| e.0)
        }),
        // Many cuts in a row, with reads that turn out one way each time.
        Bug::UnstableRecordTrusted
        | Bug::ErasedWhileReadable
        | Bug::RowZeroHole
        | Bug::LastSureStateErased => ("exploration", || explored(App::Confirms)),
        _ => ("cuts", || updates(5)),
    }
}

/// Runs the harness without a bug and with each of them. Returns whether the
/// first is clean and each other caught; prints the list. With `alone`, bugs for
/// the exploration must get past the cuts.
pub fn run(alone: bool) -> bool {
    plant(None);
    let mut right = match (updates(11), overwritten()) {
        (None, Ok(_)) => true,
        (a, b) => {
            println!("without a planted bug: {a:?} {b:?}");
            false
        }
    };
    for bug in Bug::ALL {
        plant(Some(bug));
        let (mut by, hunt) = hunt(bug);
        let mut caught = hunt();
        // A journal that is read to its end may hide from pairs of cuts what one read
        // backwards does not.
        if caught.is_none() && by == "cuts" {
            by = "exploration";
            caught = [App::Confirms, App::NeverConfirms]
                .into_iter()
                .find_map(explored);
        }
        let missed = by == "exploration" && alone && updates(5).is_none();
        plant(None);
        let name = format!("{bug:?}");
        match caught {
            Some(how) => {
                let how = how.split([';', '\n']).next().unwrap_or_default();
                let how = how.split(", cut in").next().unwrap_or_default();
                let how = how.split(", reads").next().unwrap_or_default();
                let how = how.split(" with ").next().unwrap_or_default();
                let only = if missed { " alone" } else { "" };
                println!("planted bug {name:<24} caught by {by}{only}: {how}");
            }
            None => {
                println!("planted bug {name:<24} NOT CAUGHT by {by}");
                right = false;
            }
        }
    }
    right
}
