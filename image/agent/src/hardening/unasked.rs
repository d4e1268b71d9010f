//! What nobody asked for is sent to a device that has our settings, and to one that listens: only that
//! one does as it is told.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket, sockopt};
use weir_wire::Sum;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody has it, and both know its hardware address.
const ELSEWHERE: &str = "192.0.2.3";
const FAR: &str = "198.51.100.9";

/// What the router sends.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Advertisement,
    Redirect,
}

fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn set(path: &str, value: &str) {
    fs::write(Path::new("/proc/sys/net").join(path), value).unwrap();
}

/// Returns what the kernel says of the namespace of this thread.
fn net(file: &str) -> String {
    fs::read_to_string(Path::new("/proc/thread-self/net").join(file)).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not seen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A router with another opinion, in a namespace of its own.
fn router(says: &Sender<String>, sends: &Receiver<Sent>) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let own = nix::unistd::gettid();
    let path = format!("/proc/{}/task/{own}/ns/net", std::process::id());
    says.send(path).unwrap();
    for sent in sends {
        match sent {
            Sent::Advertisement => advertise(),
            Sent::Redirect => redirect(),
        }
    }
}

/// Switches the router's end of the link on.
fn switch_on() {
    set("ipv6/conf/p0/accept_dad", "0");
    ip("address add 192.0.2.1/24 dev p0");
    ip("link set p0 up");
}

/// Advertises a network, and itself as the way to everywhere (RFC 4861 section 4.2).
fn advertise() {
    switch_on();
    wait_until("an address of the link", || {
        net("if_inet6").starts_with("fe80")
    });
    let mut message = vec![134, 0, 0, 0, 64, 0];
    message.extend(1800_u16.to_be_bytes());
    message.extend([0; 8]);
    // A network of 64 bits, on the link, to make an address of.
    message.extend([3, 4, 64, 0xc0]);
    message.extend(3600_u32.to_be_bytes().repeat(2));
    message.extend([0; 4]);
    message.extend("2001:db8:bad::".parse::<Ipv6Addr>().unwrap().octets());
    let raw = socket(AddressFamily::INET6, SocketType::RAW, Some(ipproto::ICMPV6)).unwrap();
    sockopt::set_ipv6_multicast_hops(&raw, 255).unwrap();
    let device = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
    let number = device.split_whitespace().nth(1).unwrap();
    let number = u32::from_str_radix(number, 16).unwrap();
    let all = SocketAddrV6::new("ff02::1".parse().unwrap(), 0, 0, number);
    // The kernel puts the checksum in.
    sendto(&raw, &message, SendFlags::empty(), &all).unwrap();
}

/// Says that the way to somebody far off goes by another (RFC 792, type 5).
fn redirect() {
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let mut message = vec![5, 1, 0, 0];
    message.extend(address(ELSEWHERE).octets());
    // The packet that it is about: an answer to an echo, since any other is looked up by its socket.
    message.extend([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0, 0]);
    message.extend(address("192.0.2.2").octets());
    message.extend(address(FAR).octets());
    message.extend([0, 0, 0, 0, 0, 1, 0, 1]);
    let sum = Sum::of(&message).complement().to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let raw = socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP)).unwrap();
    let to = SocketAddrV4::new(address("192.0.2.2"), 0);
    // It is counted before it is looked at: with the second, the first has been.
    for _ in 0..2 {
        sendto(&raw, &message, SendFlags::empty(), &to).unwrap();
    }
}

/// Returns whether a device made itself an address, and whether it goes another way.
fn believes(settings: impl FnOnce()) -> (bool, bool) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let (says, said) = mpsc::channel();
    let (send, sends) = mpsc::channel();
    let router = thread::spawn(move || router(&says, &sends));
    let namespace = said.recv().unwrap();
    ip(&format!(
        "link add w0 type veth peer name p0 netns {namespace}"
    ));
    settings();
    ip("address add 192.0.2.2/24 dev w0");
    ip("link set w0 up");
    send.send(Sent::Advertisement).unwrap();
    wait_until("the advertisement", || {
        let count = net("dev_snmp6/w0");
        let mut lines = count.lines().map(str::split_whitespace);
        lines.any(|mut words| words.next() == Some("Icmp6InType134"))
    });
    ip("route add default via 192.0.2.1 dev w0");
    ip(&format!(
        "neighbour add {ELSEWHERE} lladdr 02:00:00:00:00:03 dev w0"
    ));
    send.send(Sent::Redirect).unwrap();
    wait_until("both redirects", || {
        let text = net("snmp");
        let mut icmp = text.lines().filter_map(|line| line.strip_prefix("Icmp: "));
        let (names, counts) = (icmp.next().unwrap(), icmp.next().unwrap());
        let mut both = names.split(' ').zip(counts.split(' '));
        both.any(|(name, count)| name == "InRedirects" && count == "2")
    });
    let has_address = net("if_inet6").contains("20010db80bad");
    let has_router = ip("-6 route show").contains("default");
    let way = ip(&format!("route get {FAR}"));
    // With its namespace the link goes.
    drop(send);
    router.join().unwrap();
    assert_eq!(has_address, has_router);
    (has_address, way.contains(&format!("via {ELSEWHERE}")))
}

#[test]
fn a_device_believes_no_router_advertisement_and_no_redirect() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces need root");
        return;
    }
    let ours = || {
        let mut settings = machine(&["w0".to_owned()]);
        settings.retain(|(path, _)| path.contains("/conf/"));
        settings.extend(management("w0"));
        assert_eq!(make(Path::new("/proc"), &settings), [""; 0]);
    };
    let trusting = || {
        for scope in ["all", "w0"] {
            set(&format!("ipv4/conf/{scope}/forwarding"), "0");
            set(&format!("ipv4/conf/{scope}/accept_redirects"), "1");
            set(&format!("ipv6/conf/{scope}/forwarding"), "0");
            set(&format!("ipv6/conf/{scope}/accept_ra"), "1");
            set(&format!("ipv6/conf/{scope}/autoconf"), "1");
            set(&format!("ipv6/conf/{scope}/disable_ipv6"), "0");
        }
    };
    // The namespaces, and the devices in them, end with their threads.
    let believed = thread::spawn(move || believes(trusting)).join().unwrap();
    assert_eq!(
        believed,
        (true, true),
        "what is sent is not believed at all"
    );
    let believed = thread::spawn(move || believes(ours)).join().unwrap();
    assert_eq!(believed, (false, false));
}
