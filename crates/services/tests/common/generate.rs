//! Random objects over few names and addresses, so that they meet.

use std::net::IpAddr;
use std::sync::Arc;

use axoneme_services::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Something that happens to a balancer.
#[derive(Clone, Debug)]
pub enum Event {
    Service(Service),
    ServiceGone(ObjectName),
    Slice(Slice),
    SliceGone(ObjectName),
    Pod(PodPorts),
    PodGone(ObjectName),
    Zone(Option<Arc<str>>),
    Nodes(Vec<IpAddr>),
    /// Settle and write, after milliseconds; whether the writer says that it is done.
    Settle(u64, bool),
    /// The agent starts anew.
    Restart,
}

pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => service().prop_map(Event::Service),
        2 => object(&["a", "b", "c", "d"]).prop_map(Event::ServiceGone),
        10 => slice().prop_map(Event::Slice),
        2 => object(&["s1", "s2", "s3"]).prop_map(Event::SliceGone),
        2 => pod().prop_map(Event::Pod),
        1 => object(&["a", "p"]).prop_map(Event::PodGone),
        1 => prop::option::of(select(vec!["za", "zb"])).prop_map(|zone| Event::Zone(zone.map(Into::into))),
        1 => ips(&["198.51.100.1", "192.0.2.1", "10.96.0.1"], 0..=3).prop_map(Event::Nodes),
        10 => (select(vec![0, 1, 400, 1000, 3000]), any::<bool>()).prop_map(|(ms, done)| Event::Settle(ms, done)),
        1 => Just(Event::Restart),
    ]
}

pub fn settings() -> impl Strategy<Value = Settings> {
    let families = select(vec![(true, true), (true, true), (true, false), (false, true)]);
    let forwarding = select(vec![ForwardingMode::Snat, ForwardingMode::Dsr, ForwardingMode::Hybrid]);
    let no_backend = select(vec![NoBackend::Reject, NoBackend::Drop]);
    (families, algorithm(), forwarding, no_backend, any::<[bool; 3]>()).prop_map(
        |(
            (v4, v6),
            algorithm,
            forwarding,
            no_backend,
            [external_cluster_ip, source_ranges_all_types, topology],
        )| {
            Settings {
                v4,
                v6,
                algorithm,
                forwarding,
                no_backend,
                external_cluster_ip,
                source_ranges_all_types,
                topology,
                ..Settings::new("here")
            }
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let kinds = vec![
        ServiceKind::ClusterIp,
        ServiceKind::NodePort,
        ServiceKind::LoadBalancer,
        ServiceKind::LoadBalancer,
        ServiceKind::ExternalName,
    ];
    let vip = (select(vec!["192.0.2.1", "192.0.2.2", "2001:db8::1", "198.51.100.1"]), any::<bool>());
    let vips = prop::collection::vec(vip, 0..3);
    let addresses = (
        ips(&["10.96.0.1", "10.96.0.2", "fd96::1"], 0..=3),
        ips(&["198.51.100.1", "192.0.2.1", "2001:db8::1"], 0..=2),
        vips,
    );
    let annotations = (
        prop::option::of(algorithm()),
        prop::option::of(select(vec![Forwarding::Snat, Forwarding::Dsr])),
        prop::option::weighted(0.2, any::<[bool; 3]>()),
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.05),
    );
    let ranges = vec!["203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32"];
    let spec = (
        select(kinds),
        ports(),
        policy(),
        policy(),
        prop::option::of(1u32..3),
        subsequence(ranges, 0..=2),
        any::<bool>(),
    );
    (object(&["a", "b", "c", "d"]), 0u64..3, addresses, spec, annotations).prop_map(
        |(name, created, (cluster_ips, external_ips, vips), spec, annotations)| {
            let (
                kind,
                ports,
                external_traffic_policy,
                internal_traffic_policy,
                session_affinity,
                ranges,
                deny,
            ) = spec;
            let (algorithm, forwarding, exposed, not_here, proxied_by_other) = annotations;
            let mode = |proxy| if proxy { IpMode::Proxy } else { IpMode::Vip };
            Service {
                name,
                created,
                kind,
                cluster_ips,
                external_ips,
                load_balancer_ips: vips
                    .into_iter()
                    .map(|(ip, proxy)| LoadBalancerIp { ip: ip.parse().unwrap(), mode: mode(proxy) })
                    .collect(),
                ports,
                external_traffic_policy,
                internal_traffic_policy,
                session_affinity,
                source_ranges: ranges.into_iter().map(|net| net.parse().unwrap()).collect(),
                source_ranges_deny: deny,
                health_check_node_port: 0,
                algorithm,
                forwarding,
                exposed_types: exposed.map(|[cluster_ip, node_port, load_balancer]| ExposedTypes {
                    cluster_ip,
                    node_port,
                    load_balancer,
                }),
                nodes: if not_here { NodeRule::Label("other".into()) } else { NodeRule::Everywhere },
                proxied_by_other,
            }
        },
    )
}

fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let all = vec![
        ("", Protocol::Tcp, 81),
        ("http", Protocol::Tcp, 80),
        ("https", Protocol::Tcp, 443),
        ("dns", Protocol::Udp, 53),
        ("dns", Protocol::Tcp, 53),
    ];
    let node_ports = prop::collection::vec(select(vec![0u16, 30_080, 30_081]), 5);
    (subsequence(all, 0..=3), node_ports).prop_map(|(ports, mut node_ports)| {
        // The API server refuses two ports with one node port.
        for i in 1..node_ports.len() {
            if node_ports[..i].contains(&node_ports[i]) {
                node_ports[i] = 0;
            }
        }
        let ports = ports.into_iter().zip(node_ports);
        ports
            .map(|((name, protocol, port), node_port)| ServicePort {
                name: name.into(),
                protocol,
                port,
                node_port,
            })
            .collect()
    })
}

