//! Questions about a flood: when cookies are sent, whose packets are dropped, what is captured.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde_json::Value;
use weir_control::{CaptureOrder, Filter, ModeWish, Request, What};

use crate::capture::CAPTURE_SECONDS;
use crate::model::dialog::{Ask, Choice, Deed, Dialog, Rung};
use crate::model::sessions::address;
use crate::model::{After, Effect, Mode, Model};
use crate::units::{exact, span};
use crate::update::dialog::{Next, milliseconds};

/// How long a prefix is denied where nobody says.
const DENY_MS: u64 = 600_000;
/// A prefix that is shorter has more addresses than somebody reads: its own name is typed.
const SHORT: u8 = 24;
/// How many sessions are looked at before a prefix is denied.
const COUNTED: u64 = 5_000;
/// Where that question says how many sessions it cuts off, and how long that line is at most.
const COUNT_LINE: usize = 2;
const MOST_CHARACTERS: usize = 70;
/// How much a capture takes at most.
const FRAMES: u64 = 1_000;
/// How long a capture takes, where nobody says, and at most.
const SECONDS: (u64, u64) = (10, CAPTURE_SECONDS);

/// Asks when a service is to answer SYNs with cookies.
pub(crate) fn synproxy(model: &mut Model, service: &str, now: &str) {
    let lines = vec![
        format!("SYNs of service {service} are answered with cookies: {now}."),
        String::new(),
        "always    every connection proves itself first".to_owned(),
        "adaptive  while there is a flood".to_owned(),
        "off       never: a flood reaches the real servers".to_owned(),
        "default   as configured".to_owned(),
        String::new(),
        "A time may follow, e.g. always for 10m.".to_owned(),
    ];
    let ask = Ask::Synproxy {
        service: service.to_owned(),
    };
    model.question(Dialog::ask(
        "Override synproxy",
        lines,
        "Mode:".to_owned(),
        ask,
    ));
}

/// Reads a mode and how long it holds.
pub(super) fn mode(typed: &str) -> Result<(ModeWish, Option<u64>), String> {
    const FORM: &str = "it is always, adaptive, off or default; `for 10m` may follow";
    let mut words = typed.split_whitespace();
    let mode = match words.next() {
        Some("always") => ModeWish::Always,
        Some("adaptive") => ModeWish::Adaptive,
        Some("off") => ModeWish::Off,
        Some("default") => ModeWish::Default,
        Some(_) | None => return Err(FORM.to_owned()),
    };
    let for_ms = match (words.next(), words.next(), words.next()) {
        (None, _, _) => None,
        (Some("for"), Some(span), None) | (Some(span), None, None) => Some(milliseconds(span)?),
        (Some(_), _, _) => return Err(FORM.to_owned()),
    };
    Ok((mode, for_ms))
}

/// Asks whose packets are to be dropped; the first choices are those that are on the screen.
pub(crate) fn deny(model: &mut Model, choices: Vec<Choice>) {
    let mut lines = vec![
        "Its packets are dropped for ALL services, its sessions are reset.".to_owned(),
        String::new(),
    ];
    for (place, choice) in choices.iter().enumerate() {
        let number = place + 1;
        lines.push(format!("{number}  {:18}  {}", choice.network, choice.cost));
    }
    if choices.is_empty() {
        lines.push("No prefix stands out: there is none to choose by its number.".to_owned());
    }
    lines.extend([
        String::new(),
        "A flood's sources may be forged: who really lives there is cut off.".to_owned(),
        format!(
            "It ends by itself after {}, or as in  deny 1 for 1h.  u undoes it.",
            span(DENY_MS / 1000)
        ),
    ]);
    let prompt = "Type  deny  and a number or prefix:".to_owned();
    let ask = Ask::Deny { choices };
    model.question(Dialog::ask("Deny a prefix", lines, prompt, ask));
}

