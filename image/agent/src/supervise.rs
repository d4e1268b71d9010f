//! When a program that ended is started again.
