//! What the daemon says of itself, asked once a second by a thread of its own: the main loop waits
//! for nobody.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use weir_conf::{Loaded, Management};
use weir_control::{
    Client, ClientError, DEFAULT_SOCKETS, Filter, PortRow, StatusRow, What, WorkerRow,
};

use crate::handle::{Handle, Message};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long somebody is kept waiting for how the daemon is now.
const AT_ONCE: Duration = Duration::from_secs(2);
/// The configuration is read again after so many times, though its number is the same.
const AGAIN: u32 = 60;

/// How the daemon is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Its status; none when it does not answer.
    pub(crate) status: Option<StatusRow>,
    /// Its ports.
    pub(crate) ports: Vec<PortRow>,
    /// Its workers.
    pub(crate) workers: Vec<WorkerRow>,
    /// The configuration that it runs on.
    pub(crate) running: Option<Running>,
}

/// What the agent needs of a configuration that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its number.
    pub(crate) generation: u64,
    /// Whether it goes back unless somebody confirms it.
    pub(crate) is_tried: bool,
    /// What the agent sets up.
    pub(crate) box_of: BoxOf,
    /// The whole of it.
    pub(crate) text: String,
}

/// What the agent sets up of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoxOf {
    /// The management network.
    pub(crate) management: Management,
    /// The devices of the data ports.
    pub(crate) ports: Vec<DataPort>,
    /// Cores that the file names for workers.
    pub(crate) worker_cores: Vec<u16>,
    /// How long the daemon drains at most when it is stopped.
    pub(crate) stop_after: Duration,
    /// Routes that the kernel needs as the daemon does: network, next hop, device.
    pub(crate) routes: Vec<(String, String, String)>,
}

/// A data port, as far as the kernel has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataPort {
    /// The device.
    pub(crate) device: String,
    /// Whether the kernel has an IPv6 address there.
    pub(crate) has_ipv6: bool,
    /// Where destinations without a better route go.
    pub(crate) gateway: Option<String>,
}

