//! The filter that people type: words that must all fit. `verdict:dropped ns:shop to:web port:80 -reply:true 10.0.0.7`.

use super::end::{Grouping, Node};
use super::map::{allowed_by, denied_by};
use flow::{Direction, End, Flow, Verdict};
use std::net::IpAddr;
use types::IpNet;

/// Words that are read, and bytes of them.
const WORDS: usize = 32;
const BYTES: usize = 2048;

/// What a browser wants to see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter(Vec<Word>);

/// One condition.
#[derive(Clone, Debug)]
struct Word {
    not: bool,
    /// Any of these.
    tests: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Verdict(Verdict),
    Direction(Direction),
    Reply(bool),
    Namespace(Side, String),
    Name(Side, String),
    Label(Side, String),
    Identity(Side, u32),
    Ip(Side, IpNet),
    Port(u16),
    Protocol(u8),
    Policy(String),
    Seen(String),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    From,
    To,
    Either,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// A word makes no sense; the text says which, and what would.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES {
            return Err(format!("the filter has {} characters: use {BYTES} at most", text.len()));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() > WORDS {
            return Err(format!("the filter has {} words: use {WORDS} at most", words.len()));
        }
        words.into_iter().map(Word::parse).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn fits(&self, flow: &Flow) -> bool {
        self.0.iter().all(|word| word.tests.iter().any(|test| test.fits(flow)) != word.not)
    }
}

impl Word {
    fn parse(text: &str) -> Result<Self, String> {
        let (not, rest) = match text.strip_prefix('-') {
            Some(rest) if !rest.is_empty() => (true, rest),
            _ => (false, text),
        };
        let Some((name, values)) = rest.split_once(':').filter(|(name, _)| is_name(name)) else {
            return Ok(Self { not, tests: vec![Test::Text(rest.to_lowercase())] });
        };
        // Labels and names hold no commas.
        let values = values.split(',').filter(|value| !value.is_empty());
        let tests = values.map(|value| test(name, value)).collect::<Result<Vec<_>, _>>()?;
        if tests.is_empty() {
            return Err(format!("{text}: something has to follow the colon"));
        }
        Ok(Self { not, tests })
    }
}

/// What stands before a colon; addresses of IPv6 have colons, too.
fn is_name(name: &str) -> bool {
    const NAMES: [&str; 19] = [
        "verdict",
        "v",
        "dir",
        "direction",
        "reply",
        "ns",
        "namespace",
        "pod",
        "name",
        "from",
        "to",
        "label",
        "id",
        "identity",
        "ip",
        "port",
        "proto",
        "policy",
        "node",
    ];
    NAMES.contains(&name.trim_start_matches("from-").trim_start_matches("to-"))
}

fn test(name: &str, value: &str) -> Result<Test, String> {
    let (side, name) = match (name.strip_prefix("from-"), name.strip_prefix("to-")) {
        (Some(rest), _) => (Side::From, rest),
        (_, Some(rest)) => (Side::To, rest),
        _ => (Side::Either, name),
    };
    let bad = |cure: &str| format!("{name}:{value}: {cure}");
    let lower = value.to_lowercase();
    Ok(match name {
        "verdict" | "v" => Test::Verdict(match lower.as_str() {
            "forwarded" | "allowed" => Verdict::Forwarded,
            "dropped" | "denied" => Verdict::Dropped,
            "audit" => Verdict::Audit,
            "redirected" => Verdict::Redirected,
            "error" => Verdict::Error,
            "traced" => Verdict::Traced,
            "translated" => Verdict::Translated,
            _ => return Err(bad("write forwarded, dropped, audit, redirected, error, traced or translated")),
        }),
        "dir" | "direction" => Test::Direction(match lower.as_str() {
            "ingress" | "in" => Direction::Ingress,
            "egress" | "out" => Direction::Egress,
            _ => return Err(bad("write ingress or egress")),
        }),
        "reply" => Test::Reply(lower.parse().map_err(|_| bad("write true or false"))?),
        "ns" | "namespace" => Test::Namespace(side, lower),
        "pod" | "name" => Test::Name(side, lower),
        "from" => Test::Name(Side::From, lower),
        "to" => Test::Name(Side::To, lower),
        "label" => Test::Label(side, value.to_owned()),
        "id" | "identity" => Test::Identity(side, value.parse().map_err(|_| bad("an identity is a number"))?),
        "ip" => {
            Test::Ip(side, net(value).ok_or_else(|| bad("write an address or a prefix such as 10.0.0.0/8"))?)
        }
        "port" => Test::Port(value.parse().map_err(|_| bad("a port is a number up to 65535"))?),
        "proto" => Test::Protocol(match lower.as_str() {
            "icmp" => 1,
            "tcp" => 6,
            "udp" => 17,
            "icmpv6" => 58,
            "sctp" => 132,
            other => other.parse().map_err(|_| bad("write tcp, udp, sctp, icmp, icmpv6 or a number"))?,
        }),
        "policy" => Test::Policy(lower),
        "node" => Test::Seen(lower),
        _ => return Err(bad("nothing is called so")),
    })
}

fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Test {
    fn fits(&self, flow: &Flow) -> bool {
        match self {
            Test::Verdict(verdict) => flow.verdict == *verdict,
            Test::Direction(direction) => flow.direction == *direction,
            Test::Reply(reply) => flow.is_reply == Some(*reply),
            Test::Namespace(side, name) => side.any(flow, |end, _| namespace(end) == Some(name)),
            Test::Name(side, name) => side.any(flow, |end, ip| has_name(end, ip, name)),
            Test::Label(side, label) => side.any(flow, |end, _| has_label(end, label)),
            Test::Identity(side, number) => side.any(flow, |end, _| end.identity == *number),
            Test::Ip(side, net) => side.any(flow, |_, ip| ip.is_some_and(|ip| net.contains(&ip))),
            Test::Port(port) => {
                flow.l4.and_then(|l4| l4.ports()).is_some_and(|(from, to)| from == *port || to == *port)
            }
            Test::Protocol(number) => flow.connection().is_ok_and(|c| c.protocol == *number),
            Test::Policy(text) => denied_by(flow)
                .chain(allowed_by(flow))
                .any(|policy| format!("{}/{}", policy.namespace, policy.name).to_lowercase().contains(text)),
            Test::Seen(text) => flow.node_name.to_lowercase().contains(text),
            Test::Text(text) => {
                let named = |end: &End, ip: Option<IpAddr>| {
                    has_name(end, ip, text)
                        || namespace(end).is_some_and(|name| name.contains(text))
                        || ip.is_some_and(|ip| ip.to_string().contains(text))
                        || end.names.iter().any(|name| name.to_lowercase().contains(text))
                };
                Side::Either.any(flow, named)
            }
        }
    }
}

impl Side {
    fn any(self, flow: &Flow, test: impl Fn(&End, Option<IpAddr>) -> bool) -> bool {
        let from = || test(&flow.source, flow.ip.map(|ip| ip.source));
        let to = || test(&flow.destination, flow.ip.map(|ip| ip.destination));
        match self {
            Side::From => from(),
            Side::To => to(),
            Side::Either => from() || to(),
        }
    }
}

fn namespace(end: &End) -> Option<&str> {
    end.pod.as_ref().map(|pod| pod.namespace.as_str()).or_else(|| end.labels.namespace())
}

/// Part of the pod's name, or of the name that the map shows, alone or behind its namespace.
fn has_name(end: &End, ip: Option<IpAddr>, text: &str) -> bool {
    let of_pod = end.pod.as_ref().is_some_and(|pod| {
        pod.name.contains(text)
            || (text.contains('/') && format!("{}/{}", pod.namespace, pod.name).contains(text))
    });
    if of_pod {
        return true;
    }
    let node = Node::of(end, ip, Grouping::Workload);
    let full = if text.contains('/') { format!("{}/{}", node.namespace, node.name) } else { node.name };
    full.to_lowercase().contains(text)
}

/// `key` or `key=value`, with or without the source.
fn has_label(end: &End, wanted: &str) -> bool {
    end.labels.iter().any(|label| {
        let full = label.to_string();
        let bare = full.split_once(':').map_or(full.as_str(), |(_, bare)| bare);
        [full.as_str(), bare, label.key()].contains(&wanted)
    })
}
