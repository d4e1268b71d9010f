//! The management network, as the running configuration has it.
