//! Recorded connections, sent once more: through the datapath's own code, under the policies of today and under others.

use crate::diff::Verdict;
use crate::inventory::Inventory;
use crate::rulebook::{Enforcement, World, outside};
use crate::workload::Workload;
use flow::{Connection, End, Flow};
use policy::{EnforcementMode, NamedPorts, SubjectInfo};
use std::collections::BTreeMap;
use std::net::IpAddr;
use types::{Labels, NumericIdentity};

mod stage;

use stage::{Actor, Stage};

/// What was recorded, and what would become of it.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Replay {
    /// Flows that were read.
    pub flows: u64,
    /// Different connections among them.
    pub connections: usize,
    /// Flows that no policy is asked about, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Flows about which today's policies say something else than what was recorded: policies, labels or nodes have
    /// changed since, or somebody else dropped them.
    pub outdated: u64,
    /// Connections whose verdict changes.
    pub changes: Vec<FlowChange>,
}

/// A connection whose verdict changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct FlowChange {
    /// The workload whose policy changes the verdict.
    pub workload: Workload,
    /// Which side of the connection that is.
    pub direction: Side,
    /// What becomes of it now.
    pub before: Verdict,
    /// What would become of it.
    pub after: Verdict,
    /// The other end.
    pub peer: String,
    /// `80/TCP`, `ICMP type 8`.
    pub port: String,
    /// The policies behind the new verdict; where it is the denial that goes, behind the old one.
    pub because: Vec<String>,
    /// How many recorded flows it is.
    pub flows: u64,
}

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The server's.
    Ingress,
    /// The client's.
    Egress,
}

/// What one set of policies makes of a connection: at the client, then, unless it was dropped there, at the server.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    sides: Vec<Said>,
}

/// A side, its verdict, and the policies behind it.
type Said = (Side, Verdict, Vec<String>);

/// An end as connections are told apart: a pod by what runs it and its labels, all others by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    workload: Option<Workload>,
    labels: Labels,
    address: Option<IpAddr>,
    identity: u32,
}

/// Flows of one connection.
struct Recorded {
    ends: [Actor; 2],
    protocol: u8,
    port: u16,
    flows: u64,
    /// How often policy was recorded to have allowed and denied it, by side.
    said: BTreeMap<(Side, bool), u64>,
}

/// Sends the connections of `flows` through both sets of policies.
pub fn replay<'a>(
    before: &Inventory,
    after: &Inventory,
    mode: EnforcementMode,
    cluster: &str,
    flows: impl IntoIterator<Item = &'a Flow>,
) -> Replay {
    let mut told = Replay::default();
    let mut world = World::of(before);
    let mut connections: BTreeMap<(Key, Key, u8, u16), Recorded> = BTreeMap::new();
    for flow in flows {
        told.flows += 1;
        let skip = match read(flow) {
            Ok(connection) => {
                count(flow, &connection, before, &mut connections);
                continue;
            }
            Err(why) => why,
        };
        *told.skipped.entry(skip).or_default() += 1;
    }
    told.connections = connections.len();
    for actor in connections.values_mut().flat_map(|recorded| &mut recorded.ends) {
        let ports = actor.subject.as_ref().map(|info| info.named_ports.clone()).unwrap_or_default();
        actor.identity = world.identity(&actor.labels, &ports);
    }
    let enforcement = Enforcement { mode, cluster: cluster.to_owned() };
    let books = world.rulebooks(before, after, &enforcement);
    let mut stages = books.map(|book| Stage::new(book, &world));
    for ((client, server, ..), recorded) in &connections {
        let asked = |stage: &mut Stage| stage.play(&recorded.ends, recorded.protocol, recorded.port);
        let [was, will] = stages.each_mut().map(asked);
        told.outdated += was.contradicts(&recorded.said);
        told.changes.extend(change(&was, &will, [client, server], recorded));
    }
    told.changes.sort();
    // Pods of one workload may differ in labels that nobody sees here.
    told.changes.dedup_by(|next, kept| {
        let same = *next == FlowChange { flows: next.flows, ..kept.clone() };
        kept.flows += if same { next.flows } else { 0 };
        same
    });
    told
}

/// The connection of a flow that policy was asked about.
fn read(flow: &Flow) -> Result<Connection<'_>, String> {
    let connection = flow.connection().map_err(|why| why.to_string())?;
    let is_pod = |end: &End| end.pod.is_some() && NumericIdentity(end.identity).reserved().is_none();
    if !is_pod(connection.client) && !is_pod(connection.server) {
        return Err("no end of it is a pod".to_owned());
    }
    // The datapath knows whose connection they are about; this flow does not tell.
    let errors = match connection.protocol {
        1 => matches!(connection.port, 3..=5 | 11 | 12),
        58 => connection.port < 128,
        _ => false,
    };
    if errors || flow.reason == Some(flow::Reason::Related) {
        return Err("it is an error about another connection".to_owned());
    }
    if connection.client_address == connection.server_address {
        return Err("it stays inside of its pod".to_owned());
    }
    let by_policy = [abi::DropReason::PolicyDenied, abi::DropReason::PolicyDeny].map(|reason| reason as u8);
    if flow.verdict == flow::Verdict::Dropped && !by_policy.contains(&flow.drop_reason) {
        return Err("it was dropped for another reason than policy".to_owned());
    }
    Ok(connection)
}

