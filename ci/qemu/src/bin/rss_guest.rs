//! The guest's one program: foretells the queue of every frame and looks where it arrives.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nat_engine::{FlowKey, LocalPorts, Protocols, Steering};
use netmap_io::ethtool::{self, HashFields};
use netmap_io::{Burst, Device, DeviceSpec, DriverChoice, FramePool, Port};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use weir_model::{PortId, Snapshot};
use weir_qemu::frames::{END, LIP, PORTS, REAL, VIP};
use weir_qemu::kernel::{MODULES, module_name};
use weir_qemu::rss::{DRIVERS, FAILED, READY, Verdict};
use weir_wire::{Kind, L4, Parsed};

const CARD: &str = "eth0";
/// Frames come without a pause that is longer.
const SILENCE: Duration = Duration::from_secs(20);

fn main() {
    if let Err(error) = run() {
        println!("{FAILED} {error:#}");
    }
    // Without it the kernel panics when its init ends, which ends the guest, too.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
}

fn run() -> Result<()> {
    let none = None::<&CStr>;
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")] {
        mount(none, place, Some(kind), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount {kind}"))?;
    }
    for (nth, module) in MODULES.iter().enumerate() {
        let file = File::open(Path::new("/").join(module_name(nth)))
            .with_context(|| format!("there is no {module}"))?;
        finit_module(file, c"", ModuleInitFlags::empty())
            .with_context(|| format!("cannot load {module}"))?;
    }
    let begin = Instant::now();
    while ethtool::facts(CARD).is_err() {
        ensure!(begin.elapsed() < SILENCE, "there is no network card");
        thread::sleep(Duration::from_millis(10));
    }
    ethtool::ensure_up(CARD).context("cannot switch the card on")?;
    let card = Card::read()?;
    for (nth, (driver, name)) in (0..).zip(DRIVERS) {
        let verdict = card
            .watch(driver, name, END + nth)
            .with_context(|| name.to_owned())?;
        println!("{}", verdict.line());
    }
    Ok(())
}

/// The network card and what is foretold of it.
struct Card {
    queues: u16,
    steering: Arc<Steering>,
    /// The worker that each local port was chosen for.
    chosen: BTreeMap<u16, u8>,
}

impl Card {
    fn read() -> Result<Self> {
        let rss = ethtool::rss(CARD)?;
        println!(
            "weir: card has {} queues, a table of {} entries, a key of {} bytes, {:?}, TCP by {:?}, UDP by {:?}",
            rss.queues,
            rss.table.len(),
            rss.key.len(),
            rss.function,
            rss.tcp_v4,
            rss.udp_v4
        );
        rss.check()?;
        let workers = u8::try_from(rss.queues).context("too many queues")?;
        let owners = rss
            .table
            .iter()
            .map(|queue| u8::try_from(*queue))
            .collect::<Result<Vec<_>, _>>()
            .context("a queue of the table is not there")?;
        let steers = Protocols {
            tcp: rss.tcp_v4 == HashFields::AddressesAndPorts,
            udp: rss.udp_v4 == HashFields::AddressesAndPorts,
        };
        ensure!(steers.tcp && steers.udp, "the card does not hash ports");
        let steering = Steering::new(&rss.key, &owners, workers, steers);
        let steering = steering.map_err(|why| anyhow::anyhow!("{why}"))?;
        let steering = Arc::new(steering);
        let snapshot = snapshot()?;
        let mut chosen = BTreeMap::new();
        for worker in 0..workers {
            for port in chosen_ports(&snapshot, &steering, worker, workers)? {
                let before = chosen.insert(port, worker);
                ensure!(before.is_none(), "port {port} is of two workers");
            }
        }
        ensure!(chosen.len() == PORTS.count(), "some port is nobody's");
        Ok(Self {
            queues: u16::from(workers),
            steering,
            chosen,
        })
    }

