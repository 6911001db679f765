//! Which flows are wanted: the meaning of `flow.FlowFilter`.
//!
//! A [`Filter`] holds lists. A flow fits a list if it fits one of its members, an empty list fits all, and a filter fits
//! if all of its lists do.

use crate::model::*;
use types::{IpNet, Selector};

mod l7;
mod pattern;
mod selector;

pub use l7::{L7Filter, StatusPattern};
pub use pattern::{NamePattern, NodePattern, PatternError, PodPattern, PortRange, Protocol, TextPattern};
pub use selector::{SelectorTextError, parse_selector};

/// Allowed and denied flows: `allow` minus `deny`; an empty `allow` allows all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// One of these must fit, if there are any.
    pub allow: Vec<Filter>,
    /// None of these may fit.
    pub deny: Vec<Filter>,
}

/// One filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// About the sender.
    pub source: EndFilter,
    /// About the receiver.
    pub destination: EndFilter,
    /// Names of single flows.
    pub uuids: Vec<String>,
    /// Source addresses before translation.
    pub source_xlated: Vec<IpNet>,
    /// Directions.
    pub directions: Vec<Direction>,
    /// Verdicts.
    pub verdicts: Vec<Verdict>,
    /// Numbers of drop reasons.
    pub drop_reasons: Vec<u8>,
    /// Devices; an index of 0 or an empty name fits all.
    pub interfaces: Vec<Interface>,
    /// Event types (0 fits all), and subtypes if given.
    pub events: Vec<(i32, Option<i32>)>,
    /// Protocols of layer 4 or 7.
    pub protocols: Vec<Protocol>,
    /// Replies, or what is none. A flow of which nobody knows fits neither, but a dropped one counts as no reply.
    pub replies: Vec<bool>,
    /// TCP segments with at least these flags.
    pub tcp_flags: Vec<TcpFlags>,
    /// Nodes that saw the flow.
    pub nodes: Vec<NodePattern>,
    /// Labels of the node that saw the flow.
    pub node_labels: Vec<Selector>,
    /// IP versions: 4, 6, or 0 for what is no IP packet.
    pub ip_versions: Vec<u8>,
    /// Encrypted flows, or unencrypted ones.
    pub encrypted: Vec<bool>,
    /// Messages of layer 7.
    pub l7: L7Filter,
    /// Distributed traces.
    pub traces: Vec<String>,
    /// Trace numbers in IP options.
    pub ip_traces: Vec<u64>,
}

/// What a filter says about one end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndFilter {
    /// Addresses.
    pub addresses: Vec<IpNet>,
    /// Pods, by namespace and beginning of their name.
    pub pods: Vec<PodPattern>,
    /// DNS names of the address.
    pub names: Vec<NamePattern>,
    /// Labels.
    pub labels: Vec<Selector>,
    /// Services, by namespace and beginning of their name.
    pub services: Vec<PodPattern>,
    /// What runs the pod; an empty name or kind fits all.
    pub workloads: Vec<Workload>,
    /// Clusters.
    pub clusters: Vec<NamePattern>,
    /// Ports.
    pub ports: Vec<PortRange>,
    /// Security identities.
    pub identities: Vec<u32>,
}

impl Filters {
    /// Whether the flow is wanted.
    pub fn matches(&self, flow: &Flow) -> bool {
        (self.allow.is_empty() || self.allow.iter().any(|filter| filter.matches(flow)))
            && !self.deny.iter().any(|filter| filter.matches(flow))
    }
}

