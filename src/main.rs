//! The `svidgate` binary.
fn main() {}
