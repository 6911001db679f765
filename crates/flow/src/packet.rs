//! Packet headers, as far as they were captured.
//!
//! Every step is optional: a packet that ends early, or that makes no sense, yields what could be read before.

use crate::model::{Ethernet, Ip, L4, TcpFlags, Tunnel, TunnelProtocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];
/// Ethernet inside Geneve (RFC 8926 §3.4).
const BRIDGED: u16 = 0x6558;
/// More extension headers than this in one packet are an attack, not a packet.
const MAX_EXTENSIONS: usize = 12;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const IGMP: u8 = 2;
const VRRP: u8 = 112;

/// The headers of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Packet {
    /// Layer 2.
    pub ethernet: Option<Ethernet>,
    /// Layer 3; `None` for ARP and for what is no packet at all.
    pub ip: Option<Ip>,
    /// Layer 4; `None` for later fragments and unknown protocols.
    pub l4: Option<L4>,
    /// The tunnel around the packet, if there is one.
    pub tunnel: Option<Tunnel>,
}

impl Packet {
    /// Reads an Ethernet frame. With `encapsulated`, what lies in its VXLAN or Geneve payload is the packet, and the
    /// outer headers become [`Packet::tunnel`].
    pub fn parse(frame: &[u8], encapsulated: bool) -> Self {
        let (outer, payload) = Self::frame(frame);
        if !encapsulated {
            return outer;
        }
        unwrap_tunnel(&outer, payload).unwrap_or(outer)
    }

    /// What is known at a socket: the other end, which is the source of what comes back (`reverse`).
    pub(crate) fn at_socket(other: IpAddr, port: u16, protocol: u8, reverse: bool) -> Self {
        let own: IpAddr =
            if other.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let (source, destination) = if reverse { (other, own) } else { (own, other) };
        let (from, to) = if reverse { (port, 0) } else { (0, port) };
        let l4 = match protocol {
            TCP => Some(L4::Tcp { source: from, destination: to, flags: None }),
            UDP => Some(L4::Udp { source: from, destination: to }),
            _ => None,
        };
        Self {
            ip: Some(Ip { source, destination, source_xlated: None, encrypted: false }),
            l4,
            ..Self::default()
        }
    }

    /// One frame, and what follows its UDP header (empty for all else).
    fn frame(frame: &[u8]) -> (Self, &[u8]) {
        let mut packet = Self::default();
        let Some((destination, rest)) = frame.split_first_chunk::<6>() else { return (packet, &[]) };
        let Some((source, mut rest)) = rest.split_first_chunk::<6>() else { return (packet, &[]) };
        packet.ethernet = Some(Ethernet { source: *source, destination: *destination });
        let Some(mut kind) = take_u16(&mut rest) else { return (packet, &[]) };
        for _ in 0..2 {
            if !VLAN.contains(&kind) {
                break;
            }
            let Some(inner) = take_u16(&mut rest).and_then(|_| take_u16(&mut rest)) else {
                return (packet, &[]);
            };
            kind = inner;
        }
        let network = match kind {
            IPV4 => ipv4(rest),
            IPV6 => ipv6(rest),
            _ => None,
        };
        let Some(network) = network else { return (packet, &[]) };
        packet.ip = Some(Ip {
            source: network.source,
            destination: network.destination,
            source_xlated: None,
            encrypted: false,
        });
        let Some((protocol, payload)) = network.payload else { return (packet, &[]) };
        packet.l4 = transport(protocol, payload, network.source.is_ipv4());
        let after_udp = if protocol == UDP { payload.get(8..).unwrap_or_default() } else { &[] };
        (packet, after_udp)
    }
}

/// What the network layer says.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// Protocol and payload; `None` where a fragment, or the end of the capture, hides it.
    payload: Option<(u8, &'a [u8])>,
}

fn ipv4(bytes: &[u8]) -> Option<Network<'_>> {
    let header = bytes.first_chunk::<20>()?;
    let length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return None;
    }
    let first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    Some(Network {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        payload: if first { bytes.get(length..).map(|rest| (header[9], rest)) } else { None },
    })
}

fn ipv6(bytes: &[u8]) -> Option<Network<'_>> {
    let (header, rest) = bytes.split_first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        IpAddr::from(Ipv6Addr::from(octets))
    };
    Some(Network { source: address(8), destination: address(24), payload: skip_extensions(header[6], rest) })
}

/// Walks IPv6 extension headers (RFC 8200 §4) to the upper layer; `None` in later fragments and where the chain ends.
fn skip_extensions(mut next: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    for _ in 0..MAX_EXTENSIONS {
        let length = match next {
            // Hop-by-hop, routing, destination options, mobility, HIP, shim6.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(*rest.get(1)?) + 1) * 8,
            // Authentication counts words of four bytes, less two.
            51 => (usize::from(*rest.get(1)?) + 2) * 4,
            44 => {
                let offset = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & 0xfff8;
                if offset != 0 {
                    return None;
                }
                8
            }
            59 => return None,
            _ => return Some((next, rest)),
        };
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    None
}

fn transport(protocol: u8, bytes: &[u8], v4: bool) -> Option<L4> {
    let ports = || {
        let [a, b, c, d] = *bytes.first_chunk::<4>()?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    };
    let two = || Some((*bytes.first()?, *bytes.get(1)?));
    Some(match protocol {
        TCP => {
            let (source, destination) = ports()?;
            let flags = bytes
                .get(12..14)
                .and_then(|word| word.first_chunk::<2>())
                .map(|word| TcpFlags(u16::from_be_bytes(*word) & 0x1ff));
            L4::Tcp { source, destination, flags }
        }
        UDP => ports().map(|(source, destination)| L4::Udp { source, destination })?,
        SCTP => ports().map(|(source, destination)| L4::Sctp { source, destination })?,
        ICMP if v4 => two().map(|(kind, code)| L4::Icmp4 { kind, code })?,
        ICMP6 if !v4 => two().map(|(kind, code)| L4::Icmp6 { kind, code })?,
        IGMP if v4 => {
            let [kind, _, _, _, a, b, c, d] = *bytes.first_chunk::<8>()?;
            L4::Igmp { kind, group: Ipv4Addr::new(a, b, c, d).into() }
        }
        VRRP => {
            let [kind, id, priority] = *bytes.first_chunk::<3>()?;
            L4::Vrrp { kind: kind & 0x0f, id, priority }
        }
        _ => return None,
    })
}

/// The packet inside a VXLAN (RFC 7348) or Geneve (RFC 8926) payload, if it is one.
fn unwrap_tunnel(outer: &Packet, payload: &[u8]) -> Option<Packet> {
    const GENEVE_PORT: u16 = 6081;
    let (ip, l4) = (outer.ip?, outer.l4?);
    let L4::Udp { destination, .. } = l4 else { return None };
    let (header, rest) = payload.split_first_chunk::<8>()?;
    let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    let (protocol, frame) = if destination == GENEVE_PORT {
        if header[0] >> 6 != 0 || u16::from_be_bytes([header[2], header[3]]) != BRIDGED {
            return None;
        }
        (TunnelProtocol::Geneve, rest.get(usize::from(header[0] & 0x3f) * 4..)?)
    } else if header[0] & 0x08 != 0 {
        (TunnelProtocol::Vxlan, rest)
    } else {
        return None;
    };
    let (mut inner, _) = Packet::frame(frame);
    inner.tunnel = Some(Tunnel { protocol, ip, l4, vni });
    Some(inner)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    let (word, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests;
