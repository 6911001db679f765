//! From frame to tuple: one reader for IPv4 and IPv6.

use abi::maps::{FragmentKey, FragmentPorts};
use abi::{Addr, DropReason, FlowKey, config};

use crate::env::Env;
use crate::parts::Part;
use crate::work::Work;

/// IP protocol numbers.
pub mod protocol {
    #![allow(missing_docs, reason = "the registry's names say it")]
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// TCP flag bits.
pub mod tcp {
    #![allow(missing_docs, reason = "RFC 9293 names")]
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

const ETH_TYPE: u32 = 12;
/// Offset of the network header.
pub const L3: u32 = 14;
const TYPE_IPV4: u16 = 0x0800_u16.to_be();
const TYPE_IPV6: u16 = 0x86dd_u16.to_be();
const TYPE_ARP: u16 = 0x0806_u16.to_be();
/// IPv6 extension headers that are skipped at most; more is an attack on parsers.
const MAX_EXTENSIONS: u32 = 4;

/// The packet is IPv6.
pub const IPV6: u8 = 1;
/// A fragment that is not the first: it has no transport header.
pub const LATER_FRAGMENT: u8 = 2;
/// An ICMP error about another packet.
pub const ICMP_ERROR: u8 = 4;
/// Its hop limit does not survive another hop.
pub const LAST_HOP: u8 = 8;
/// An answer by its type (ICMP echo reply).
pub const ECHO_REPLY: u8 = 16;
/// Any fragment.
pub const FRAGMENT: u8 = 32;

/// Its transport header could not be read, and nothing in it means anything.
pub const UNREAD: u8 = 64;

/// What a frame holds, see [`Packet::frame`].
pub mod frame {
    /// Something else.
    pub const OTHER: u8 = 0;
    /// An IP packet.
    pub const IP: u8 = 1;
    /// An ARP message.
    pub const ARP: u8 = 2;
}

/// The facts of an IP packet that every path needs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Packet {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port in network order; the identifier of an echo request.
    pub source_port: u16,
    /// Destination port in network order; the identifier of an echo reply.
    pub destination_port: u16,
    /// Offset of the transport header.
    pub l4: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags.
    pub tcp: u8,
    /// [`IPV6`] and others.
    pub flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// One of [`frame`]; the other fields are those of an IP packet.
    pub frame: u8,
    pub(crate) _pad: [u8; 3],
}

impl Packet {
    /// Nothing read yet.
    pub const EMPTY: Packet = Packet {
        source: Addr::UNSPECIFIED,
        destination: Addr::UNSPECIFIED,
        source_port: 0,
        destination_port: 0,
        l4: 0,
        protocol: 0,
        tcp: 0,
        flags: 0,
        icmp_type: 0,
        frame: frame::OTHER,
        _pad: [0; 3],
    };

    /// Whether `flag` is set.
    #[inline(always)]
    pub const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Writes the canonical key of this packet's flow; returns the side that sent it.
    #[inline(always)]
    pub fn flow_key(&self, key: &mut FlowKey) -> u32 {
        let low = self.source.below(&self.destination)
            || (self.source.same(&self.destination) && self.source_port <= self.destination_port);
        key.protocol = self.protocol;
        key._pad = [0; 3];
        if low {
            key.addr = [self.source, self.destination];
            key.port = [self.source_port, self.destination_port];
            0
        } else {
            key.addr = [self.destination, self.source];
            key.port = [self.destination_port, self.source_port];
            1
        }
    }

    /// Forgets the transport header, of which nothing or not all could be read.
    #[inline(always)]
    pub fn unread(&mut self) {
        self.flags |= UNREAD;
        self.source_port = 0;
        self.destination_port = 0;
        self.tcp = 0;
        self.icmp_type = 0;
    }

    /// Whether this opens a TCP connection.
    #[inline(always)]
    pub const fn is_syn(&self) -> bool {
        self.protocol == protocol::TCP && self.tcp & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
    }

