//! The ingress hook of kernels before 6.6: a `clsact` qdisc with one eBPF filter, over rtnetlink.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::IngressDropError;
use crate::bpf::Program;

/// The folder under the run directory that names the devices with a filter of ours.
const RECORDS: &str = "ingress-drop";

/// `TC_H_CLSACT`, the qdisc's parent, and its handle.
const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)`.
const INGRESS: u32 = 0xffff_fff2;
/// Our filter's preference, which names it on removal; nobody else's usual choice.
const PREFERENCE: u32 = 993;
const HANDLE: u32 = 1;
/// `ETH_P_ALL`.
const ALL_PROTOCOLS: u16 = 3;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's answer is the action.
const ACT_DIRECT: u32 = 1;

/// Keeps the filter attached; removes it, and the qdisc if it was made for it, when dropped.
#[derive(Debug)]
pub(super) struct Clsact {
    ifindex: u32,
    made_qdisc: bool,
    record: Record,
}

/// The note for the next start, locked for as long as the filter is somebody's.
#[derive(Debug)]
struct Record {
    path: PathBuf,
    file: File,
}

/// What the record says where the qdisc is ours too.
const WITH_QDISC: &str = "qdisc\n";
const FILTER_ONLY: &str = "filter\n";

impl Record {
    /// Opens the record and locks it; none when a living process has it.
    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path, file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(cause)) => Err(cause),
        }
    }

    fn names_qdisc(&mut self) -> bool {
        let mut text = String::new();
        self.file.read_to_string(&mut text).is_ok() && text == WITH_QDISC
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
            _ => Ok(()),
        }
    }
}

impl Clsact {
    /// Attaches `program`, in place of one that a killed daemon left.
    pub(super) fn attach(
        device: &str,
        ifindex: u32,
        program: &Program,
        run_dir: &Path,
    ) -> Result<Self, IngressDropError> {
        let folder = run_dir.join(RECORDS);
        let path = folder.join(device);
        let refused = |cause| IngressDropError::Attach {
            device: device.to_owned(),
            cause,
        };
        let unrecorded = |cause| unrecorded(device, &path, cause);
        fs::create_dir_all(&folder).map_err(unrecorded)?;
        let Some(mut record) = Record::open(path.clone()).map_err(unrecorded)? else {
            return Err(refused(Errno::EBUSY));
        };
        let made_qdisc = match add_qdisc(ifindex) {
            Ok(()) => true,
            Err(Errno::EEXIST) => record.names_qdisc(),
            Err(cause) => return Err(refused(cause)),
        };
        // Written first: a record without a filter does no harm, a filter without a record does.
        let text = if made_qdisc { WITH_QDISC } else { FILTER_ONLY };
        record.write(text).map_err(unrecorded)?;
        let attached = Self {
            ifindex,
            made_qdisc,
            record,
        };
        add_filter(ifindex, program).map_err(refused)?;
        Ok(attached)
    }
}

impl Drop for Clsact {
    fn drop(&mut self) {
        // Nobody is left to tell; the record stays when this fails, so the next start tries again.
        if detach(self.ifindex, self.made_qdisc).is_ok() {
            let _ = self.record.remove();
        }
    }
}

/// Removes what the records of processes that are gone name.
pub(super) fn sweep(run_dir: &Path) -> Result<(), IngressDropError> {
    let Ok(entries) = fs::read_dir(run_dir.join(RECORDS)) else {
        return Ok(());
    };
    let mut outcome = Ok(());
    for entry in entries.flatten() {
        let device = entry.file_name().to_string_lossy().into_owned();
        if let Err(error) = sweep_device(&device, &entry.path()) {
            outcome = Err(error);
        }
    }
    outcome
}

fn sweep_device(device: &str, path: &Path) -> Result<(), IngressDropError> {
    let unrecorded = |cause| unrecorded(device, path, cause);
    let Some(mut record) = Record::open(path.to_owned()).map_err(unrecorded)? else {
        return Ok(());
    };
    // A device that is gone took its filter along.
    if let Ok(ifindex) = nix::net::if_::if_nametoindex(device) {
        detach(ifindex, record.names_qdisc()).map_err(|cause| IngressDropError::Attach {
            device: device.to_owned(),
            cause,
        })?;
    }
    record.remove().map_err(unrecorded)
}

fn unrecorded(device: &str, path: &Path, cause: io::Error) -> IngressDropError {
    IngressDropError::Record {
        device: device.to_owned(),
        path: path.display().to_string(),
        cause,
    }
}

fn detach(ifindex: u32, qdisc_too: bool) -> Result<(), Errno> {
    let request = Request::new(
        libc::RTM_DELTFILTER,
        0,
        ifindex,
        HANDLE,
        INGRESS,
        filter_info(),
    )
    .text(TCA_KIND, "bpf");
    gone_is_fine(request.send())?;
    if qdisc_too {
        let (handle, parent) = (CLSACT_HANDLE, CLSACT_PARENT);
        let request = Request::new(libc::RTM_DELQDISC, 0, ifindex, handle, parent, 0);
        gone_is_fine(request.send())?;
    }
    Ok(())
}

fn gone_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::ENOENT | Errno::EINVAL | Errno::ENODEV) => Ok(()),
        other => other,
    }
}

fn add_qdisc(ifindex: u32) -> Result<(), Errno> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let (handle, parent) = (CLSACT_HANDLE, CLSACT_PARENT);
    Request::new(libc::RTM_NEWQDISC, flags, ifindex, handle, parent, 0)
        .text(TCA_KIND, "clsact")
        .send()
}

fn add_filter(ifindex: u32, program: &Program) -> Result<(), Errno> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut options = Vec::new();
    let fd = program.as_raw_fd().cast_unsigned();
    put(&mut options, TCA_BPF_FD, &fd.to_ne_bytes());
    put(&mut options, TCA_BPF_NAME, b"weir_drop\0");
    put(&mut options, TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
    let info = filter_info();
    let mut request = Request::new(libc::RTM_NEWTFILTER, flags, ifindex, HANDLE, INGRESS, info)
        .text(TCA_KIND, "bpf");
    put(&mut request.bytes, TCA_OPTIONS, &options);
    request.send()
}

/// The preference, and all protocols in network order.
fn filter_info() -> u32 {
    PREFERENCE << 16 | u32::from(ALL_PROTOCOLS.to_be())
}

/// A traffic-control request of rtnetlink.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: i32, ifindex: u32, handle: u32, parent: u32, info: u32) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).cast_unsigned() as u16;
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        // Sequence and port number, then family and padding of `struct tcmsg`.
        bytes.extend([0; 12]);
        for word in [ifindex, handle, parent, info] {
            bytes.extend(word.to_ne_bytes());
        }
        Self { bytes }
    }

    fn text(mut self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        put(&mut self.bytes, kind, &value);
        self
    }

    fn send(mut self) -> Result<(), Errno> {
        let length = (self.bytes.len() as u32).to_ne_bytes();
        if let Some(field) = self.bytes.first_chunk_mut() {
            *field = length;
        }
        let socket: OwnedFd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let kernel = NetlinkAddr::new(0, 0);
        sendto(socket.as_raw_fd(), &self.bytes, &kernel, MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let len = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let answer = answer.get(..len).unwrap_or_default();
        match answer.get(16..).and_then(<[u8]>::first_chunk) {
            Some(&[0, 0, 0, 0]) => Ok(()),
            Some(error) => Err(Errno::from_raw(-i32::from_ne_bytes(*error))),
            None => Err(Errno::EBADMSG),
        }
    }
}

/// Appends an attribute, padded to four bytes.
fn put(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend((value.len() as u16 + 4).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::process::Command;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    use nix::sched::{CloneFlags, unshare};

    use super::super::drop_program;
    use super::*;
    use crate::owned::OwnedTable;

    static COUNT: AtomicU32 = AtomicU32::new(0);

    /// Runs `test` on a thread with a network of its own, in which only `lo` is.
    fn in_own_network(test: impl FnOnce(&Path) + Send + 'static) {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        let n = COUNT.fetch_add(1, Relaxed);
        let name = format!("weir-clsact-{}-{n}", std::process::id());
        let run_dir = std::env::temp_dir().join(name);
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip", &["link", "set", "lo", "up"]);
            test(&run_dir);
            let _ = fs::remove_dir_all(&run_dir);
        });
        thread.join().unwrap();
    }

    fn run(program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    }

    fn ping_works() -> bool {
        run("ping", &["-c", "1", "-W", "1", "-q", "127.0.0.1"]).0
    }

    fn filters() -> String {
        run("tc", &["filter", "show", "dev", "lo", "ingress"]).1
    }

    fn attach(run_dir: &Path) -> Clsact {
        let mut owned = OwnedTable::new().unwrap();
        owned.set(&[IpAddr::from([127, 0, 0, 1])]).unwrap();
        let program = drop_program(&owned).unwrap();
        Clsact::attach("lo", 1, &program, run_dir).unwrap()
    }

    /// What a kill does: locks go, nothing is removed.
    fn kill(attached: Clsact) {
        attached.record.file.unlock().unwrap();
        std::mem::forget(attached);
    }

    #[test]
    fn the_filter_drops_what_is_owned_and_leaves_nothing_behind() {
        in_own_network(|run_dir| {
            assert!(ping_works());
            let attached = attach(run_dir);
            assert!(filters().contains("weir_drop"));
            assert!(!ping_works());
            drop(attached);
            assert!(ping_works());
            assert!(
                !run("tc", &["qdisc", "show", "dev", "lo"])
                    .1
                    .contains("clsact")
            );
            assert_eq!(fs::read_dir(run_dir.join(RECORDS)).unwrap().count(), 0);
        });
    }

    #[test]
    fn what_a_killed_daemon_left_is_swept_away() {
        in_own_network(|run_dir| {
            let attached = attach(run_dir);
            sweep(run_dir).unwrap();
            assert!(!ping_works(), "a living process's filter was swept away");
            kill(attached);
            assert!(!ping_works());
            sweep(run_dir).unwrap();
            assert!(ping_works());
            assert!(
                !run("tc", &["qdisc", "show", "dev", "lo"])
                    .1
                    .contains("clsact")
            );
            sweep(run_dir).unwrap();
        });
    }

    #[test]
    fn a_restart_takes_the_place_of_what_a_killed_daemon_left() {
        in_own_network(|run_dir| {
            kill(attach(run_dir));
            let attached = attach(run_dir);
            assert_eq!(filters().matches(" handle 0x").count(), 1);
            drop(attached);
            assert!(ping_works());
            assert!(
                !run("tc", &["qdisc", "show", "dev", "lo"])
                    .1
                    .contains("clsact")
            );
        });
    }

    #[test]
    fn a_qdisc_that_was_there_before_stays() {
        in_own_network(|run_dir| {
            assert!(run("tc", &["qdisc", "add", "dev", "lo", "clsact"]).0);
            drop(attach(run_dir));
            assert!(
                run("tc", &["qdisc", "show", "dev", "lo"])
                    .1
                    .contains("clsact")
            );
            assert!(!filters().contains("weir_drop"));
        });
    }
}
