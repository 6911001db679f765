//! Who has an address, as the programs find it, and where they find it.

use std::net::IpAddr;

use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{Addr, Identity, IpcacheEntry, PodFacts, config, identity};
use sim::Node;

/// What a node knows of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Security identity.
    pub identity: Identity,
    /// Interface and facts, if it is a pod of this node.
    pub pod: Option<(u32, PodFacts)>,
    /// It is an address of this node itself.
    pub host: bool,
    /// Endpoint number on this node, 0 if it is none; the node itself is one where it has a policy of its own.
    pub endpoint: u16,
    /// It is reached through the tunnel.
    pub tunnel: bool,
    /// The node behind which it lives; unspecified if none is known.
    pub node: Addr,
    /// Where this was found, in words.
    pub found: String,
}

impl Who {
    /// Whether it is a pod of another node.
    pub fn is_remote_pod(&self) -> bool {
        let cluster = self.identity >= identity::CLUSTER_MIN && !identity::is_local_scope(self.identity);
        self.pod.is_none() && cluster
    }
}

/// Looks an address up in the order of the programs: pods of this node, single addresses, the longest prefix, the world.
pub fn identify(node: &Node, address: IpAddr) -> Who {
    let addr = Addr::from(address);
    if let Some((ifindex, facts)) = node.local.get(&addr).and_then(|i| Some((*i, *node.pods.get(i)?))) {
        return Who {
            identity: facts.identity,
            pod: Some((ifindex, facts)),
            host: false,
            endpoint: facts.endpoint,
            tunnel: false,
            node: Addr::UNSPECIFIED,
            found: format!("endpoint {} of this node", facts.endpoint),
        };
    }
    if let Some(entry) = node.hosts.get(&addr) {
        return known(node, entry, format!("ipcache entry {address}"));
    }
    let around = node.prefixes.iter().filter(|(base, len, _)| addr.within(base, *len));
    if let Some((base, len, entry)) = around.max_by_key(|(_, len, _)| *len) {
        let length = if base.is_v4() { len.saturating_sub(96) } else { *len };
        return known(node, entry, format!("ipcache prefix {base}/{length}"));
    }
    Who {
        identity: if addr.is_v4() { node.config.world_v4 } else { node.config.world_v6 },
        pod: None,
        host: false,
        endpoint: 0,
        tunnel: false,
        node: Addr::UNSPECIFIED,
        found: "no ipcache entry: outside of the cluster".to_owned(),
    }
}

fn known(node: &Node, entry: &IpcacheEntry, mut found: String) -> Who {
    let host = entry.flags & IPCACHE_HOST != 0;
    let tunnel = entry.flags & IPCACHE_TUNNEL != 0 && node.config.features & config::TUNNEL != 0;
    let endpoint = if host { own_endpoint(node) } else { 0 };
    if host {
        found.push_str(", this node itself");
        if endpoint != 0 {
            found = format!("{found}: endpoint {endpoint}");
        }
    } else if !entry.node.is_unspecified() {
        let how = if tunnel { ", through the tunnel to node" } else { ", behind node" };
        found = format!("{found}{how} {}", entry.node);
    }
    Who { identity: entry.identity, pod: None, host, endpoint, tunnel, node: entry.node, found }
}

/// The number of the node among its endpoints, 0 if it has no policy of its own.
fn own_endpoint(node: &Node) -> u16 {
    let guarded = node.config.features & config::HOST_FIREWALL != 0;
    let facts = node.pods.get(&node.config.host_ifindex).filter(|_| guarded);
    facts.map_or(0, |facts| facts.endpoint)
}

/// Addresses that stand for the world where nothing better is known (RFC 5737, RFC 3849).
const OUTSIDE: &[&str] = &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2001:db8:ffff::1"];

/// Addresses of an identity, at most one a family, IPv4 first: of a pod of this node or the node itself, else one in the ipcache, for the
/// world one that nobody has, else one of a prefix. Empty if this node knows none.
pub fn representative(node: &Node, wanted: Identity) -> Vec<IpAddr> {
    let pods: Vec<Addr> = node.local.keys().copied().collect();
    // Of the node's own addresses that by which others know it.
    let primary = vec![node.config.node_v4, node.config.node_v6];
    let hosts =
        node.hosts.iter().filter(|(_, entry)| entry.identity == wanted).map(|(addr, _)| *addr).collect();
    let outside = OUTSIDE.iter().filter_map(|text| text.parse::<IpAddr>().ok()).map(Addr::from).collect();
    let named = node.prefixes.iter().filter(|(.., entry)| entry.identity == wanted);
    let bases: Vec<Addr> = named.map(|(base, ..)| *base).collect();
    let within = bases.iter().map(inside).collect();
    let sources = [pods, primary, hosts, outside, within, bases];
    let first = |v4: bool| {
        // In a dual-stack cluster the world has a number for each family, and people still say 2.
        let family = if v4 { node.config.world_v4 } else { node.config.world_v6 };
        let wanted = if wanted == identity::WORLD { family } else { wanted };
        let fits = |addr: &&Addr| addr.is_v4() == v4 && identify(node, (**addr).into()).identity == wanted;
        sources.iter().find_map(|addrs| addrs.iter().filter(fits).copied().map(IpAddr::from).min())
    };
    [first(true), first(false)].into_iter().flatten().collect()
}

/// An address inside of a prefix that does not end in 0, which is a network's name.
fn inside(base: &Addr) -> Addr {
    let mut addr = *base;
    addr.words[3] |= 1_u32.to_be();
    addr
}