    /// Whether this is an echo request or reply.
    #[inline(always)]
    pub const fn is_echo(&self) -> bool {
        match self.protocol {
            protocol::ICMP => self.icmp_type == 8 || self.icmp_type == 0,
            protocol::ICMPV6 => self.icmp_type == 128 || self.icmp_type == 129,
            _ => false,
        }
    }
}

/// Reads the frame into `work.packet`. Packets as most are, without options or fragments, are read right here, at places
/// known when this is compiled; all others by [`read`].
#[inline(always)]
pub fn parse<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let kind = match env.u16_at(ETH_TYPE) {
        Ok(kind) if env.u32_at(L3 + 36).is_ok() => kind,
        _ => {
            // Headers may lie outside of the linear part of a received buffer.
            let length = env.length();
            env.pull(if length < 90 { length } else { 90 })?;
            env.u16_at(ETH_TYPE)?
        }
    };
    let out = &mut work.packet;
    match kind {
        TYPE_IPV4 => {
            out.frame = frame::IP;
            out.flags = 0;
            let header = env.words::<5>(L3)?;
            if header[0].to_ne_bytes()[0] == 0x45 && ipv4_head(&header, out) == 0 {
                out.l4 = L3 + 20;
                return transport(env, out, true);
            }
        }
        TYPE_IPV6 => {
            out.frame = frame::IP;
            out.flags = IPV6;
            let [start, length, s0, s1, s2, s3, d0, d1, d2, d3] = env.words::<10>(L3)?;
            out.source.words = [s0, s1, s2, s3];
            out.destination.words = [d0, d1, d2, d3];
            if ipv6_head(start, length, out).is_ok() && has_ports(out.protocol) {
                out.l4 = L3 + 40;
                return transport(env, out, true);
            }
        }
        _ => {
            out.frame = if kind == TYPE_ARP { frame::ARP } else { frame::OTHER };
            return Ok(());
        }
    }
    work.quoted = 0;
    let outcome = env.part(Part::Read, work);
    work.packet = work.inner;
    work.packet.frame = frame::IP;
    outcome
}

/// Reads any packet into `work.inner`: the one that the frame holds, or the one that an ICMP error in `work.packet` quotes, of
/// which only addresses, protocol and ports are certain.
#[inline(always)]
pub fn read<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let outermost = work.quoted == 0;
    let at = if outermost { L3 } else { work.packet.l4 + 8 };
    let out = &mut work.inner;
    out.flags = 0;
    out.destination = Addr::UNSPECIFIED;
    // An error quotes its own kind.
    if work.packet.flags & IPV6 != 0 { ipv6(env, at, out, outermost) } else { ipv4(env, at, out, outermost) }
}

/// Takes what the fixed part of an IPv4 header says; gives its fragment field without the "don't fragment" bit.
#[inline(always)]
fn ipv4_head(header: &[u32; 5], out: &mut Packet) -> u16 {
    let [_, pieces, [hops, next, ..], ..] = header.map(u32::to_ne_bytes);
    out.flags = if hops <= 1 { LAST_HOP } else { 0 };
    out.protocol = next;
    out.source = Addr::v4(header[3]);
    out.destination = Addr::v4(header[4]);
    u16::from_be_bytes([pieces[2], pieces[3]]) & 0x3fff
}

/// Takes what the first two words of an IPv6 header say, and looks at its addresses.
#[inline(always)]
fn ipv6_head(start: u32, length: u32, out: &mut Packet) -> Result<(), DropReason> {
    let [_, _, next, hops] = length.to_ne_bytes();
    out.flags = IPV6 | if hops <= 1 { LAST_HOP } else { 0 };
    out.protocol = next;
    // An IPv4-mapped address has no place on the wire (RFC 4291 §2.5.5.2) and would meet IPv4 entries.
    if start.to_ne_bytes()[0] >> 4 != 6 || out.source.is_v4() || out.destination.is_v4() {
        return Err(DropReason::InvalidPacket);
    }
    Ok(())
}

