//! Address → identity: from all sources to the two kernel tables.
//!
//! A single address can be known from several sources; the first of [`Source`] wins. A prefix that a policy names gets
//! its node-local identity, and the route of the pod prefix it lies in. Under the same number it is listed as a block, by
//! which rules find addresses whoever has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use abi::tables::{IPCACHE_HOST, IPCACHE_TUNNEL};
use abi::{Addr, Identity, IpcacheEntry, PrefixKey};
use ipnet::IpNet;

use crate::table::Table;
use crate::update::{Delta, drain};

/// Where an address is known from, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An address of this node.
    OwnNode,
    /// A pod of this node.
    OwnPod,
    /// The API server.
    ApiServer,
    /// A pod of another node.
    Pod,
    /// Another node.
    Node,
    /// A policy names it.
    Cidr,
}

/// What one source says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its identity.
    pub identity: Identity,
    /// The node behind which it lives, if it is reached through one.
    pub node: Option<IpAddr>,
}

/// The claims on all addresses and prefixes, and the tables that follow.
#[derive(Debug, Default)]
pub struct Ipcache {
    tunnel: bool,
    claims: BTreeMap<IpAddr, BTreeMap<Source, Claim>>,
    cidrs: BTreeMap<IpNet, Identity>,
    pod_cidrs: BTreeMap<IpNet, Claim>,
    hosts: Table<Addr, IpcacheEntry>,
    prefixes: Table<PrefixKey, IpcacheEntry>,
    blocks: Table<PrefixKey, u32>,
}

/// The kernel's key of a prefix.
pub fn prefix_key(prefix: IpNet) -> PrefixKey {
    let len = match prefix {
        IpNet::V4(v4) => u32::from(v4.prefix_len()) + 96,
        IpNet::V6(v6) => u32::from(v6.prefix_len()),
    };
    PrefixKey { len, addr: prefix.network().into() }
}

/// The prefix behind a key of the kernel; `None` if its length is out of range.
pub fn key_prefix(key: &PrefixKey) -> Option<IpNet> {
    let addr = IpAddr::from(key.addr);
    let len = if addr.is_ipv4() { key.len.checked_sub(96)? } else { key.len };
    IpNet::new(addr, u8::try_from(len).ok()?).ok()
}

impl Ipcache {
    /// An empty cache; `tunnel` tells whether other nodes' pods are reached through the tunnel.
    pub fn new(tunnel: bool) -> Self {
        Self { tunnel, ..Self::default() }
    }

    /// Sets or withdraws what `source` says of `address`.
    pub fn claim(&mut self, address: IpAddr, source: Source, claim: Option<Claim>) {
        let claims = self.claims.entry(address).or_default();
        match claim {
            Some(claim) => claims.insert(source, claim),
            None => claims.remove(&source),
        };
        if claims.is_empty() {
            self.claims.remove(&address);
        }
        self.settle_host(address);
    }

    /// Sets or withdraws the identity of a prefix that policies name.
    pub fn set_cidr(&mut self, prefix: IpNet, identity: Option<Identity>) {
        self.blocks.put(prefix_key(prefix), identity);
        if prefix.prefix_len() == prefix.max_prefix_len() {
            let node = self.covering(prefix).and_then(|claim| claim.node);
            self.claim(prefix.addr(), Source::Cidr, identity.map(|identity| Claim { identity, node }));
            return;
        }
        match identity {
            Some(identity) => self.cidrs.insert(prefix, identity),
            None => self.cidrs.remove(&prefix),
        };
        self.settle_prefix(prefix);
    }

    /// Sets or withdraws the prefix of another node's pods. Addresses in it that nobody knows yet travel to that node.
    pub fn set_pod_cidr(&mut self, prefix: IpNet, claim: Option<Claim>) {
        match claim {
            Some(claim) => self.pod_cidrs.insert(prefix, claim),
            None => self.pod_cidrs.remove(&prefix),
        };
        let inside: Vec<IpNet> = self.cidrs.keys().copied().filter(|c| prefix.contains(c)).collect();
        for cidr in inside.into_iter().chain([prefix]) {
            self.settle_prefix(cidr);
        }
    }

    /// The identity of an address by longest match, as the kernel finds it; `None` = world.
    pub fn identity(&self, address: IpAddr) -> Option<Identity> {
        if let Some(entry) = self.hosts.get(&address.into()) {
            return Some(entry.identity);
        }
        let addr = Addr::from(address);
        let inside = self.prefixes.rows().iter().filter(|(key, _)| addr.within(&key.addr, key.len));
        inside.max_by_key(|(key, _)| key.len).map(|(_, entry)| entry.identity)
    }

    /// Single addresses.
    pub fn hosts(&self) -> &Table<Addr, IpcacheEntry> {
        &self.hosts
    }

    /// Prefixes.
    pub fn prefixes(&self) -> &Table<PrefixKey, IpcacheEntry> {
        &self.prefixes
    }

