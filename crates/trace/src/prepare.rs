//! From a question to a packet and the program that it meets first.

use std::net::IpAddr;

use abi::{Addr, FlowKey, PodFacts, identity};
use datapath::TunnelKey;
use datapath::packet::{Packet, icmp_ports, protocol, tcp};
use sim::frame::{Spec, build};
use sim::{Node, Program, Sent};

use crate::Surroundings;
use crate::who::{Who, identify};

/// What is asked: one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Who sends.
    pub source: IpAddr,
    /// Who is addressed.
    pub destination: IpAddr,
    /// IP protocol number; 0 = any, for which a TCP packet stands.
    pub protocol: u8,
    /// Destination port, host order; for ICMP the type.
    pub port: u16,
    /// Source port, host order; for ICMP echo the identifier. 0 = that of a tracked connection, or any.
    pub source_port: u16,
}

impl Question {
    /// The flow that the packet belongs to.
    pub(crate) fn flow_key(&self) -> FlowKey {
        let (source_port, destination_port) = match (self.protocol, self.port) {
            (protocol::ICMP, 8) | (protocol::ICMPV6, 128) => (self.source_port.to_be(), 0),
            (protocol::ICMP, 0) | (protocol::ICMPV6, 129) => (0, self.source_port.to_be()),
            (protocol::ICMP | protocol::ICMPV6, kind) => icmp_ports(kind as u8),
            _ => (self.source_port.to_be(), self.port.to_be()),
        };
        let mut packet = Packet::EMPTY;
        packet.source = self.source.into();
        packet.destination = self.destination.into();
        packet.source_port = source_port;
        packet.destination_port = destination_port;
        packet.protocol = self.protocol;
        let mut key = FlowKey::default();
        packet.flow_key(&mut key);
        key
    }
}

/// A packet, ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The program it meets first.
    pub program: Program,
    /// The packet.
    pub sent: Sent,
    /// Its sender.
    pub source: Who,
    /// Its receiver.
    pub destination: Who,
    /// The question, with what was left open filled in.
    pub question: Question,
    /// Whether a tracked connection was found for it.
    pub tracked: bool,
}

/// Why a packet cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The ends have no address family in common.
    #[error(
        "{source_name} and {destination_name} have no address of the same family{wanted}: name addresses of one family"
    )]
    Families {
        /// The sender.
        source_name: String,
        /// The receiver.
        destination_name: String,
        /// What the protocol demands.
        wanted: &'static str,
    },
    /// ICMP types are bytes.
    #[error("{given} is no ICMP type: they go from 0 to 255, and an echo request is 8 (128 in ICMPv6)")]
    IcmpType {
        /// What was given.
        given: u16,
    },
    /// Neither end is here.
    #[error(
        "neither {from} nor {to} is on this node{}: ask the agent of the node where one of them is",
        at(node)
    )]
    Elsewhere {
        /// The sender.
        from: IpAddr,
        /// The receiver.
        to: IpAddr,
        /// A node that knows more; unspecified if none is known.
        node: Addr,
    },
    /// The packet stays in the node's stack.
    #[error("{from} and {to} are both this node: such a packet meets no program, and no policy")]
    Within {
        /// The sender.
        from: IpAddr,
        /// The receiver.
        to: IpAddr,
    },
}

fn at(node: &Addr) -> String {
    if node.is_unspecified() { String::new() } else { format!(" (node {node} has one)") }
}

/// The addresses to trace with: the first family that both ends have, IPv4 before IPv6 unless `ipv6`; the protocol may
/// leave no choice.
pub fn choose(
    source: &[IpAddr],
    destination: &[IpAddr],
    protocol: u8,
    ipv6: bool,
) -> Option<(IpAddr, IpAddr)> {
    let of = |addresses: &[IpAddr], v6: bool| addresses.iter().copied().find(|a| a.is_ipv6() == v6);
    let order: &[bool] = match protocol {
        protocol::ICMP => &[false],
        protocol::ICMPV6 => &[true],
        _ if ipv6 => &[true],
        _ => &[false, true],
    };
    order.iter().find_map(|v6| Some((of(source, *v6)?, of(destination, *v6)?)))
}

/// Link address of whoever sends from outside of the pods; no program looks at it.
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The source port where none is asked for: a client's, below the ports that masquerading takes.
const CLIENT_PORT: u16 = 30_000;
const HOPS: u8 = 64;

