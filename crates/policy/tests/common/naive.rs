//! Reads the rules literally, one packet at a time. Shares nothing with the engine but the types of rules and the
//! matching of one selector against one set of labels.

use axoneme_policy::*;
use types::{Labels, Source};

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// Passes; to one of these proxies if there are any.
    Pass(Vec<u16>),
    /// Is dropped.
    Drop,
    /// Passes, and is reported.
    Audit(Vec<u16>),
}

/// Who is at the other end.
pub(crate) struct End<'a> {
    pub(crate) labels: &'a Labels,
    /// Those of the narrowest prefix around its address; none if it is a prefix itself.
    pub(crate) around: &'a Labels,
    pub(crate) named_ports: &'a NamedPorts,
}

pub(crate) fn evaluate(
    options: &Options,
    rules: &[Rule],
    subject: &SubjectInfo,
    peer: &End,
    packet: &Packet,
) -> Says {
    if options.mode == EnforcementMode::Never {
        return Says::Pass(vec![]);
    }
    let real = world(options, rules, subject, peer, packet, false);
    let dry = world(options, rules, subject, peer, packet, true);
    match (real, dry) {
        (None, _) => Says::Drop,
        (Some(proxies), None) => Says::Audit(proxies),
        (Some(proxies), Some(_)) => Says::Pass(proxies),
    }
}

/// The verdict if dry runs count (or do not): the proxies to go to, or nothing for a drop.
fn world(
    options: &Options,
    rules: &[Rule],
    subject: &SubjectInfo,
    peer: &End,
    packet: &Packet,
    dry: bool,
) -> Option<Vec<u16>> {
    let counts = |rule: &&Rule| {
        rule.direction == packet.direction
            && selects(&rule.subject, &subject.labels)
            && (dry || !(rule.audit || subject.audit))
    };
    for tier in [Tier::Admin, Tier::Normal, Tier::Baseline] {
        let of_tier: Vec<&Rule> = rules.iter().filter(counts).filter(|rule| rule.tier == tier).collect();
        let matching = || of_tier.iter().filter(|rule| matches(options, rule, subject, peer, packet));
        if let Some(first) = matching().map(|rule| rule.priority).min() {
            let first: Vec<&&Rule> = matching().filter(|rule| rule.priority == first).collect();
            if first.iter().any(|rule| rule.verdict == Verdict::Deny) {
                return None;
            }
            let allows = || first.iter().filter(|rule| rule.verdict == Verdict::Allow);
            let rank = |redirect: Redirect| if redirect.priority == 0 { 127 } else { redirect.priority };
            let redirects = || allows().filter_map(|rule| rule.redirect);
            if let Some(best) = redirects().map(rank).min() {
                return Some(redirects().filter(|r| rank(*r) == best).map(|r| r.port).collect());
            }
            if allows().next().is_some() {
                return Some(vec![]);
            }
            continue;
        }
        let from_host = packet.direction == Direction::Ingress && packet.peer.get() == 1;
        if tier == Tier::Normal && from_host && options.allow_localhost {
            return Some(vec![]);
        }
        let always =
            tier == Tier::Normal && options.mode == EnforcementMode::Always && (dry || !subject.audit);
        if always || of_tier.iter().any(|rule| rule.default_deny) {
            return None;
        }
    }
    Some(vec![])
}

fn selects(subject: &Subject, labels: &Labels) -> bool {
    let node = labels.iter().any(|label| label.to_string() == "reserved:host");
    match subject {
        Subject::Endpoints(selector) => !node && selector.matches(labels),
        Subject::Nodes(selector) => node && selector.matches(labels),
    }
}

/// Whether some peer and some port of the rule fit.
pub(crate) fn matches(
    options: &Options,
    rule: &Rule,
    subject: &SubjectInfo,
    peer: &End,
    packet: &Packet,
) -> bool {
    let receiver = match packet.direction {
        Direction::Ingress => &subject.named_ports,
        Direction::Egress => peer.named_ports,
    };
    rule.peers.iter().any(|p| peer_fits(options, p, peer))
        && rule.ports.iter().any(|p| port_fits(p, receiver, packet))
}

