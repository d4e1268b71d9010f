//! Who asks: the account at the other end of a control socket, and the person behind it.

use std::fmt;
use std::fs;

use mio::net::UnixStream;
use nix::sys::socket::{getsockopt, sockopt};
use weir_control::{Code, IdentityRow, Introduction, Rejection};
use weir_model::Role;

/// Whoever asks for something through a control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operator {
    /// The person's name, or the login name of the account, or its number where it has none.
    pub(crate) name: String,
    /// Where the request came from; names the account where the person's name is another.
    pub(crate) from: String,
    pub(crate) role: Role,
    /// The number of the account; none where the kernel does not say.
    pub(crate) uid: Option<u32>,
    account: String,
    /// What it says of the person behind it is believed.
    trusted: bool,
    introduced: bool,
}

impl Operator {
    /// Says who is at the other end of a socket of this role.
    pub(crate) fn of(stream: &UnixStream, role: Role) -> Self {
        let peer = getsockopt(stream, sockopt::PeerCredentials).ok();
        let (account, from) = match peer {
            Some(peer) => (login_name(peer.uid()), format!("process {}", peer.pid())),
            None => ("unknown".to_owned(), "a local process".to_owned()),
        };
        let uid = peer.map(|peer| peer.uid());
        Self {
            name: account.clone(),
            from,
            role,
            uid,
            account,
            // Nobody else gets onto an operator's socket.
            trusted: role == Role::Operator || uid.is_some_and(is_ours),
            introduced: false,
        }
    }

    /// Takes what a client says of the person behind it: the name that a forced command of SSH has,
    /// or sudo. The kernel's word for the account stays beside it.
    ///
    /// # Errors
    /// When its word is not enough, or it has said so before.
    pub(crate) fn introduce(&mut self, said: &Introduction) -> Result<(), Rejection> {
        if !self.trusted {
            return Err(Rejection {
                code: Code::NotPermitted,
                text: format!(
                    "only root and those who may use the operator socket are believed who they \
                     are; you stay {self}"
                ),
            });
        }
        if self.introduced {
            return Err(Rejection {
                code: Code::BadArgument,
                text: format!("this connection is {self} already"),
            });
        }
        self.introduced = true;
        if let Some(address) = said.from {
            self.from = format!("ssh {address}");
        }
        if let Some(name) = &said.name {
            self.name = name.to_string();
        }
        if self.name != self.account {
            self.from = format!("{}, account {}", self.from, self.account);
        }
        Ok(())
    }

    /// Says whether the account is root or ours.
    pub(crate) fn is_ours(&self) -> bool {
        self.uid.is_some_and(is_ours)
    }

    /// Returns who we take the client for.
    pub(crate) fn row(&self) -> IdentityRow {
        IdentityRow {
            name: self.name.clone(),
            from: self.from.clone(),
            account: self.account.clone(),
            role: self.role.name().to_owned(),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.from)
    }
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
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

    fn said(json: &str) -> Introduction {
        serde_json::from_str(json).unwrap()
    }

    fn root() -> Operator {
        Operator {
            name: "root".to_owned(),
            from: "process 7".to_owned(),
            role: Role::Operator,
            uid: Some(0),
            account: "root".to_owned(),
            trusted: true,
            introduced: false,
        }
    }

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

    #[test]
    fn a_person_is_shown_with_where_it_came_from_and_through_which_account() {
        for (json, shown) in [
            (
                r#"{"name":"alice","from":"192.0.2.1"}"#,
                "alice (ssh 192.0.2.1, account root)",
            ),
            (r#"{"name":"alice"}"#, "alice (process 7, account root)"),
            (r#"{"from":"2001:db8::1"}"#, "root (ssh 2001:db8::1)"),
            (r#"{"name":"root"}"#, "root (process 7)"),
        ] {
            let mut operator = root();
            operator.introduce(&said(json)).unwrap();
            assert_eq!(operator.to_string(), shown);
            assert_eq!(operator.row().account, "root");
        }
    }

    #[test]
    fn nobody_says_who_it_is_twice_or_without_being_trusted() {
        let alice = said(r#"{"name":"alice"}"#);
        let mut operator = root();
        operator.introduce(&alice).unwrap();
        let again = operator.introduce(&said(r#"{"name":"bob"}"#)).unwrap_err();
        assert_eq!(again.code, Code::BadArgument);
        assert_eq!(operator.name, "alice");

        let mut viewer = Operator {
            trusted: false,
            role: Role::Viewer,
            ..root()
        };
        let refused = viewer.introduce(&alice).unwrap_err();
        assert_eq!(refused.code, Code::NotPermitted);
        assert_eq!(viewer.name, "root");
    }
}
