//! Random set-ups, objects, and things that happen.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use services::{
    Algorithm, Endpoint, Forwarding, ForwardingMode, IpMode, LoadBalancerIp, NoBackend, ObjectName, Protocol,
    Service, ServiceKind, ServicePort, Settings, Slice, SlicePort, TrafficPolicy,
};

use crate::cluster::{PLACES, Setup, SocketLb, ip, node_name};
use crate::frame::{TCP, UDP};
use crate::model::HOST_PORT;

/// Services there may be.
const SERVICES: [&str; 3] = ["s0", "s1", "s2"];

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Step {
    Open(Opening),
    /// A client uses a port again, for what it used it before.
    Again(Index),
    /// Both sides of a conversation speak.
    Speak(Index),
    /// It ends: by a reset of the client, one of the server, or in peace.
    End(Index, Ending),
    /// Somebody on the way finds a packet too large: one to the server, or one to the client.
    Complain(Index, bool),
    Service(Service),
    ServiceGone(ObjectName),
    Slice(Slice),
    /// Time goes by, milliseconds.
    Wait(u64),
    /// All that nobody has answered is pushed out by a flood of others.
    Flood,
    /// What has expired is taken away.
    Collect,
    /// Policy changes somewhere.
    Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    ByClient,
    ByServer,
    InPeace,
}

/// A client names a target.
#[derive(Clone, Debug)]
pub struct Opening {
    pub client: usize,
    /// The node to which its router leads it.
    pub via: usize,
    pub target: SocketAddr,
    pub protocol: u8,
    pub port: u16,
    /// The server answers at once.
    pub answered: bool,
}

pub fn setup() -> impl Strategy<Value = Setup> {
    let socket = select(vec![SocketLb::Off, SocketLb::Host, SocketLb::All]);
    let forwarding = select(vec![ForwardingMode::Snat, ForwardingMode::Dsr, ForwardingMode::Hybrid]);
    let no_backend = select(vec![NoBackend::Reject, NoBackend::Drop]);
    (any::<bool>(), prop::bool::weighted(0.8), socket, forwarding, no_backend, any::<[bool; 3]>()).prop_map(
        |(tunnel, masquerade, socket, forwarding, no_backend, [external_cluster_ip, all_types, early])| {
            Setup {
                tunnel,
                // Without it, nothing leads back to a pod behind a tunnel.
                masquerade: masquerade || tunnel,
                socket,
                early,
                settings: Settings {
                    // The agent refuses the others under a tunnel.
                    forwarding: if tunnel { ForwardingMode::Snat } else { forwarding },
                    no_backend,
                    external_cluster_ip,
                    source_ranges_all_types: all_types,
                    ..Settings::new("")
                },
            }
        },
    )
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..40)
}

