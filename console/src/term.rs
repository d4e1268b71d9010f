//! The terminal: what it can do, how big it is, what goes to it and what comes from it.

pub(crate) mod backend;
pub(crate) mod guard;
pub(crate) mod input;
pub(crate) mod profile;
pub(crate) mod size;
pub(crate) mod writer;
