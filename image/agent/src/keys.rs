//! The public keys of operators and viewers.
