//! What a set of policies changes, by workload: table against table, for everyone who could be at the other end.

use crate::inventory::Inventory;
use crate::rulebook::{Enforcement, Rulebook, World};
use crate::workload::Workload;
use policy::{Direction, EnforcementMode, L4Key, Packet, PolicyTable, SubjectInfo, TableKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use types::{Label, NumericIdentity};

mod regions;

pub(crate) use regions::protocol_name;
use regions::{Region, regions};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It passes.
    Allowed,
    /// It goes to the proxy.
    Redirected,
    /// It passes because the denial is a dry run.
    Audit,
    /// It is dropped.
    Denied,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allowed => "ALLOWED",
            Verdict::Redirected => "REDIRECTED",
            Verdict::Audit => "AUDIT",
            Verdict::Denied => "DENIED",
        })
    }
}

/// All that changes.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Diff {
    /// Workloads for which something changes.
    pub workloads: Vec<WorkloadChanges>,
    /// How many others were looked at.
    pub unchanged: usize,
}

/// What changes for one workload.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct WorkloadChanges {
    /// The workload.
    pub workload: Workload,
    /// How many of its pods it changes for.
    pub pods: usize,
    /// What changes, in both directions.
    pub changes: Vec<Change>,
}

/// The same change for some peers and ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Change {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// What becomes of such a connection now.
    pub before: Verdict,
    /// What would become of it.
    pub after: Verdict,
    /// `80/TCP`, `8000-8009/UDP`, `ICMP type 8`, `SCTP`, `everything`, …
    pub ports: Vec<String>,
    /// Who is at the other end: workloads, entities, prefixes; `everyone`.
    pub peers: Vec<String>,
    /// The policies behind what would become of it: those that allow it, deny it, or close the direction.
    pub because: Vec<String>,
}

/// Compares what `before` and `after` make of the pods of `before`.
pub fn diff(before: &Inventory, after: &Inventory, mode: EnforcementMode, cluster: &str) -> Diff {
    let mut world = World::of(before);
    let enforcement = Enforcement { mode, cluster: cluster.to_owned() };
    let mut books = world.rulebooks(before, after, &enforcement);
    let peers = peer_names(before, &world);
    let mut alike: BTreeMap<(&Workload, Vec<&Label>), (&SubjectInfo, usize)> = BTreeMap::new();
    for pod in &before.pods {
        let labels = pod.info.labels.iter().collect();
        alike.entry((&pod.workload, labels)).or_insert((&pod.info, 0)).1 += 1;
    }
    let mut told = Diff::default();
    for ((workload, _), (info, pods)) in alike {
        let changes = changes_of(&mut books, info, &peers);
        if changes.is_empty() {
            told.unchanged += 1;
        } else {
            told.workloads.push(WorkloadChanges { workload: workload.clone(), pods, changes });
        }
    }
    told
}

/// Who can be at the other end: an identity, and the block around the address (unknown where there is none).
pub(crate) type Peer = (NumericIdentity, NumericIdentity);

/// What people call them.
pub(crate) type Peers = BTreeMap<Peer, BTreeSet<String>>;

pub(crate) fn peer_names(inventory: &Inventory, world: &World) -> Peers {
    let mut peers = Peers::new();
    let numbers: BTreeMap<types::Labels, NumericIdentity> =
        world.everyone().map(|(id, labels)| (labels, id)).collect();
    let mut named = BTreeSet::new();
    for pod in &inventory.pods {
        let Some(id) = numbers.get(&pod.info.labels) else { continue };
        named.insert(*id);
        let blocks: BTreeSet<NumericIdentity> = pod.addresses.iter().map(|ip| world.block(*ip)).collect();
        for block in if blocks.is_empty() { [NumericIdentity::UNKNOWN].into() } else { blocks } {
            peers.entry((*id, block)).or_default().insert(pod.workload.to_string());
        }
    }
    for (id, labels) in world.everyone().filter(|(id, _)| !named.contains(id)) {
        let name = match (id.reserved(), labels.prefixes().max_by_key(types::IpNet::prefix_len)) {
            (Some(reserved), _) => reserved.name.to_owned(),
            (None, Some(net)) => net.to_string(),
            (None, None) => labels.to_string(),
        };
        peers.insert((id, NumericIdentity::UNKNOWN), [name].into());
    }
    peers
}

fn changes_of([before, after]: &mut [Rulebook; 2], info: &SubjectInfo, peers: &Peers) -> Vec<Change> {
    let tables = [before.table(info), after.table(info)];
    compare(&tables, after, info, peers)
}

/// What becomes another under the second table, which is one of `after`.
pub(crate) fn compare(
    tables: &[Arc<PolicyTable>; 2],
    after: &Rulebook,
    info: &SubjectInfo,
    peers: &Peers,
) -> Vec<Change> {
    if tables[0] == tables[1] {
        return Vec::new();
    }
    type What = (&'static str, Verdict, Verdict, Vec<String>, Vec<String>);
    let mut changes: BTreeMap<What, BTreeSet<Peer>> = BTreeMap::new();
    for direction in Direction::BOTH {
        for peer in peers.keys() {
            let mut by_change: BTreeMap<(Verdict, Verdict), Vec<Region>> = BTreeMap::new();
            for region in regions(tables, direction, *peer) {
                by_change.entry((region.before, region.after)).or_default().push(region);
            }
            for ((was, will), regions) in by_change {
                let example = &regions[0];
                let (protocol, port) = (example.protocol, example.first);
                let packet = Packet { direction, peer: peer.0, block: peer.1, protocol, port };
                let because = after.because(info, &packet);
                let ports = regions::words(&regions);
                changes.entry((name(direction), was, will, ports, because)).or_default().insert(*peer);
            }
        }
    }
    let all = peers.len();
    let told = |((direction, before, after, ports, because), ids): (What, BTreeSet<Peer>)| {
        let peers = if ids.len() == all { vec!["everyone".to_owned()] } else { named(&ids, peers) };
        Change { direction, before, after, ports, peers, because }
    };
    let mut changes: Vec<Change> = changes.into_iter().map(told).collect();
    // What is lost goes first within a direction.
    changes.sort_by(|a, b| (b.direction, b.after, &a.peers).cmp(&(a.direction, a.after, &b.peers)));
    changes
}

fn named(ids: &BTreeSet<Peer>, names: &Peers) -> Vec<String> {
    let mut all: BTreeSet<String> = ids.iter().filter_map(|id| names.get(id)).flatten().cloned().collect();
    if ["world-ipv4", "world-ipv6"].iter().all(|family| all.contains(*family)) {
        all.retain(|name| !name.starts_with("world-"));
        all.insert("world".to_owned());
    }
    all.into_iter().collect()
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

#[cfg(test)]
mod tests;
