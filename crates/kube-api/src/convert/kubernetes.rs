//! Rules of Kubernetes' NetworkPolicy.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use policy::{Direction, Owner, Peer, PortRule, Protocol, Rule, Subject, Verdict};

use super::path::{Path, Problem, Refused};
use super::peers::block;
use super::{Side, ports, selectors};

/// All rules of a policy object.
pub(super) fn rules(policy: &NetworkPolicy, namespace: &str) -> Result<Vec<Rule>, Refused> {
    let spec = policy.spec.as_ref().ok_or_else(|| Path::ROOT.key("spec").refuse(Problem::NoRule))?;
    let path = Path::ROOT.key("spec");
    let own = spec.pod_selector.clone().unwrap_or_default();
    let subject = Subject::Endpoints(selectors::pods(&own, namespace, &path.key("podSelector"))?);
    let (ingress, egress) = directions(spec, &path)?;
    let mut rules = Vec::new();
    if ingress {
        let mut side = Side::new(&subject, Direction::Ingress, true);
        let list = path.key("ingress");
        for (index, rule) in spec.ingress.iter().flatten().enumerate() {
            let path = list.index(index);
            let peers = peers(rule.from.as_deref(), namespace, &path.key("from"))?;
            side.push(Verdict::Allow, peers, in_ports(rule.ports.as_deref(), &path.key("ports"))?);
        }
        rules.extend(side.finish());
    }
    if egress {
        let mut side = Side::new(&subject, Direction::Egress, true);
        let list = path.key("egress");
        for (index, rule) in spec.egress.iter().flatten().enumerate() {
            let path = list.index(index);
            let peers = peers(rule.to.as_deref(), namespace, &path.key("to"))?;
            side.push(Verdict::Allow, peers, in_ports(rule.ports.as_deref(), &path.key("ports"))?);
        }
        rules.extend(side.finish());
    }
    Ok(rules)
}

/// What closes the directions of a policy that cannot be applied; both, if they cannot be read.
pub(super) fn closing(policy: &NetworkPolicy, namespace: &str) -> Vec<Rule> {
    let Some(spec) = &policy.spec else { return Vec::new() };
    let path = Path::ROOT.key("spec");
    let own = spec.pod_selector.clone().unwrap_or_default();
    let Ok(subject) = selectors::pods(&own, namespace, &path.key("podSelector")) else { return Vec::new() };
    let subject = Subject::Endpoints(subject);
    let (ingress, egress) = directions(spec, &path).unwrap_or((true, true));
    let sides = [(Direction::Ingress, ingress), (Direction::Egress, egress)];
    let closed = sides.into_iter().filter(|(_, closed)| *closed);
    closed.flat_map(|(direction, _)| Side::new(&subject, direction, true).finish()).collect()
}

/// The directions that the policy is about. Without types: ingress always, egress where there are rules for it.
fn directions(spec: &NetworkPolicySpec, path: &Path<'_>) -> Result<(bool, bool), Refused> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return Ok((true, spec.egress.as_ref().is_some_and(|egress| !egress.is_empty())));
    }
    let list = path.key("policyTypes");
    let (mut ingress, mut egress) = (false, false);
    for (index, text) in types.iter().enumerate() {
        match text.as_str() {
            "Ingress" => ingress = true,
            "Egress" => egress = true,
            _ => return Err(list.index(index).refuse(Problem::PolicyType { text: text.clone() })),
        }
    }
    Ok((ingress, egress))
}

/// Peers; none given means anyone.
fn peers(
    written: Option<&[NetworkPolicyPeer]>,
    namespace: &str,
    path: &Path<'_>,
) -> Result<Vec<Peer>, Refused> {
    let written = written.unwrap_or_default();
    if written.is_empty() {
        return Ok(vec![Peer::All]);
    }
    written.iter().enumerate().map(|(index, peer)| one_peer(peer, namespace, &path.index(index))).collect()
}

/// One peer. A block means addresses, whoever has them, and never becomes a selector (CVE-2026-56743).
fn one_peer(peer: &NetworkPolicyPeer, namespace: &str, path: &Path<'_>) -> Result<Peer, Refused> {
    if let Some(ip_block) = &peer.ip_block {
        if peer.pod_selector.is_some() || peer.namespace_selector.is_some() {
            return Err(path.refuse(Problem::Combined { first: "ipBlock", second: "a selector" }));
        }
        let except = ip_block.except.as_deref().unwrap_or_default();
        return block(&ip_block.cidr, except, Owner::Anyone, &path.key("ipBlock"));
    }
    let pod_path = path.key("podSelector");
    let selector = match (&peer.pod_selector, &peer.namespace_selector) {
        (Some(pods), None) => selectors::pods(pods, namespace, &pod_path)?,
        (pods, Some(namespaces)) => {
            let namespaces = selectors::namespaces(namespaces, &path.key("namespaceSelector"))?;
            match pods {
                Some(pods) => namespaces.and_all(selectors::pods_anywhere(pods, &pod_path)?),
                None => namespaces,
            }
        }
        (None, None) => return Err(path.refuse(Problem::EmptyPeer)),
    };
    Ok(Peer::Endpoints(selector))
}

/// Ports; none given means anything.
fn in_ports(written: Option<&[NetworkPolicyPort]>, path: &Path<'_>) -> Result<Vec<PortRule>, Refused> {
    let written = written.unwrap_or_default();
    if written.is_empty() {
        return Ok(vec![PortRule::ANY]);
    }
    written.iter().enumerate().map(|(index, port)| one_port(port, &path.index(index))).collect()
}

fn one_port(written: &NetworkPolicyPort, path: &Path<'_>) -> Result<PortRule, Refused> {
    let protocol = match written.protocol.as_deref() {
        None | Some("" | "TCP") => Protocol::TCP,
        Some("UDP") => Protocol::UDP,
        Some("SCTP") => Protocol::SCTP,
        Some(text) => return Err(path.key("protocol").refuse(Problem::Protocol { text: text.to_owned() })),
    };
    let text = match &written.port {
        None => {
            return match written.end_port {
                None => Ok(PortRule::Protocol(protocol)),
                Some(end) => Err(path.key("endPort").refuse(Problem::EndPort { end })),
            };
        }
        // Kubernetes has no port 0; read as Cilium's it would be every port.
        Some(IntOrString::Int(number)) if *number < 1 => {
            return Err(path.key("port").refuse(Problem::Port { text: number.to_string() }));
        }
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(path.key("port").refuse(Problem::Port { text: text.clone() }));
        }
        Some(IntOrString::String(text)) => text.clone(),
    };
    ports::numbered_or_named(&text, written.end_port, protocol, path)
}
