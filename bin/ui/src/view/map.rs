//! The map: who speaks with whom, by port, with what verdict, how often. Bounded, and told in changes.

use super::end::{Grouping, Node};
use flow::{Direction, Flow, Policy, Verdict};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Nodes and edges that a map has room for, and ports that an edge tells apart.
const NODES: usize = 160;
const EDGES: usize = 480;
const PORTS: usize = 12;
/// Policies that an edge names.
const POLICIES: usize = 6;
/// Seconds of silence after which an edge is forgotten.
const SILENCE: u32 = 300;
/// What a second counts in a rate, against the seconds before it.
const WEIGHT: f64 = 0.4;

/// The map of one browser.
#[derive(Debug, Default)]
pub(crate) struct Map {
    grouping: Grouping,
    nodes: HashMap<String, Shown>,
    edges: BTreeMap<(String, String), Edge>,
    gone: Gone,
    /// Flows that no edge could be made of.
    pub(crate) unplaced: u64,
}

#[derive(Debug)]
struct Shown {
    node: Node,
    told: bool,
    edges: usize,
}

/// What is known of an edge.
#[derive(Debug, Default)]
struct Edge {
    ports: BTreeMap<String, Port>,
    policies: BTreeSet<String>,
    silent: u32,
    changed: Changed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    #[default]
    No,
    /// Counters only: told once a second.
    Counted,
    /// Something that was not there before: told at once.
    News,
}

/// Flows to one port, by verdict.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Port {
    /// Flows that passed.
    pub(crate) forwarded: u64,
    /// Flows that were dropped.
    pub(crate) dropped: u64,
    /// Flows that would be dropped if their policy were enforced.
    pub(crate) audit: u64,
    /// Flows that went to the proxy.
    pub(crate) redirected: u64,
    /// Flows a second, of all verdicts.
    pub(crate) rate: f64,
    /// Dropped flows a second.
    pub(crate) dropped_rate: f64,
    #[serde(skip)]
    second: [u32; 2],
}

/// An edge as browsers get it.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Told {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) ports: BTreeMap<String, Port>,
    /// Policies behind drops and audits.
    pub(crate) policies: BTreeSet<String>,
}

/// What browsers must forget.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Gone {
    pub(crate) nodes: Vec<String>,
    pub(crate) edges: Vec<(String, String)>,
}

/// What changed.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct News {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Told>,
    pub(crate) gone: Gone,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.edges.is_empty() && self.gone.edges.is_empty()
    }
}

impl Map {
    pub(crate) fn new(grouping: Grouping) -> Self {
        Self { grouping, ..Self::default() }
    }

    /// Counts a flow. `now`: it counts in rates, too; flows of the past do not.
    pub(crate) fn add(&mut self, flow: &Flow, now: bool) {
        let Ok(connection) = flow.connection() else {
            self.unplaced += 1;
            return;
        };
        let from = Node::of(connection.client, Some(connection.client_address), self.grouping);
        let to = Node::of(connection.server, Some(connection.server_address), self.grouping);
        let (from, to) = (self.place(from), self.place(to));
        let mut key = (from, to);
        if !self.edges.contains_key(&key) && self.edges.len() >= EDGES {
            self.place(Node::others());
            key = (super::end::OTHERS.to_owned(), super::end::OTHERS.to_owned());
        }
        if !self.edges.contains_key(&key) {
            for end in [&key.0, &key.1] {
                if let Some(shown) = self.nodes.get_mut(end) {
                    shown.edges += 1;
                }
            }
        }
        let edge = self.edges.entry(key).or_default();
        edge.silent = 0;
        edge.count(flow, port_name(connection.protocol, connection.port), now);
    }

    /// The id of a node that has a place: its own, or that of those who have none.
    fn place(&mut self, node: Node) -> String {
        // One place is kept for the others.
        let full = self.nodes.len() >= NODES - 1 && !self.nodes.contains_key(&node.id);
        let node = if full { Node::others() } else { node };
        let id = node.id.clone();
        self.nodes.entry(id.clone()).or_insert(Shown { node, told: false, edges: 0 });
        id
    }

