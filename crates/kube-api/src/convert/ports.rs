//! Ports, protocols and ICMP types of Cilium's rules; ports by name for both kinds.

use policy::{PortRule, Protocol, Verdict};

use super::cilium::known;
use super::path::{Path, Problem, Refused};
use crate::icmp;
use crate::ports::{IcmpRule, IntOrString, PortProtocol, PortRule as WrittenPorts};

/// Internet Group Management Protocol.
const IGMP: Protocol = Protocol::Number(2);
/// Virtual Router Redundancy Protocol.
const VRRP: Protocol = Protocol::Number(112);

/// What a rule says of ports, from the lists in `toPorts` and from `icmps`; nothing where it does not speak of them.
pub(super) fn convert(
    lists: Option<Vec<Option<&[PortProtocol]>>>,
    icmps: Option<&[IcmpRule]>,
    verdict: Verdict,
    path: &Path<'_>,
) -> Result<Option<Vec<PortRule>>, Refused> {
    let messages = icmps.map(|icmps| messages(icmps, &path.key("icmps"))).transpose()?;
    let ports = lists.map(|lists| in_lists(&lists, verdict, &path.key("toPorts"))).transpose()?;
    let messages = messages.map(|messages| or_all(messages, verdict));
    match (ports, messages) {
        (Some(ports), Some(messages)) if !ports.is_empty() && !messages.is_empty() => {
            Err(path.refuse(Problem::Combined { first: "toPorts", second: "icmps" }))
        }
        // Both are restrictions, and no packet meets a list that is empty.
        (Some(_), Some(_)) => Ok(Some(Vec::new())),
        (ports, messages) => Ok(ports.or(messages)),
    }
}

/// An empty list allows nothing and denies everything.
fn or_all(ports: Vec<PortRule>, verdict: Verdict) -> Vec<PortRule> {
    if ports.is_empty() && verdict == Verdict::Deny { vec![PortRule::ANY] } else { ports }
}

fn in_lists(
    lists: &[Option<&[PortProtocol]>],
    verdict: Verdict,
    path: &Path<'_>,
) -> Result<Vec<PortRule>, Refused> {
    let mut all = Vec::new();
    for (index, list) in lists.iter().enumerate() {
        let path = path.index(index);
        let path = path.key("ports");
        let mut ports = Vec::new();
        for (index, port) in list.iter().copied().flatten().enumerate() {
            ports.push(one(port, &path.index(index))?);
        }
        all.extend(or_all(ports, verdict));
    }
    Ok(or_all(all, verdict))
}

fn one(written: &PortProtocol, path: &Path<'_>) -> Result<PortRule, Refused> {
    known(&written.unknown, path)?;
    let name = written.protocol.as_deref().unwrap_or_default();
    let protocol = match name.to_ascii_uppercase().as_str() {
        "" | "ANY" => Protocol::Any,
        "TCP" => Protocol::TCP,
        "UDP" => Protocol::UDP,
        "SCTP" => Protocol::SCTP,
        "VRRP" => return portless(written, VRRP, path),
        "IGMP" => return portless(written, IGMP, path),
        _ => return Err(path.key("protocol").refuse(Problem::Protocol { text: name.to_owned() })),
    };
    match written.port.as_deref() {
        None | Some("") => Err(path.key("port").refuse(Problem::NoPort)),
        Some(text) => numbered_or_named(text, written.end_port, protocol, path),
    }
}

/// A protocol that has no ports; "0" says so.
fn portless(written: &PortProtocol, protocol: Protocol, path: &Path<'_>) -> Result<PortRule, Refused> {
    match (written.port.as_deref(), written.end_port) {
        (None | Some("" | "0"), None | Some(0)) => Ok(PortRule::Protocol(protocol)),
        (port, _) => {
            let port = port.unwrap_or_default().to_owned();
            Err(path.key("port").refuse(Problem::Portless { port }))
        }
    }
}

