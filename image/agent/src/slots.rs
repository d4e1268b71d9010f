//! The two slots of the boot partition.
