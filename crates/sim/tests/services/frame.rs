//! Packets as the ends of a conversation write and read them, with every checksum.

use std::net::{IpAddr, SocketAddr};

use axoneme_sim::frame::checksum;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

const DESTINATION_OPTIONS: u8 = 60;

/// A segment or datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub protocol: u8,
    /// TCP flags.
    pub flags: u8,
    pub payload: Vec<u8>,
}

/// An ICMP error, and the ends of the packet that it quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub destination: IpAddr,
    pub quoted: (SocketAddr, SocketAddr),
}

/// What is in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Packet(Packet),
    Complaint(Complaint),
}

impl Packet {
    /// The frame of this packet. `summed`: with a transport checksum, which UDP over IPv4 can do without.
    pub fn frame(&self, mac: [u8; 6], summed: bool) -> Vec<u8> {
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let mut segment = match self.protocol {
            TCP => [&ports[..], &[0, 0, 0, 7, 0, 0, 0, 9, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]].concat(),
            _ => [&ports[..], &(8 + self.payload.len() as u16).to_be_bytes(), &[0, 0]].concat(),
        };
        segment.extend(&self.payload);
        let (from, to) = (self.source.ip(), self.destination.ip());
        let at = if self.protocol == TCP { 16 } else { 6 };
        if summed || self.protocol == TCP || from.is_ipv6() {
            let sum = transport_sum(from, to, self.protocol, &segment);
            segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        enclose(mac, from, to, self.protocol, &segment)
    }
}

/// An error about the packet in `frame`, from `source` to the one that it says it came from.
pub fn complain(mac: [u8; 6], source: IpAddr, frame: &[u8]) -> Vec<u8> {
    let packet = &frame[14..];
    let quoted = if source.is_ipv4() { usize::from(packet[0] & 15) * 4 + 8 } else { packet.len() };
    // "Too big" with a next hop's MTU of 1280.
    let (kind, protocol) = if source.is_ipv4() { ([3, 4], ICMP) } else { ([2, 0], ICMPV6) };
    let destination = outer(frame).0;
    let mut message = [&kind[..], &[0, 0, 0, 0, 5, 0], &packet[..quoted]].concat();
    let sum = match source {
        IpAddr::V4(_) => checksum(&message),
        IpAddr::V6(_) => transport_sum(source, destination, protocol, &message),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    enclose(mac, source, destination, protocol, &message)
}

fn enclose(mac: [u8; 6], from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> Vec<u8> {
    let mut frame = [&[2, 0, 0, 0, 0, 1], &mac[..]].concat();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (20 + segment.len() as u16).to_be_bytes();
            let mut header = vec![0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0];
            header.extend([from.octets(), to.octets()].concat());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([&[8, 0], &header[..]].concat());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = (segment.len() as u16).to_be_bytes();
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 64]);
            frame.extend([from.octets(), to.octets()].concat());
        }
        _ => panic!("{from} cannot write to {to}"),
    }
    frame.extend(segment);
    frame
}

/// Source and destination of a frame.
pub fn outer(frame: &[u8]) -> (IpAddr, IpAddr) {
    addresses(&frame[14..])
}

fn addresses(packet: &[u8]) -> (IpAddr, IpAddr) {
    if packet[0] >> 4 == 4 {
        let at = |i: usize| <[u8; 4]>::try_from(&packet[i..i + 4]).unwrap();
        (at(12).into(), at(16).into())
    } else {
        let at = |i: usize| <[u8; 16]>::try_from(&packet[i..i + 16]).unwrap();
        (at(8).into(), at(24).into())
    }
}

/// The transport's protocol, and where its header begins.
fn transport(packet: &[u8]) -> (u8, usize) {
    match packet[0] >> 4 {
        4 => (packet[9], usize::from(packet[0] & 15) * 4),
        _ if packet[6] == DESTINATION_OPTIONS => (packet[40], 40 + 8 * (1 + usize::from(packet[41]))),
        _ => (packet[6], 40),
    }
}

/// Reads a frame as its receiver does: lengths and checksums have to be right.
pub fn read(frame: &[u8]) -> Result<Content, String> {
    let packet = &frame[14..];
    let (from, to) = addresses(packet);
    let (protocol, at) = transport(packet);
    let word = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let length = if from.is_ipv4() { word(2) } else { 40 + word(4) };
    right(from.is_ipv6() || checksum(&packet[..at]) == 0, "header checksum", frame)?;
    right(length == packet.len(), "length", frame)?;
    let segment = &packet[at..];
    let sum = if protocol == ICMP { checksum(segment) } else { transport_sum(from, to, protocol, segment) };
    let unsummed = protocol == UDP && from.is_ipv4() && segment[6..8] == [0, 0];
    right(sum == 0 || unsummed, "transport checksum", frame)?;
    if matches!(protocol, ICMP | ICMPV6) {
        let (from, quoted_to) = addresses(&segment[8..]);
        let l4 = 8 + transport(&segment[8..]).1;
        right(from.is_ipv6() || checksum(&segment[8..l4]) == 0, "checksum of the quoted header", frame)?;
        let quoted = ends(from, quoted_to, &segment[l4..]);
        return Ok(Content::Complaint(Complaint { destination: to, quoted }));
    }
    let (source, destination) = ends(from, to, segment);
    let (flags, header) = match protocol {
        TCP => (segment[13], usize::from(segment[12] >> 4) * 4),
        _ => (0, 8),
    };
    Ok(Content::Packet(Packet { source, destination, protocol, flags, payload: segment[header..].to_vec() }))
}

fn ends(from: IpAddr, to: IpAddr, segment: &[u8]) -> (SocketAddr, SocketAddr) {
    let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)))
}

fn right(so: bool, what: &str, frame: &[u8]) -> Result<(), String> {
    if so { Ok(()) } else { Err(format!("wrong {what} in {frame:02x?}")) }
}

fn transport_sum(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> u16 {
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => Vec::new(),
    };
    bytes.extend((segment.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes.extend(segment);
    checksum(&bytes)
}
