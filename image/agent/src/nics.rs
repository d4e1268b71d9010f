//! Names of network cards that stay when cards come and go.
