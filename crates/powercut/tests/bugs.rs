//! Alone in its process: planted bugs are process-wide.

#[test]
fn each_planted_bug_is_caught() {
    assert!(powercut::bugs::run(false));
}
