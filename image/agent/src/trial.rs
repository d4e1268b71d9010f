//! When a slot that is tried out is kept.
