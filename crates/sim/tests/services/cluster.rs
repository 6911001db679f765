//! Two nodes, the link between them, and the world behind a router.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use abi::tables::{EGRESS, INGRESS, IPCACHE_HOST, IPCACHE_TUNNEL, POLICY_UNENFORCED};
use abi::{Addr, DropReason, IpcacheEntry, NodeConfig, PodFacts, PolicyEntry, PolicyKey, config, identity};
use axoneme_sim::{Node, Outcome, PolicyTable, Program, RouteEntry, Sent, run};
use datapath::{Action, TunnelKey};
use services::{Balancer, PodPorts, Settings, Update};

use crate::frame;

/// Somebody with an address of each family.
pub struct Place {
    pub name: &'static str,
    pub kind: Kind,
    v4: &'static str,
    v6: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pod of a node, behind this interface.
    Pod { node: usize, ifindex: u32 },
    /// A process in a node's network.
    Host { node: usize },
    /// On the nodes' link, or behind the router.
    Outside,
}

const fn pod(name: &'static str, node: usize, ifindex: u32, v4: &'static str, v6: &'static str) -> Place {
    Place { name, kind: Kind::Pod { node, ifindex }, v4, v6 }
}

pub const PLACES: [Place; 9] = [
    pod("a", 0, 10, "10.244.1.10", "fd00:10:244:1::10"),
    pod("b", 0, 11, "10.244.1.11", "fd00:10:244:1::11"),
    pod("r", 1, 10, "10.244.2.20", "fd00:10:244:2::20"),
    pod("s", 1, 11, "10.244.2.21", "fd00:10:244:2::21"),
    Place { name: "node1", kind: Kind::Host { node: 0 }, v4: "172.31.0.11", v6: "fd00:31::11" },
    Place { name: "node2", kind: Kind::Host { node: 1 }, v4: "172.31.0.12", v6: "fd00:31::12" },
    Place { name: "w", kind: Kind::Outside, v4: "203.0.113.50", v6: "2001:db8:50::1" },
    Place { name: "x", kind: Kind::Outside, v4: "172.31.0.100", v6: "fd00:31::100" },
    Place { name: "y", kind: Kind::Outside, v4: "198.51.100.7", v6: "2001:db8:7::1" },
];
const HOSTS: [usize; 2] = [4, 5];
const ROUTER_ADDRESSES: [[&str; 2]; 2] =
    [["10.244.1.1", "fd00:10:244:1::1"], ["10.244.2.1", "fd00:10:244:2::1"]];
const GATEWAY: [&str; 2] = ["172.31.0.1", "fd00:31::1"];
const OVERLAY: u32 = 5;
const ETH0: u32 = 2;
pub const NODES: [&str; 2] = ["n1", "n2"];

impl Place {
    pub fn ip(&self, v4: bool) -> IpAddr {
        if v4 { ip(self.v4) } else { ip(self.v6) }
    }

    /// The node that it lives on.
    pub fn node(&self) -> Option<usize> {
        match self.kind {
            Kind::Pod { node, .. } | Kind::Host { node } => Some(node),
            Kind::Outside => None,
        }
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The place with an address.
pub fn place_of(ip: IpAddr) -> Option<usize> {
    PLACES.iter().position(|place| place.ip(ip.is_ipv4()) == ip)
}

pub fn mac_of(place: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, place as u8]
}

fn addr(text: &str) -> Addr {
    ip(text).into()
}

/// Which sockets are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketLb {
    Off,
    Host,
    All,
}

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub tunnel: bool,
    pub masquerade: bool,
    pub socket: SocketLb,
    /// What only passes leaves before the stack (XDP).
    pub early: bool,
    pub settings: Settings,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It reached this place.
    Arrived(usize, Vec<u8>),
    /// A node dropped it.
    Dropped(DropReason),
    /// It went to an address that nobody has.
    Lost,
    /// It went on until its hop limit was reached.
    Circled,
}

