//! Simulated clock, packet builders, walk scripts, network emulator and smoltcp end points.
