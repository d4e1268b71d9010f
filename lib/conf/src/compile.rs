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
use crate::schema::Kind;
use crate::tree::{Object, of_kind};
use values::number;

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
    if is_newer(objects, sink) {
        return None;
    }
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

/// Says that a configuration is of a later format, whose keys this software cannot know: whatever else
/// is wrong with it may be right there.
fn is_newer(objects: &[Object], sink: &mut Sink) -> bool {
    let Some(node) = of_kind(objects, Kind::Node).next() else {
        return false;
    };
    let format = number(node, "format").unwrap_or_default();
    if format <= u64::from(crate::FORMAT) {
        return false;
    }
    let place = node.one("format").and_then(|item| item.place);
    let message = format!(
        "this configuration has format {format}, and this weir reads format {} at most",
        crate::FORMAT
    );
    let advice = "run the newer weir that wrote it, or go back to the configuration of before";
    sink.only_at(place.unwrap_or_else(|| node.place()), message, advice);
    true
}
