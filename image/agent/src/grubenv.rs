//! The block of variables that GRUB and the agent share.
