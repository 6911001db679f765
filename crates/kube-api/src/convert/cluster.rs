//! Rules of ClusterNetworkPolicy.
//!
//! Each entry of a list is one rule of its own priority: the policy's, then its place in the list.

use std::collections::BTreeSet;

use policy::{Direction, Owner, Peer, PortRule, Protocol, Reference, Rule, Subject, Tier, Verdict};
use types::Selector;

use super::cilium::known;
use super::path::{Path, Problem, Refused};
use super::{peers, ports, selectors};
use crate::cluster_policy::{
    ClusterNetworkPolicy, ClusterPeer, ClusterPort, ClusterPorts, ClusterProtocol, ClusterRule,
    NamespacedPods,
};

/// Places of rules within one priority. The definition allows 25 rules in a list.
const PLACES: u32 = 100;

/// All rules of a policy object.
pub(super) fn rules(policy: &ClusterNetworkPolicy) -> Result<Vec<Rule>, Refused> {
    let path = Path::ROOT.key("spec");
    known(&policy.spec.unknown, &path)?;
    let frame = Frame::of(policy)?;
    let mut rules = Vec::new();
    for (direction, list, name) in lists(policy) {
        let list_path = path.key(name);
        for (index, written) in list.iter().enumerate() {
            let rule = frame.rule(direction, index);
            rules.push(one(written, rule, &list_path.index(index))?);
        }
    }
    Ok(rules)
}

/// What is left of a policy that cannot be applied, as the API's text asks: a rule that cannot be read accepts nothing, and
/// denies everything if it would have denied or passed.
pub(super) fn closing(policy: &ClusterNetworkPolicy) -> Vec<Rule> {
    let Ok(frame) = Frame::of(policy) else { return Vec::new() };
    let mut rules = Vec::new();
    for (direction, list, name) in lists(policy) {
        for (index, written) in list.iter().enumerate() {
            let rule = frame.rule(direction, index);
            match one(written, rule.clone(), &Path::ROOT.key(name)) {
                Ok(rule) => rules.push(rule),
                Err(_) if written.action == "Accept" => {}
                Err(_) => rules.push(Rule { verdict: Verdict::Deny, ..rule }),
            }
        }
    }
    rules
}

