//! Cuts through swaps with the journal of the smallest loaders. A program of its own:
//! which journal it is, is said process-wide.

use ota_bootlib::{Strategy, small_journal};
use powercut::{App, Layout, Plan, Sweep, World, image};

#[test]
fn swap_with_the_small_journal() {
    small_journal(true);
    let plan = Plan {
        every_unit: true,
        pairs: 17,
        sequences: 200,
        step: 1,
        seed: 1,
    };
    let layout = Layout {
        active: 3,
        update: 4,
        journal: 16,
    };
    for app in [App::Confirms, App::NeverConfirms, App::AsksBack] {
        let (old, new) = (
            image::<256, 32>(3, 3 * 256, 1),
            image::<256, 32>(3, 3 * 256 - 5, 2),
        );
        let world = World::<256, 32>::new(layout, Strategy::Swap, old, new, app);
        let row = Sweep {
            world: &world,
            plan,
        }
        .run(&format!("{app:?}"), "");
        assert!(row.is_right(), "{row:?}");
        assert!(row.singles > 30 && row.pairs > 200, "{row:?}");
    }
}
