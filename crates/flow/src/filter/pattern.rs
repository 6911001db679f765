//! Single members of a filter, and how they are written.

use crate::model::{Flow, L4, L7Record};
use regex::{Regex, RegexBuilder};
use std::str::FromStr;

/// What a compiled expression may take, bytes: enough for any that a person writes, too little to hurt an agent.
const REGEX_SIZE: usize = 1 << 20;

/// A text that is no member of a filter.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PatternError {
    /// Neither namespace nor name.
    #[error("pattern {text:?} is empty: write NAME, NAMESPACE/ or NAMESPACE/NAME")]
    Empty {
        /// What was given.
        text: String,
    },
    /// Not a port.
    #[error("port {text:?} is none: write a number from 0 to 65535, or FIRST-LAST")]
    Port {
        /// What was given.
        text: String,
    },
    /// Not a protocol.
    #[error(
        "protocol {text:?} is unknown: choose from tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp, http, dns, kafka"
    )]
    Protocol {
        /// What was given.
        text: String,
    },
    /// Not a status code.
    #[error(
        "HTTP status {text:?} is none: write three digits such as 404, or the first ones and a + such as 5+"
    )]
    Status {
        /// What was given.
        text: String,
    },
    /// Not a regular expression, or too large a one.
    #[error("regular expression {text:?} cannot be used")]
    Regex {
        /// What was given.
        text: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// A character that no DNS or node name has.
    #[error("name pattern {text:?} holds {character:?}: use letters, digits, '-', '.', '_' and '*'")]
    Name {
        /// What was given.
        text: String,
        /// The first one that does not fit.
        character: char,
    },
}

/// A regular expression that fits anywhere in a text, in time linear in the text.
#[derive(Clone, Debug)]
pub struct TextPattern(Regex);

/// Pods or services: `ns/name`, `ns/` (all of it), `/name` (in any namespace), `name` (in `default`). The name may end
/// early: `kube-system/coredns-` fits all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPattern {
    /// Empty for any.
    namespace: String,
    /// Beginning of the name.
    prefix: String,
}

/// DNS or cluster names, `*` standing for any run of name characters; case and a final dot do not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

/// Nodes: `name`, `cluster/name` or `cluster/`, with `*` as in [`NamePattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePattern {
    cluster: Option<NamePattern>,
    name: NamePattern,
}

/// A port, or all from first to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A protocol by which flows can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP of either version.
    Icmp,
    /// ICMP over IPv4.
    Icmp4,
    /// ICMPv6.
    Icmp6,
    /// VRRP.
    Vrrp,
    /// IGMP.
    Igmp,
    /// HTTP.
    Http,
    /// DNS.
    Dns,
    /// Kafka.
    Kafka,
}

impl TextPattern {
    /// Whether it fits.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for TextPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for TextPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let built = RegexBuilder::new(text).size_limit(REGEX_SIZE).dfa_size_limit(REGEX_SIZE).build();
        built
            .map(Self)
            .map_err(|source| PatternError::Regex { text: text.to_owned(), source: Box::new(source) })
    }
}

impl PodPattern {
    /// Whether a pod or service fits.
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        (!namespace.is_empty() || !name.is_empty())
            && (self.namespace.is_empty() || self.namespace == namespace)
            && name.starts_with(&self.prefix)
    }
}

impl FromStr for PodPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
        if text.is_empty() {
            return Err(PatternError::Empty { text: text.to_owned() });
        }
        Ok(Self { namespace: namespace.to_owned(), prefix: prefix.to_owned() })
    }
}

impl NamePattern {
    /// Whether a name fits.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        glob(self.0.as_bytes(), name.as_bytes())
    }
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = text.strip_suffix('.').unwrap_or(text);
        if pattern.is_empty() {
            return Err(PatternError::Empty { text: text.to_owned() });
        }
        match pattern.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.' | '_' | '*')) {
            Some(character) => Err(PatternError::Name { text: text.to_owned(), character }),
            None => Ok(Self(pattern.to_ascii_lowercase())),
        }
    }
}

impl NodePattern {
    /// Whether a node fits, given as `cluster/name` or `name`.
    pub fn matches(&self, node: &str) -> bool {
        let (cluster, name) = node.split_once('/').unwrap_or(("default", node));
        !node.is_empty()
            && self.cluster.as_ref().is_none_or(|pattern| pattern.matches(cluster))
            && self.name.matches(name)
    }
}

impl FromStr for NodePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        match text.split_once('/') {
            None => Ok(Self { cluster: None, name: text.parse()? }),
            Some((cluster, name)) => Ok(Self {
                cluster: (!cluster.is_empty()).then(|| cluster.parse()).transpose()?,
                name: if name.is_empty() { "*" } else { name }.parse()?,
            }),
        }
    }
}

impl PortRange {
    /// Whether the port lies in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl FromStr for PortRange {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let bad = || PatternError::Port { text: text.to_owned() };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let first = first.parse().map_err(|_| bad())?;
        let last = last.parse().map_err(|_| bad())?;
        if first > last { Err(bad()) } else { Ok(Self { first, last }) }
    }
}

impl Protocol {
    /// Whether the flow speaks it.
    pub fn matches(self, flow: &Flow) -> bool {
        match self {
            Protocol::Tcp => matches!(flow.l4, Some(L4::Tcp { .. })),
            Protocol::Udp => matches!(flow.l4, Some(L4::Udp { .. })),
            Protocol::Sctp => matches!(flow.l4, Some(L4::Sctp { .. })),
            Protocol::Icmp => matches!(flow.l4, Some(L4::Icmp4 { .. } | L4::Icmp6 { .. })),
            Protocol::Icmp4 => matches!(flow.l4, Some(L4::Icmp4 { .. })),
            Protocol::Icmp6 => matches!(flow.l4, Some(L4::Icmp6 { .. })),
            Protocol::Vrrp => matches!(flow.l4, Some(L4::Vrrp { .. })),
            Protocol::Igmp => matches!(flow.l4, Some(L4::Igmp { .. })),
            Protocol::Http => matches!(record(flow), Some(L7Record::Http { .. })),
            Protocol::Dns => matches!(record(flow), Some(L7Record::Dns { .. })),
            Protocol::Kafka => matches!(record(flow), Some(L7Record::Kafka { .. })),
        }
    }
}

impl FromStr for Protocol {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            "icmp" => Protocol::Icmp,
            "icmpv4" => Protocol::Icmp4,
            "icmpv6" => Protocol::Icmp6,
            "vrrp" => Protocol::Vrrp,
            "igmp" => Protocol::Igmp,
            "http" => Protocol::Http,
            "dns" => Protocol::Dns,
            "kafka" => Protocol::Kafka,
            _ => return Err(PatternError::Protocol { text: text.to_owned() }),
        })
    }
}

fn record(flow: &Flow) -> Option<&L7Record> {
    flow.l7.as_deref().map(|l7| &l7.record)
}

/// Whether `text` fits `pattern`, `*` standing for anything. Linear in time but for one way back to the last star, so
/// a hostile pattern costs no more than its length times that of the name.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
