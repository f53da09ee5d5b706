//! Whole updates.

mod common;

use common::*;

/// Program unit of the flash.
const UNIT: usize = 32;

#[test]
fn from_one_version_to_the_next() {
    let (old, new) = (image("1.0.0", 20_000, None), image("2.0.0", 21_000, None));
    let w = World::new(&old, 8);
    w.publish("2.0.0", &new);
    assert_eq!(w.live(30 * MINUTE), Stop::Idle);
    assert!(w.runs(&new) && w.is_settled(), "{}", w.tail());
    let broker = w.net.broker.borrow();
    assert_eq!(broker.versions, ["1.0.0", "2.0.0"]);
    assert_eq!(broker.steps.last(), Some(&(100, String::new())));
    assert_eq!((broker.failures(), broker.disconnects), (vec![], 1));
    assert!(broker.steps.iter().map(|s| s.0).is_sorted());
    // Half an hour of quiet costs pings only.
    assert!(w.saw("Confirmed") && broker.sign_ons == 2, "{}", w.tail());
}
