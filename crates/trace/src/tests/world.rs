//! The node of the tests.

use std::net::IpAddr;

use abi::tables::{EGRESS, INGRESS, IPCACHE_HOST, IPCACHE_TUNNEL, POLICY_DENY, POLICY_UNENFORCED};
use abi::{Addr, IpcacheEntry, NodeConfig, PodFacts, PolicyEntry, PolicyKey, config, identity};
use api::policy::Trace;
use sim::{Node, PolicyTable, RouteEntry};

use crate::{Question, Surroundings, prepare, trace};

pub(crate) const ETH0: u32 = 2;
pub(crate) const HOST: u32 = 3;
const TUNNEL: u32 = 5;
const A: u32 = 10;
const B: u32 = 11;
pub(crate) const ID_A: u32 = 1001;
pub(crate) const ID_B: u32 = 1002;
pub(crate) const ID_R: u32 = 1003;
/// Table of pod `a`: nothing is enforced.
pub(crate) const OPEN: u32 = 1;
/// Table of pod `b`: `a` and `r` may reach TCP port 80, what it sends is not enforced.
pub(crate) const CLOSED: u32 = 2;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal address")
}

fn addr(text: &str) -> Addr {
    ip(text).into()
}

pub(crate) fn ask(source: &str, destination: &str, protocol: u8, port: u16) -> Question {
    Question { source: ip(source), destination: ip(destination), protocol, port, source_port: 0 }
}

pub(crate) fn tell(node: &mut Node, question: Question) -> Trace {
    let names = [(ETH0, "eth0"), (HOST, "cilium_host"), (TUNNEL, "cilium_vxlan"), (A, "lxc-a"), (B, "lxc-b")];
    let names = names.map(|(index, name)| (index, name.to_owned())).into();
    let around = Surroundings { native: vec![ETH0], names };
    let prepared = prepare(node, &question, &around).expect("a packet");
    trace(node, &prepared, &around)
}

fn unenforced(table: &mut PolicyTable, direction: u8) {
    let entry = PolicyEntry { precedence: 1, flags: POLICY_UNENFORCED, ..PolicyEntry::default() };
    table.insert(PolicyKey { direction, ..PolicyKey::default() }, 0, entry);
}

pub(crate) fn web() -> PolicyTable {
    let mut table = PolicyTable::default();
    unenforced(&mut table, EGRESS);
    for peer in [ID_A, ID_R] {
        let key =
            PolicyKey { identity: peer, block: 0, direction: INGRESS, protocol: 6, port: 80_u16.to_be() };
        table.insert(key, 24, PolicyEntry { precedence: 1, cookie: 8, bits: 24, ..PolicyEntry::default() });
    }
    table
}

/// Puts a table that denies everything by a rule in place of the one in `slot`.
pub(crate) fn deny_all(node: &mut Node, slot: u32) {
    let mut table = PolicyTable::default();
    for direction in [INGRESS, EGRESS] {
        let entry = PolicyEntry { precedence: 255, cookie: 9, flags: POLICY_DENY, ..PolicyEntry::default() };
        table.insert(PolicyKey { direction, ..PolicyKey::default() }, 0, entry);
    }
    node.policies.insert(slot, table);
}

/// Gives the node a policy: anyone may reach TCP port 6443, all else is closed in both directions.
pub(crate) fn guard(node: &mut Node) {
    const SLOT: u32 = 3;
    let mut table = PolicyTable::default();
    let key = PolicyKey { direction: INGRESS, protocol: 6, port: 6443_u16.to_be(), ..PolicyKey::default() };
    table.insert(key, 24, PolicyEntry { precedence: 1, cookie: 53, bits: 24, ..PolicyEntry::default() });
    node.policies.insert(SLOT, table);
    node.config.features |= config::HOST_FIREWALL;
    let facts = PodFacts {
        identity: identity::HOST,
        policy: SLOT,
        deny_cookie_ingress: 51,
        deny_cookie_egress: 52,
        endpoint: 65_535,
        ..PodFacts::default()
    };
    node.pods.insert(HOST, facts);
}

fn pod(identity: u32, endpoint: u16, policy: u32, v4: &str, v6: &str, last: u8) -> PodFacts {
    PodFacts {
        identity,
        policy,
        deny_cookie_ingress: 502,
        deny_cookie_egress: 602,
        v4: addr(v4),
        v6: addr(v6),
        mac: [2, 0, 0, 0, 0, last],
        host_mac: [2, 0, 0, 0, 0, last | 0x80],
        endpoint,
        ..PodFacts::default()
    }
}

fn facts(tunnel: bool) -> NodeConfig {
    let features = config::MASQUERADE_V4 | config::MASQUERADE_V6 | config::SOURCE_CHECK;
    NodeConfig {
        node_v4: addr("172.31.0.11"),
        node_v6: addr("fd00:31::11"),
        router_v4: addr("10.244.1.1"),
        native_v4: addr("10.244.0.0"),
        native_v4_len: 112,
        native_mtu: 1500,
        maglev_size: abi::service::MAGLEV_SIZE,
        tunnel_mtu: 1450,
        tunnel_port: 8472,
        host_ifindex: HOST,
        tunnel_ifindex: TUNNEL,
        nat_port_min: 32768,
        nat_port_max: 65535,
        world_v4: identity::WORLD_IPV4,
        world_v6: identity::WORLD_IPV6,
        features: if tunnel { features | config::TUNNEL } else { features },
        ..NodeConfig::default()
    }
}

/// Pods `a` and `b` here, `r` (10.244.2.20) on node 172.31.0.12, a prefix that a policy names.
pub(crate) fn node(tunnel: bool) -> Node {
    let mut node = Node::default();
    node.config = facts(tunnel);
    node.now = 1_000_000_000_000;
    let mut open = PolicyTable::default();
    unenforced(&mut open, INGRESS);
    unenforced(&mut open, EGRESS);
    node.policies.insert(OPEN, open);
    node.policies.insert(CLOSED, web());
    node.attach(A, pod(ID_A, 77, OPEN, "10.244.1.10", "fd00:10:244:1::10", 0x0a));
    node.attach(B, pod(ID_B, 78, CLOSED, "10.244.1.11", "fd00:10:244:1::11", 0x0b));
    let flags = if tunnel { IPCACHE_TUNNEL } else { 0 };
    let remote = IpcacheEntry { identity: ID_R, flags, node: addr("172.31.0.12") };
    node.hosts.insert(addr("10.244.2.20"), remote);
    let own = IpcacheEntry { identity: identity::HOST, flags: IPCACHE_HOST, node: Addr::UNSPECIFIED };
    for this in ["172.31.0.11", "fd00:31::11", "10.244.1.1"] {
        node.hosts.insert(addr(this), own);
    }
    let other = IpcacheEntry { identity: identity::REMOTE_NODE, ..IpcacheEntry::default() };
    node.hosts.insert(addr("172.31.0.12"), other);
    let cidr = IpcacheEntry { identity: identity::LOCAL_MIN, ..IpcacheEntry::default() };
    node.prefixes.push((addr("203.0.113.0"), 120, cidr));
    let route = |base: &str, len, gateway: &str| RouteEntry {
        base: addr(base),
        len,
        ifindex: ETH0,
        gateway: addr(gateway),
    };
    node.routes = vec![route("10.244.2.0", 120, "172.31.0.12"), route("0.0.0.0", 96, "172.31.0.1")];
    node
}
