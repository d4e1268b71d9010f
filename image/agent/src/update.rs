//! Updates: verified, written to the other slot, tried once.
