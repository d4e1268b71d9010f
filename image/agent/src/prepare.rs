//! What is done once, before anything runs.
