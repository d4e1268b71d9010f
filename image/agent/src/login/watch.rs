//! Who came and went, out of what dropbear writes.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use weir_control::Role;

use crate::events::Event;
use crate::keys::Keys;
use crate::protocol::role_named;

/// More people are not there at once; of more the eldest is forgotten, whose end then has no name.
const MOST: usize = 256;
/// No name that somebody tried is told longer.
const LONGEST: usize = 32;

/// Who is logged in.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    inside: VecDeque<(SocketAddr, String)>,
}

impl Watch {
    /// Returns what a line of dropbear says of a person; none where it says nothing of one.
    pub(crate) fn event(&mut self, line: &str, keys: &Keys) -> Option<Event> {
        let said = said(line);
        if let Some(rest) = said.strip_prefix("Pubkey auth succeeded for ") {
            return self.came(rest, keys);
        }
        if let Some(rest) = said.strip_prefix("Exit before auth from <") {
            return failed(rest);
        }
        let rest = said.strip_prefix("Exit (")?;
        self.went(rest)
    }

    fn came(&mut self, rest: &str, keys: &Keys) -> Option<Event> {
        let (account, rest) = rest.strip_prefix('\'')?.split_once('\'')?;
        let (_, rest) = rest.split_once(" key ")?;
        let (print, from) = rest.split_once(" from ")?;
        let from: SocketAddr = from.trim().parse().ok()?;
        let name = name(account, print, keys);
        self.inside.retain(|(other, _)| *other != from);
        if self.inside.len() == MOST {
            self.inside.pop_front();
        }
        self.inside.push_back((from, name.clone()));
        let text = format!(
            "{name} has logged in as {} from {}",
            shown(account),
            from.ip()
        );
        Some(event("login", text, &name, account, from.ip()).field("key", print))
    }

    fn went(&mut self, rest: &str) -> Option<Event> {
        let (account, rest) = rest.split_once(") from <")?;
        let (from, _) = rest.split_once('>')?;
        let from: SocketAddr = from.parse().ok()?;
        let place = self.inside.iter().position(|(other, _)| *other == from);
        let name = place.and_then(|place| self.inside.remove(place));
        let name = name.map_or_else(|| shown(account), |(_, name)| name);
        let text = format!("{name} has logged out");
        Some(event("logout", text, &name, account, from.ip()))
    }
}

fn failed(rest: &str) -> Option<Event> {
    let (from, rest) = rest.split_once('>')?;
    let from: SocketAddr = from.parse().ok()?;
    let account = match rest.split_once("(user '") {
        Some((_, rest)) => {
            // A key that is not known counts as no failure with dropbear; whoever names an account
            // and is not let in has tried.
            let (account, _) = rest.rsplit_once("', ")?;
            shown(account)
        }
        // Whoever only looked whether somebody listens tried nothing.
        None if rest.contains("Max auth tries") => String::new(),
        None => return None,
    };
    let whom = if account.is_empty() {
        "somebody whom this box does not know".to_owned()
    } else {
        account.clone()
    };
    let text = format!("nobody was let in as {whom} from {}", from.ip());
    let event = Event::warning("login-failed", text);
    Some(event.field("account", account).field("from", from.ip()))
}

fn event(code: &'static str, text: String, by: &str, account: &str, from: IpAddr) -> Event {
    Event::notice(code, text)
        .field("by", by)
        .field("from", from)
        .field("account", shown(account))
}

fn name(account: &str, print: &str, keys: &Keys) -> String {
    let role = role_named(account).unwrap_or(Role::Viewer);
    let known = keys.who(role, print).map(ToString::to_string);
    known.unwrap_or_else(|| shown(account))
}

/// What somebody sent may be told, shortened and without what a terminal obeys.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(LONGEST).collect();
    short.escape_debug().to_string()
}

