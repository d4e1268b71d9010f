//! The watchdog: a box that hangs starts again.
