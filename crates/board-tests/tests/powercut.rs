//! Power cuts of the shipped loader; `cargo xtask powercut --board --full` makes
//! more of them.

use board_tests::powercut::{Plan, Points, Sweep};

/// Two changed sectors: every flash operation of request, install, confirm and
/// revert, in every way, and cuts in the restarts after cuts.
#[test]
fn power_cuts_at_every_flash_operation_of_an_update() {
    let plan = Plan {
        changed: 2,
        install: Points::All,
        others: Points::All,
        second: 300,
        revert: true,
    };
    let counts = Sweep::new(plan).run().unwrap_or_else(|why| panic!("{why}"));
    println!("2 changed sectors: {counts}");
    assert_eq!((counts.cuts, counts.second), (counts.planned, 300));
    assert!(counts.cuts > 5000 && counts.old > 0 && counts.new > 5000);
}
