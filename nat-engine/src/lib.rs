//! FullNAT: session table, LIP pools, TCP state, rewriting.
