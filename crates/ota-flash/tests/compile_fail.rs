//! Mistakes that must not compile, with the message they give (`ui/*.stderr`).

/// A second check of the one message users are most likely to meet, in case
/// the expected outputs are ever regenerated without being read.
#[test]
fn the_overlap_message_names_both_partitions_and_the_remedy() {
    let expected = include_str!("ui/overlap.stderr");
    assert!(expected.contains(
        "partition table: APPLICATION overlaps OTA_TEMP \
         (if that is meant, mark the inner one with nested_in)"
    ));
}

#[test]
fn mistakes_do_not_compile() {
    let t = trybuild::TestCases::new();
    t.compile_fail("tests/ui/*.rs");
}