pub struct Cluster {
    setup: Setup,
    pub nodes: [Node; 2],
    pub balancers: [Balancer; 2],
    /// The addresses that the router leads to nodes, also when no service has them any more.
    pub virtual_ips: BTreeSet<IpAddr>,
}

/// Where a frame is.
enum At {
    Pod(usize),
    Stack { node: usize, mark: u32 },
    Device { node: usize, mark: u32, gateway: IpAddr },
    Link { to: IpAddr },
    Tunnel { from: usize, to: IpAddr, identity: u32 },
}

impl Cluster {
    pub fn new(setup: &Setup) -> Cluster {
        let balancers = NODES.map(|name| {
            let mut balancer = Balancer::new(Settings { node: name.into(), ..setup.settings.clone() });
            let hosts = HOSTS.iter().flat_map(|host| [true, false].map(|v4| PLACES[*host].ip(v4)));
            balancer.set_node_addresses(hosts);
            balancer
        });
        let nodes = [0, 1].map(|own| node(setup, own));
        Cluster { setup: setup.clone(), nodes, balancers, virtual_ips: BTreeSet::new() }
    }

    /// Brings the balancers' rows into the nodes' tables.
    pub fn settle(&mut self) {
        for (node, balancer) in self.nodes.iter_mut().zip(&mut self.balancers) {
            let update = balancer.settle(node.now);
            let revision = update.revision;
            if !update.is_empty() {
                write(node, update);
                node.services_epoch += 1;
            }
            balancer.realized(revision, node.now);
        }
    }

    pub fn set_host_port(&mut self, ports: PodPorts) {
        self.balancers[0].set_pod_ports(ports);
    }

    pub fn now(&self) -> u64 {
        self.nodes[0].now
    }

    pub fn wait(&mut self, ns: u64) {
        self.nodes.iter_mut().for_each(|node| node.now += ns);
    }

    /// The addresses of a node's own: on the link, and of `cilium_host`.
    pub fn own(&self, node: usize, v4: bool) -> [IpAddr; 2] {
        [PLACES[HOSTS[node]].ip(v4), ip(ROUTER_ADDRESSES[node][usize::from(!v4)])]
    }

    pub fn is_own(&self, node: usize, ip: IpAddr) -> bool {
        self.own(node, ip.is_ipv4()).contains(&ip)
    }

    /// The source address that a place's own stack chooses.
    pub fn source(&self, from: usize, to: IpAddr) -> IpAddr {
        let own = PLACES[from].ip(to.is_ipv4());
        match PLACES[from].kind {
            Kind::Host { .. } if own == to => own,
            Kind::Host { node } if self.behind_host_device(node, to) => {
                ip(ROUTER_ADDRESSES[node][usize::from(to.is_ipv6())])
            }
            _ => own,
        }
    }

    /// Sends a frame and follows it. `via`: the node to which the router leads addresses of services.
    pub fn carry(&mut self, from: usize, mut frame: Vec<u8>, via: usize) -> Fate {
        let (_, to) = frame::outer(&frame);
        if PLACES[from].ip(to.is_ipv4()) == to {
            return Fate::Arrived(from, frame);
        }
        let mut at = match PLACES[from].kind {
            Kind::Pod { .. } => At::Pod(from),
            Kind::Host { node } => At::Stack { node, mark: 0 },
            Kind::Outside => At::Link { to: self.next_hop(to) },
        };
        for _ in 0..12 {
            let step = match at {
                At::Pod(pod) => self.leaves_pod(pod, &mut frame),
                At::Stack { node, mark } => self.meets_stack(node, mark, &mut frame),
                At::Device { node, mark, gateway } => self.leaves_device(node, mark, gateway, &mut frame),
                At::Link { to } => self.crosses_link(to, via, &mut frame),
                At::Tunnel { from, to, identity } => {
                    let remote = PLACES[HOSTS[from]].ip(true).into();
                    let Some(node) = self.node_at(to) else { return Fate::Lost };
                    let tunnel = Some(TunnelKey { identity, remote });
                    let sent = Sent { ifindex: OVERLAY, tunnel, ..Sent::default() };
                    self.run(node, Program::OverlayIngress, sent, &mut frame)
                }
            };
            match step {
                Ok(next) => at = next,
                Err(fate) => return fate,
            }
        }
        Fate::Circled
    }

