//! The appliance around the daemon: what PID 1 keeps running as root.
//!
//! It prepares the box (slot's folder, names of network cards, management network, host keys), runs
//! the daemon, SSH and the clock's keeper, feeds the watchdog, lets people in, and updates the box.
//! What is decided is pure and tested; what the kernel is asked for is thin.

mod agent;
mod backup;
pub mod boot;
mod children;
pub mod cli;
mod clock;
#[cfg(test)]
mod documented;
mod durable;
mod events;
pub mod grubenv;
mod handle;
mod hardening;
mod install;
mod kept;
mod keys;
mod lease;
mod log;
mod login;
mod management;
mod nics;
mod observe;
mod places;
mod power;
mod prepare;
mod protocol;
mod secret;
mod setup;
mod slot;
pub mod slots;
mod socket;
mod supervise;
mod tell;
#[cfg(test)]
mod testing;
mod trial;
mod tty;
mod update;
mod watchdog;
mod words;

pub use update::examine;
