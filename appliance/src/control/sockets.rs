//! The control sockets: where they are, and who may connect.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use mio::net::{UnixListener, UnixStream};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};
use weir_model::{ControlSocket, Role};

/// An open control socket; its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) socket: UnixListener,
    pub(crate) role: Role,
    path: PathBuf,
    group: Option<u32>,
}

impl Listener {
    /// Opens a socket: for root, and for the group where one is named.
    ///
    /// # Errors
    /// When another daemon listens there, the group does not exist or the file cannot be made.
    pub(crate) fn open(socket: &ControlSocket) -> Result<Self> {
        let path = PathBuf::from(&socket.path);
        let place = || format!("[control] socket {}", socket.path);
        let group = group_of(socket).with_context(place)?;
        make_way(&path).with_context(place)?;
        // Nobody may connect between the moment the file appears and the moment it has its mode.
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(&path);
        umask(before);
        let bound = bound.with_context(|| format!("{}: cannot be made", place()))?;
        let opened = Self {
            socket: bound,
            role: socket.role,
            path,
            group,
        };
        opened
            .set_owner()
            .with_context(|| format!("{}: cannot be given its group", place()))?;
        Ok(opened)
    }

    /// Says whether the process at the other end may use this socket: root, ourselves, or a
    /// member of the group.
    pub(crate) fn admits(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = getsockopt(stream, sockopt::PeerCredentials) else {
            return false;
        };
        if peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw() {
            return true;
        }
        let Some(group) = self.group else {
            return false;
        };
        if peer.gid() == group {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", peer.pid()));
        status.is_ok_and(|status| groups_of(&status).any(|other| other == group))
    }

    fn set_owner(&self) -> io::Result<()> {
        let Some(group) = self.group else {
            return Ok(());
        };
        chown(&self.path, None, Some(group))?;
        fs::set_permissions(&self.path, Permissions::from_mode(0o660))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What is gone already need not be removed.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the group that may connect besides root: the one that is named, or else the one that an
/// appliance has for the role.
///
/// # Errors
/// When the group that is named does not exist.
pub(crate) fn group_of(socket: &ControlSocket) -> Result<Option<u32>> {
    match socket.group.as_deref() {
        Some(name) => group_id(name).map(Some),
        None => Ok(group_id(match socket.role {
            Role::Viewer => "weir-view",
            Role::Operator => "weir-operate",
        })
        .ok()),
    }
}

/// Makes the directory, and removes the socket that a killed daemon left.
fn make_way(path: &Path) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    ensure!(
        there.file_type().is_socket(),
        "{} is there and is no socket; remove it or choose another name",
        path.display()
    );
    if StdStream::connect(path).is_ok() {
        bail!(
            "another `weir run` answers at {}; stop it first",
            path.display()
        );
    }
    fs::remove_file(path).with_context(|| format!("cannot remove the old {}", path.display()))
}

/// Finds a group. The file is read directly: the name service of a static binary would need
/// shared libraries at run time.
///
/// # Errors
/// When there is none of that name.
pub(crate) fn group_id(name: &str) -> Result<u32> {
    let file = fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    group_in(&file, name).with_context(|| {
        format!("there is no group `{name}`; make it with `groupadd --system {name}`")
    })
}

fn group_in(file: &str, name: &str) -> Option<u32> {
    let line = file
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

fn groups_of(status: &str) -> impl Iterator<Item = u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.unwrap_or_default()
        .split_whitespace()
        .filter_map(|group| group.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(name: &str) -> ControlSocket {
        let path = std::env::temp_dir().join(format!("weir-{}-{name}.sock", std::process::id()));
        ControlSocket {
            path: path.to_string_lossy().into_owned(),
            role: Role::Viewer,
            group: None,
        }
    }

    #[test]
    fn groups_are_found_by_name_and_members_by_their_process() {
        let file = "root:x:0:\nweir-view:x:117:alice\n";
        assert_eq!(group_in(file, "weir-view"), Some(117));
        assert_eq!(group_in(file, "weir"), None);
        let status = "Name:\tsh\nGid:\t4\t4\t4\t4\nGroups:\t4 117 1000 \nNSpid:\t9\n";
        assert_eq!(groups_of(status).collect::<Vec<_>>(), [4, 117, 1000]);
    }

    #[test]
    fn the_socket_of_a_killed_daemon_is_replaced_and_that_of_a_living_one_is_not() {
        let socket = socket("stale");
        drop(std::os::unix::net::UnixListener::bind(&socket.path).unwrap());
        let first = Listener::open(&socket).unwrap();
        let mode = fs::metadata(&socket.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = format!("{:#}", Listener::open(&socket).unwrap_err());
        assert!(error.contains("another `weir run` answers"), "{error}");
        drop(first);
        assert!(!Path::new(&socket.path).exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let socket = socket("file");
        fs::write(&socket.path, "precious").unwrap();
        let error = format!("{:#}", Listener::open(&socket).unwrap_err());
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&socket.path).unwrap(), "precious");
        fs::remove_file(&socket.path).unwrap();
    }

    #[test]
    fn an_unknown_group_is_named() {
        let mut socket = socket("group");
        socket.group = Some("weir-nobody".to_owned());
        let error = format!("{:#}", Listener::open(&socket).unwrap_err());
        assert!(error.contains("there is no group `weir-nobody`"), "{error}");
        assert!(!Path::new(&socket.path).exists());
    }
}
