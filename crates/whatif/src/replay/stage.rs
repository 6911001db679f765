//! A node in memory on which connections are played.

use super::{Side, Told};
use crate::diff::Verdict;
use crate::rulebook::{Rulebook, World};
use abi::tables::{IPCACHE_HOST, POD_AUDIT, POD_BLOCKS, POLICY_STATIC_BITS};
use abi::{Addr, IpcacheEntry, NodeConfig, PodFacts};
use policy::SubjectInfo;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use trace::{Node, PolicyTable, Question, Surroundings};
use types::prefix::len128;
use types::{Labels, NumericIdentity};

/// An end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) address: IpAddr,
    pub(super) labels: Labels,
    /// Its number in the world of the rulebooks.
    pub(super) identity: NumericIdentity,
    /// It is a pod, and has a policy.
    pub(super) subject: Option<SubjectInfo>,
    /// It is known by nothing but its address.
    pub(super) outside: bool,
}

/// Interfaces of the node that connections are played on. A pod's endpoint has the number of its interface.
const NATIVE: u32 = 101;
const HOST: u32 = 102;
/// The client's and the server's.
const PODS: [u32; 2] = [1, 2];

/// A node, and the policies that it enforces.
pub(super) struct Stage {
    book: Rulebook,
    node: Node,
    around: Surroundings,
    prefixes: Vec<(Addr, u32, IpcacheEntry)>,
    /// Slots of tables, by who has them.
    slots: BTreeMap<(Labels, bool), u32>,
}

impl Stage {
    pub(super) fn new(book: Rulebook, world: &World) -> Self {
        let mut node = Node::default();
        node.config = NodeConfig {
            native_mtu: 9000,
            host_ifindex: HOST,
            world_v4: NumericIdentity::WORLD_IPV4.get(),
            world_v6: NumericIdentity::WORLD_IPV6.get(),
            ..NodeConfig::default()
        };
        node.now = 1_000_000_000_000;
        let entry = |id: NumericIdentity| IpcacheEntry { identity: id.get(), ..IpcacheEntry::default() };
        let prefixes =
            world.prefixes().map(|(net, id)| (net.network().into(), len128(net), entry(id))).collect();
        node.blocks =
            world.prefixes().map(|(net, id)| (net.network().into(), len128(net), id.get())).collect();
        let around = Surroundings { native: vec![NATIVE], ..Surroundings::default() };
        Self { book, node, around, prefixes, slots: BTreeMap::new() }
    }

    /// What becomes of the first packet of a connection.
    pub(super) fn play(&mut self, ends: &[Actor; 2], protocol: u8, port: u16) -> Told {
        self.clear();
        for (actor, ifindex) in ends.iter().zip(PODS) {
            self.enter(actor, ifindex);
        }
        let [client, server] = ends;
        let question =
            Question { source: client.address, destination: server.address, protocol, port, source_port: 0 };
        let Ok(prepared) = trace::prepare(&self.node, &question, &self.around) else {
            return Told::default();
        };
        let traced = trace::trace(&mut self.node, &prepared, &self.around);
        let side = |decision: trace::Decision| {
            let side = if decision.direction == "egress" { Side::Egress } else { Side::Ingress };
            let verdict = match decision.verdict.as_str() {
                "DENIED" => Verdict::Denied,
                "AUDIT" => Verdict::Audit,
                _ => Verdict::Allowed,
            };
            (side, verdict, self.book.named(decision.cookie))
        };
        Told { sides: traced.decisions.into_iter().map(side).collect() }
    }

    /// Every connection is the first on its node.
    fn clear(&mut self) {
        let node = &mut self.node;
        node.pods.clear();
        node.local.clear();
        node.hosts.clear();
        node.flows.clear();
        node.half_open.clear();
        node.prefixes.clone_from(&self.prefixes);
    }

    fn enter(&mut self, actor: &Actor, ifindex: u32) {
        let addr = Addr::from(actor.address);
        if let Some(info) = &actor.subject {
            let facts = self.facts(actor, info, ifindex);
            self.node.attach(ifindex, facts);
        } else if !actor.outside || actor.labels.has_reserved("kube-apiserver") {
            let flags = if actor.identity == NumericIdentity::HOST { IPCACHE_HOST } else { 0 };
            let entry = IpcacheEntry { identity: actor.identity.get(), flags, node: Addr::UNSPECIFIED };
            self.node.hosts.insert(addr, entry);
        }
    }

    fn facts(&mut self, actor: &Actor, info: &SubjectInfo, ifindex: u32) -> PodFacts {
        let table = self.book.table(info);
        let next = self.slots.len() as u32 + 1;
        let key = (info.labels.clone(), info.audit);
        let slot = *self.slots.entry(key).or_insert_with(|| {
            let mut rows = PolicyTable::default();
            for (key, entry) in &table.entries {
                rows.insert(key.abi(), key.prefix_len() - POLICY_STATIC_BITS, *entry);
            }
            self.node.policies.insert(next, rows);
            next
        });
        let (v4, v6) = match actor.address {
            IpAddr::V4(_) => (actor.address.into(), Addr::UNSPECIFIED),
            IpAddr::V6(_) => (Addr::UNSPECIFIED, actor.address.into()),
        };
        PodFacts {
            identity: actor.identity.get(),
            policy: slot,
            deny_cookie_ingress: table.deny_cookie_ingress,
            deny_cookie_egress: table.deny_cookie_egress,
            v4,
            v6,
            mac: [2, 0, 0, 0, 0, ifindex as u8],
            host_mac: [2, 0, 0, 0, 1, ifindex as u8],
            endpoint: ifindex as u16,
            flags: if info.audit { POD_AUDIT } else { 0 } | if table.blocks { POD_BLOCKS } else { 0 },
        }
    }
}

/// As people know whoever has no workload: by entity, or by address.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.identity.reserved() {
            Some(reserved) if !self.outside => write!(f, "{} ({})", reserved.name, self.address),
            _ => write!(f, "{}", self.address),
        }
    }
}