    /// Receives until the last frame, and judges where each arrived.
    fn watch(&self, driver: DriverChoice, name: &str, end: u16) -> Result<Verdict> {
        let spec = DeviceSpec {
            device: CARD.to_owned(),
            driver,
            queues: self.queues,
        };
        let mut device = Device::open(&spec, Path::new("/run"))?;
        let mut queues: Vec<(FramePool, Box<dyn Port>)> = Vec::new();
        for queue in 0..self.queues {
            let chunks = device.chunks_per_queue() + 256;
            let mut pool = FramePool::with_umem(chunks, FramePool::CHUNK_LEN)?;
            let port = device.open_queue(queue, &mut pool)?;
            queues.push((pool, port));
        }
        device.set_owned(&[IpAddr::V4(LIP), IpAddr::V4(VIP)])?;
        let now = ethtool::rss(CARD)?;
        device.enforce_rss(&now).context("cannot set the table")?;
        ensure!(
            now.queues == u32::from(self.queues),
            "the driver changed the queues"
        );
        println!("{READY} {name}");
        let mut tally = Tally {
            end,
            ..Tally::default()
        };
        let mut burst = Burst::with_capacity(64);
        let mut last = Instant::now();
        while !tally.ended {
            ensure!(
                last.elapsed() < SILENCE,
                "nothing comes any more; until then {tally:?}"
            );
            let mut idle = true;
            for (queue, (pool, port)) in (0..).zip(&mut queues) {
                idle &= port.rx(pool, &mut burst) == 0;
                for frame in burst.drain() {
                    self.judge(queue, frame.bytes(), &mut tally);
                    pool.free(frame);
                }
                port.flush(pool).context("the card fails")?;
            }
            if idle {
                thread::sleep(Duration::from_millis(1));
            } else {
                last = Instant::now();
            }
        }
        let fewest = tally.by_queue.values().copied().min().unwrap_or_default();
        let all = tally.by_queue.len() == usize::from(self.queues);
        Ok(Verdict {
            replies: tally.replies,
            clients: tally.clients,
            strays: tally.strays,
            least: if all { fewest } else { 0 },
        })
    }

    fn judge(&self, queue: u8, frame: &[u8], tally: &mut Tally) {
        let Some(key) = key_of(frame) else {
            return;
        };
        if key.dst == VIP && key.dst_port < 1024 {
            tally.ended |= key.dst_port == tally.end;
            return;
        }
        *tally.by_queue.entry(queue).or_default() += 1;
        let foretold = self.steering.owner(&key) == Some(queue);
        if key.dst == LIP {
            // The session's worker chose this port so that its replies come to it.
            let chosen = self.chosen.get(&key.dst_port) == Some(&queue);
            tally.count(foretold && chosen, |tally| &mut tally.replies);
        } else {
            tally.count(foretold, |tally| &mut tally.clients);
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    replies: u32,
    clients: u32,
    strays: u32,
    by_queue: BTreeMap<u8, u32>,
    /// The port to which the last frame goes.
    end: u16,
    ended: bool,
}

impl Tally {
    fn count(&mut self, right: bool, place: fn(&mut Self) -> &mut u32) {
        if right {
            *place(self) += 1;
        } else {
            self.strays += 1;
        }
    }
}

fn key_of(frame: &[u8]) -> Option<FlowKey> {
    let Kind::Ipv4(v4) = Parsed::parse(frame).ok()?.kind else {
        return None;
    };
    let (src_port, dst_port) = match v4.l4_kind {
        L4::Tcp(tcp) => (tcp.src_port, tcp.dst_port),
        L4::Udp {
            src_port, dst_port, ..
        } => (src_port, dst_port),
        L4::Icmp { .. } | L4::NonFirstFragment | L4::Other(_) => return None,
    };
    Some(FlowKey {
        src: v4.src,
        dst: v4.dst,
        src_port,
        dst_port,
        protocol: v4.protocol,
    })
}

/// Takes every local port that a worker has towards the real server.
fn chosen_ports(
    snapshot: &Snapshot,
    steering: &Arc<Steering>,
    worker: u8,
    workers: u8,
) -> Result<Vec<u16>> {
    let known = snapshot
        .ports
        .iter()
        .map(|port| (port.id, Arc::clone(steering)))
        .collect::<Vec<(PortId, Arc<Steering>)>>();
    let ports = LocalPorts::new(worker, workers, 0, [7; 16]);
    let mut ports = ports
        .map_err(|_| anyhow::anyhow!("no memory"))?
        .steered(known);
    ports.apply(snapshot);
    let pool = snapshot.pools.iter().next().context("no pool")?.id;
    let endpoint = snapshot.endpoints.iter().next().context("no real server")?;
    let set = ports.set(pool, endpoint.id).context("no local ports")?;
    Ok(std::iter::from_fn(|| ports.take(set, 0).ok())
        .map(|taken| taken.port)
        .collect())
}

fn snapshot() -> Result<Snapshot> {
    let (real, port) = REAL;
    let (first, last) = (PORTS.start(), PORTS.end());
    let text = format!(
        "[port lan]\ndevice = {CARD}\naddress = 10.77.0.1/24\n\
         [lip-pool pool]\nport = lan\naddress = {LIP}\nsource-ports = {first}-{last}\n\
         [service web]\nlisten = {VIP}:80/tcp\nlip-pool = pool\nreal = {real}:{port}\n"
    );
    match weir_conf::parse_str("guest.conf", &text, None) {
        Ok(loaded) => Ok(loaded.snapshot),
        Err(report) => anyhow::bail!("{report}"),
    }
}
