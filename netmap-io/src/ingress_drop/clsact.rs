//! The ingress hook of kernels before 6.6: a `clsact` qdisc with one eBPF filter, over rtnetlink.

use std::fs;
use std::io;
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
    record: PathBuf,
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
        let record = folder.join(device);
        let refused = |cause| IngressDropError::Attach {
            device: device.to_owned(),
            cause,
        };
        let left_qdisc = fs::read_to_string(&record).is_ok_and(|text| text == "qdisc\n");
        let made_qdisc = match add_qdisc(ifindex) {
            Ok(()) => true,
            Err(Errno::EEXIST) => left_qdisc,
            Err(cause) => return Err(refused(cause)),
        };
        let text = if made_qdisc { "qdisc\n" } else { "filter\n" };
        // Written first: a record without a filter does no harm, a filter without a record does.
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&record, text))
            .map_err(|cause| IngressDropError::Record {
                device: device.to_owned(),
                path: record.display().to_string(),
                cause,
            })?;
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
            let _ = fs::remove_file(&self.record);
        }
    }
}

/// Removes what the records name.
pub(super) fn sweep(run_dir: &Path) -> Result<(), IngressDropError> {
    let Ok(entries) = fs::read_dir(run_dir.join(RECORDS)) else {
        return Ok(());
    };
    let mut outcome = Ok(());
    for entry in entries.flatten() {
        let device = entry.file_name().to_string_lossy().into_owned();
        let made_qdisc = fs::read_to_string(entry.path()).is_ok_and(|text| text == "qdisc\n");
        if let Ok(ifindex) = nix::net::if_::if_nametoindex(device.as_str())
            && let Err(cause) = detach(ifindex, made_qdisc)
        {
            outcome = Err(IngressDropError::Attach { device, cause });
            continue;
        }
        let removed = fs::remove_file(entry.path());
        if let Err(cause) = removed
            && cause.kind() != io::ErrorKind::NotFound
        {
            outcome = Err(IngressDropError::Record {
                device,
                path: entry.path().display().to_string(),
                cause,
            });
        }
    }
    outcome
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
