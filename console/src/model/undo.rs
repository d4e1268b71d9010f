//! What takes a change back: what was before it.

use std::time::Duration;

use serde_json::Value;
use weir_control::{ModeWish, OverrideRow, Request};

use crate::model::Model;
use crate::model::services::{Name, weight_by_command};
use crate::units::unix;

/// Returns what takes a change back, where something does.
pub(crate) fn of(model: &Model, request: &Request) -> Option<Request> {
    match request {
        Request::Drain { service, real, .. } => Some(Request::Enable {
            service: service.clone(),
            real: real.clone(),
        }),
        Request::Weight { service, real, .. } => {
            let name = Name {
                service: service.clone(),
                real: Some(real.clone()),
            };
            let (_, row) = model.data.real(&name)?;
            Some(Request::Weight {
                service: service.clone(),
                real: real.clone(),
                weight: weight_by_command(row),
            })
        }
        Request::Synproxy { service, mode, .. } => {
            let service = service.clone();
            let Some(row) = setting(model, "synproxy", &service) else {
                let undo = Request::Synproxy {
                    service,
                    mode: ModeWish::Default,
                    for_ms: None,
                };
                return (*mode != ModeWish::Default).then_some(undo);
            };
            let mode = serde_json::from_value(Value::String(row.value.clone())).ok()?;
            Some(Request::Synproxy {
                service,
                mode,
                for_ms: left_ms(model, row),
            })
        }
        Request::Deny {
            network, on: true, ..
        } => {
            let row = setting(model, "deny", network);
            Some(Request::Deny {
                network: network.clone(),
                on: row.is_some(),
                for_ms: row.and_then(|row| left_ms(model, row)),
            })
        }
        Request::Maintenance { on: true } => Some(Request::Maintenance { on: false }),
        // They change nothing, give something back, or have a way back of their own.
        Request::Show { .. }
        | Request::Hello(_)
        | Request::Explain(_)
        | Request::Doctor {}
        | Request::Apply { .. }
        | Request::Diff { .. }
        | Request::Capture(_)
        | Request::Confirm {}
        | Request::Maintenance { on: false }
        | Request::Deny { on: false, .. }
        | Request::Rollback { .. }
        | Request::Enable { .. }
        | Request::Draining { .. }
        | Request::Tell(_) => None,
    }
}

/// Returns an undo as it is to be sent when some time went by: what had an end keeps that end.
pub(crate) fn later(mut request: Request, by: Duration) -> Request {
    if let Request::Synproxy { for_ms, .. } | Request::Deny { for_ms, .. } = &mut request {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        *for_ms = for_ms.map(|left| left.saturating_sub(by).max(1000));
    }
    request
}

fn setting<'a>(model: &'a Model, setting: &str, object: &str) -> Option<&'a OverrideRow> {
    let plain = |network: &str| network.trim_end_matches("/32").to_owned();
    let mut rows = model.data.overrides.as_ref()?.value.iter();
    rows.find(|row| row.setting == setting && plain(&row.object) == plain(object))
}

/// How long a setting holds yet; none where it does not end by itself.
fn left_ms(model: &Model, row: &OverrideRow) -> Option<u64> {
    let until = unix(row.until.as_ref()?)?;
    let now = unix(&model.data.status.as_ref()?.value.now)?;
    Some(until.saturating_sub(now).max(1) * 1000)
}