    /// A second is over.
    pub(crate) fn second(&mut self) {
        let mut silent = Vec::new();
        for (key, edge) in &mut self.edges {
            edge.silent += 1;
            if edge.silent > SILENCE {
                silent.push(key.clone());
            }
            for port in edge.ports.values_mut() {
                let before = (port.rate, port.dropped_rate);
                port.rate = mean(port.rate, port.second[0]);
                port.dropped_rate = mean(port.dropped_rate, port.second[1]);
                port.second = [0, 0];
                if before != (port.rate, port.dropped_rate) {
                    edge.changed = edge.changed.max(Changed::Counted);
                }
            }
        }
        for key in silent {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: (String, String)) {
        self.edges.remove(&key);
        for end in [&key.0, &key.1] {
            if let Some(shown) = self.nodes.get_mut(end) {
                shown.edges -= 1;
            }
        }
        self.nodes.retain(|id, shown| {
            if shown.edges == 0 {
                self.gone.nodes.push(id.clone());
            }
            shown.edges > 0
        });
        self.gone.edges.push(key);
    }

    /// What changed since it was asked last; counters only where `counters` is set.
    pub(crate) fn news(&mut self, counters: bool) -> News {
        let least = if counters { Changed::Counted } else { Changed::News };
        let mut news = News { gone: std::mem::take(&mut self.gone), ..News::default() };
        for shown in self.nodes.values_mut().filter(|shown| !shown.told) {
            shown.told = true;
            news.nodes.push(shown.node.clone());
        }
        news.nodes.sort_by(|a, b| a.id.cmp(&b.id));
        for ((from, to), edge) in self.edges.iter_mut().filter(|(_, edge)| edge.changed >= least) {
            edge.changed = Changed::No;
            news.edges.push(Told {
                from: from.clone(),
                to: to.clone(),
                ports: edge.ports.clone(),
                policies: edge.policies.clone(),
            });
        }
        news
    }
}

impl Edge {
    fn count(&mut self, flow: &Flow, name: String, now: bool) {
        let full = self.ports.len() >= PORTS && !self.ports.contains_key(&name);
        let name = if full { super::end::OTHERS.to_owned() } else { name };
        let port = self.ports.entry(name).or_default();
        let counter = match flow.verdict {
            Verdict::Dropped | Verdict::Error => &mut port.dropped,
            Verdict::Audit => &mut port.audit,
            Verdict::Redirected => &mut port.redirected,
            Verdict::Forwarded | Verdict::Traced | Verdict::Translated | Verdict::Unknown => {
                &mut port.forwarded
            }
        };
        *counter += 1;
        let first = *counter == 1;
        if now {
            port.second[0] += 1;
            port.second[1] += u32::from(flow.verdict == Verdict::Dropped);
        }
        for policy in denied_by(flow) {
            if self.policies.len() < POLICIES {
                self.policies.insert(policy_name(policy));
            }
        }
        self.changed = self.changed.max(if first { Changed::News } else { Changed::Counted });
    }
}

fn mean(before: f64, count: u32) -> f64 {
    let mean = before * (1.0 - WEIGHT) + f64::from(count) * WEIGHT;
    // Two digits are more than anybody reads; silence ends in 0.
    if mean < 0.02 { 0.0 } else { (mean * 100.0).round() / 100.0 }
}

/// The policies that denied a flow, or would have.
pub(crate) fn denied_by(flow: &Flow) -> impl Iterator<Item = &Policy> {
    let [ours, other] = match flow.direction {
        Direction::Egress => [&flow.egress_denied_by, &flow.ingress_denied_by],
        _ => [&flow.ingress_denied_by, &flow.egress_denied_by],
    };
    ours.iter().chain(other.iter())
}

/// The policies that allowed it.
pub(crate) fn allowed_by(flow: &Flow) -> impl Iterator<Item = &Policy> {
    flow.egress_allowed_by.iter().chain(flow.ingress_allowed_by.iter())
}

/// `CiliumNetworkPolicy shop/web`.
pub(crate) fn policy_name(policy: &Policy) -> String {
    let kind = if policy.kind.is_empty() { "Policy" } else { &policy.kind };
    match policy.namespace.as_str() {
        "" => format!("{kind} {}", policy.name),
        namespace => format!("{kind} {namespace}/{}", policy.name),
    }
}

/// `80/TCP`, `ICMP 8`.
pub(crate) fn port_name(protocol: u8, port: u16) -> String {
    match protocol {
        1 => format!("ICMP {port}"),
        2 => "IGMP".to_owned(),
        6 => format!("{port}/TCP"),
        17 => format!("{port}/UDP"),
        58 => format!("ICMPv6 {port}"),
        112 => "VRRP".to_owned(),
        132 => format!("{port}/SCTP"),
        other => format!("protocol {other}"),
    }
}
