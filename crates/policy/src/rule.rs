use crate::reference::Reference;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use types::{IpNet, Selector};

/// One rule, whatever kind of policy it came from. It applies to a packet if it selects the pod (subject), the direction
/// fits, and any peer and any port fit.
///
/// Both lists mean what they hold: an empty `peers` or `ports` fits nothing (such a rule can still close a direction by
/// `default_deny`). "Anyone" and "anything" are said explicitly, by [`Peer::All`] and [`PortRule::ANY`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Whose traffic is ruled.
    pub subject: Subject,
    /// Packets to the subject, or from it.
    pub direction: Direction,
    /// Who is at the other end.
    pub peers: Vec<Peer>,
    /// Destination ports and protocols.
    pub ports: Vec<PortRule>,
    /// What becomes of a packet.
    pub verdict: Verdict,
    /// Tiers are asked in order; the first that decides wins.
    pub tier: Tier,
    /// Within a tier the lowest number wins; at equal numbers deny wins over redirect over allow over pass. Larger
    /// numbers than [`Rule::MAX_PRIORITY`] count as that.
    pub priority: u32,
    /// The rule's tier ends in "deny everything" for the subjects of this rule, in this direction.
    pub default_deny: bool,
    /// Where an allowed packet is sent first (layer 7). Only heeded with [`Verdict::Allow`].
    pub redirect: Option<Redirect>,
    /// Dry run: nothing is dropped because of this rule, and nothing allowed because of it; packets that it would have
    /// dropped pass and are reported as `AUDIT`.
    pub audit: bool,
    /// What flows that meet the rule carry (`log.value`).
    pub log: Option<String>,
}

/// Which endpoints a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Pods (and other endpoints, never the node itself).
    Endpoints(Selector),
    /// Nodes, for the host firewall. Never a pod, even one with the same labels (CVE-2025-30163).
    Nodes(Selector),
}

/// Which way a packet goes, seen from the subject. The numbers are those of the policy table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// To the subject.
    Ingress = abi::tables::INGRESS,
    /// From the subject.
    Egress = abi::tables::EGRESS,
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Anyone, known or not.
    All,
    /// Endpoints whose labels match. Namespaces are part of the selector. Host, nodes, world and prefixes are matched only
    /// by a selector that requires a `reserved:` or `cidr:` label, never by what a selector leaves open (CVE-2023-41333).
    Endpoints(Selector),
    /// Nodes (host and remote nodes) whose labels match.
    Nodes(Selector),
    /// A class of peers.
    Entity(Entity),
    /// Addresses: those in `prefix`, but not in any of `except`.
    Cidr {
        /// The addresses.
        prefix: IpNet,
        /// Carved out of it.
        except: BTreeSet<IpNet>,
        /// Whose.
        owner: Owner,
    },
    /// What other objects list. Nobody, until whoever knows those puts the peers that they mean in place
    /// ([`crate::Directory`]).
    Listed(Reference),
}

/// Whose addresses a prefix means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Neither pods' nor nodes': what Cilium's `fromCIDR` and `toCIDR` mean.
    Outside,
    /// Nodes', too (`policyCIDRMatchMode: nodes`).
    OutsideOrNode,
    /// Pods', too, but not nodes' (`policyCIDRMatchMode: pods`).
    OutsideOrPod,
    /// Anybody's: what Kubernetes' `ipBlock` and `networks` mean.
    Anyone,
}

/// A class of peers, under Cilium's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entity {
    /// Everyone.
    All,
    /// Everything outside the cluster.
    World,
    /// Everything outside, by IPv4.
    WorldIpv4,
    /// Everything outside, by IPv6.
    WorldIpv6,
    /// Pods of this cluster, its nodes and everything that belongs to them.
    Cluster,
    /// The pod's own node.
    Host,
    /// Other nodes.
    RemoteNode,
    /// The Kubernetes API server.
    KubeApiserver,
    /// The Ingress proxy.
    Ingress,
    /// Pods without labels yet.
    Init,
    /// Health endpoints.
    Health,
    /// Pods that another plugin runs.
    Unmanaged,
    /// Nobody.
    None,
}

/// Which destination ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRule {
    /// Everything of one protocol, or everything at all.
    Protocol(Protocol),
    /// Ports `first..=last` (host order). Not for ICMP.
    Ports {
        /// TCP, UDP, SCTP, or all three.
        protocol: Protocol,
        /// First port.
        first: u16,
        /// Last port, at least `first`.
        last: u16,
    },
    /// A port by its name in the pod spec of whoever receives: the subject for ingress, each peer for egress.
    Named {
        /// TCP, UDP, SCTP, or all three.
        protocol: Protocol,
        /// The name.
        name: String,
    },
    /// One type of ICMP message (IPv4).
    Icmp(u8),
    /// One type of ICMPv6 message.
    Icmpv6(u8),
}