/// Takes off `[1234] Nov 23 07:00:00 `, which dropbear writes before what it says.
fn said(line: &str) -> &str {
    let Some(rest) = line.strip_prefix('[') else {
        return line;
    };
    let Some((_, rest)) = rest.split_once("] ") else {
        return line;
    };
    let mut at = rest;
    for _ in 0..3 {
        let Some((_, next)) = at.trim_start().split_once(' ') else {
            return rest;
        };
        at = next;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";

    fn keys() -> Keys {
        let mut keys = Keys::default();
        keys.add(Role::Operator, Key::parse(ALICE).unwrap())
            .unwrap();
        keys
    }

    fn field(event: &Event, name: &str) -> String {
        let found = event.fields.iter().find(|(known, _)| *known == name);
        found.unwrap().1.clone()
    }

    #[test]
    fn whoever_comes_by_a_key_is_known_by_its_name_until_the_end() {
        let mut watch = Watch::default();
        let print = Key::parse(ALICE).unwrap().fingerprint();
        let line = format!(
            "[212] Nov  3 07:00:00 Pubkey auth succeeded for 'operator' with ssh-ed25519 key \
             {print} from 192.0.2.1:50122"
        );
        let event = watch.event(&line, &keys()).unwrap();
        assert_eq!(event.code, "login");
        assert_eq!(event.text, "alice has logged in as operator from 192.0.2.1");
        assert_eq!(field(&event, "by"), "alice");
        assert_eq!(field(&event, "key"), print);
        let line = "[212] Nov 13 07:01:00 Exit (operator) from <192.0.2.1:50122>: Disconnect \
                    received";
        let event = watch.event(line, &keys()).unwrap();
        assert_eq!(
            (event.code, field(&event, "by").as_str()),
            ("logout", "alice")
        );
        // Nobody is left.
        let event = watch.event(line, &keys()).unwrap();
        assert_eq!(field(&event, "by"), "operator");
    }

    #[test]
    fn an_address_of_ipv6_is_one() {
        let mut watch = Watch::default();
        let line = "Pubkey auth succeeded for 'viewer' with ssh-rsa key SHA256:x from \
                    [2001:db8::1]:50122";
        let event = watch.event(line, &keys()).unwrap();
        assert_eq!(field(&event, "from"), "2001:db8::1");
        assert_eq!(field(&event, "by"), "viewer");
    }

    #[test]
    fn whoever_was_not_let_in_is_told_and_whoever_only_looked_is_not() {
        let mut watch = Watch::default();
        let mut code = |line: &str| watch.event(line, &keys()).map(|event| event.code);
        let failed = Some("login-failed");
        let head = "[9] Nov 23 07:00:00 Exit before auth from <192.0.2.9:1024>:";
        assert_eq!(
            code(&format!(
                "{head} (user 'operator', 3 fails): Exited normally"
            )),
            failed
        );
        assert_eq!(
            code(&format!(
                "{head} Max auth tries reached - user 'is invalid'"
            )),
            failed
        );
        assert_eq!(
            code(&format!(
                "{head} (user 'operator', 0 fails): Exited normally"
            )),
            failed
        );
        assert_eq!(code(&format!("{head} Exited normally")), None);
        assert_eq!(
            code("[9] Nov 23 07:00:00 Child connection from 192.0.2.9:1024"),
            None
        );
    }

    #[test]
    fn lines_that_somebody_made_up_say_nothing_bad() {
        let mut watch = Watch::default();
        for line in [
            "",
            "[",
            "[]",
            "[1] ",
            "[1] a b",
            "Exit (",
            "Exit () from <>",
            "Exit before auth from <",
            "Pubkey auth succeeded for '",
            "Pubkey auth succeeded for 'x' with a key b from c",
        ] {
            assert_eq!(watch.event(line, &keys()), None, "{line}");
        }
        let line = "Exit before auth from <192.0.2.9:1>: (user '\u{1b}[2Jx', 9', 2 fails): bye";
        let event = watch.event(line, &keys()).unwrap();
        assert!(!event.text.contains('\u{1b}'), "{}", event.text);
        for port in 1..=400 {
            let line =
                format!("Pubkey auth succeeded for 'operator' with x key y from 192.0.2.1:{port}");
            watch.event(&line, &keys()).unwrap();
        }
        assert_eq!(watch.inside.len(), MOST);
    }
}
