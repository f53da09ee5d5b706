//! Demo application: a device that updates itself over the air.

fn main() {}
