//! Network namespaces of one test, gone when the test ends.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};

use nix::sched::{CloneFlags, setns};

/// Says whether the machine lets us make namespaces; prints why the test does nothing where not.
pub(crate) fn available() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: network namespaces need root");
    }
    root
}

/// A namespace.
#[derive(Clone, Debug)]
pub(crate) struct Netns {
    name: String,
}

/// Two namespaces joined by a veth pair: `peer` holds device `p0`, `weir` holds `w0`.
pub(crate) struct Pair {
    pub(crate) peer: Netns,
    pub(crate) weir: Netns,
}

impl Netns {
    /// Makes a namespace with a name of this process.
    pub(crate) fn new(label: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weir-{}-io{n}-{label}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let netns = Self { name };
        netns.run("ip", &["link", "set", "lo", "up"]);
        netns
    }

    /// Runs a command inside and returns what it printed; it must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut all = vec!["netns", "exec", self.name.as_str(), program];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Says whether a command inside succeeds.
    pub(crate) fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        Command::new("ip")
            .args(["netns", "exec", self.name.as_str(), program])
            .args(arguments)
            .output()
            .unwrap()
            .status
            .success()
    }

    /// Returns the namespace's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace.
    pub(crate) fn enter(&self) {
        let file = File::open(format!("/var/run/netns/{}", self.name)).unwrap();
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// Runs `work` on a thread inside the namespace.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let netns = self.clone();
        Builder::new()
            .spawn(move || {
                netns.enter();
                work()
            })
            .unwrap()
    }
}

impl Pair {
    /// Joins two new namespaces by a veth pair with `queues` queues at each end.
    pub(crate) fn new(queues: u32) -> Self {
        let pair = Self {
            peer: Netns::new("peer"),
            weir: Netns::new("weir"),
        };
        link(&pair.peer, "p0", &pair.weir, "w0", queues);
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        delete(&self.peer);
        delete(&self.weir);
    }
}

/// Joins two namespaces by a veth pair that is up at both ends.
pub(crate) fn link(a: &Netns, a_device: &str, b: &Netns, b_device: &str, queues: u32) {
    let queues = queues.to_string();
    let count = ["numtxqueues", &queues, "numrxqueues", &queues];
    let mut arguments = vec!["link", "add", a_device];
    arguments.extend(count);
    arguments.extend(["type", "veth", "peer", "name", b_device, "netns", b.name()]);
    arguments.extend(count);
    a.run("ip", &arguments);
    for (netns, device) in [(a, a_device), (b, b_device)] {
        let quiet = format!("net.ipv6.conf.{device}.disable_ipv6=1");
        netns.run("sysctl", &["-qw", &quiet]);
        netns.run("ip", &["link", "set", device, "up"]);
    }
}

/// Removes a namespace and what is in it.
pub(crate) fn delete(netns: &Netns) {
    let _ = Command::new("ip")
        .args(["netns", "del", &netns.name])
        .output();
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