    fn leaves_pod(&mut self, pod: usize, frame: &mut Vec<u8>) -> Result<At, Fate> {
        let Kind::Pod { node, ifindex } = PLACES[pod].kind else { return Err(Fate::Lost) };
        let sent = Sent { ifindex, ..Sent::default() };
        self.run(node, Program::PodEgress, sent, frame)
    }

    fn meets_stack(&mut self, node: usize, mark: u32, frame: &mut Vec<u8>) -> Result<At, Fate> {
        let (_, to) = frame::outer(frame);
        if self.is_own(node, to) {
            return Err(Fate::Arrived(HOSTS[node], std::mem::take(frame)));
        }
        if self.behind_host_device(node, to) {
            let sent = Sent { ifindex: 3, mark, ..Sent::default() };
            return self.run(node, Program::HostEgress, sent, frame);
        }
        Ok(At::Device { node, mark, gateway: self.next_hop(to) })
    }

    fn leaves_device(
        &mut self,
        node: usize,
        mark: u32,
        gateway: IpAddr,
        frame: &mut Vec<u8>,
    ) -> Result<At, Fate> {
        let sent = Sent { ifindex: ETH0, mark, ..Sent::default() };
        match self.run(node, Program::NetdevEgress, sent, frame)? {
            At::Stack { .. } => Ok(At::Link { to: gateway }),
            other => Ok(other),
        }
    }

    fn crosses_link(&mut self, to: IpAddr, via: usize, frame: &mut Vec<u8>) -> Result<At, Fate> {
        if let Some(node) = self.node_at(to) {
            let sent = Sent { ifindex: ETH0, ..Sent::default() };
            if self.setup.early {
                let before = frame.clone();
                match self.run(node, Program::XdpIngress, sent.clone(), frame)? {
                    At::Stack { .. } => assert_eq!(*frame, before, "what is passed on is as it came"),
                    next => return Ok(next),
                }
            }
            return self.run(node, Program::NetdevIngress, sent, frame);
        }
        let receiver =
            if GATEWAY.iter().any(|gateway| ip(gateway) == to) { frame::outer(frame).1 } else { to };
        if let Some(place) = place_of(receiver)
            && matches!(PLACES[place].kind, Kind::Outside)
        {
            return Err(Fate::Arrived(place, std::mem::take(frame)));
        }
        // The router leads the addresses of services to a node, and does so again when they come back.
        let leads = |node: usize| Ok(At::Link { to: PLACES[HOSTS[node]].ip(receiver.is_ipv4()) });
        match in_pod_range(receiver) {
            _ if receiver == to => Err(Fate::Lost),
            _ if self.virtual_ips.contains(&receiver) => leads(via),
            Some(node) if !self.setup.tunnel => leads(node),
            _ => Err(Fate::Lost),
        }
    }

