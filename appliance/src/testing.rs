//! What several tests begin with.

use std::sync::Arc;

use weir_model::{Snapshot, WorkerId};

use crate::command::{WorkerEnd, channels};
use crate::doorbell::Doorbell;
use crate::fleet::WorkerHandle;
use crate::publish::{Boards, Published};

/// A port and a pool: what every configuration has.
macro_rules! around {
    () => {
        "
[port wan]
device = wan
address = 10.80.0.1/24
[lip-pool blue]
port = wan
address = 10.80.0.200
"
    };
}

/// A service of TCP with one real server; keys may follow.
macro_rules! web {
    () => {
        "[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
real = 10.80.0.11:80
"
    };
}

/// A service of UDP at the same address.
macro_rules! dns {
    () => {
        "[service dns]
listen = 10.80.0.100:53/udp
lip-pool = blue
real = 10.80.0.11:53
"
    };
}

pub(crate) use {around, dns, web};

/// Returns control's handles of workers that the test plays, and the workers' ends.
pub(crate) fn workers(count: u8, snapshot: &Snapshot) -> (Vec<WorkerHandle>, Vec<WorkerEnd>) {
    let mut ends = Vec::new();
    let handles = (0..count).map(|id| {
        let (control, end) = channels();
        ends.push(end);
        WorkerHandle {
            id: WorkerId(id),
            cpu: None,
            bell: Arc::new(Doorbell::new().unwrap()),
            control,
            published: Arc::new(Published::new(1)),
            boards: Boards::new(snapshot),
            next_boards: None,
            thread: None,
        }
    });
    (handles.collect(), ends)
}
