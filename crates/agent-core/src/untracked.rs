//! What the kernel's connection tracking leaves alone, as pods ask by annotations: addresses and ports between which so many
//! short connections are made that their entries would fill the kernel's table (DNS caches).
//!
//! This is about netfilter's table, which only packets through the node's stack meet. Policy does not look there: it judges
//! every packet as ever, by flows of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Annotation of a pod, and its old name: one port of its addresses, of TCP and UDP.
const PORT: [&str; 2] = ["policy.cilium.io/no-track-port", "io.cilium.no-track-port"];
/// Annotation of a pod in its node's network: ports of the node, `443/tcp,53/udp`.
const HOST_PORTS: &str = "network.cilium.io/no-track-host-ports";
/// Of what cannot be read, as much is told, characters.
const SHOWN: usize = 40;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// What a pod asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoTrack {
    /// A port of its own addresses, host order.
    pub port: Option<u16>,
    /// Ports of the node: IP protocol and number, host order.
    pub host_ports: BTreeSet<(u8, u16)>,
    /// What it asks in vain: where, why, and what helps.
    pub refused: Vec<String>,
}

/// What the connection tracking of this node is to leave alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untracked {
    /// Address of a pod, IP protocol and port (host order): to there, and back from there.
    pub pods: BTreeSet<(IpAddr, u8, u16)>,
    /// IP protocol and port (host order) of the node itself, whatever its address.
    pub node: BTreeSet<(u8, u16)>,
    /// What pods ask in vain.
    pub refused: BTreeSet<String>,
}

impl Untracked {
    /// Takes in what a pod with these addresses of its own asks.
    pub(crate) fn add(&mut self, asked: &NoTrack, addresses: impl Iterator<Item = IpAddr>) {
        for address in addresses {
            self.pods
                .extend(asked.port.iter().flat_map(|port| [TCP, UDP].map(|proto| (address, proto, *port))));
        }
        self.node.extend(&asked.host_ports);
        self.refused.extend(asked.refused.iter().cloned());
    }
}

/// Reads a pod's annotations. What cannot be read leaves its connections tracked.
pub(crate) fn asked(meta: &ObjectMeta, host_network: bool) -> NoTrack {
    let mut asked = NoTrack::default();
    let none = BTreeMap::new();
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let text = |name: &Option<String>| name.clone().unwrap_or_default();
    let pod = format!("Pod {}/{}", text(&meta.namespace), text(&meta.name));
    let refuse = |annotation: &str, why: String| {
        format!("{pod}: metadata.annotations.{annotation}: {why}; until then its connections are tracked")
    };
    let port = PORT.iter().find_map(|name| Some((*name, annotations.get(*name)?)));
    match port {
        Some((name, _)) if host_network => {
            let why = format!("a pod in its node's network has no address of its own: use {HOST_PORTS}");
            asked.refused.push(refuse(name, why));
        }
        Some((name, text)) => match number(text) {
            Some(port) => asked.port = Some(port),
            None => asked
                .refused
                .push(refuse(name, format!("{} is no port: write one number from 1 to 65535", shown(text)))),
        },
        None => {}
    }
    match annotations.get(HOST_PORTS) {
        Some(_) if !host_network => {
            let why = format!("this is for pods with hostNetwork: true; use {} here", PORT[0]);
            asked.refused.push(refuse(HOST_PORTS, why));
        }
        Some(text) => match text.split(',').map(host_port).collect::<Result<_, _>>() {
            Ok(ports) => asked.host_ports = ports,
            Err(part) => {
                let why = format!("{} is no port: write 443/tcp,53/udp", shown(part));
                asked.refused.push(refuse(HOST_PORTS, why));
            }
        },
        None => {}
    }
    asked
}

/// A port as digits and nothing else.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// `443/tcp`, with spaces around it.
fn host_port(text: &str) -> Result<(u8, u16), &str> {
    let (port, protocol) = text.trim().split_once('/').ok_or(text)?;
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => TCP,
        "udp" => UDP,
        "sctp" => SCTP,
        _ => return Err(text),
    };
    Ok((protocol, number(port).ok_or(text)?))
}

/// The beginning of a text, quoted, without what would steer a terminal.
fn shown(text: &str) -> String {
    let start: String = text.chars().take(SHOWN).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{start:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(annotations: &[(&str, &str)], host_network: bool) -> NoTrack {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (name, namespace) = (Some("dns".to_owned()), Some("kube-system".to_owned()));
        asked(
            &ObjectMeta { name, namespace, annotations: Some(annotations), ..ObjectMeta::default() },
            host_network,
        )
    }

    #[test]
    fn ports_of_pods_and_of_nodes() {
        let [name, old] = PORT;
        assert_eq!(of(&[(name, "53")], false).port, Some(53));
        assert_eq!(of(&[(old, "53")], false).port, Some(53));
        assert_eq!(of(&[(old, "54"), (name, "53")], false).port, Some(53), "the new name counts");
        assert_eq!(of(&[("example.org/no-track-port", "53")], false), NoTrack::default());
        let host = of(&[(HOST_PORTS, "443/tcp, 53/UDP,9/sctp")], true);
        assert_eq!(host.host_ports, [(TCP, 443), (UDP, 53), (SCTP, 9)].into());
        assert_eq!((host.port, host.refused.len()), (None, 0));

        let mut all = Untracked::default();
        let addresses: [IpAddr; 2] = ["10.0.0.7", "fd00::7"].map(|text| text.parse().expect("an address"));
        all.add(&of(&[(name, "53")], false), addresses.into_iter());
        all.add(&host, std::iter::empty());
        assert_eq!((all.pods.len(), all.node.len()), (4, 3));
        assert!(all.pods.contains(&(addresses[1], UDP, 53)));
    }

    #[test]
    fn what_cannot_be_read_is_told_and_means_nothing() {
        let control = "\u{1b}[2J".repeat(100);
        for bad in ["", "dns", "0", "65536", "-1", "+53", "53/udp", "53,54", " 53", "５３", &control] {
            let asked = of(&[(PORT[0], bad)], false);
            let [told] = asked.refused.as_slice() else { panic!("{bad:?} was understood: {asked:?}") };
            let start = "Pod kube-system/dns: metadata.annotations.policy.cilium.io/no-track-port: ";
            assert!(told.starts_with(start) && told.contains("65535") && told.len() < 500, "{told}");
            assert!(!told.contains('\u{1b}') && asked.port.is_none());
        }
        for bad in ["", "443", "443/icmp", "443/tcp,", "443/tcp,x/udp", "/tcp", "0/tcp", "70000/tcp"] {
            let asked = of(&[(HOST_PORTS, bad)], true);
            assert!(asked.host_ports.is_empty(), "{bad:?}: all or nothing");
            assert!(asked.refused[0].contains("443/tcp,53/udp"), "{:?}", asked.refused);
        }
        let wrong = [of(&[(PORT[0], "53")], true), of(&[(HOST_PORTS, "53/udp")], false)];
        for (asked, cure) in wrong.iter().zip([HOST_PORTS, PORT[0]]) {
            assert!(asked.port.is_none() && asked.host_ports.is_empty());
            assert!(asked.refused[0].contains(cure), "{:?}", asked.refused);
        }
    }
}
