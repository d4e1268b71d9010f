//! Files that others must not read, and sockets that others must not use.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use weir_model::{Snapshot, SynproxyMode};

use super::Findings;
use crate::control::sockets::group_of;

/// Looks at the files with secrets.
pub(crate) fn secrets(snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "secret-file";
    let services = snapshot.services.iter();
    let in_use = services.filter(|service| service.synproxy.mode != SynproxyMode::Off);
    let files = in_use.filter_map(|service| service.synproxy.secret_file.as_deref());
    let mut files: Vec<&str> = files.collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        match fs::metadata(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => findings.warn(
                CHECK,
                file,
                "it is not there: the start makes one that no other box has",
                "copy it from another box of the cluster",
            ),
            Err(error) => findings.fail(
                CHECK,
                file,
                format!("it cannot be looked at: {error}"),
                "run `weir doctor` as the user of the daemon",
            ),
            Ok(facts) if mode(&facts) & 0o077 != 0 => findings.warn(
                CHECK,
                file,
                format!(
                    "others than its owner can open it (mode {:04o})",
                    mode(&facts)
                ),
                format!("`chmod 600 {file}`"),
            ),
            Ok(facts) => findings.ok(CHECK, file, format!("mode {:04o}", mode(&facts))),
        }
    }
}

/// Looks at the control sockets of a daemon that runs.
pub(crate) fn sockets(snapshot: &Snapshot, findings: &mut Findings) {
    const CHECK: &str = "control-socket";
    for socket in &snapshot.control.sockets {
        let path = socket.path.as_str();
        let group = group_of(socket).ok().flatten();
        let wanted = if group.is_some() { 0o660 } else { 0o600 };
        match fs::metadata(path) {
            Err(error) => findings.fail(
                CHECK,
                path,
                format!("nobody can connect to it: {error}"),
                "restart Weir: somebody removed the socket",
            ),
            Ok(facts) if !facts.file_type().is_socket() => {
                findings.fail(CHECK, path, "it is no socket", "remove it and restart Weir");
            }
            Ok(facts) if mode(&facts) & !wanted != 0 => findings.fail(
                CHECK,
                path,
                format!("more can open it than should (mode {:04o})", mode(&facts)),
                format!("`chmod {wanted:o} {path}`"),
            ),
            Ok(facts) => {
                let text = format!("mode {:04o}, group {}", mode(&facts), facts.gid());
                findings.ok(CHECK, path, text);
            }
        }
    }
}

fn mode(facts: &Metadata) -> u32 {
    facts.permissions().mode() & 0o777
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::net::UnixListener;

    use weir_control::CheckStatus;

    use super::*;
    use crate::doctor::tests::{Fake, snapshot};

    #[test]
    fn a_secret_that_others_can_read_is_told() {
        let fake = Fake::new("secrets");
        let file = fake.root().join("cookie.key");
        let config = snapshot(&format!("[synproxy p]\nsecret-file = {}\n", file.display()));
        let status = || {
            let mut findings = Findings::default();
            secrets(&config, &mut findings);
            findings.into_rows().remove(0).status
        };
        assert_eq!(status(), CheckStatus::Warning);
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(status(), CheckStatus::Warning);
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(status(), CheckStatus::Ok);
    }

    #[test]
    fn a_socket_for_all_or_for_nobody_is_told() {
        let fake = Fake::new("sockets");
        let path = fake.root().join("view.sock");
        let config = snapshot(&format!(
            "[control]\nsocket = {} role=viewer group=root\n",
            path.display()
        ));
        let status = || {
            let mut findings = Findings::default();
            sockets(&config, &mut findings);
            findings.into_rows().remove(0).status
        };
        assert_eq!(status(), CheckStatus::Failure);
        let socket = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert_eq!(status(), CheckStatus::Failure);
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert_eq!(status(), CheckStatus::Ok);
        drop(socket);
    }
}