/// Whether a header with ports, or what stands for them, follows: no extension.
#[inline(always)]
const fn has_ports(next: u8) -> bool {
    matches!(next, protocol::TCP | protocol::UDP | protocol::SCTP | protocol::ICMPV6)
}

#[inline(always)]
fn ipv4<E: Env>(env: &mut E, at: u32, out: &mut Packet, outermost: bool) -> Result<(), DropReason> {
    let header = env.words::<5>(at)?;
    let start = header[0].to_ne_bytes()[0];
    let length = u32::from(start & 0xf) * 4;
    if start >> 4 != 4 || length < 20 {
        return Err(DropReason::InvalidPacket);
    }
    let fragment = ipv4_head(&header, out);
    out.l4 = at + length;
    if fragment != 0 {
        let [a, b, ..] = header[1].to_ne_bytes();
        let id = u32::from(u16::from_ne_bytes([a, b]));
        return fragmented(env, out, id, fragment & 0x1fff == 0, outermost);
    }
    transport(env, out, outermost)
}

#[inline(always)]
fn ipv6<E: Env>(env: &mut E, at: u32, out: &mut Packet, outermost: bool) -> Result<(), DropReason> {
    // Word by word: the stack of a chain of functions is small.
    let mut i = 0;
    while i < 4 {
        out.source.words[i] = env.u32_at(at + 8 + i as u32 * 4)?;
        out.destination.words[i] = env.u32_at(at + 24 + i as u32 * 4)?;
        i += 1;
    }
    ipv6_head(env.u32_at(at)?, env.u32_at(at + 4)?, out)?;
    let mut next = out.protocol;
    let mut l4 = at + 40;
    let mut extensions = 0;
    while extensions < MAX_EXTENSIONS {
        match next {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => {
                next = env.u8_at(l4)?;
                l4 += (u32::from(env.u8_at(l4 + 1)?) + 1) * 8;
            }
            // Authentication header.
            51 => {
                next = env.u8_at(l4)?;
                l4 += (u32::from(env.u8_at(l4 + 1)?) + 2) * 4;
            }
            44 => {
                let id = env.u32_at(l4 + 4)?;
                let first = u16::from_be(env.u16_at(l4 + 2)?) & 0xfff8 == 0;
                out.protocol = env.u8_at(l4)?;
                out.l4 = l4 + 8;
                return fragmented(env, out, id, first, outermost);
            }
            _ => {
                out.protocol = next;
                out.l4 = l4;
                return transport(env, out, outermost);
            }
        }
        extensions += 1;
    }
    Err(DropReason::InvalidExtensionHeader)
}

#[inline(always)]
fn fragmented<E: Env>(
    env: &mut E,
    out: &mut Packet,
    id: u32,
    first: bool,
    outermost: bool,
) -> Result<(), DropReason> {
    out.flags |= FRAGMENT;
    out.tcp = 0;
    out.icmp_type = 0;
    let key = FragmentKey {
        source: out.source,
        destination: out.destination,
        id,
        protocol: out.protocol,
        _pad: [0; 3],
    };
    if first {
        transport(env, out, outermost)?;
        // What an ICMP error quotes is the sender's word: it must not name ports for real fragments.
        if outermost {
            env.put_fragment(
                &key,
                FragmentPorts { source: out.source_port, destination: out.destination_port },
            );
        }
        return Ok(());
    }
    out.flags |= LATER_FRAGMENT;
    let ports = env.fragment(&key).ok_or(DropReason::FirstFragmentMissing)?;
    out.source_port = ports.source;
    out.destination_port = ports.destination;
    match out.protocol {
        protocol::ICMP => icmp_type_of(out, 8, 0),
        protocol::ICMPV6 => icmp_type_of(out, 128, 129),
        _ => {}
    }
    Ok(())
}

