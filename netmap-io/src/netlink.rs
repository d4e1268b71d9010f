//! Addresses and XDP programs of a device, asked and changed through rtnetlink.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::bpf::XdpMode;
use crate::ethtool;

/// Asks for the addresses that the kernel has on a device, with the lengths of their prefixes.
///
/// # Errors
/// `ENODEV` when there is no such device.
pub fn addresses(device: &str) -> Result<Vec<(IpAddr, u8)>, Errno> {
    let ifindex = ethtool::facts(device)?.ifindex;
    let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut found = Vec::new();
    for answer in request(ask, NLM_F_DUMP)? {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            continue;
        };
        if message.header.index != ifindex {
            continue;
        }
        if let Some(address) = own_address(&message) {
            found.push((address, message.header.prefix_len));
        }
    }
    Ok(found)
}

/// Adds an address to a device where the kernel has it not, and says whether it was added. It
/// outlives the process: people may be logged in through it.
///
/// # Errors
/// `ENODEV` when there is no such device, `EPERM` without `CAP_NET_ADMIN`.
pub fn ensure_address(device: &str, address: IpAddr, prefix_len: u8) -> Result<bool, Errno> {
    let there = addresses(device)?.iter().any(|(a, _)| *a == address);
    if there {
        return Ok(false);
    }
    add_address(device, address, prefix_len)
}

/// Adds an address to a device, also where the kernel has it with another length of its prefix, and
/// says whether it was added.
///
/// # Errors
/// As [`ensure_address`].
pub fn add_address(device: &str, address: IpAddr, prefix_len: u8) -> Result<bool, Errno> {
    let message = address_message(device, address, prefix_len)?;
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match request(RouteNetlinkMessage::NewAddress(message), flags) {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(Errno::EEXIST) => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// Removes an address from a device, and says whether it was there.
///
/// # Errors
/// `EBUSY` when the kernel would remove other addresses of its network with it; `ENODEV` when there
/// is no such device, `EPERM` without `CAP_NET_ADMIN`.
pub fn remove_address(device: &str, address: IpAddr, prefix_len: u8) -> Result<bool, Errno> {
    let ifindex = ethtool::facts(device)?.ifindex;
    let ask = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut secondary = None;
    let mut has_others = false;
    for answer in request(ask, NLM_F_DUMP)? {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            continue;
        };
        let header = &message.header;
        let Some(IpAddr::V4(found)) = own_address(&message).filter(|_| header.index == ifindex)
        else {
            continue;
        };
        let is_secondary = header.flags.contains(AddressHeaderFlags::Secondary);
        if IpAddr::V4(found) == address {
            if header.prefix_len == prefix_len {
                secondary = Some(is_secondary);
            }
        } else if let IpAddr::V4(address) = address
            && is_secondary
            && header.prefix_len == prefix_len
            && of_network(found, prefix_len) == of_network(address, prefix_len)
        {
            has_others = true;
        }
    }
    // The first address of a network takes the others with it where they do not step up.
    if secondary == Some(false) && has_others {
        return Err(Errno::EBUSY);
    }
    let message = address_message(device, address, prefix_len)?;
    match request(RouteNetlinkMessage::DelAddress(message), NLM_F_ACK) {
        Ok(_) => Ok(true),
        // Somebody else was faster.
        Err(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(cause) => Err(cause),
    }
}

fn address_message(device: &str, address: IpAddr, prefix_len: u8) -> Result<AddressMessage, Errno> {
    let mut message = AddressMessage::default();
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.prefix_len = prefix_len;
    message.header.index = ethtool::facts(device)?.ifindex;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    Ok(message)
}

/// The bits of a network in an address.
fn of_network(address: Ipv4Addr, prefix_len: u8) -> u32 {
    let host = 32_u32.saturating_sub(u32::from(prefix_len));
    address.to_bits().checked_shr(host).unwrap_or_default()
}

/// Attaches an XDP program without a link, for kernels before 5.9: it stays when the process ends.
pub(crate) fn attach_xdp(ifindex: u32, program: BorrowedFd, mode: XdpMode) -> Result<(), Errno> {
    /// `XDP_FLAGS_UPDATE_IF_NOEXIST`: somebody else's program is left alone.
    const IF_NONE: u32 = 1;
    set_xdp(ifindex, program.as_raw_fd(), mode.flags() | IF_NONE)
}

/// Detaches the XDP program with that number from a device; does nothing when it is not there.
pub(crate) fn detach_xdp(device: &str, id: u32) -> Result<(), Errno> {
    let ifindex = ethtool::facts(device)?.ifindex;
    for (attached, mode) in xdp_programs(ifindex)? {
        if attached == id {
            set_xdp(ifindex, -1, mode.flags())?;
        }
    }
    Ok(())
}

/// Asks which XDP programs are attached to an interface.
pub(crate) fn xdp_programs(ifindex: u32) -> Result<Vec<(u32, XdpMode)>, Errno> {
    let mut ask = LinkMessage::default();
    ask.header.index = ifindex;
    let mut found = Vec::new();
    for answer in request(RouteNetlinkMessage::GetLink(ask), 0)? {
        let RouteNetlinkMessage::NewLink(message) = answer else {
            continue;
        };
        for attribute in message.attributes {
            let LinkAttribute::Xdp(parts) = attribute else {
                continue;
            };
            for part in parts {
                if let LinkXdp::DrvProgId(id) = part {
                    found.push((id, XdpMode::Native));
                } else if let LinkXdp::SkbProgId(id) = part {
                    found.push((id, XdpMode::Generic));
                }
            }
        }
    }
    Ok(found)
}

fn set_xdp(ifindex: u32, fd: i32, flags: u32) -> Result<(), Errno> {
    let mut message = LinkMessage::default();
    message.header.index = ifindex;
    let parts = vec![LinkXdp::Fd(fd), LinkXdp::Flags(flags)];
    message.attributes.push(LinkAttribute::Xdp(parts));
    request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
}

/// The device's own address; on a point-to-point device `Address` is the peer's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        if let AddressAttribute::Local(address) = attribute {
            return Some(*address);
        }
        if let AddressAttribute::Address(address) = attribute {
            found = Some(*address);
        }
    }
    found
}