    /// Runs a program and does what it says.
    fn run(&mut self, node: usize, program: Program, sent: Sent, frame: &mut Vec<u8>) -> Result<At, Fate> {
        let ifindex = sent.ifindex;
        let v4 = frame::outer(frame).0.is_ipv4();
        let sent = Sent { frame: std::mem::take(frame), ..sent };
        let Outcome { verdict, frame: after, mark } = run(&mut self.nodes[node], program, sent);
        *frame = after;
        let verdict = verdict.map_err(Fate::Dropped)?;
        let gateway = || IpAddr::from(verdict.gateway);
        match verdict.action {
            Action::Pass | Action::Stack | Action::Own => Ok(At::Stack { node, mark }),
            Action::Pod => Err(self.reaches_pod(node, verdict.ifindex, frame)),
            Action::Neighbour => Ok(At::Device { node, mark, gateway: gateway() }),
            Action::Tunnel => Ok(At::Tunnel { from: node, to: gateway(), identity: verdict.identity }),
            // The next hop's link address is in the frame.
            Action::Transmit => Ok(At::Link { to: self.next_hop(frame::outer(frame).1) }),
            Action::Reply if program == Program::PodEgress => Err(self.reaches_pod(node, ifindex, frame)),
            Action::Reply => {
                let (_, to) = frame::outer(frame);
                assert_eq!(to.is_ipv4(), v4);
                Ok(At::Device { node, mark, gateway: self.next_hop(to) })
            }
        }
    }

    fn reaches_pod(&self, node: usize, ifindex: u32, frame: &mut Vec<u8>) -> Fate {
        let behind = |place: &Place| place.kind == Kind::Pod { node, ifindex };
        match PLACES.iter().position(behind) {
            Some(place) => Fate::Arrived(place, std::mem::take(frame)),
            None => Fate::Lost,
        }
    }

    fn node_at(&self, ip: IpAddr) -> Option<usize> {
        HOSTS.iter().position(|host| PLACES[*host].ip(ip.is_ipv4()) == ip)
    }

    /// Whether a node's own stack sends this to `cilium_host`.
    fn behind_host_device(&self, node: usize, to: IpAddr) -> bool {
        let of = |other: usize| in_pod_range(to) == Some(other);
        of(node) || (self.setup.tunnel && of(1 - node))
    }

    /// The next hop from the link: the address itself, a node, or the router.
    fn next_hop(&self, to: IpAddr) -> IpAddr {
        let here = [ip("172.31.0.0"), ip("fd00:31::")].iter().any(|net| same_net(*net, to));
        match in_pod_range(to) {
            Some(node) if !self.setup.tunnel => PLACES[HOSTS[node]].ip(to.is_ipv4()),
            _ if here => to,
            _ => ip(GATEWAY[usize::from(to.is_ipv6())]),
        }
    }
}

fn same_net(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4() && Addr::from(a).within(&Addr::from(b), if a.is_ipv4() { 120 } else { 64 })
}

/// The node whose pods have addresses like this.
fn in_pod_range(to: IpAddr) -> Option<usize> {
    ROUTER_ADDRESSES.iter().position(|routers| routers.iter().any(|router| same_net(ip(router), to)))
}

fn write(node: &mut Node, update: Update) {
    node.backends.extend(update.backends);
    for (slot, table) in update.maglev {
        match table {
            Some(table) => node.maglev.insert(slot, table.entries()),
            None => node.maglev.remove(&slot),
        };
    }
    for (key, value) in update.members {
        match value {
            Some(value) => node.members.insert(key, value),
            None => node.members.remove(&key),
        };
    }
    for (key, value) in update.source_ranges {
        node.source_ranges.retain(|range| *range != key);
        node.source_ranges.extend(value.map(|_| key));
    }
    for (key, value) in update.frontends {
        match value {
            Some(value) => node.frontends.insert(key, value),
            None => node.frontends.remove(&key),
        };
    }
}