fn slice() -> impl Strategy<Value = Slice> {
    let all = vec![
        ("", Protocol::Tcp, 8080),
        ("http", Protocol::Tcp, 8080),
        ("http", Protocol::Tcp, 8081),
        ("https", Protocol::Tcp, 8443),
        ("dns", Protocol::Udp, 1053),
        ("dns", Protocol::Tcp, 1053),
    ];
    let endpoints = prop::collection::vec(endpoint(), 0..5);
    (object(&["s1", "s2", "s3"]), select(vec!["a", "b", "c"]), subsequence(all, 1..=4), endpoints).prop_map(
        |(name, service, ports, endpoints)| Slice {
            name,
            service: service.into(),
            ports: ports
                .into_iter()
                .map(|(name, protocol, port)| SlicePort { name: name.into(), protocol, port })
                .collect(),
            endpoints,
        },
    )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let addresses = ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::1", "fd00::2"], 1..=2);
    let conditions = vec![
        (true, true, false),
        (true, true, false),
        (true, true, false),
        (false, true, true),
        (false, false, true),
        (false, false, false),
        (true, false, true),
    ];
    let place = (prop::option::of(select(vec!["here", "there"])), prop::option::of(select(vec!["za", "zb"])));
    let hints = (subsequence(vec!["za", "zb"], 0..=2), subsequence(vec!["here", "there"], 0..=2));
    (addresses, select(conditions), place, hints).prop_map(
        |(addresses, (ready, serving, terminating), (node, zone), (zones, nodes))| Endpoint {
            addresses,
            ready,
            serving,
            terminating,
            node: node.map(Into::into),
            zone: zone.map(Into::into),
            zone_hints: zones.into_iter().map(Into::into).collect(),
            node_hints: nodes.into_iter().map(Into::into).collect(),
        },
    )
}

fn pod() -> impl Strategy<Value = PodPorts> {
    let host_ips = select(vec![None, Some("192.0.2.1"), Some("127.0.0.1"), Some("10.96.0.1")]);
    let port = (host_ips, select(vec![30_080u16, 80]), select(vec![80u16, 90])).prop_map(
        |(ip, host_port, pod_port)| HostPort {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host_port,
            protocol: Protocol::Tcp,
            pod_port,
        },
    );
    let addresses = select(vec![vec!["10.0.0.1"], vec!["10.0.0.2", "fd00::2"], vec![]]);
    (object(&["a", "p"]), 0u64..3, addresses, prop::collection::vec(port, 0..3)).prop_map(
        |(name, created, addresses, ports)| PodPorts {
            name,
            created,
            addresses: addresses.into_iter().map(|ip| ip.parse().unwrap()).collect(),
            ports,
        },
    )
}

fn object(names: &'static [&'static str]) -> impl Strategy<Value = ObjectName> {
    (select(vec!["default", "other"]), select(names))
        .prop_map(|(namespace, name)| ObjectName::new(namespace, name))
}

fn ips(
    all: &'static [&'static str],
    count: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(all, count).prop_map(|ips| ips.into_iter().map(|ip| ip.parse().unwrap()).collect())
}

fn algorithm() -> impl Strategy<Value = Algorithm> {
    select(vec![Algorithm::Random, Algorithm::Maglev])
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}
