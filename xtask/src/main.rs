//! Project tasks: setup, demo, test, board, size, bench, powercut, fuzz.

fn main() {}