fn lists(policy: &ClusterNetworkPolicy) -> [(Direction, &[ClusterRule], &'static str); 2] {
    [
        (Direction::Ingress, &policy.spec.ingress, "ingress"),
        (Direction::Egress, &policy.spec.egress, "egress"),
    ]
}

/// What all rules of a policy share.
struct Frame {
    subject: Subject,
    tier: Tier,
    priority: u32,
}

impl Frame {
    fn of(policy: &ClusterNetworkPolicy) -> Result<Self, Refused> {
        let (spec, path) = (&policy.spec, Path::ROOT.key("spec"));
        let tier = match spec.tier.as_str() {
            "Admin" => Tier::Admin,
            "Baseline" => Tier::Baseline,
            other => return Err(path.key("tier").refuse(Problem::Tier { text: other.to_owned() })),
        };
        let priority = u32::try_from(spec.priority).ok().filter(|priority| *priority <= 1000);
        let priority = priority
            .ok_or_else(|| path.key("priority").refuse(Problem::Priority { number: spec.priority }))?;
        let path = path.key("subject");
        known(&spec.subject.unknown, &path)?;
        let subject = match pods(&spec.subject, &path)? {
            Some(selector) if set(&spec.subject) == 1 => Subject::Endpoints(selector),
            _ => return Err(path.refuse(Problem::ClusterSubject)),
        };
        Ok(Self { subject, tier, priority })
    }

    /// A rule that accepts everything; the caller narrows it.
    fn rule(&self, direction: Direction, index: usize) -> Rule {
        let place = u32::try_from(index).unwrap_or(PLACES).min(PLACES - 1);
        Rule {
            tier: self.tier,
            priority: self.priority * PLACES + place,
            default_deny: false,
            ..Rule::allow(self.subject.clone(), direction)
        }
    }
}

fn one(written: &ClusterRule, rule: Rule, path: &Path<'_>) -> Result<Rule, Refused> {
    known(&written.unknown, path)?;
    let verdict = match written.action.as_str() {
        "Accept" => Verdict::Allow,
        "Deny" => Verdict::Deny,
        "Pass" => Verdict::Pass,
        other => return Err(path.key("action").refuse(Problem::Action { text: other.to_owned() })),
    };
    let (list, name) = match rule.direction {
        Direction::Ingress => (&written.from, "from"),
        Direction::Egress => (&written.to, "to"),
    };
    let list = list.as_deref().unwrap_or_default();
    let place = path.key(name);
    if list.is_empty() {
        return Err(place.refuse(Problem::NoPeer));
    }
    let mut peers = Vec::new();
    for (index, peer) in list.iter().enumerate() {
        peers.extend(one_peer(peer, rule.direction, &place.index(index))?);
    }
    Ok(Rule {
        verdict,
        peers,
        ports: protocols(written.protocols.as_deref(), &path.key("protocols"))?,
        ..rule
    })
}

/// How many fields of a peer are set.
fn set(peer: &ClusterPeer) -> usize {
    let ClusterPeer { namespaces, pods, nodes, networks, domain_names, unknown } = peer;
    let set =
        [namespaces.is_some(), pods.is_some(), nodes.is_some(), networks.is_some(), domain_names.is_some()];
    set.iter().filter(|set| **set).count() + unknown.len()
}

fn one_peer(peer: &ClusterPeer, direction: Direction, path: &Path<'_>) -> Result<Vec<Peer>, Refused> {
    known(&peer.unknown, path)?;
    if set(peer) != 1 {
        return Err(path.refuse(Problem::ClusterPeer));
    }
    if let Some(selector) = pods(peer, path)? {
        return Ok(vec![Peer::Endpoints(selector)]);
    }
    match peer {
        _ if direction == Direction::Ingress => Err(path.refuse(Problem::ClusterPeer)),
        ClusterPeer { networks: Some(networks), .. } => {
            let list = path.key("networks");
            let block = |(index, text): (usize, &String)| {
                let prefix = peers::prefix(text, &list.index(index))?;
                Ok(Peer::Cidr { prefix, except: BTreeSet::new(), owner: Owner::Anyone })
            };
            networks.iter().enumerate().map(block).collect()
        }
        ClusterPeer { nodes: Some(selector), .. } => {
            let selector = selectors::nodes(selector, &path.key("nodes"))?;
            // All nodes are known without their labels.
            Ok(vec![match selector == Selector::everything() {
                true => Peer::Nodes(selector),
                false => Peer::Listed(Reference::Nodes(selector)),
            }])
        }
        _ => Err(path.key("domainNames").refuse(Problem::Unsupported { feature: "a DNS name as a peer" })),
    }
}

/// The pods that a subject or a peer means, if it speaks of pods.
fn pods(peer: &ClusterPeer, path: &Path<'_>) -> Result<Option<Selector>, Refused> {
    if let Some(namespaces) = &peer.namespaces {
        return selectors::namespaces(namespaces, &path.key("namespaces")).map(Some);
    }
    let Some(NamespacedPods { namespace_selector, pod_selector }) = &peer.pods else { return Ok(None) };
    let path = path.key("pods");
    let namespaces = selectors::namespaces(namespace_selector, &path.key("namespaceSelector"))?;
    let pods = selectors::pods_anywhere(pod_selector, &path.key("podSelector"))?;
    Ok(Some(namespaces.and_all(pods)))
}

fn protocols(written: Option<&[ClusterProtocol]>, path: &Path<'_>) -> Result<Vec<PortRule>, Refused> {
    let Some(written) = written else { return Ok(vec![PortRule::ANY]) };
    if written.is_empty() {
        return Err(path.refuse(Problem::ClusterProtocol));
    }
    written.iter().enumerate().map(|(index, one)| protocol(one, &path.index(index))).collect()
}

fn protocol(written: &ClusterProtocol, path: &Path<'_>) -> Result<PortRule, Refused> {
    known(&written.unknown, path)?;
    match written {
        ClusterProtocol { tcp: Some(one), udp: None, sctp: None, destination_named_port: None, .. } => {
            in_ports(one, Protocol::TCP, &path.key("tcp"))
        }
        ClusterProtocol { tcp: None, udp: Some(one), sctp: None, destination_named_port: None, .. } => {
            in_ports(one, Protocol::UDP, &path.key("udp"))
        }
        ClusterProtocol { tcp: None, udp: None, sctp: Some(one), destination_named_port: None, .. } => {
            in_ports(one, Protocol::SCTP, &path.key("sctp"))
        }
        ClusterProtocol { tcp: None, udp: None, sctp: None, destination_named_port: Some(name), .. } => {
            let path = path.key("destinationNamedPort");
            if name.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(path.refuse(Problem::Port { text: name.clone() }));
            }
            ports::numbered_or_named(name, None, Protocol::Any, &path)
        }
        _ => Err(path.refuse(Problem::ClusterProtocol)),
    }
}

fn in_ports(written: &ClusterPorts, protocol: Protocol, path: &Path<'_>) -> Result<PortRule, Refused> {
    known(&written.unknown, path)?;
    let Some(port) = &written.destination_port else { return Ok(PortRule::Protocol(protocol)) };
    let path = path.key("destinationPort");
    known(&port.unknown, &path)?;
    let number = |number: i64| {
        let fits = u16::try_from(number).ok().filter(|port| *port > 0);
        fits.ok_or_else(|| path.refuse(Problem::Port { text: number.to_string() }))
    };
    match port {
        ClusterPort { number: Some(port), range: None, .. } => Ok(PortRule::port(protocol, number(*port)?)),
        ClusterPort { number: None, range: Some(range), .. } => {
            let (first, last) = (number(range.start)?, number(range.end)?);
            match first <= last {
                true => Ok(PortRule::Ports { protocol, first, last }),
                false => Err(path.refuse(Problem::EndPort { end: i32::from(last) })),
            }
        }
        _ => Err(path.refuse(Problem::ClusterProtocol)),
    }
}
