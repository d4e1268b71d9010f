//! Backup, restore, and the way back to an empty box.
