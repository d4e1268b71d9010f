//! Ids, time, services, pools, snapshot, verdicts, drop reasons and the ledger.
