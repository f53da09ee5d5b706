//! The `ota` command: images, packages, keys, deltas and a development cloud.

fn main() {}
