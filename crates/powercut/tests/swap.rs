//! Cuts through `Swap` on small devices.

use ota_bootlib::Strategy;
use powercut::{App, Layout, Plan, Sweep, World, image};

const PLAN: Plan = Plan {
    every_unit: true,
    pairs: 7,
    sequences: 200,
    seed: 1,
};

fn sweep<const S: usize, const U: usize>(layout: Layout, app: App) {
    let old = image::<S, U>(layout.active, layout.active * S as u32, 1);
    let sectors = layout.active.min(layout.update - 1);
    let new = image::<S, U>(sectors, sectors * S as u32 - 5, 2);
    let world = World::<S, U>::new(layout, Strategy::Swap, old, new, app);
    let row = Sweep {
        world: &world,
        plan: PLAN,
    }
    .run(&format!("{app:?}"), "");
    assert!(row.is_right(), "{row:?}");
    assert!(row.singles > 100 && row.pairs > 1000, "{row:?}");
}

#[test]
fn three_sectors() {
    for app in [App::Confirms, App::NeverConfirms, App::AsksBack] {
        sweep::<256, 32>(
            Layout {
                active: 3,
                update: 4,
                journal: 16,
            },
            app,
        );
    }
}