    /// Prefixes that policies name, with their numbers.
    pub fn blocks(&self) -> &Table<PrefixKey, u32> {
        &self.blocks
    }

    /// The narrowest of them around an address.
    pub fn block(&self, address: IpAddr) -> Option<Identity> {
        let addr = Addr::from(address);
        let around = self.blocks.rows().iter().filter(|(key, _)| addr.within(&key.addr, key.len));
        around.max_by_key(|(key, _)| key.len).map(|(_, number)| *number)
    }

    /// What changed in the table of blocks.
    pub(crate) fn drain_blocks(&mut self) -> Delta<PrefixKey, u32> {
        drain(&mut self.blocks)
    }

    /// Both tables of addresses, to drain what changed.
    pub fn tables_mut(&mut self) -> (&mut Table<Addr, IpcacheEntry>, &mut Table<PrefixKey, IpcacheEntry>) {
        (&mut self.hosts, &mut self.prefixes)
    }

    /// The winning claim on an address.
    pub fn winner(&self, address: IpAddr) -> Option<(Source, Claim)> {
        self.claims.get(&address)?.first_key_value().map(|(source, claim)| (*source, *claim))
    }

    fn covering(&self, prefix: IpNet) -> Option<Claim> {
        let around = self.pod_cidrs.iter().filter(|(pods, _)| pods.contains(&prefix));
        around.max_by_key(|(pods, _)| pods.prefix_len()).map(|(_, claim)| *claim)
    }

    fn settle_host(&mut self, address: IpAddr) {
        let entry = self.winner(address).map(|(source, claim)| {
            let mut entry = self.entry(claim);
            if source == Source::OwnNode {
                entry.flags |= IPCACHE_HOST;
            }
            entry
        });
        self.hosts.put(address.into(), entry);
    }

    fn settle_prefix(&mut self, prefix: IpNet) {
        let pods = self.covering(prefix);
        let claim = match (self.cidrs.get(&prefix), self.pod_cidrs.get(&prefix)) {
            (Some(identity), _) => Some(Claim { identity: *identity, node: pods.and_then(|c| c.node) }),
            (None, own) => own.copied(),
        };
        let entry = claim.map(|claim| self.entry(claim));
        self.prefixes.put(prefix_key(prefix), entry);
    }

    fn entry(&self, claim: Claim) -> IpcacheEntry {
        IpcacheEntry {
            identity: claim.identity,
            flags: if self.tunnel && claim.node.is_some() { IPCACHE_TUNNEL } else { 0 },
            node: claim.node.map_or(Addr::UNSPECIFIED, Addr::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("literal address")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("literal prefix")
    }

    #[test]
    fn the_strongest_source_wins_and_the_next_comes_back() {
        let mut cache = Ipcache::new(true);
        let node = Some(ip("172.31.0.2"));
        cache.claim(ip("10.0.1.5"), Source::Cidr, Some(Claim { identity: 0x0100_0001, node: None }));
        cache.claim(ip("10.0.1.5"), Source::Pod, Some(Claim { identity: 300, node }));
        let entry = cache.hosts().get(&ip("10.0.1.5").into()).copied().expect("known");
        assert_eq!((entry.identity, entry.flags), (300, IPCACHE_TUNNEL));
        cache.claim(ip("10.0.1.5"), Source::Pod, None);
        assert_eq!(cache.identity(ip("10.0.1.5")), Some(0x0100_0001));
        cache.claim(ip("10.0.1.5"), Source::Cidr, None);
        assert_eq!(cache.identity(ip("10.0.1.5")), None);
    }

    #[test]
    fn a_cidr_inside_a_nodes_pods_still_travels_to_that_node() {
        let mut cache = Ipcache::new(true);
        let node = Some(ip("172.31.0.2"));
        cache.set_cidr(net("10.0.1.0/25"), Some(0x0100_0001));
        cache.set_pod_cidr(net("10.0.1.0/24"), Some(Claim { identity: 2, node }));
        let inner = cache.prefixes().get(&prefix_key(net("10.0.1.0/25"))).copied().expect("known");
        assert_eq!((inner.identity, IpAddr::from(inner.node)), (0x0100_0001, ip("172.31.0.2")));
        assert_eq!(cache.identity(ip("10.0.1.200")), Some(2));
        cache.set_pod_cidr(net("10.0.1.0/24"), None);
        let inner = cache.prefixes().get(&prefix_key(net("10.0.1.0/25"))).copied().expect("known");
        assert_eq!((inner.flags, inner.node), (0, Addr::UNSPECIFIED));
    }

    #[test]
    fn keys_and_prefixes_are_inverse() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "fd00::/16", "::/0", "1.2.3.4/32"] {
            assert_eq!(key_prefix(&prefix_key(net(text))), Some(net(text)));
        }
    }
}