/// A port, a range of ports, or a port by name; number 0 is every port.
pub(super) fn numbered_or_named(
    text: &str,
    end: Option<i32>,
    protocol: Protocol,
    path: &Path<'_>,
) -> Result<PortRule, Refused> {
    let end = end.filter(|end| *end != 0);
    let no_range = |end| path.key("endPort").refuse(Problem::EndPort { end });
    let bad = || path.key("port").refuse(Problem::Port { text: text.to_owned() });
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let first: u16 = text.parse().map_err(|_| bad())?;
        return match (first, end) {
            (0, None) => Ok(PortRule::Protocol(protocol)),
            (0, Some(end)) => Err(no_range(end)),
            (first, None) => Ok(PortRule::port(protocol, first)),
            (first, Some(end)) => match u16::try_from(end) {
                Ok(last) if last >= first => Ok(PortRule::Ports { protocol, first, last }),
                _ => Err(no_range(end)),
            },
        };
    }
    if let Some(end) = end {
        return Err(no_range(end));
    }
    // Pod specs have names in lower case only.
    let name = text.to_ascii_lowercase();
    if is_port_name(&name) { Ok(PortRule::Named { protocol, name }) } else { Err(bad()) }
}

/// RFC 6335 §5.1.
fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && name.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

fn messages(icmps: &[IcmpRule], path: &Path<'_>) -> Result<Vec<PortRule>, Refused> {
    let mut messages = Vec::new();
    for (index, rule) in icmps.iter().enumerate() {
        let path = path.index(index);
        known(&rule.unknown, &path)?;
        let list = path.key("fields");
        for (index, field) in rule.fields.iter().flatten().enumerate() {
            let path = list.index(index);
            let v6 = match field.family.as_deref() {
                None | Some("IPv4" | "") => false,
                Some("IPv6") => true,
                Some(text) => {
                    return Err(path.key("family").refuse(Problem::Family { text: text.to_owned() }));
                }
            };
            let kind = icmp_type(&field.kind, v6).ok_or_else(|| {
                let text = match &field.kind {
                    IntOrString::Int(number) => number.to_string(),
                    IntOrString::String(text) => text.clone(),
                };
                let family = if v6 { "IPv6" } else { "IPv4" };
                path.key("type").refuse(Problem::IcmpType { text, family })
            })?;
            messages.push(if v6 { PortRule::Icmpv6(kind) } else { PortRule::Icmp(kind) });
        }
    }
    Ok(messages)
}

fn icmp_type(written: &IntOrString, v6: bool) -> Option<u8> {
    match written {
        IntOrString::Int(number) => u8::try_from(*number).ok(),
        IntOrString::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        IntOrString::String(name) => icmp::by_name(name, v6),
    }
}

/// Refuses what only a proxy could check: without it the ports would be open to everything.
pub(super) fn no_layer7(written: &WrittenPorts, path: &Path<'_>) -> Result<(), Refused> {
    let refuse = |field: &str, feature| Err(path.key(field).refuse(Problem::Unsupported { feature }));
    if written.terminating_tls.is_some() {
        return refuse("terminatingTLS", "TLS interception");
    }
    if written.originating_tls.is_some() {
        return refuse("originatingTLS", "TLS interception");
    }
    if written.server_names.is_some() {
        return refuse("serverNames", "a TLS server name");
    }
    if written.listener.is_some() {
        return refuse("listener", "a proxy listener");
    }
    let Some(rules) = &written.rules else { return Ok(()) };
    let path = path.key("rules");
    known(&rules.unknown, &path)?;
    let present = [
        (rules.http.is_some(), "http", "an HTTP rule"),
        (rules.kafka.is_some(), "kafka", "a Kafka rule"),
        (rules.dns.is_some(), "dns", "a DNS rule"),
        (rules.l7proto.is_some(), "l7proto", "a generic layer 7 rule"),
        (rules.l7.is_some(), "l7", "a generic layer 7 rule"),
    ];
    match present.into_iter().find(|(present, ..)| *present) {
        Some((_, field, feature)) => Err(path.key(field).refuse(Problem::Unsupported { feature })),
        None => Ok(()),
    }
}
