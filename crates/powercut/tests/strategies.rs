//! Cuts through every strategy on small devices.

use ota_bootlib::Strategy;
use powercut::{App, Layout, Plan, Sweep, World, image};

const PLAN: Plan = Plan {
    every_unit: true,
    pairs: 17,
    sequences: 200,
    step: 1,
    seed: 1,
};

fn check<const S: usize, const U: usize>(world: &World<S, U>) {
    let row = Sweep { world, plan: PLAN }.run(&format!("{:?} {:?}", world.strategy, world.app), "");
    assert!(row.is_right(), "{row:?}");
    assert!(row.singles > 30 && row.pairs > 200, "{row:?}");
    println!("{row:?}");
}

fn image_world<const S: usize, const U: usize>(
    layout: Layout,
    strategy: Strategy,
    app: App,
) -> World<S, U> {
    let old = image::<S, U>(layout.active, layout.active * S as u32, 1);
    let spare = u32::from(strategy == Strategy::Swap);
    let sectors = layout.active.min(layout.update - spare);
    let new = image::<S, U>(sectors, sectors * S as u32 - 5, 2);
    World::new(layout, strategy, old, new, app)
}

#[test]
fn swap() {
    for app in [App::Confirms, App::NeverConfirms, App::AsksBack] {
        let layout = Layout::new(3, 4, 16);
        check(&image_world::<256, 32>(layout, Strategy::Swap, app));
    }
}

#[test]
fn overwrite() {
    let layout = Layout::new(3, 3, 16);
    check(&image_world::<256, 32>(
        layout,
        Strategy::Overwrite,
        App::Confirms,
    ));
}

#[test]
fn switch() {
    for app in [App::Confirms, App::NeverConfirms, App::AsksBack] {
        let layout = Layout::new(3, 3, 16);
        check(&image_world::<256, 32>(layout, Strategy::Switch, app));
    }
}

#[test]
fn patches() {
    for strategy in [Strategy::PatchSwap, Strategy::InPlace] {
        let layout = Layout::new(4, 7, 16);
        let old = image::<256, 32>(4, 4 * 256, 1);
        check(&World::<256, 32>::with_patch(
            layout,
            strategy,
            512,
            0,
            (old.clone(), 1000, 300),
            App::Confirms,
        ));
        // Ends at the slot's end, at no particular alignment.
        let old = image::<256, 32>(4, 4 * 256, 1);
        let w = World::<256, 32>::with_patch(
            layout,
            strategy,
            512,
            7 * 256 - 80,
            (old, 900, 0),
            App::Confirms,
        );
        check(&w);
    }
}

/// Patch and image share the slot: late slices cover sections that are used up.
#[test]
fn slices_over_used_sections() {
    for (strategy, gap) in [
        (Strategy::PatchSwap, 0),
        (Strategy::PatchSwap, 9 * 256 - 1170),
        (Strategy::InPlace, 0),
    ] {
        let layout = Layout::new(6, 9, 16);
        let old = image::<256, 32>(6, 6 * 256, 1);
        let parts = (old, 6 * 256 - 3, 166);
        let w = World::<256, 32>::with_patch(layout, strategy, 256, gap, parts, App::Confirms);
        check(&w);
    }
}

#[test]
fn bad_images() {
    for strategy in [Strategy::Swap, Strategy::Overwrite, Strategy::Switch] {
        let layout = Layout::new(3, 4, 16);
        let world = image_world::<256, 32>(layout, strategy, App::Confirms).spoil();
        check(&world);
    }
}

/// The real decoder, and a patch that lies in front, as C firmware puts it.
#[test]
fn nbdiff() {
    for strategy in [Strategy::PatchSwap, Strategy::InPlace] {
        check(&powercut::table::nbdiff(strategy, 0, &[100, 4200]));
    }
}