/// Sends one message and collects the answers, up to the acknowledgement or the end of the dump.
pub(crate) fn request(
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<Vec<RouteNetlinkMessage>, Errno> {
    exchange(message, flags).map_err(|error| {
        let number = error.raw_os_error().unwrap_or(libc::EPROTO);
        Errno::from_raw(number)
    })
}

fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
    packet.header.flags = NLM_F_REQUEST | flags;
    packet.header.sequence_number = 1;
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let many = flags & (NLM_F_DUMP | NLM_F_ACK) != 0;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))?;
            // Messages are padded to four bytes.
            let len = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(len..).unwrap_or_default();
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    answers.push(inner);
                    if !many {
                        return Ok(answers);
                    }
                }
                NetlinkPayload::Error(error) => match error.code {
                    None => return Ok(answers),
                    Some(code) => return Err(io::Error::from_raw_os_error(-code.get())),
                },
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::bpf::{Assembler, Program, ProgramKind};

    #[test]
    fn the_loopback_address_is_found() {
        let found = addresses("lo").unwrap();
        assert!(
            found.contains(&("127.0.0.1".parse().unwrap(), 8)),
            "{found:?}"
        );
        assert_eq!(addresses("weir-no-such"), Err(Errno::ENODEV));
    }

    #[test]
    fn a_program_attached_without_a_link_is_found_and_detached_by_its_number() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        // The namespace, and the device in it, end with the thread.
        let in_own_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let pair = ["link", "add", "w0", "type", "veth", "peer", "name", "p0"];
            assert!(Command::new("ip").args(pair).status().unwrap().success());
            let ifindex = ethtool::facts("w0").unwrap().ifindex;
            let mut asm = Assembler::new();
            asm.exit_with(2);
            let program = Program::load(ProgramKind::Xdp, "weir_test", asm).unwrap();
            for mode in [XdpMode::Native, XdpMode::Generic] {
                attach_xdp(ifindex, program.as_fd(), mode).unwrap();
                let refused = attach_xdp(ifindex, program.as_fd(), mode);
                assert_eq!(refused, Err(Errno::EBUSY));
                let [(id, found)] = xdp_programs(ifindex).unwrap().try_into().unwrap();
                assert_eq!(found, mode);
                detach_xdp("w0", id + 1).unwrap();
                assert_eq!(xdp_programs(ifindex).unwrap().len(), 1);
                detach_xdp("w0", id).unwrap();
                assert_eq!(xdp_programs(ifindex), Ok(Vec::new()));
            }
        };
        std::thread::spawn(in_own_namespace).join().unwrap();
    }

    #[test]
    fn a_device_without_a_program_has_none() {
        let lo = ethtool::facts("lo").unwrap().ifindex;
        assert_eq!(xdp_programs(lo), Ok(Vec::new()));
    }
}