fn count(
    flow: &Flow,
    connection: &Connection<'_>,
    inventory: &Inventory,
    connections: &mut BTreeMap<(Key, Key, u8, u16), Recorded>,
) {
    let Connection { client, server, client_address, server_address, protocol, port, .. } = *connection;
    let key = (
        Key::of(client, client_address, inventory),
        Key::of(server, server_address, inventory),
        protocol,
        port,
    );
    let recorded = connections.entry(key).or_insert_with(|| Recorded {
        ends: [actor(client, client_address, inventory), actor(server, server_address, inventory)],
        protocol,
        port,
        flows: 0,
        said: BTreeMap::new(),
    });
    recorded.flows += 1;
    let side = match connection.direction {
        flow::Direction::Ingress => Side::Ingress,
        flow::Direction::Egress => Side::Egress,
        flow::Direction::Unknown => return,
    };
    if matches!(flow.event_type, flow::EVENT_POLICY_VERDICT | flow::EVENT_DROP) {
        *recorded.said.entry((side, flow.verdict == flow::Verdict::Dropped)).or_default() += 1;
    }
}

impl Key {
    fn of(end: &End, address: IpAddr, inventory: &Inventory) -> Self {
        let workload = end.pod.as_deref().map(|pod| match inventory.find(&pod.namespace, &pod.name) {
            Some(known) => known.workload.clone(),
            None => Workload::of_flow(pod),
        });
        let address = workload.is_none().then_some(address);
        Self { workload, labels: end.labels.clone(), address, identity: end.identity }
    }
}

/// Who plays an end. A pod is what its labels said when the flow was recorded; the rest of it is what is known today.
fn actor(end: &End, address: IpAddr, inventory: &Inventory) -> Actor {
    let identity = NumericIdentity(end.identity);
    let pod = end.pod.as_ref().filter(|_| identity.reserved().is_none());
    let outside_of_cluster = matches!(end.identity, 0 | 2 | 9 | 10) || identity.is_local();
    let labels = match identity.reserved() {
        _ if outside_of_cluster && !end.labels.has_reserved("kube-apiserver") => {
            match outside(address).reserved() {
                Some(reserved) => reserved.labels(),
                None => Labels::none(),
            }
        }
        Some(reserved) if end.labels.is_empty() => reserved.labels(),
        _ => end.labels.clone(),
    };
    let subject = pod.map(|pod| {
        let known = inventory.find(&pod.namespace, &pod.name);
        let alike = || inventory.pods.iter().find(|known| known.info.labels == labels);
        let named_ports =
            known.or_else(alike).map_or_else(NamedPorts::new, |known| known.info.named_ports.clone());
        let audit = inventory.namespaces.get(&pod.namespace).is_some_and(|(_, audit)| *audit);
        SubjectInfo { labels: labels.clone(), named_ports, audit }
    });
    Actor { address, labels, identity, subject, outside: outside_of_cluster }
}

impl Told {
    /// What becomes of the connection, and where that is decided.
    fn outcome(&self) -> (Verdict, Option<&Said>) {
        let worst = self.sides.iter().max_by_key(|(_, verdict, _)| *verdict);
        (worst.map_or(Verdict::Allowed, |(_, verdict, _)| *verdict), worst)
    }

    /// How many flows were recorded to fare otherwise.
    fn contradicts(&self, said: &BTreeMap<(Side, bool), u64>) -> u64 {
        let differs = |side: Side, denied: bool| {
            let here = self.sides.iter().find(|(own, ..)| *own == side);
            here.is_some_and(|(_, verdict, _)| (*verdict == Verdict::Denied) != denied)
        };
        said.iter().filter(|((side, denied), _)| differs(*side, *denied)).map(|(_, flows)| flows).sum()
    }
}

fn change(was: &Told, will: &Told, ends: [&Key; 2], recorded: &Recorded) -> Option<FlowChange> {
    let ((before, old), (after, new)) = (was.outcome(), will.outcome());
    if before == after {
        return None;
    }
    let (side, _, because) = if after > before { new? } else { old? };
    let [client, server] = ends;
    let (own, peer, other) = match side {
        Side::Egress => (client, server, &recorded.ends[1]),
        Side::Ingress => (server, client, &recorded.ends[0]),
    };
    Some(FlowChange {
        workload: own.workload.clone()?,
        direction: *side,
        before,
        after,
        peer: peer.workload.as_ref().map_or_else(|| other.to_string(), Workload::to_string),
        port: port(recorded.protocol, recorded.port),
        flows: recorded.flows,
        because: because.clone(),
    })
}

fn port(protocol: u8, port: u16) -> String {
    let name = crate::diff::protocol_name(protocol);
    match protocol {
        1 | 58 => format!("{name} type {port}"),
        6 | 17 | 132 => format!("{port}/{name}"),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