/// The type that the ports of a later fragment stand for, see [`icmp`].
#[inline(always)]
fn icmp_type_of(out: &mut Packet, request: u8, reply: u8) {
    if out.destination_port == 0 {
        out.icmp_type = request;
    } else if out.source_port == 0 {
        out.icmp_type = reply;
        out.flags |= ECHO_REPLY;
    } else {
        out.icmp_type = u16::from_be(out.source_port) as u8;
    }
}

/// The ports that stand for an ICMP message other than echo in the key of its flow: every type is a flow of its own,
/// and each way another, so that what policy said of one type holds for no other. Never 0, as one of an echo's is.
#[inline(always)]
pub const fn icmp_ports(kind: u8) -> (u16, u16) {
    let kind = kind as u16;
    ((0x0100 | kind).to_be(), (0x0200 | kind).to_be())
}

#[inline(always)]
fn transport<E: Env>(env: &mut E, out: &mut Packet, outermost: bool) -> Result<(), DropReason> {
    out.tcp = 0;
    out.icmp_type = 0;
    match out.protocol {
        // An opening must not hide its flags in a later fragment (RFC 1858 §3).
        protocol::TCP if outermost => {
            let [both, _, _, flags] = env.words::<4>(out.l4).map_err(|_| DropReason::CtInvalidHeader)?;
            out.tcp = flags.to_ne_bytes()[1];
            set_ports(out, both);
            Ok(())
        }
        protocol::TCP => {
            ports(env, out)?;
            // Absent in the eight bytes that an ICMP error quotes.
            out.tcp = env.u8_at(out.l4 + 13).unwrap_or(0);
            Ok(())
        }
        protocol::UDP | protocol::SCTP => ports(env, out),
        protocol::ICMP => icmp(env, out, 8, 0, |kind| matches!(kind, 3 | 11 | 12)),
        protocol::ICMPV6 => icmp(env, out, 128, 129, |kind| kind <= 4 && kind != 0),
        // One flow for all of such a protocol between two ends.
        _ if outermost && env.config().features & config::EXTENDED_PROTOCOLS != 0 => {
            out.source_port = 0;
            out.destination_port = 0;
            Ok(())
        }
        _ => Err(DropReason::CtUnknownProtocol),
    }
}

#[inline(always)]
fn ports<E: Env>(env: &mut E, out: &mut Packet) -> Result<(), DropReason> {
    // Both at once: a packet that ends here is cut in its header.
    set_ports(out, env.u32_at(out.l4).map_err(|_| DropReason::CtInvalidHeader)?);
    Ok(())
}

/// The first word of a transport header: both ports.
#[inline(always)]
fn set_ports(out: &mut Packet, both: u32) {
    let both = both.to_ne_bytes();
    out.source_port = u16::from_ne_bytes([both[0], both[1]]);
    out.destination_port = u16::from_ne_bytes([both[2], both[3]]);
}

/// An echo's identifier stands in the client's place, so that a request of the other side is another flow; other messages
/// have the ports of [`icmp_ports`].
#[inline(always)]
fn icmp<E: Env>(
    env: &mut E,
    out: &mut Packet,
    request: u8,
    reply: u8,
    is_error: impl Fn(u8) -> bool,
) -> Result<(), DropReason> {
    out.icmp_type = env.u8_at(out.l4).map_err(|_| DropReason::CtInvalidHeader)?;
    (out.source_port, out.destination_port) = icmp_ports(out.icmp_type);
    if out.icmp_type == request {
        out.destination_port = 0;
        out.source_port = env.u16_at(out.l4 + 4).map_err(|_| DropReason::CtInvalidHeader)?;
    } else if out.icmp_type == reply {
        out.flags |= ECHO_REPLY;
        out.source_port = 0;
        out.destination_port = env.u16_at(out.l4 + 4).map_err(|_| DropReason::CtInvalidHeader)?;
    } else if is_error(out.icmp_type) {
        out.flags |= ICMP_ERROR;
    }
    Ok(())
}
