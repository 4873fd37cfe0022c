//! The `couplet` binary.

fn main() {}
