//! Who asks: the account at the other end of a control socket.

use std::fmt;
use std::fs;

use mio::net::UnixStream;
use nix::sys::socket::{getsockopt, sockopt};
use weir_model::Role;

/// Whoever asks for something through a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// The login name of the account, or its number where it has none.
    pub(crate) name: String,
    /// Where the request came from.
    pub(crate) from: String,
    pub(crate) role: Role,
}

impl Operator {
    /// Says who is at the other end of a socket of this role.
    pub(crate) fn of(stream: &UnixStream, role: Role) -> Self {
        let (name, from) = match getsockopt(stream, sockopt::PeerCredentials) {
            Ok(peer) => (login_name(peer.uid()), format!("process {}", peer.pid())),
            Err(_) => ("unknown".to_owned(), "a local process".to_owned()),
        };
        Self { name, from, role }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.from)
    }
}

/// Finds the name of an account. The file is read directly: the name service of a static binary
/// would need shared libraries at run time.
fn login_name(uid: u32) -> String {
    let file = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&file, uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn name_in(file: &str, uid: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_its_name_or_else_its_number() {
        let file = "root:x:0:0:root:/root:/bin/sh\n\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(name_in(file, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(file, 0).as_deref(), Some("root"));
        assert_eq!(name_in(file, 1001), None);
    }

    #[test]
    fn the_account_at_the_other_end_is_ours_in_a_pair() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let operator = Operator::of(&ours, Role::Operator);
        assert_eq!(operator.name, login_name(nix::unistd::geteuid().as_raw()));
        assert_eq!(operator.from, format!("process {}", std::process::id()));
    }
}