/// Reads whose packets are to be dropped; a prefix that was not on the screen is asked for again,
/// with how large it is.
pub(super) fn denied(choices: &[Choice], typed: &str) -> Result<Next, String> {
    const FORM: &str = "it is as in  deny 1,  deny 192.0.2.0/24 for 1h";
    let mut words = typed.split_whitespace();
    let (Some("deny"), Some(which)) = (words.next(), words.next()) else {
        return Err(FORM.to_owned());
    };
    let for_ms = match (words.next(), words.next(), words.next()) {
        (None, _, _) => DENY_MS,
        (Some("for"), Some(span), None) => milliseconds(span)?,
        (Some(_), _, _) => return Err(FORM.to_owned()),
    };
    let place = which.parse::<usize>().ok();
    let chosen = match place {
        Some(place) => {
            let chosen = place.checked_sub(1).and_then(|at| choices.get(at));
            Some(chosen.ok_or_else(|| format!("there is no number {place}"))?)
        }
        None => choices.iter().find(|choice| choice.network == which),
    };
    let network = chosen.map_or(which, |choice| &choice.network);
    let read = network_of(network).ok_or_else(|| format!("`{network}` is no IPv4 prefix"))?;
    let request = Request::Deny {
        network: read.to_string(),
        on: true,
        for_ms: Some(for_ms),
    };
    if chosen.is_some() {
        let what = format!("denial of {read}");
        return Ok(Next::Send { what, request });
    }
    Ok(Next::Question(Box::new(deny_question(request, read))))
}

/// Returns the prefix that the open question is about, where it is one of a denial.
fn asked_about(model: &Model) -> Option<Ipv4Net> {
    let Mode::Dialog(dialog) = &model.mode else {
        return None;
    };
    match &dialog.deed {
        Deed::Send {
            request: Request::Deny {
                network, on: true, ..
            },
            ..
        } => network_of(network),
        Deed::Send { .. } | Deed::Ask(_) | Deed::BeOperator | Deed::Discard | Deed::Leave => None,
    }
}

/// Asks the daemon how many sessions the denial would cut off that is asked about.
pub(super) fn count(model: &mut Model) -> Vec<Effect> {
    let Some(network) = asked_about(model) else {
        return Vec::new();
    };
    let filter = Filter {
        client: (network.prefix_len() == 32).then_some(IpAddr::V4(network.addr())),
        limit: Some(COUNTED),
        ..Filter::default()
    };
    let what = What::Sessions;
    let request = Request::Show { what, filter };
    model.ask(format!("sessions of {network}"), request, After::Denied)
}

/// Takes the sessions that a denial would cut off, and those that it would not.
pub(crate) fn counted(model: &mut Model, rows: Result<Vec<Value>, String>) {
    let Some(network) = asked_about(model) else {
        return;
    };
    let inside = |row: &Value| {
        let client = row.get("client").and_then(Value::as_str).and_then(address);
        client.is_some_and(|client| match client.ip() {
            IpAddr::V4(client) => network.contains(&client),
            IpAddr::V6(_) => false,
        })
    };
    let all = model.data.status.as_ref().map(|told| told.value.sessions);
    let text = match rows {
        Err(sentence) => format!("how many is not known: {sentence}"),
        Ok(rows) => {
            let seen = exact(rows.iter().filter(|row| inside(row)).count() as u64);
            let told = rows.len() as u64;
            let of_all = all.map_or_else(String::new, |all| format!(" of {}", exact(all)));
            if told < COUNTED {
                format!("{seen}{of_all} that are open.")
            } else {
                format!("{seen} of the {} that were looked at{of_all}.", exact(told))
            }
        }
    };
    if let Mode::Dialog(dialog) = &mut model.mode
        && let Some(line) = dialog.lines.get_mut(COUNT_LINE)
    {
        *line = text.chars().take(MOST_CHARACTERS).collect();
    }
}

/// Returns the question before a denial, with how large the prefix is; how many sessions it would
/// cut off is asked once it stands there.
pub(super) fn deny_question(request: Request, network: Ipv4Net) -> Dialog {
    let addresses = 1u64 << (32 - u32::from(network.prefix_len()));
    let plural_of = |count| if count == 1 { "address" } else { "addresses" };
    let mut lines = vec![
        format!(
            "{network} has {} {}.",
            exact(addresses),
            plural_of(addresses)
        ),
        "Its packets are dropped for ALL services, its sessions are reset:".to_owned(),
        "how many that are is asked for.".to_owned(),
    ];
    if let Request::Deny { for_ms, .. } = &request {
        lines.push(match for_ms {
            Some(ms) => format!("It ends by itself after {}.", span(ms.div_ceil(1000))),
            None => "It holds until somebody takes it back.".to_owned(),
        });
    }
    lines.push("Undo with  u  once it is done.".to_owned());
    let rung = if network.prefix_len() >= SHORT {
        Rung::Capacity {
            verb: "deny".to_owned(),
        }
    } else {
        Rung::Stops {
            object: network.to_string(),
        }
    };
    let what = format!("denial of {network}");
    let deed = Deed::Send { what, request };
    Dialog::confirm("Deny a prefix", lines, rung, deed)
}

