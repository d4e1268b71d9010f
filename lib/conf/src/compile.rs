//! From typed objects to a snapshot: first everything is checked against everything else, then,
//! when there is no mistake, the snapshot is built.

mod build;
mod ids;
mod management;
mod network;
mod ownership;
mod pools;
mod profiles;
mod services;
mod syslog;
mod values;
mod warnings;

use weir_model::Snapshot;

pub use management::{Management, ManagementAddress};

use crate::diagnostic::Sink;
use crate::tree::Object;

/// Returns what the agent of the appliance's image sets up.
pub(crate) fn management(objects: &[Object]) -> Option<Management> {
    management::of(objects)
}

/// Checks the objects and builds the snapshot; none when there was a mistake, here or before.
pub(crate) fn compile(
    objects: &[Object],
    previous: Option<&Snapshot>,
    sink: &mut Sink,
) -> Option<Snapshot> {
    let network = network::check(objects, sink);
    pools::check(objects, &network, sink);
    services::check(objects, &network, sink);
    profiles::check(objects, sink);
    ownership::check(objects, sink);
    syslog::check(objects, sink);
    management::check(objects, sink);
    if !sink.is_empty() {
        return None;
    }
    warnings::check(objects, &network, sink);
    management::warn(objects, &network, sink);
    build::build(objects, previous, sink)
}
