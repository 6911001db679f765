//! A small cluster for the tests: node 1 with pods `a` and `b`, pod `r` on another node, and the world.

use std::net::IpAddr;

use abi::tables::{EGRESS, INGRESS, IPCACHE_HOST, IPCACHE_TUNNEL, POLICY_UNENFORCED};
use abi::{Addr, IpcacheEntry, NodeConfig, PodFacts, PolicyEntry, PolicyKey, config, identity};
use datapath::packet::{protocol, tcp};
use datapath::{Action, TunnelKey, Verdict};

use crate::frame::{Spec, build, checksum};
use crate::{Node, Outcome, PolicyTable, Program, RouteEntry, Sent, run};

pub(crate) const ETH0: u32 = 2;
pub(crate) const A: u32 = 10;
pub(crate) const B: u32 = 11;
pub(crate) const ID_A: u32 = 1001;
pub(crate) const ID_B: u32 = 1002;
pub(crate) const ID_R: u32 = 1003;
pub(crate) const OPEN: u32 = 1;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal address")
}

pub(crate) fn addr(text: &str) -> Addr {
    ip(text).into()
}

pub(crate) fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

fn pod(identity: u32, endpoint: u16, v4: &str, v6: &str, last: u8) -> PodFacts {
    PodFacts {
        identity,
        policy: OPEN,
        v4: addr(v4),
        v6: addr(v6),
        mac: mac(last),
        host_mac: mac(last | 0x80),
        endpoint,
        ..PodFacts::default()
    }
}

pub(crate) fn allow(node: &mut Node, slot: u32, peer: u32, direction: u8, protocol: u8, port: u16) {
    let bits = if port != 0 {
        24
    } else if protocol != 0 {
        8
    } else {
        0
    };
    let key = PolicyKey { identity: peer, block: 0, direction, protocol, port: port.to_be() };
    let entry = PolicyEntry { precedence: 1, cookie: 7, bits: bits as u8, ..PolicyEntry::default() };
    node.policies.entry(slot).or_default().insert(key, bits, entry);
}

/// Native routing unless `tunnel`; everything allowed.
pub(crate) fn node(tunnel: bool) -> Node {
    let mut open = PolicyTable::default();
    for direction in [INGRESS, EGRESS] {
        let entry = PolicyEntry { precedence: 1, flags: POLICY_UNENFORCED, ..PolicyEntry::default() };
        open.insert(PolicyKey { direction, ..PolicyKey::default() }, 0, entry);
    }
    let mut features = config::MASQUERADE_V4 | config::MASQUERADE_V6 | config::SOURCE_CHECK;
    if tunnel {
        features |= config::TUNNEL;
    }
    let mut node = Node {
        config: NodeConfig {
            node_v4: addr("172.31.0.11"),
            node_v6: addr("fd00:31::11"),
            router_v4: addr("10.244.1.1"),
            native_v4: addr("10.244.0.0"),
            native_v4_len: 112,
            native_mtu: 1500,
            maglev_size: abi::service::MAGLEV_SIZE,
            tunnel_mtu: 1450,
            tunnel_port: 8472,
            tunnel_ifindex: 5,
            nat_port_min: 32768,
            nat_port_max: 65535,
            world_v4: identity::WORLD_IPV4,
            world_v6: identity::WORLD_IPV6,
            features,
            ..NodeConfig::default()
        },
        monitor: 1,
        now: 1_000_000_000_000,
        ..Node::default()
    };
    node.policies.insert(OPEN, open);
    node.attach(A, pod(ID_A, 101, "10.244.1.10", "fd00:10:244:1::10", 0x0a));
    node.attach(B, pod(ID_B, 102, "10.244.1.11", "fd00:10:244:1::11", 0x0b));
    let tunnelled = if tunnel { IPCACHE_TUNNEL } else { 0 };
    let remote = IpcacheEntry { identity: ID_R, flags: tunnelled, node: addr("172.31.0.12") };
    node.hosts.insert(addr("10.244.2.20"), remote);
    node.hosts.insert(addr("fd00:10:244:2::20"), remote);
    // The agent lists the node's own pods too.
    for (identity, v4, v6) in
        [(ID_A, "10.244.1.10", "fd00:10:244:1::10"), (ID_B, "10.244.1.11", "fd00:10:244:1::11")]
    {
        let entry = IpcacheEntry { identity, flags: 0, node: addr("172.31.0.11") };
        node.hosts.insert(addr(v4), entry);
        node.hosts.insert(addr(v6), entry);
    }
    let own = IpcacheEntry { identity: identity::HOST, flags: IPCACHE_HOST, node: Addr::UNSPECIFIED };
    for this in ["172.31.0.11", "fd00:31::11", "10.244.1.1"] {
        node.hosts.insert(addr(this), own);
    }
    let other = IpcacheEntry { identity: identity::REMOTE_NODE, flags: 0, node: Addr::UNSPECIFIED };
    node.hosts.insert(addr("172.31.0.12"), other);
    let route = |base: &str, len, gateway: Addr| RouteEntry { base: addr(base), len, ifindex: ETH0, gateway };
    node.routes = vec![
        route("172.31.0.0", 120, Addr::UNSPECIFIED),
        route("10.244.2.0", 120, addr("172.31.0.12")),
        route("fd00:10:244:2::", 64, addr("fd00:31::12")),
        route("0.0.0.0", 96, addr("172.31.0.1")),
        route("::", 0, addr("fd00:31::1")),
    ];
    node
}

