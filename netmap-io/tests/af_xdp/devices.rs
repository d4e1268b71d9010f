//! Opening devices, and leaving them as they were.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netmap_io::arp_tap::ArpTap;
use netmap_io::{Device, DeviceSpec, DriverChoice, DriverKind, ethtool, netlink, settings};
use nix::errno::Errno;

use super::netns;
use super::{OWN, PATIENCE, VIP, arp, ip, open, pair, pool, run_dir, send_raw, spec};

#[test]
fn what_cannot_work_is_refused_with_a_sentence() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let refusal = |spec: DeviceSpec| {
        let open = move || Device::open(&spec, &run_dir()).unwrap_err().to_string();
        pair.weir.spawn(open).join().unwrap()
    };
    assert_eq!(refusal(spec("w9", 1)), "there is no device `w9`");
    assert_eq!(
        refusal(spec("w0", 3)),
        "af-xdp cannot open `w0`: it has at most 1 queues, and 3 are wanted; set queues = 1"
    );
    let mut other = spec("w0", 1);
    other.driver = DriverChoice::PfRing;
    assert_eq!(
        refusal(other),
        "pf-ring cannot open `w0`: the pf-ring driver is not available in this build"
    );
    pair.weir.run("ip", &["link", "set", "w0", "mtu", "3000"]);
    assert_eq!(
        refusal(spec("w0", 1)),
        "af-xdp cannot open `w0`: its MTU is 3000, and a frame in one piece carries at most 1774 \
         bytes; set it with `ip link set dev w0 mtu 1774` or use driver = af-packet"
    );
    pair.weir.run("ip", &["link", "set", "w0", "mtu", "1500"]);
    let dir = run_dir();
    let in_use = dir.clone();
    let first = pair
        .weir
        .spawn(move || Device::open(&spec("w0", 1), &dir).unwrap())
        .join()
        .unwrap();
    assert!(
        refusal(spec("w0", 1)).starts_with(
            "af-xdp cannot open `w0`: another XDP program is attached; see `ip link show dev w0`"
        ),
        "{}",
        refusal(spec("w0", 1))
    );
    let again = pair
        .weir
        .spawn(move || {
            Device::open(&spec("w0", 1), &in_use)
                .unwrap_err()
                .to_string()
        })
        .join()
        .unwrap();
    assert!(
        again.contains("`w0` is in use by another process"),
        "{again}"
    );
    drop(first);
}

#[test]
fn the_queues_are_as_many_as_asked_for_and_as_before_afterwards() {
    if !netns::available() {
        return;
    }
    let pair = pair(4);
    pair.weir
        .run("ethtool", &["-L", "w0", "rx", "4", "tx", "1"]);
    pair.peer
        .run("ethtool", &["-L", "p0", "rx", "4", "tx", "2"]);
    pair.weir
        .spawn(|| {
            let before = ethtool::channels("w0").unwrap().unwrap();
            let device = open("w0", 2);
            assert_eq!(device.describe(), "af-xdp native, 2 queues");
            let open = ethtool::channels("w0").unwrap().unwrap();
            assert_eq!((open.rx, open.tx), (2, 2));
            drop(device);
            assert_eq!(ethtool::channels("w0").unwrap().unwrap(), before);
        })
        .join()
        .unwrap();
}

#[test]
fn auto_takes_af_xdp_and_says_why_not_netmap() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let describe = |device: &'static str| {
        let open = move || {
            let mut spec = spec(device, 1);
            spec.driver = DriverChoice::Auto;
            let device = Device::open(&spec, &run_dir()).unwrap();
            (device.info().driver, device.describe())
        };
        pair.weir.spawn(open).join().unwrap()
    };
    let (driver, line) = describe("w0");
    assert_eq!(driver, DriverKind::AfXdp);
    assert!(
        line.starts_with("af-xdp native, 1 queue (netmap: "),
        "{line}"
    );
    // The other end could send super-frames, which generic mode loses.
    pair.peer.run("ip", &["link", "set", "p0", "mtu", "9000"]);
    let (driver, line) = describe("w0");
    assert_eq!(driver, DriverKind::AfPacket);
    assert!(
        line.contains("super-frames of the other end are lost"),
        "{line}"
    );
    // The loopback device has frames that no chunk holds.
    let (driver, line) = describe("lo");
    assert_eq!(driver, DriverKind::AfPacket);
    assert!(line.contains("af-xdp: its MTU is 65536"), "{line}");
}