/// Builds the packet, and picks the program by where its sender is: a pod's own, that of `cilium_host` for what the node
/// sends to pods, that of the native device or of the tunnel for what comes from elsewhere.
///
/// # Errors
/// No program of this node would see the packet, or no packet can be like this.
pub fn prepare(node: &Node, question: &Question, around: &Surroundings) -> Result<Prepared, TraceError> {
    let Question { source: from, destination: to, .. } = *question;
    if from.is_ipv4() != to.is_ipv4() {
        let (source_name, destination_name) = (from.to_string(), to.to_string());
        return Err(TraceError::Families { source_name, destination_name, wanted: "" });
    }
    let (source, destination) = (identify(node, from), identify(node, to));
    let mut question = *question;
    if question.protocol == 0 {
        question.protocol = protocol::TCP;
    }
    let kind = match u8::try_from(question.port) {
        Ok(kind) => kind,
        Err(_) if is_icmp(question.protocol) => return Err(TraceError::IcmpType { given: question.port }),
        Err(_) => 0,
    };
    let tracked = tracked_port(node, &question);
    if question.source_port == 0 {
        question.source_port = tracked.unwrap_or(CLIENT_PORT);
    }
    let (program, mut sent) = place(node, &question, &source, &destination, around)?;
    let (source_mac, destination_mac) = macs(node, source.pod.as_ref().map(|(_, facts)| facts));
    let flags = match question.protocol {
        protocol::TCP => {
            if tracked.is_some() {
                tcp::ACK
            } else {
                tcp::SYN
            }
        }
        _ => kind,
    };
    sent.frame = build(&Spec {
        source_mac,
        destination_mac,
        source: from,
        destination: to,
        protocol: question.protocol,
        source_port: question.source_port,
        destination_port: if is_icmp(question.protocol) { question.source_port } else { question.port },
        flags,
        hops: HOPS,
    });
    Ok(Prepared { program, sent, source, destination, question, tracked: tracked.is_some() })
}

/// Whether ports mean something else.
pub(crate) fn is_icmp(protocol: u8) -> bool {
    protocol == protocol::ICMP || protocol == protocol::ICMPV6
}

fn macs(node: &Node, pod: Option<&PodFacts>) -> ([u8; 6], [u8; 6]) {
    pod.map_or((NEIGHBOUR, node.config.host_mac), |facts| (facts.mac, facts.host_mac))
}

/// The program, and the packet as it meets it, without the frame.
fn place(
    node: &Node,
    question: &Question,
    source: &Who,
    destination: &Who,
    around: &Surroundings,
) -> Result<(Program, Sent), TraceError> {
    let (from, to) = (question.source, question.destination);
    let native = around.native.first().copied().unwrap_or_default();
    let on = |ifindex| Sent { ifindex, ..Sent::default() };
    if let Some((ifindex, _)) = source.pod {
        return Ok((Program::PodEgress, on(ifindex)));
    }
    if source.host {
        return match destination {
            Who { host: true, .. } => Err(TraceError::Within { from, to }),
            Who { pod: Some(_), .. } | Who { tunnel: true, .. } => {
                Ok((Program::HostEgress, on(node.config.host_ifindex)))
            }
            _ => Ok((Program::NetdevEgress, on(native))),
        };
    }
    if destination.pod.is_none() && !destination.host {
        let known = if source.node.is_unspecified() { destination.node } else { source.node };
        return Err(TraceError::Elsewhere { from, to, node: known });
    }
    if !source.tunnel {
        return Ok((Program::NetdevIngress, on(native)));
    }
    // Numbers that only mean something on this node never travel: the other node calls such a sender world.
    let local = identity::is_local_scope(source.identity);
    let carried = if local { identity::WORLD } else { source.identity };
    let tunnel = Some(TunnelKey { identity: carried, remote: source.node });
    Ok((Program::OverlayIngress, Sent { tunnel, ..on(node.config.tunnel_ifindex) }))
}

/// The source port of a tracked connection that the packet would belong to; the lowest, if several do.
fn tracked_port(node: &Node, question: &Question) -> Option<u16> {
    let keys = node.flows.keys().chain(node.half_open.keys()).filter(|key| key.protocol == question.protocol);
    // The client's end is the one or the other; for ICMP echo its port is the identifier.
    let ports = keys.flat_map(|key| key.port.map(|port| (key, u16::from_be(port))));
    let asked = ports.filter(|(_, port)| question.source_port == 0 || *port == question.source_port);
    let carried = |port| Question { source_port: port, ..*question }.flow_key();
    asked.filter(|(key, port)| carried(*port) == **key).map(|(_, port)| port).min()
}
