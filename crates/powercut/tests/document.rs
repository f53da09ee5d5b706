//! The document says what the checks check.

use ota_bootlib::Strategy;
use powercut::App;
use powercut::definitions::{PHASES, renewed};
use powercut::explore::{Goal, explore};

#[test]
fn the_tables_of_the_document_are_those_of_the_checks() {
    let document = include_str!("../../../docs/power-safety.md");
    assert!(
        renewed(document).as_deref() == Some(document),
        "run cargo xtask powercut --tables"
    );
}

/// Every state in which an update can be comes up, and is followed as the table says.
#[test]
fn the_exploration_passes_through_the_states_of_the_table() {
    let mut seen = std::collections::BTreeSet::new();
    for (strategy, app, bad) in [
        (Strategy::Switch, App::NeverConfirms, false),
        (Strategy::Swap, App::NeverConfirms, true),
        (Strategy::PatchSwap, App::NeverConfirms, false),
    ] {
        let found = explore(Goal {
            strategy,
            app,
            bad,
            unstable: 0,
        });
        assert_eq!(found.wrong, None);
        assert!(found.states > 50 && found.samples > 0, "{found:?}");
        seen.extend(found.phases);
    }
    // Nothing that is explored loses the active image.
    for row in PHASES.iter().filter(|r| r.phase as u8 != 7) {
        let phase = row.phase as u8;
        let comes_up = seen.iter().any(|(a, b)| *a == phase || *b == phase);
        assert!(comes_up, "{:?}", row.phase);
    }
}
