//! Takes events to the daemon, in a thread of its own.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};
use weir_control::{Client, ClientError, Request};

use crate::events::Event;
use crate::handle::Handle;
use crate::observe::sockets;

/// How long to wait for events, and for a daemon that is away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Starts the thread.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(handle: Handle) -> std::io::Result<()> {
    let builder = thread::Builder::new().name("tell".to_owned());
    builder.spawn(move || tell(&handle)).map(drop)
}

fn tell(handle: &Handle) {
    let mut client: Option<Client> = None;
    loop {
        let Some(event) = handle.events().oldest(PATIENCE) else {
            continue;
        };
        let Some(request) = request(&event) else {
            crate::log::say(format_args!("no daemon knows the event `{}`", event.code));
            handle.events().sent();
            continue;
        };
        if client.is_none() {
            client = Client::connect_first(sockets(handle)).ok();
        }
        let Some(connected) = client.as_mut() else {
            thread::sleep(PATIENCE);
            continue;
        };
        match send(connected, &request) {
            Ok(()) => handle.events().sent(),
            Err(ClientError::Refused { text, .. }) => {
                crate::log::say(format_args!("the daemon refuses `{}`: {text}", event.code));
                handle.events().sent();
            }
            // It is sent again, to whichever daemon comes.
            Err(_) => {
                client = None;
                thread::sleep(PATIENCE);
            }
        }
    }
}

fn send(client: &mut Client, request: &Request) -> Result<(), ClientError> {
    let mut rows = client.request(request)?;
    while rows.next_row()?.is_some() {}
    Ok(())
}

/// Returns the request that tells an event; none where no daemon of this build knows it.
pub(crate) fn request(event: &Event) -> Option<Request> {
    let fields = event.fields.iter();
    let fields: Map<String, Value> = fields
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect();
    let line = json!({
        "do": "tell",
        "code": event.code,
        "severity": event.severity.name(),
        "text": event.text,
        "fields": fields,
    });
    Request::parse(&line.to_string()).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::keys::Keys;
    use crate::login::watch::Watch;

    fn codes_in(folder: &Path, codes: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                codes_in(&path, codes);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            for kind in ["new", "notice", "warning", "error"] {
                for call in text.split(&format!("Event::{kind}(")).skip(1) {
                    let code = call.trim_start().strip_prefix('"');
                    codes.extend(code.and_then(|it| it.split('"').next()).map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn the_daemon_knows_every_event_of_the_agent() {
        let mut codes = Vec::new();
        codes_in(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut codes,
        );
        assert!(codes.len() > 10, "{codes:?}");
        for code in codes {
            let known = weir_control::Told::ALL
                .iter()
                .any(|told| told.name() == code);
            assert!(known, "`{code}` is no event of weir_control::Told");
        }
    }

    #[test]
    fn an_event_becomes_a_request() {
        let event = Event::notice("boot", "the box started");
        let Some(Request::Tell(tell)) = request(&event.field("slot", "a")) else {
            panic!("it is none");
        };
        assert_eq!(tell.text(), "the box started");
        assert_eq!(tell.fields().collect::<Vec<_>>(), [("slot", "a")]);
        let unknown = Event {
            code: "nonsense",
            ..event_of()
        };
        assert!(request(&unknown).is_none());
    }

    #[test]
    fn who_came_and_went_is_told_as_what_the_daemon_says_it_is_about() {
        let mut watch = Watch::default();
        let lines = [
            "Pubkey auth succeeded for 'operator' with x key y from 192.0.2.1:50122",
            "Exit (operator) from <192.0.2.1:50122>: Disconnect received",
            "Exit before auth from <192.0.2.9:1024>: (user 'operator', 3 fails): Exited normally",
        ];
        let told = lines.map(|line| {
            let event = watch.event(line, &Keys::default()).unwrap();
            let Some(Request::Tell(tell)) = request(&event) else {
                panic!("{event:?} is none");
            };
            assert!(!Request::Tell(tell.clone()).to_line().contains("class"));
            (tell.code.name(), tell.code.class())
        });
        let security = weir_model::EventClass::Security;
        assert_eq!(
            told,
            ["login", "logout", "login-failed"].map(|code| (code, security))
        );
    }

    fn event_of() -> Event {
        Event::notice("boot", "it")
    }
}