/// Transport protocols of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// With ports: TCP, UDP and SCTP. Without: everything.
    Any,
    /// One protocol, by its number in the IP header (never 0).
    Number(u8),
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Let through.
    Allow,
    /// Drop.
    Deny,
    /// Leave it to the next tier: the rest of this tier, its default deny too, is skipped.
    Pass,
}

/// Classes of rules, asked in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// What cluster admins enforce.
    Admin = 0,
    /// Everything that users write; the node's own access to its pods is allowed at its end.
    Normal = 1,
    /// What cluster admins fall back to.
    Baseline = 2,
}

/// Where an allowed packet is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Redirect {
    /// Port of the proxy on this node, host order, not 0.
    pub port: u16,
    /// 1 (first) to 126 (last); 0 = none, which comes after all.
    pub priority: u8,
}

/// Ports that a pod spec gives names: name → (protocol number, port in host order).
pub type NamedPorts = BTreeMap<String, BTreeSet<(u8, u16)>>;

impl Rule {
    /// The largest priority that is told apart from others.
    pub const MAX_PRIORITY: u32 = (1 << 22) - 2;

    /// A rule of the normal tier that allows everything to or from anyone and closes its direction; the caller narrows it.
    pub fn allow(subject: Subject, direction: Direction) -> Self {
        Self {
            subject,
            direction,
            peers: vec![Peer::All],
            ports: vec![PortRule::ANY],
            verdict: Verdict::Allow,
            tier: Tier::Normal,
            priority: 0,
            default_deny: true,
            redirect: None,
            audit: false,
            log: None,
        }
    }

    /// The prefixes that the rule names, exceptions included. Whole families are left out: they are the world.
    pub fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        let of_peer = |peer: &Peer| match peer {
            Peer::Cidr { prefix, except, .. } => {
                std::iter::once(*prefix).chain(except.iter().copied()).collect()
            }
            _ => Vec::new(),
        };
        self.peers.iter().flat_map(of_peer).map(types::prefix::canonical).filter(|net| net.prefix_len() > 0)
    }
}

impl PortRule {
    /// Every packet.
    pub const ANY: Self = PortRule::Protocol(Protocol::Any);

    /// One port.
    pub const fn port(protocol: Protocol, port: u16) -> Self {
        PortRule::Ports { protocol, first: port, last: port }
    }
}

impl Protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: Self = Protocol::Number(1);
    /// Transmission Control Protocol.
    pub const TCP: Self = Protocol::Number(6);
    /// User Datagram Protocol.
    pub const UDP: Self = Protocol::Number(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Protocol::Number(58);
    /// Stream Control Transmission Protocol.
    pub const SCTP: Self = Protocol::Number(132);

    /// The protocol numbers that a rule with ports means.
    pub fn with_ports(self) -> &'static [u8] {
        match self {
            Protocol::Any => &[6, 17, 132],
            Protocol::TCP => &[6],
            Protocol::UDP => &[17],
            Protocol::SCTP => &[132],
            Protocol::Number(_) => &[],
        }
    }
}

impl Entity {
    /// Every entity with its name in policies.
    pub const ALL: &'static [(Entity, &'static str)] = &[
        (Entity::All, "all"),
        (Entity::World, "world"),
        (Entity::WorldIpv4, "world-ipv4"),
        (Entity::WorldIpv6, "world-ipv6"),
        (Entity::Cluster, "cluster"),
        (Entity::Host, "host"),
        (Entity::RemoteNode, "remote-node"),
        (Entity::KubeApiserver, "kube-apiserver"),
        (Entity::Ingress, "ingress"),
        (Entity::Init, "init"),
        (Entity::Health, "health"),
        (Entity::Unmanaged, "unmanaged"),
        (Entity::None, "none"),
    ];

    /// The entity with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(entity, _)| *entity)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(entity, _)| *entity == self).map_or("none", |(_, name)| name)
    }
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Direction::Ingress, Direction::Egress];

    /// The number in the policy table.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Pass => "pass",
        })
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tier::Admin => "admin",
            Tier::Normal => "normal",
            Tier::Baseline => "baseline",
        })
    }
}

/// As `policy selectors` prints it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::All => f.write_str("all"),
            Peer::Endpoints(selector) => write!(f, "endpoints {selector}"),
            Peer::Nodes(selector) => write!(f, "nodes {selector}"),
            Peer::Entity(entity) => write!(f, "entity {}", entity.name()),
            Peer::Listed(reference) => write!(f, "{reference}"),
            Peer::Cidr { prefix, except, owner } => {
                let kind = match owner {
                    Owner::Outside => "cidr",
                    Owner::OutsideOrNode => "cidr or node",
                    Owner::OutsideOrPod => "cidr or pod",
                    Owner::Anyone => "addresses",
                };
                write!(f, "{kind} {prefix}")?;
                for (i, hole) in except.iter().enumerate() {
                    write!(f, "{}{hole}", if i == 0 { " except " } else { "," })?;
                }
                Ok(())
            }
        }
    }
}
