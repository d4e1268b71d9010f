//! The local secret: who stands in front of the box and may change it.