impl BoxOf {
    /// Picks it out of a configuration.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let snapshot = &loaded.snapshot;
        let device_of = |id| {
            let port = snapshot.ports.iter().find(|port| port.id == id)?;
            Some(port.device.clone())
        };
        let routes = snapshot.routes.iter().filter_map(|route| {
            let device = device_of(route.port)?;
            Some((route.prefix.to_string(), route.via.to_string(), device))
        });
        let ports = snapshot.ports.iter().map(|port| DataPort {
            device: port.device.clone(),
            has_ipv6: port.addresses.iter().any(|net| net.addr().is_ipv6()),
            gateway: port
                .gateways
                .iter()
                .find(|ip| ip.is_ipv4())
                .map(ToString::to_string),
        });
        Self {
            management: loaded.management.clone(),
            ports: ports.collect(),
            worker_cores: snapshot.workers.cpus.clone(),
            stop_after: snapshot.node.stop_after,
            routes: routes.collect(),
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(handle: Handle) -> std::io::Result<()> {
    let builder = thread::Builder::new().name("observe".to_owned());
    builder.spawn(move || observe(&handle)).map(drop)
}

fn observe(handle: &Handle) {
    let mut client: Option<Client> = None;
    let mut running: Option<(Running, u32)> = None;
    loop {
        let begun = Instant::now();
        if client.is_none() {
            client = Client::connect_first(sockets(handle)).ok();
        }
        let seen = client.as_mut().map(|client| ask(client, &mut running));
        let seen = if let Some(Ok(seen)) = seen {
            seen
        } else {
            client = None;
            Seen::default()
        };
        handle.see(seen);
        handle.tell(Message::Seen);
        thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
}

/// Returns the status that the daemon has now; the one that was seen last where it does not say soon.
pub(crate) fn status_now(handle: &Handle) -> Option<StatusRow> {
    let (tell, told) = mpsc::sync_channel(1);
    let sockets = sockets(handle);
    let ask = thread::Builder::new().name("status".to_owned());
    let asked = ask.spawn(move || {
        let client = Client::connect_first(sockets);
        let status = client.and_then(|mut client| client.show(What::Status, Filter::default()));
        // Nobody waits any more for a daemon that was slow.
        let _ = tell.send(status.ok().and_then(|mut rows| rows.pop()));
    });
    let now = asked.ok().and_then(|_| told.recv_timeout(AT_ONCE).ok());
    now.flatten().or_else(|| handle.seen().status)
}

/// Returns where the daemon may listen: where it does when nothing is said, and where its file says.
pub(crate) fn sockets(handle: &Handle) -> Vec<PathBuf> {
    let mut sockets: Vec<PathBuf> = DEFAULT_SOCKETS.map(PathBuf::from).to_vec();
    if sockets.iter().any(|path| path.exists()) {
        return sockets;
    }
    if let Ok(loaded) = weir_conf::load(&handle.places().config(), &weir_conf::NoEnv, None) {
        let named = loaded.snapshot.control.sockets.iter();
        sockets.extend(named.map(|socket| PathBuf::from(&socket.path)));
    }
    sockets
}

fn ask(client: &mut Client, kept: &mut Option<(Running, u32)>) -> Result<Seen, ClientError> {
    let all = Filter::default;
    let status: Option<StatusRow> = client.show(What::Status, all())?.pop();
    let ports = client.show(What::Ports, all())?;
    let workers = client.show(What::Workers, all())?;
    let Some(status) = status else {
        return Ok(Seen::default());
    };
    let is_tried = status.confirm_within_s.is_some();
    let is_known = |(known, age): &(Running, u32)| {
        known.generation == status.generation && known.is_tried == is_tried && *age < AGAIN
    };
    if let Some((_, age)) = kept.as_mut().filter(|it| is_known(it)) {
        *age += 1;
    } else {
        let lines: Vec<String> = client.show(What::Config, all())?;
        let text = lines.join("\n");
        // What the daemon runs on has no mistakes; an older agent may not know all of it.
        let loaded = weir_conf::parse_str("running", &text, None).ok();
        *kept = loaded.map(|loaded| {
            let running = Running {
                generation: status.generation,
                is_tried,
                box_of: BoxOf::of(&loaded),
                text,
            };
            (running, 0)
        });
    }
    Ok(Seen {
        status: Some(status),
        ports,
        workers,
        running: kept.as_ref().map(|(running, _)| running.clone()),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    use weir_control::{Greeting, Reply, Role};

    use super::*;
    use crate::places::Places;
    use crate::testing::Folder;
    use crate::words::Words;

    /// A daemon that answers its first question with so many sessions, and no other.
    fn daemon(listener: &UnixListener, sessions: u64) {
        let (mut stream, _) = listener.accept().unwrap();
        let requests = BufReader::new(stream.try_clone().unwrap());
        let row = StatusRow {
            sessions,
            ..StatusRow::default()
        };
        let greeting = Greeting::new(Role::Operator, "0.1.0", "lb1").to_line();
        let answer = Reply::row_line(What::Status, &row) + &Reply::done(1).to_line();
        stream.write_all(greeting.as_bytes()).unwrap();
        let mut answer = Some(answer);
        for _ in requests.lines().map_while(Result::ok) {
            if let Some(answer) = answer.take() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        }
    }

    #[test]
    fn what_somebody_is_told_is_how_the_daemon_is_now_or_how_it_was_where_it_is_silent() {
        let folder = Folder::new("status-now");
        let places = Places::under(folder.path());
        let socket = folder.path().join("operate.sock");
        fs::create_dir_all(places.config().parent().unwrap()).unwrap();
        let text = format!(
            "[node]\nname = lb1\n[port wan]\ndevice = eth1\naddress = 198.51.100.2/24\n\
             [control]\nsocket = {} role=operator\n",
            socket.display()
        );
        fs::write(places.config(), text).unwrap();
        let loaded = weir_conf::load(&places.config(), &weir_conf::NoEnv, None);
        loaded.map(drop).unwrap();
        let (orders, _ordered) = mpsc::channel();
        let handle = Handle::new(places, Words::parse("weir.slot=a"), orders);
        let sessions = || status_now(&handle).map(|status| status.sessions);
        assert_eq!(sessions(), None, "nobody listens");
        let listener = UnixListener::bind(&socket).unwrap();
        let answering = thread::spawn(move || {
            daemon(&listener, 300);
            listener
        });
        handle.see(Seen {
            status: Some(StatusRow {
                sessions: 143,
                ..StatusRow::default()
            }),
            ..Seen::default()
        });
        assert_eq!(sessions(), Some(300));
        // It takes the connection and says nothing.
        let _silent = answering.join().unwrap();
        assert_eq!(sessions(), Some(143));
    }

    #[test]
    fn what_the_agent_sets_up_is_picked_out_of_the_configuration() {
        let text = "\
[node]
name = lb1
[management]
device = eth0
address = 192.0.2.10/24
[port wan]
device = eth1
address = 198.51.100.2/24
address = 2001:db8::2/64
gateway = 198.51.100.1
[port lan]
device = eth2
address = 10.0.0.2/16
[route 10.8.0.0/16]
via = 10.0.0.254
port = lan
[workers]
cpus = 2-3
";
        let loaded = weir_conf::parse_str("weir.conf", text, None).unwrap();
        let found = BoxOf::of(&loaded);
        assert_eq!(found.management.node, "lb1");
        let port = |device: &str, has_ipv6, gateway: Option<&str>| DataPort {
            device: device.to_owned(),
            has_ipv6,
            gateway: gateway.map(str::to_owned),
        };
        let ports = [
            port("eth1", true, Some("198.51.100.1")),
            port("eth2", false, None),
        ];
        assert_eq!(found.ports, ports);
        assert_eq!(found.worker_cores, [2, 3]);
        let [(to, via, by)] = found.routes.as_slice() else {
            panic!("{:?}", found.routes);
        };
        assert_eq!(
            (to.as_str(), via.as_str(), by.as_str()),
            ("10.8.0.0/16", "10.0.0.254", "eth2")
        );
    }
}
