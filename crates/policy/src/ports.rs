//! Ports of rules as keys of the table.

use crate::rule::{NamedPorts, PortRule, Protocol};
use crate::table::L4Key;
use std::collections::BTreeSet;

/// The keys that the numbered ports of a rule stand for, each once.
pub(crate) fn keys(ports: &[PortRule]) -> Vec<L4Key> {
    let mut keys = BTreeSet::new();
    for port in ports {
        match *port {
            PortRule::Protocol(Protocol::Any | Protocol::Number(0)) => {
                keys.insert(L4Key::ANY);
            }
            PortRule::Protocol(Protocol::Number(protocol)) => {
                keys.insert(L4Key::protocol(protocol));
            }
            PortRule::Ports { protocol, first, last } => {
                for protocol in protocol.with_ports() {
                    keys.extend(range(*protocol, first, last));
                }
            }
            PortRule::Icmp(kind) => {
                keys.insert(L4Key::port(1, u16::from(kind)));
            }
            PortRule::Icmpv6(kind) => {
                keys.insert(L4Key::port(58, u16::from(kind)));
            }
            PortRule::Named { .. } => {}
        }
    }
    keys.into_iter().collect()
}

/// The keys that names stand for, at a pod that gives its ports the names in `ports`.
pub(crate) fn named<'a>(
    names: impl IntoIterator<Item = &'a (Protocol, String)>,
    ports: &NamedPorts,
) -> Vec<L4Key> {
    let mut keys = BTreeSet::new();
    for (protocol, name) in names {
        let numbers = ports.get(name).into_iter().flatten();
        let fit = numbers.filter(|(number, _)| protocol.with_ports().contains(number));
        keys.extend(fit.map(|(number, port)| L4Key::port(*number, *port)));
    }
    keys.into_iter().collect()
}

/// The fewest prefixes that hold exactly `first..=last`; none if there is no port in it. All ports are one key that
/// leaves the port open.
fn range(protocol: u8, first: u16, last: u16) -> Vec<L4Key> {
    let mut keys = Vec::new();
    let mut next = u32::from(first);
    let end = u32::from(last) + 1;
    while next < end {
        // The largest aligned block that starts here and does not reach beyond the end.
        let aligned = next.trailing_zeros().min(16);
        let fitting = (end - next).ilog2();
        let log = aligned.min(fitting);
        keys.push(L4Key { protocol, port: next as u16, bits: L4Key::FULL - log as u8 });
        next += 1 << log;
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_exactly_their_ports() {
        let edges = [0, 1, 2, 79, 80, 443, 1023, 1024, 8000, 32_767, 32_768, 65_534, 65_535];
        for first in edges {
            for last in edges {
                let keys = range(6, first, last);
                assert!(keys.len() <= 30);
                for port in edges.iter().flat_map(|p| [p.saturating_sub(1), *p, p.saturating_add(1)]) {
                    let covered = keys.iter().filter(|key| key.covers(&L4Key::port(6, port))).count();
                    assert_eq!(
                        covered,
                        usize::from((first..=last).contains(&port)),
                        "{first}-{last}: {port}"
                    );
                }
            }
        }
        assert_eq!(range(6, 0, 65_535), [L4Key::protocol(6)]);
        assert_eq!(range(6, 80, 80), [L4Key::port(6, 80)]);
    }

    #[test]
    fn ports_of_any_protocol_are_those_that_have_ports() {
        let keys = keys(&[PortRule::port(Protocol::Any, 53), PortRule::port(Protocol::ICMP, 1)]);
        assert_eq!(keys, [L4Key::port(6, 53), L4Key::port(17, 53), L4Key::port(132, 53)]);
    }

    #[test]
    fn names_stand_for_what_the_pod_says() {
        let ports = NamedPorts::from([("http".into(), [(6, 80), (17, 443)].into())]);
        let wanted = [(Protocol::TCP, "http".to_owned()), (Protocol::TCP, "other".to_owned())];
        assert_eq!(named(&wanted, &ports), [L4Key::port(6, 80)]);
        assert_eq!(named(&[(Protocol::Any, "http".to_owned())], &ports).len(), 2);
    }
}
