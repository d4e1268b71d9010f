//! Snapshots with nothing in them but pools, endpoints and services.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use weir_model::{
    Availability, ClientAddress, Control, Endpoint, EndpointId, Forward, Generation, Lip, LipId,
    LipPool, Listen, Node, Poll, PoolId, PortId, Protocol, RealId, RealServer, SchedulerKind,
    Service, ServiceId, Slots, Snapshot, Synproxy, Timeouts, TimestampMode, Workers,
};

/// A pool of this many LIPs; LIP ids are unique over all pools.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) lips: Vec<u16>,
    pub(crate) ports: (u16, u16),
    pub(crate) reuse_after_ms: u64,
}

/// Makes a snapshot in which service n uses pool n with these endpoints.
pub(crate) fn snapshot(services: &[(Pool, Vec<u32>)]) -> Snapshot {
    let mut snapshot = empty();
    for (n, (pool, endpoints)) in services.iter().enumerate() {
        snapshot.pools.insert(n, lip_pool(n as u16, pool));
        let bound = pool.lips.iter().map(|lip| lip + 1).max();
        snapshot.lip_bound = snapshot.lip_bound.max(bound.unwrap_or_default());
        for &id in endpoints {
            snapshot.endpoints.insert(id as usize, endpoint(id));
        }
        snapshot.services.insert(n, service(n as u16, endpoints));
    }
    snapshot
}

fn lip_pool(n: u16, pool: &Pool) -> LipPool {
    LipPool {
        id: PoolId(n),
        name: format!("pool-{n}"),
        port: PortId(0),
        ranges: Vec::new(),
        lips: pool
            .lips
            .iter()
            .map(|&id| Lip {
                id: LipId(id),
                address: address(8, id),
            })
            .collect(),
        first_port: pool.ports.0,
        last_port: pool.ports.1,
        reuse_after: Duration::from_millis(pool.reuse_after_ms),
        warn_at: 80,
    }
}

fn endpoint(id: u32) -> Endpoint {
    Endpoint {
        id: EndpointId(id),
        address: address(1, id as u16),
        port: 8080,
        protocol: Protocol::Tcp,
    }
}

fn service(n: u16, endpoints: &[u32]) -> Service {
    Service {
        id: ServiceId(n),
        name: format!("service-{n}"),
        listen: vec![Listen {
            address: address(0, n),
            port: 80,
        }],
        protocol: Protocol::Tcp,
        forward: Forward::FullNat,
        pool: PoolId(n),
        scheduler: SchedulerKind::RoundRobin,
        client_address: ClientAddress::Toa,
        toa_kind: 254,
        mss_adjust: true,
        timestamps: TimestampMode::Translate,
        reset_at_expiry: true,
        synproxy: Synproxy::default(),
        connection_reuse: true,
        ack_storm: 10,
        health: None,
        availability: Availability::default(),
        max_sessions: None,
        drain: None,
        session_log: weir_model::SessionLog::Off,
        defence: None,
        persist: None,
        timeouts: Timeouts {
            idle: Duration::from_mins(15),
            syn_recv: Duration::from_secs(30),
            fin_wait: Duration::from_secs(30),
            last_ack: Duration::from_secs(30),
            time_wait: Duration::from_secs(10),
            close: Duration::from_secs(3),
            one_way: Duration::from_secs(5),
        },
        reals: endpoints
            .iter()
            .map(|&id| RealServer {
                id: RealId(id),
                endpoint: EndpointId(id),
                address: address(1, id as u16),
                port: 8080,
                weight: 1,
                limit: None,
            })
            .collect(),
    }
}

/// The address of a LIP (net 8) or of an endpoint (net 1).
pub(crate) fn address(net: u8, host: u16) -> IpAddr {
    let [high, low] = host.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, net, high, low))
}

fn empty() -> Snapshot {
    Snapshot {
        generation: Generation(1),
        node: Node {
            name: "test".into(),
            stop_after: Duration::ZERO,
        },
        ports: Slots::default(),
        routes: Vec::new(),
        workers: Workers {
            cpus: Vec::new(),
            burst: 64,
            sessions: None,
            poll: Poll::Busy,
        },
        control: Control {
            cpus: Vec::new(),
            sockets: Vec::new(),
        },
        pools: Slots::default(),
        endpoints: Slots::default(),
        services: Slots::default(),
        syslog: Vec::new(),
        real_bound: 0,
        lip_bound: 0,
        metrics: None,
    }
}
