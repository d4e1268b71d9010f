//! The packet's walk: classify, session, rewrite, resolve.
