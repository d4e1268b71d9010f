//! Header views, TCP options, checksums and sequence arithmetic.
