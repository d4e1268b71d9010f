//! The weir binary: daemon, workers, control and command line.
fn main() {}