fn step() -> impl Strategy<Value = Step> {
    let ending = select(vec![Ending::ByClient, Ending::ByServer, Ending::InPeace]);
    prop_oneof![
        16 => opening().prop_map(Step::Open),
        6 => any::<Index>().prop_map(Step::Again),
        12 => any::<Index>().prop_map(Step::Speak),
        4 => (any::<Index>(), ending).prop_map(|(index, ending)| Step::End(index, ending)),
        3 => (any::<Index>(), any::<bool>()).prop_map(|(index, to_server)| Step::Complain(index, to_server)),
        2 => service().prop_map(Step::Service),
        1 => name().prop_map(Step::ServiceGone),
        5 => slice().prop_map(Step::Slice),
        4 => select(vec![500, 4500, 11_500, 30_500, 90_500, 4_000_500, 9_000_500]).prop_map(Step::Wait),
        1 => Just(Step::Flood),
        1 => Just(Step::Collect),
        1 => Just(Step::Generation),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    let address = select(vec![0, 0, 1, 1, 2, 3, 4]);
    let place = (0..PLACES.len(), 0..2_usize, 0..SERVICES.len(), address, prop::bool::weighted(0.7));
    let protocol = prop::bool::weighted(0.6);
    let ports = (select(vec![4000, 40_000, 40_001]), select(vec![0, 0, 0, 0, 0, 0, 0, 1, 2]), any::<bool>());
    (place, protocol, ports).prop_map(|((client, via, service, address, v4), tcp, (port, odd, answered))| {
        let number = service as u16;
        let (host, mut to) = match address {
            0 => (cluster_ip(service, v4), if tcp { 80 } else { 53 }),
            1 => (PLACES[4 + via].ip(v4), if tcp { 30_080 + number } else { 30_180 + number }),
            2 => (PLACES[5 - via].ip(v4), if tcp { 30_080 + number } else { 30_180 + number }),
            3 => (external_ip(service, v4), if tcp { 80 } else { 53 }),
            _ => (balanced_ip(service, v4), if tcp { 80 } else { 53 }),
        };
        match odd {
            1 => to = 7777,
            2 => to = HOST_PORT,
            _ => {}
        }
        let protocol = if tcp { TCP } else { UDP };
        Opening { client, via, target: SocketAddr::new(host, to), protocol, port, answered }
    })
}

fn cluster_ip(service: usize, v4: bool) -> IpAddr {
    ip(&if v4 { format!("10.96.0.1{service}") } else { format!("fd00:96::1{service}") })
}

fn external_ip(service: usize, v4: bool) -> IpAddr {
    ip(&if v4 { format!("192.0.2.1{service}") } else { format!("2001:db8:e::1{service}") })
}

fn balanced_ip(service: usize, v4: bool) -> IpAddr {
    ip(&if v4 { format!("192.0.2.10{service}") } else { format!("2001:db8:f::1{service}") })
}

fn name() -> impl Strategy<Value = ObjectName> {
    select(&SERVICES[..]).prop_map(|name| ObjectName::new("default", name))
}

pub fn service() -> impl Strategy<Value = Service> {
    let kinds = vec![ServiceKind::ClusterIp, ServiceKind::NodePort, ServiceKind::LoadBalancer];
    let families = select(vec![[true, true], [true, true], [true, false], [false, true]]);
    let policy = || select(vec![TrafficPolicy::Cluster, TrafficPolicy::Cluster, TrafficPolicy::Local]);
    let ranges = vec!["198.51.100.0/24", "172.31.0.0/24", "2001:db8:7::/48"];
    let choices = (
        prop::option::weighted(0.4, select(vec![5_u32, 100])),
        prop::option::weighted(0.3, subsequence(ranges, 1..=2)),
        any::<bool>(),
        select(vec![None, Some(Algorithm::Maglev)]),
        select(vec![None, None, Some(Forwarding::Dsr), Some(Forwarding::Snat)]),
    );
    (0..SERVICES.len(), select(kinds), families, policy(), policy(), choices).prop_map(
        |(index, kind, families, external, internal, (affinity, ranges, deny, algorithm, forwarding))| {
            let of = |ip: fn(usize, bool) -> IpAddr| -> Vec<IpAddr> {
                let families = [true, false].into_iter().zip(families);
                families.filter(|(_, on)| *on).map(|(v4, _)| ip(index, v4)).collect()
            };
            let port = |name: &str, protocol, port, node_port: u16| ServicePort {
                name: name.into(),
                protocol,
                port,
                node_port: node_port + index as u16,
            };
            let vips = of(balanced_ip).into_iter();
            Service {
                name: ObjectName::new("default", SERVICES[index]),
                kind,
                cluster_ips: of(cluster_ip),
                external_ips: of(external_ip),
                load_balancer_ips: vips.map(|ip| LoadBalancerIp { ip, mode: IpMode::Vip }).collect(),
                ports: vec![port("web", Protocol::Tcp, 80, 30_080), port("dns", Protocol::Udp, 53, 30_180)],
                external_traffic_policy: external,
                internal_traffic_policy: internal,
                session_affinity: affinity,
                source_ranges: ranges.iter().flatten().map(|range| range.parse().unwrap()).collect(),
                source_ranges_deny: deny,
                algorithm,
                forwarding,
                ..Service::default()
            }
        },
    )
}

pub fn slice() -> impl Strategy<Value = Slice> {
    let conditions = vec![
        (true, true, false),
        (true, true, false),
        (true, true, false),
        (true, true, false),
        (false, true, true),
        (false, false, false),
    ];
    // All places but the two clients that are nothing else.
    let places = subsequence((0..7_usize).collect::<Vec<_>>(), 0..=4);
    (name(), places, prop::collection::vec(select(conditions), 7)).prop_map(
        |(service, places, conditions)| {
            let endpoints =
                places.into_iter().zip(conditions).map(|(place, (ready, serving, terminating))| {
                    let place = &PLACES[place];
                    Endpoint {
                        addresses: [true, false].map(|v4| place.ip(v4)).into(),
                        ready,
                        serving,
                        terminating,
                        node: place.node().map(node_name),
                        ..Endpoint::default()
                    }
                });
            let port = |name: &str, protocol, port| SlicePort { name: name.into(), protocol, port };
            Slice {
                name: ObjectName::new("default", &format!("{}-1", service.name)),
                service: service.name,
                ports: vec![port("web", Protocol::Tcp, 8080), port("dns", Protocol::Udp, 1053)],
                endpoints: endpoints.collect(),
            }
        },
    )
}