/// Reads a prefix, or an address.
pub(super) fn network_of(text: &str) -> Option<Ipv4Net> {
    let address = || text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from);
    let network = text.parse::<Ipv4Net>().ok().or_else(address);
    network.map(|network| network.trunc())
}

/// Asks how long frames are captured.
pub(crate) fn capture(model: &mut Model, service: Option<String>, client: Option<&str>) {
    let client = client.and_then(address).and_then(|at| match at.ip() {
        IpAddr::V4(client) => Some(client),
        IpAddr::V6(_) => None,
    });
    let of = match (&service, client) {
        (Some(service), None) => format!("service {service}"),
        (_, Some(client)) => format!("client {client}"),
        (None, None) => return,
    };
    let lines = vec![
        format!("Frames of {of} are copied into a file,"),
        "with what becomes of each; packets are not held up by it.".to_owned(),
        String::new(),
        format!(
            "It ends after {} s or {} frames, whichever comes first.",
            SECONDS.0,
            exact(FRAMES)
        ),
        "The file holds what clients say: only your account may read it.".to_owned(),
        format!(
            "Another time, 1 to {} s, may be typed; and  dropped  for drops only.",
            SECONDS.1
        ),
    ];
    let order = CaptureOrder {
        service: service.filter(|_| client.is_none()),
        client,
        dropped: None,
        limit: FRAMES,
        seconds: SECONDS.0,
    };
    let prompt = "Enter begins:".to_owned();
    let ask = Ask::Capture { order, of };
    model.question(Dialog::ask("Capture frames", lines, prompt, ask));
}

/// Reads how long frames are captured, and which.
pub(super) fn captured(order: &CaptureOrder, of: &str, typed: &str) -> Result<Next, String> {
    let mut order = order.clone();
    for word in typed.split_whitespace() {
        if word == "dropped" {
            order.dropped = Some("any".to_owned());
            continue;
        }
        let seconds = word.trim_end_matches('s').parse().ok();
        let seconds = seconds.filter(|seconds| (1..=SECONDS.1).contains(seconds));
        order.seconds = seconds
            .ok_or_else(|| format!("it is 1 to {} seconds; dropped may follow", SECONDS.1))?;
    }
    let what = format!("capture of {of}");
    let request = Request::Capture(order);
    Ok(Next::Send { what, request })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_may_have_a_time() {
        assert_eq!(mode("always"), Ok((ModeWish::Always, None)));
        assert_eq!(mode("off for 90s"), Ok((ModeWish::Off, Some(90_000))));
        assert_eq!(mode("always 2h"), Ok((ModeWish::Always, Some(7_200_000))));
        for wrong in [
            "",
            "on",
            "always for",
            "always for ever",
            "always for 10m x",
            "off 0s",
        ] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_is_read_as_the_daemon_writes_it() {
        let read = |text: &str| network_of(text).map(|network| network.to_string());
        assert_eq!(read("192.0.2.7/24").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(read("192.0.2.7").as_deref(), Some("192.0.2.7/32"));
        for wrong in ["", "192.0.2", "192.0.2.0/33", "2001:db8::/32", "web"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_capture_is_bounded() {
        let order = CaptureOrder {
            limit: FRAMES,
            seconds: SECONDS.0,
            ..CaptureOrder::default()
        };
        let read = |typed: &str| match captured(&order, "service web", typed) {
            Ok(Next::Send {
                request: Request::Capture(order),
                ..
            }) => Some((order.seconds, order.dropped)),
            Ok(_) | Err(_) => None,
        };
        assert_eq!(read(""), Some((10, None)));
        assert_eq!(read("60 dropped"), Some((60, Some("any".to_owned()))));
        assert_eq!(read("5s"), Some((5, None)));
        for wrong in ["0", "61", "long", "-1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
