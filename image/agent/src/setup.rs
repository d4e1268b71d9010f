//! The first start: what a person, the boot partition or the kernel's words say.