pub(crate) fn spec(from: &str, to: &str, protocol: u8, sport: u16, dport: u16, flags: u8) -> Spec {
    let last = if from.ends_with('0') { 0x0a } else { 0x0b };
    Spec {
        source_mac: mac(last),
        destination_mac: mac(last | 0x80),
        source: ip(from),
        destination: ip(to),
        protocol,
        source_port: sport,
        destination_port: dport,
        flags,
        hops: 64,
    }
}

pub(crate) fn syn(from: &str, to: &str, sport: u16, dport: u16) -> Spec {
    spec(from, to, protocol::TCP, sport, dport, tcp::SYN)
}

pub(crate) fn ack(from: &str, to: &str, sport: u16, dport: u16) -> Spec {
    spec(from, to, protocol::TCP, sport, dport, tcp::ACK)
}

pub(crate) fn syn_ack(from: &str, to: &str, sport: u16, dport: u16) -> Spec {
    spec(from, to, protocol::TCP, sport, dport, tcp::SYN | tcp::ACK)
}

pub(crate) fn from_pod(node: &mut Node, ifindex: u32, spec: &Spec) -> Outcome {
    run(node, Program::PodEgress, Sent { frame: build(spec), ifindex, ..Sent::default() })
}

pub(crate) fn from_wire(node: &mut Node, spec: &Spec) -> Outcome {
    run(node, Program::NetdevIngress, Sent { frame: build(spec), ifindex: ETH0, ..Sent::default() })
}

pub(crate) fn from_host(node: &mut Node, spec: &Spec) -> Outcome {
    run(node, Program::HostEgress, Sent { frame: build(spec), ifindex: 3, ..Sent::default() })
}

pub(crate) fn from_tunnel(node: &mut Node, spec: &Spec, identity: u32, remote: &str) -> Outcome {
    let tunnel = Some(TunnelKey { identity, remote: addr(remote) });
    run(node, Program::OverlayIngress, Sent { frame: build(spec), ifindex: 5, tunnel, ..Sent::default() })
}

pub(crate) fn went(outcome: &Outcome) -> Action {
    verdict(outcome).action
}

pub(crate) fn verdict(outcome: &Outcome) -> Verdict {
    outcome.verdict.expect("the packet goes on")
}

/// Transport checksum of an IPv4 frame over the pseudo header: 0 when the packet carries a right one.
pub(crate) fn transport_sum(frame: &[u8]) -> u16 {
    let segment = &frame[34..];
    let mut bytes = frame[26..34].to_vec();
    bytes.extend([0, frame[23]]);
    bytes.extend((segment.len() as u16).to_be_bytes());
    bytes.extend(segment);
    checksum(&bytes)
}

/// An IPv4 TCP or UDP frame with a right transport checksum.
pub(crate) fn summed(spec: &Spec) -> Vec<u8> {
    let mut frame = build(spec);
    let at = if spec.protocol == protocol::TCP { 50 } else { 40 };
    let sum = transport_sum(&frame);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}
