//! The one door: demo, test, ci, dist, bench.
fn main() {}
