//! The local consoles: screen and serial line.