#[test]
fn the_tap_hears_what_the_kernel_hears_and_addresses_are_added_once() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let peer = pair.peer.clone();
    pair.weir
        .spawn(move || {
            let mut pool = pool();
            let mut device = open("w0", 1);
            let port = device.open_queue(0, &mut pool).unwrap();
            let mut tap = ArpTap::open("w0").unwrap();
            assert_eq!(tap.next_frame().unwrap(), None);
            send_raw(&peer, arp([10, 9, 0, 7], [10, 9, 0, 7]));
            let heard = tap.next_frame().unwrap().unwrap().to_vec();
            assert_eq!(
                (&heard[12..14], &heard[28..32]),
                (&[8, 6][..], &[10, 9, 0, 7][..])
            );
            port.close(&mut pool);

            assert!(netlink::ensure_address("w0", ip("10.9.1.2"), 24).unwrap());
            assert!(!netlink::ensure_address("w0", ip("10.9.1.2"), 24).unwrap());
            assert!(!netlink::ensure_address("w0", ip(OWN), 24).unwrap());
            let addresses = netlink::addresses("w0").unwrap();
            assert_eq!(addresses, [(ip(OWN), 24), (ip("10.9.1.2"), 24)]);

            // The second address of a network hangs on the first.
            assert!(netlink::ensure_address("w0", ip("10.9.1.3"), 24).unwrap());
            let first = netlink::remove_address("w0", ip("10.9.1.2"), 24);
            assert_eq!(first, Err(Errno::EBUSY));
            assert_eq!(netlink::addresses("w0").unwrap().len(), 3);
            for address in ["10.9.1.3", "10.9.1.2"] {
                assert_eq!(netlink::remove_address("w0", ip(address), 24), Ok(true));
                assert_eq!(netlink::remove_address("w0", ip(address), 24), Ok(false));
            }
            assert_eq!(netlink::addresses("w0").unwrap(), addresses[..1]);

            // Another length of the prefix is there before the old one goes.
            assert!(netlink::ensure_address("w0", ip("10.9.2.2"), 24).unwrap());
            assert_eq!(netlink::add_address("w0", ip("10.9.2.2"), 25), Ok(true));
            assert_eq!(netlink::add_address("w0", ip("10.9.2.2"), 25), Ok(false));
            assert_eq!(netlink::remove_address("w0", ip("10.9.2.2"), 24), Ok(true));
            assert_eq!(
                netlink::addresses("w0").unwrap(),
                [addresses[0], (ip("10.9.2.2"), 25)]
            );
        })
        .join()
        .unwrap();
}

#[test]
fn a_killed_process_leaves_no_program_and_its_settings_are_restored_at_the_next_start() {
    const CHILD: &str = "WEIR_TEST_CHILD";
    if !netns::available() {
        return;
    }
    if std::env::var(CHILD).is_ok() {
        // The child: holds the device until it is killed.
        let mut pool = pool();
        let mut device = Device::open(&spec("w0", 1), &PathBuf::from(".")).unwrap();
        device.set_owned(&[ip(VIP)]).unwrap();
        let _port = device.open_queue(0, &mut pool).unwrap();
        println!("open");
        std::thread::sleep(Duration::from_mins(1));
        return;
    }
    let pair = pair(2);
    pair.peer
        .run("ethtool", &["-L", "p0", "rx", "1", "tx", "1"]);
    let dir = run_dir();
    let mut child = Command::new("ip")
        .args(["netns", "exec", pair.weir.name()])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "devices::a_killed_process_leaves_no_program_and_its_settings_are_restored_at_the_next_start",
        ])
        .env(CHILD, "1")
        .current_dir(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut said = String::new();
    while !said.contains("open\n") {
        let mut byte = [0];
        assert_eq!(
            output.read(&mut byte).unwrap(),
            1,
            "the child ended: {said}"
        );
        said.push(char::from(byte[0]));
    }
    assert!(pair.weir.run("ip", &["link", "show", "w0"]).contains("xdp"));
    // `ip netns exec` becomes the program itself, so this kills the holder of the device.
    child.kill().unwrap();
    child.wait().unwrap();
    let end = Instant::now() + PATIENCE;
    while pair.weir.run("ip", &["link", "show", "w0"]).contains("xdp") {
        assert!(Instant::now() < end, "the program is still there");
    }
    pair.weir
        .spawn(move || {
            assert_eq!(ethtool::channels("w0").unwrap().unwrap().rx, 1);
            let sentences = settings::restore_leftovers(&dir).unwrap();
            assert_eq!(
                sentences,
                ["the settings of `w0`, which an earlier process left changed, were restored"]
            );
            assert_eq!(ethtool::channels("w0").unwrap().unwrap().rx, 2);
            assert!(ethtool::features("w0").unwrap().is_on("rx-vlan-hw-parse"));
            assert_eq!(
                settings::restore_leftovers(&dir).unwrap(),
                Vec::<String>::new()
            );
            // And the next start works at once.
            let mut pool = pool();
            let mut device = Device::open(&spec("w0", 1), &dir).unwrap();
            device.open_queue(0, &mut pool).unwrap().close(&mut pool);
            device.open_queue(0, &mut pool).unwrap().close(&mut pool);
        })
        .join()
        .unwrap();
}
