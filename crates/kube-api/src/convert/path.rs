//! Where in an object something is wrong, and what.

use std::fmt;

use types::{PolicyOrigin, SelectorError};

/// A place in an object, as a chain of steps on the stack: nothing is allocated unless something is wrong.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Path<'static> {
    /// The object itself.
    pub(crate) const ROOT: Self = Self { parent: None, step: Step::Key("") };
}

impl Path<'_> {
    /// A field of this place.
    pub(crate) fn key<'a>(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(name) }
    }

    /// An item of the list at this place.
    pub(crate) fn index(&self, index: usize) -> Path<'_> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// Something is wrong here.
    pub(crate) fn refuse(&self, problem: Problem) -> Refused {
        Refused { path: self.to_string(), problem }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = self.parent.is_none_or(|parent| parent.parent.is_none());
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Key(name) if top => f.write_str(name),
            Step::Key(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Something is wrong at a place, of an object that is not named yet.
#[derive(Debug)]
pub(crate) struct Refused {
    path: String,
    problem: Problem,
}

impl Refused {
    /// Names the object.
    pub(crate) fn of(self, object: PolicyOrigin) -> ConvertError {
        ConvertError { object: Box::new(object), path: self.path, problem: self.problem }
    }
}

/// A policy object that cannot be applied.
#[derive(Debug, thiserror::Error)]
#[error("apply {object}: {path}")]
pub struct ConvertError {
    /// The object.
    pub object: Box<PolicyOrigin>,
    /// The part that is at fault: `spec.ingress[0].toPorts[1].ports[0].port`.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// What can be wrong with a part of a policy.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Cilium has this, we do not yet.
    #[error(
        "{feature} is not supported yet by this version: remove it; until then the whole policy is not applied"
    )]
    Unsupported {
        /// What it is.
        feature: &'static str,
    },
    /// Nobody has this.
    #[error("this field is unknown, and what it would restrict is unknown too: check its spelling")]
    UnknownField,
    /// The object has no namespace.
    #[error("the policy has no namespace: create it in one")]
    NoNamespace,
    /// There is no rule.
    #[error("the policy has no rule: give spec or specs")]
    NoRule,
    /// A rule without a subject or with two.
    #[error("a rule needs exactly one of endpointSelector and nodeSelector")]
    Subject,
    /// A rule for nodes in a namespace.
    #[error("a policy in a namespace cannot rule nodes: use a CiliumClusterwideNetworkPolicy")]
    NodesInNamespace,
    /// A subject in a namespace of somebody else.
    #[error(
        "a policy rules pods of its own namespace, not of {namespace:?}: remove this label, or use a \
         CiliumClusterwideNetworkPolicy"
    )]
    ForeignSubject {
        /// The namespace that was asked for.
        namespace: String,
    },
    /// A rule without a direction.
    #[error("the rule says nothing: give ingress, ingressDeny, egress or egressDeny")]
    NoDirection,
    /// Two kinds of peers in one rule.
    #[error("{first} and {second} cannot stand in one rule: write a rule for each")]
    Combined {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A selector that is none.
    #[error("the selector cannot be used")]
    Selector(#[from] SelectorError),
    /// A name that no entity has.
    #[error("there is no entity {name:?}: use one of {}", crate::entity::NAMES.join(", "))]
    Entity {
        /// What was given.
        name: String,
    },
    /// A text that is no prefix.
    #[error("{text:?} is neither a prefix nor an address: write 10.0.0.0/8 or fd00::/8")]
    Cidr {
        /// What was given.
        text: String,
    },
    /// An exception that excepts nothing.
    #[error("{except} does not lie inside of {cidr}: remove it, or widen the block")]
    ExceptOutside {
        /// The exception.
        except: String,
        /// The block.
        cidr: String,
    },
    /// A block that is not named in exactly one way.
    #[error("name the block in exactly one way: cidr, cidrGroupRef or cidrGroupSelector")]
    CidrChoice,
    /// A service that is not named in exactly one way.
    #[error("name the service in exactly one way: k8sService with a serviceName, or k8sServiceSelector")]
    ServiceChoice,
    /// A port that is missing.
    #[error("the port is missing: give a number or a name, or \"0\" for every port")]
    NoPort,
    /// A port that is none.
    #[error(
        "{text:?} is no port: give a number up to 65535, or a name of at most 15 letters, digits and single hyphens"
    )]
    Port {
        /// What was given.
        text: String,
    },
    /// A range that is none.
    #[error("endPort {end} needs a numeric port from 1 up to {end} before it")]
    EndPort {
        /// What was given.
        end: i32,
    },
    /// A port of a protocol that has none.
    #[error("VRRP and IGMP have no ports: leave out port {port:?}, or write \"0\"")]
    Portless {
        /// What was given.
        port: String,
    },
    /// A protocol that ports do not have.
    #[error("{text:?} is no protocol with ports: use TCP, UDP, SCTP, ANY, VRRP or IGMP; for ICMP use icmps")]
    Protocol {
        /// What was given.
        text: String,
    },
    /// A family that ICMP does not have.
    #[error("{text:?} is no family: use IPv4 or IPv6")]
    Family {
        /// What was given.
        text: String,
    },
    /// An ICMP type that is none.
    #[error("{text:?} is no ICMP type of {family}: give a number up to 255 or its name, such as EchoRequest")]
    IcmpType {
        /// What was given.
        text: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// A tier that is none.
    #[error("{text:?} is no tier: use Admin or Baseline")]
    Tier {
        /// What was given.
        text: String,
    },
    /// A priority out of range.
    #[error("{number} is no priority: give a number from 0 (asked first) to 1000")]
    Priority {
        /// What was given.
        number: i64,
    },
    /// An action that is none.
    #[error("{text:?} is no action: use Accept, Deny or Pass")]
    Action {
        /// What was given.
        text: String,
    },
    /// A subject that is not named in exactly one way.
    #[error("name the subject in exactly one way: namespaces or pods")]
    ClusterSubject,
    /// A rule without peers.
    #[error("the rule has no peer: give at least one")]
    NoPeer,
    /// A peer that is not named in exactly one way.
    #[error("name the peer in exactly one way: namespaces or pods; for egress also nodes or networks")]
    ClusterPeer,
    /// A protocol that is not named in exactly one way.
    #[error("give exactly one of tcp, udp, sctp and destinationNamedPort, and a port as number or range")]
    ClusterProtocol,
    /// A peer that says nothing.
    #[error("a peer needs podSelector, namespaceSelector or ipBlock")]
    EmptyPeer,
    /// A dry run that is neither asked for nor not.
    #[error(transparent)]
    Audit(#[from] crate::BadAudit),
    /// A direction that is none.
    #[error("{text:?} is no policy type: use Ingress or Egress")]
    PolicyType {
        /// What was given.
        text: String,
    },
}
