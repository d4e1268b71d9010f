//! What SSH runs for whoever logs in: the console, or one verb of the role.
