//! Power cuts of the shipped loader; `cargo xtask powercut --board --full` makes
//! more of them.

use board_tests::powercut::{Plan, Points, Sweep};

/// Two changed sectors: every flash operation of request, install and
/// confirmation, in every way; some of the way back, some in restarts after cuts.
#[test]
fn power_cuts_at_every_flash_operation_of_an_update() {
    let plan = Plan {
        changed: 2,
        app: Points::All,
        install: Points::All,
        revert: Points::Seeded(100),
        second: 100,
        way_back: true,
        threads: 2,
    };
    let counts = Sweep::new(plan).run().unwrap_or_else(|why| panic!("{why}"));
    println!("2 changed sectors: {counts}");
    assert_eq!((counts.cuts, counts.second), (counts.planned, 100));
    assert!(counts.cuts > 4500 && counts.old > 0 && counts.new > 4500);
}