fn peer_fits(options: &Options, peer: &Peer, end: &End) -> bool {
    let labels = end.labels;
    let texts: Vec<String> = labels.iter().map(ToString::to_string).collect();
    let has = |names: &[&str]| texts.iter().any(|text| names.contains(&text.as_str()));
    let is_cidr = texts.iter().any(|text| text.starts_with("cidr:"));
    let is_reserved = texts.iter().any(|text| text.starts_with("reserved:"));
    match peer {
        Peer::All => true,
        Peer::Endpoints(selector) => {
            let asks = selector.requires_source(&Source::Reserved) || selector.requires_source(&Source::Cidr);
            selector.matches(labels) && (asks || !is_cidr && !is_reserved)
        }
        Peer::Nodes(selector) => has(&["reserved:host", "reserved:remote-node"]) && selector.matches(labels),
        Peer::Entity(entity) => match entity {
            Entity::All => true,
            Entity::None => false,
            Entity::World => has(&["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"]),
            Entity::WorldIpv4 => addresses(options, labels).iter().any(|net| !net.contains(':')),
            Entity::WorldIpv6 => addresses(options, labels).iter().any(|net| net.contains(':')),
            Entity::Cluster => has(&[
                "reserved:host",
                "reserved:remote-node",
                "reserved:kube-apiserver",
                "reserved:ingress",
                "reserved:init",
                "reserved:health",
                "reserved:unmanaged",
                "k8s:io.cilium.k8s.policy.cluster=here",
            ]),
            Entity::Host => has(&["reserved:host"]),
            Entity::RemoteNode => has(&["reserved:remote-node"]),
            Entity::KubeApiserver => has(&["reserved:kube-apiserver"]),
            Entity::Ingress => has(&["reserved:ingress"]),
            Entity::Init => has(&["reserved:init"]),
            Entity::Health => has(&["reserved:health"]),
            Entity::Unmanaged => has(&["reserved:unmanaged"]),
        },
        Peer::Listed(_) => false,
        Peer::Cidr { prefix, except, owner } => {
            let named = match owner {
                Owner::Outside => false,
                Owner::OutsideOrNode => has(&["reserved:host", "reserved:remote-node"]),
                Owner::OutsideOrPod => !has(&["reserved:host", "reserved:remote-node"]),
                Owner::Anyone => true,
            };
            let mut nets = addresses(options, labels);
            if named {
                nets.extend(addresses(options, end.around));
            }
            nets.iter().any(|net| {
                let net: types::IpNet = net.parse().unwrap();
                prefix.contains(&net) && !except.iter().any(|hole| hole.contains(&net))
            })
        }
    }
}

/// The addresses that an identity outside the cluster stands for.
fn addresses(options: &Options, labels: &Labels) -> Vec<String> {
    let cidrs: Vec<String> = super::PREFIXES
        .iter()
        .filter(|net| *labels == Labels::of_cidr(&net.parse().unwrap(), world_of(labels)))
        .map(ToString::to_string)
        .collect();
    if !cidrs.is_empty() {
        return cidrs;
    }
    match (labels.to_string().as_str(), options.families) {
        ("reserved:world", Families::V4) | ("reserved:world-ipv4", _) => vec!["0.0.0.0/0".into()],
        ("reserved:world", Families::V6) | ("reserved:world-ipv6", _) => vec!["::/0".into()],
        _ => vec![],
    }
}

fn world_of(labels: &Labels) -> &'static str {
    ["world-ipv4", "world-ipv6"].into_iter().find(|name| labels.has_reserved(name)).unwrap_or("world")
}

fn port_fits(port: &PortRule, receiver: &NamedPorts, packet: &Packet) -> bool {
    let with_ports = |protocol: &Protocol| match protocol {
        Protocol::Any => [6, 17, 132].contains(&packet.protocol),
        Protocol::Number(number) => *number == packet.protocol,
    };
    match port {
        PortRule::Protocol(Protocol::Any) => true,
        PortRule::Protocol(Protocol::Number(number)) => *number == packet.protocol,
        PortRule::Ports { protocol, first, last } => {
            with_ports(protocol) && (*first..=*last).contains(&packet.port)
        }
        PortRule::Named { protocol, name } => {
            with_ports(protocol)
                && receiver.get(name).is_some_and(|p| p.contains(&(packet.protocol, packet.port)))
        }
        PortRule::Icmp(kind) => packet.protocol == 1 && packet.port == u16::from(*kind),
        PortRule::Icmpv6(kind) => packet.protocol == 58 && packet.port == u16::from(*kind),
    }
}
