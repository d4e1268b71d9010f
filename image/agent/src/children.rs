//! The programs that the agent keeps running: daemon, SSH, the clock's keeper.
