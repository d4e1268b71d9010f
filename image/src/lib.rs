//! Builds the appliance image from Debian packages: a root file system that nobody writes, two slots
//! on the boot partition, a data partition; the same bytes each time.