impl Filter {
    /// Whether the flow fits all of this filter.
    pub fn matches(&self, flow: &Flow) -> bool {
        let ports = flow.l4.as_ref().and_then(L4::ports);
        fits(&self.uuids, |uuid| *uuid == flow.uuid)
            && fits(&self.verdicts, |verdict| *verdict == flow.verdict)
            && fits(&self.directions, |direction| *direction == flow.direction)
            && fits(&self.drop_reasons, |reason| {
                flow.verdict == Verdict::Dropped && *reason == flow.drop_reason
            })
            && fits(&self.events, |(kind, sub)| {
                (*kind == 0 || *kind == flow.event_type) && sub.is_none_or(|sub| sub == flow.event_subtype)
            })
            && fits(&self.protocols, |protocol| protocol.matches(flow))
            && fits(&self.replies, |reply| is_reply(flow) == Some(*reply))
            && fits(&self.tcp_flags, |flags| tcp_flags(flow).is_some_and(|have| have.contains(*flags)))
            && fits(&self.ip_versions, |version| *version == ip_version(flow))
            && fits(&self.encrypted, |encrypted| flow.ip.is_some_and(|ip| ip.encrypted) == *encrypted)
            && fits(&self.interfaces, |wanted| flow.interface.as_ref().is_some_and(|have| same(wanted, have)))
            && fits(&self.source_xlated, |net| {
                flow.ip.and_then(|ip| ip.source_xlated).is_some_and(|ip| net.contains(&ip))
            })
            && fits(&self.traces, |id| rare(flow).is_some_and(|rare| rare.trace_id == *id))
            && fits(&self.ip_traces, |id| rare(flow).is_some_and(|rare| rare.ip_trace_id == *id))
            && self.l7.matches(flow)
            && fits(&self.nodes, |node| node.matches(&flow.node_name))
            && fits(&self.node_labels, |selector| {
                types::Labels::parse(flow.node_labels.iter().map(String::as_str))
                    .is_ok_and(|labels| selector.matches(&labels))
            })
            && self.source.matches(&flow.source, flow.ip.map(|ip| ip.source), ports.map(|p| p.0))
            && self.destination.matches(
                &flow.destination,
                flow.ip.map(|ip| ip.destination),
                ports.map(|p| p.1),
            )
    }
}

impl EndFilter {
    fn matches(&self, end: &End, address: Option<std::net::IpAddr>, port: Option<u16>) -> bool {
        let pod = end.pod.as_deref();
        fits(&self.addresses, |net| address.is_some_and(|address| net.contains(&address)))
            && fits(&self.ports, |range| port.is_some_and(|port| range.contains(port)))
            && fits(&self.identities, |identity| *identity == end.identity)
            && fits(&self.pods, |pattern| pod.is_some_and(|pod| pattern.matches(&pod.namespace, &pod.name)))
            && fits(&self.services, |pattern| {
                end.service
                    .as_deref()
                    .is_some_and(|service| pattern.matches(&service.namespace, &service.name))
            })
            && fits(&self.names, |pattern| end.names.iter().any(|name| pattern.matches(name)))
            && fits(&self.labels, |selector| selector.matches(&end.labels))
            && fits(&self.clusters, |pattern| pod.is_some_and(|pod| pattern.matches(&pod.cluster)))
            && fits(&self.workloads, |wanted| {
                pod.is_some_and(|pod| pod.workloads.iter().any(|have| is_workload(wanted, have)))
            })
    }
}

fn fits<T>(list: &[T], test: impl FnMut(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(test)
}

fn rare(flow: &Flow) -> Option<&Rare> {
    flow.rare.as_deref()
}

/// Clients of old ask for replies by a field that says no for all drops.
fn is_reply(flow: &Flow) -> Option<bool> {
    flow.is_reply.or((flow.verdict == Verdict::Dropped).then_some(false))
}

fn tcp_flags(flow: &Flow) -> Option<TcpFlags> {
    match flow.l4 {
        Some(L4::Tcp { flags, .. }) => flags,
        _ => None,
    }
}

fn ip_version(flow: &Flow) -> u8 {
    match flow.ip {
        None => 0,
        Some(ip) if ip.source.is_ipv4() => 4,
        Some(_) => 6,
    }
}

fn same(wanted: &Interface, have: &Interface) -> bool {
    (wanted.index == 0 || wanted.index == have.index) && (wanted.name.is_empty() || wanted.name == have.name)
}

fn is_workload(wanted: &Workload, have: &Workload) -> bool {
    (wanted.name.is_empty() || wanted.name == have.name)
        && (wanted.kind.is_empty() || wanted.kind == have.kind)
}

#[cfg(test)]
mod tests;
