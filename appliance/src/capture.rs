//! Capture: what the worker's tap takes, what of it is wanted, and the file it ends in.

pub(crate) mod client;
pub(crate) mod filter;
mod pcapng;
pub(crate) mod tap;

pub(crate) use client::{Order, capture, capture_beside};
pub(crate) use filter::Filter;
pub(crate) use tap::{Taken, Tap};
