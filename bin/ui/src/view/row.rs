//! A flow as a row of the table.

use super::end::{Grouping, Node};
use super::map::{allowed_by, denied_by, policy_name, port_name};
use crate::hub::Seen;
use flow::{Direction, End, Flow, Verdict, format};
use std::net::IpAddr;

/// A row.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    /// ms since the Unix epoch.
    pub(crate) time: f64,
    pub(crate) verdict: &'static str,
    /// `ingress`, `egress` or nothing.
    pub(crate) direction: &'static str,
    /// Who sent this packet.
    pub(crate) source: RowEnd,
    /// Who gets it.
    pub(crate) destination: RowEnd,
    /// The server's port and protocol.
    pub(crate) port: String,
    /// `to-endpoint`, `Policy denied`, …
    pub(crate) event: String,
    /// TCP flags and the like.
    pub(crate) summary: String,
    /// An answer; nothing where nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<bool>,
    /// Node that saw it.
    pub(crate) node: String,
    /// Policies behind the verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) policies: Vec<String>,
}

/// One end of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(crate) struct RowEnd {
    /// The node of the workload map.
    pub(crate) node: String,
    /// What it is called.
    pub(crate) name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) namespace: String,
    pub(crate) identity: u32,
    /// Address and port.
    pub(crate) address: String,
}

impl Row {
    pub(crate) fn of(seen: &Seen) -> Self {
        let flow = &seen.flow;
        let ports = flow.l4.as_ref().and_then(|l4| l4.ports());
        let ip = flow.ip;
        let source = end(&flow.source, ip.map(|ip| ip.source), ports.map(|p| p.0));
        let destination = end(&flow.destination, ip.map(|ip| ip.destination), ports.map(|p| p.1));
        let port = flow.connection().map(|c| port_name(c.protocol, c.port)).unwrap_or_default();
        Self {
            id: seen.id,
            time: (flow.time / 1000) as f64 / 1000.0,
            verdict: flow.verdict.text(),
            direction: match flow.direction {
                Direction::Unknown => "",
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            },
            source,
            destination,
            port,
            event: format::type_text(flow),
            summary: flow.summary(),
            reply: flow.is_reply,
            node: flow.node_name.to_string(),
            policies: policies(flow),
        }
    }
}

/// Those that denied, where it was denied; else those that allowed.
pub(crate) fn policies(flow: &Flow) -> Vec<String> {
    let denied: Vec<String> = denied_by(flow).map(policy_name).collect();
    match flow.verdict {
        Verdict::Dropped | Verdict::Audit => denied,
        _ => allowed_by(flow).map(policy_name).collect(),
    }
}

fn end(end: &End, address: Option<IpAddr>, port: Option<u16>) -> RowEnd {
    let node = Node::of(end, address, Grouping::Workload);
    let (name, namespace) = match &end.pod {
        Some(pod) => (pod.name.clone(), pod.namespace.clone()),
        None => (node.name, node.namespace),
    };
    let address = match (address, port) {
        (Some(IpAddr::V6(ip)), Some(port)) => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(ip), None) => ip.to_string(),
        (None, _) => String::new(),
    };
    RowEnd { node: node.id, name, namespace, identity: end.identity, address }
}