fn node(setup: &Setup, own: usize) -> Node {
    let mut node = Node::default();
    node.config = node_config(setup, own);
    node.now = 1_000_000_000_000;
    node.seed = 1 + own as u32;
    let mut open = PolicyTable::default();
    for direction in [INGRESS, EGRESS] {
        let entry = PolicyEntry { precedence: 1, flags: POLICY_UNENFORCED, ..PolicyEntry::default() };
        open.insert(PolicyKey { direction, ..PolicyKey::default() }, 0, entry);
    }
    node.policies.insert(1, open);
    for (index, place) in PLACES.iter().enumerate() {
        let Some(at) = place.node() else { continue };
        let entry = |identity, tunnelled| IpcacheEntry {
            identity,
            flags: if tunnelled && setup.tunnel && at != own { IPCACHE_TUNNEL } else { 0 },
            node: PLACES[HOSTS[at]].ip(true).into(),
        };
        let this = IpcacheEntry { identity: identity::HOST, flags: IPCACHE_HOST, node: Addr::UNSPECIFIED };
        for v4 in [true, false] {
            let of_node = if at == own { this } else { entry(identity::REMOTE_NODE, true) };
            let row = match place.kind {
                Kind::Pod { .. } => entry(1001 + index as u32, true),
                _ if at == own => this,
                _ => entry(identity::REMOTE_NODE, false),
            };
            node.hosts.insert(place.ip(v4).into(), row);
            node.hosts.insert(addr(ROUTER_ADDRESSES[at][usize::from(!v4)]), of_node);
        }
        if let Kind::Pod { node: _, ifindex } = place.kind
            && at == own
        {
            let mac = mac_of(index);
            let facts = PodFacts {
                identity: 1001 + index as u32,
                policy: 1,
                v4: place.ip(true).into(),
                v6: place.ip(false).into(),
                mac,
                host_mac: [2, 0, 0, 0, 2, index as u8],
                endpoint: 100 + index as u16,
                ..PodFacts::default()
            };
            node.attach(ifindex, facts);
        }
    }
    let route = |base: &str, len, gateway| RouteEntry { base: addr(base), len, ifindex: ETH0, gateway };
    node.routes = vec![
        route("172.31.0.0", 120, Addr::UNSPECIFIED),
        route("fd00:31::", 64, Addr::UNSPECIFIED),
        route("0.0.0.0", 96, addr(GATEWAY[0])),
        route("::", 0, addr(GATEWAY[1])),
    ];
    if !setup.tunnel {
        let other = &PLACES[HOSTS[1 - own]];
        for (router, len, v4) in [(0, 120, true), (1, 64, false)] {
            node.routes.push(route(ROUTER_ADDRESSES[1 - own][router], len, other.ip(v4).into()));
        }
    }
    node
}

fn node_config(setup: &Setup, own: usize) -> NodeConfig {
    let switches = [
        (true, config::SERVICES | config::SOURCE_CHECK),
        (setup.tunnel, config::TUNNEL),
        (!setup.tunnel, config::DSR),
        (setup.masquerade, config::MASQUERADE_V4 | config::MASQUERADE_V6),
        (setup.socket != SocketLb::Off, config::SOCKET_LB),
        (setup.socket == SocketLb::Host, config::SOCKET_LB_HOST_ONLY),
    ];
    let host = &PLACES[HOSTS[own]];
    NodeConfig {
        node_v4: host.ip(true).into(),
        node_v6: host.ip(false).into(),
        router_v4: addr(ROUTER_ADDRESSES[own][0]),
        router_v6: addr(ROUTER_ADDRESSES[own][1]),
        native_v4: addr("10.244.0.0"),
        native_v4_len: 112,
        native_v6: addr("fd00:10:244::"),
        native_v6_len: 48,
        loopback_v4: addr("169.254.42.1"),
        loopback_v6: addr("fe80::1"),
        host_cookie: host_cookie(own),
        native_mtu: 1500,
        maglev_size: abi::service::MAGLEV_SIZE,
        tunnel_mtu: 1450,
        tunnel_port: 8472,
        tunnel_ifindex: OVERLAY,
        nat_port_min: 32_768,
        nat_port_max: 65_535,
        node_port_min: 30_000,
        node_port_max: 32_767,
        world_v4: identity::WORLD_IPV4,
        world_v6: identity::WORLD_IPV6,
        features: switches.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit),
        ..NodeConfig::default()
    }
}

/// The cookie of a node's own network namespace.
pub fn host_cookie(node: usize) -> u64 {
    1 + node as u64
}

/// The name of a node, as objects have it.
pub fn node_name(node: usize) -> Arc<str> {
    NODES[node].into()
}
