//! Masquerade: pods reach the world with the node's address.

use abi::nat::{BACK, OUT, PORT_TRIES};
use abi::{Addr, DropReason, NatKey, NatValue};

use crate::env::{Checksum, Env};
use crate::packet::{ECHO_REPLY, ICMP_ERROR, IPV6, L3, LATER_FRAGMENT, Packet, protocol};
use crate::parts::Part;
use crate::work::Work;

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

#[inline(always)]
fn key(packet: &Packet, direction: u8) -> NatKey {
    NatKey {
        source: packet.source,
        destination: packet.destination,
        source_port: packet.source_port,
        destination_port: packet.destination_port,
        protocol: packet.protocol,
        direction,
        _pad: 0,
    }
}

/// Gives a packet that leaves the node's address and a free port. The host's own packet (`work.own`) keeps its port
/// unless a pod's connection has it.
#[inline(always)]
pub fn leave<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let out = key(&work.packet, OUT);
    let now = env.now();
    match env.nat(&out) {
        Some(value) => {
            work.nat = *value;
            work.nat.used = now;
            env.put_nat(&out, &work.nat, false);
            // The table forgets the longest unused, and each half on its own: make the pair whole again.
            let (home, answer) = (home(&work.packet, &work.nat), back(&work.packet, &work.nat));
            if !env.put_nat(&answer, &home, true) && !leads(env, &answer, &home) {
                // Another connection has taken the port in the meantime.
                env.part(Part::Allocate, work)?;
            }
        }
        None => env.part(Part::Allocate, work)?,
    }
    if work.nat.tracked_only != 0 { Ok(()) } else { env.part(Part::RewriteSource, work) }
}

/// Key of the answer to a packet that left with `value`.
#[inline(always)]
fn back(packet: &Packet, value: &NatValue) -> NatKey {
    NatKey {
        source: packet.destination,
        destination: value.addr,
        source_port: packet.destination_port,
        destination_port: value.port,
        protocol: packet.protocol,
        direction: BACK,
        _pad: 0,
    }
}

/// Whether answers with key `answer` go to `home`, or nowhere.
#[inline(always)]
fn leads<E: Env>(env: &E, answer: &NatKey, home: &NatValue) -> bool {
    match env.nat(answer) {
        Some(value) => value.addr.same(&home.addr) && value.port == home.port,
        None => true,
    }
}

/// Where an answer belongs.
#[inline(always)]
fn home(packet: &Packet, value: &NatValue) -> NatValue {
    NatValue {
        addr: packet.source,
        used: value.used,
        port: packet.source_port,
        tracked_only: value.tracked_only,
        _pad: 0,
    }
}

/// Finds a free port: the packet's own if it is in range, else a random one, then one after the other.
#[inline(always)]
pub fn allocate<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let echo = matches!(work.packet.protocol, protocol::ICMP | protocol::ICMPV6);
    work.ports = if echo {
        [0, 0xffff]
    } else {
        [env.config().nat_port_min & 0xffff, env.config().nat_port_max & 0xffff]
    };
    let [low, high] = work.ports;
    let wanted = u32::from(u16::from_be(work.packet.source_port));
    let first = low + scale(env.random(), high.wrapping_sub(low).wrapping_add(1));
    let keep = work.own != 0 || (wanted >= low && wanted <= high);
    work.port = [if keep { wanted } else { first }, first];
    work.nat.addr = if work.packet.is(IPV6) { env.config().node_v6 } else { env.config().node_v4 };
    work.nat.used = env.now();
    // Nothing but the count lives across a turn, so that the verifier walks few instructions for each.
    let mut tries = 0;
    while tries < PORT_TRIES {
        if env.part(Part::TakePort, work).is_ok() {
            return Ok(());
        }
        tries += 1;
    }
    Err(DropReason::NoNatMapping)
}

/// Takes the next port for this packet's connection, unless another has it towards the same peer.
#[inline(always)]
pub fn take_port<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let ([port, first], [low, high]) = (work.port, work.ports);
    let wanted = u32::from(u16::from_be(work.packet.source_port));
    work.nat.port = (port as u16).to_be();
    work.nat.tracked_only = u16::from(work.own != 0 && port == wanted);
    let home = home(&work.packet, &work.nat);
    if env.put_nat(&back(&work.packet, &work.nat), &home, true) {
        env.put_nat(&key(&work.packet, OUT), &work.nat, false);
        return Ok(());
    }
    let next = if port == wanted && first != wanted { first } else { port + 1 };
    work.port[0] = if next > high { low } else { next };
    Err(DropReason::NoNatMapping)
}

/// A number below `range` from a random one, without division (Lemire).
#[inline(always)]
const fn scale(random: u32, range: u32) -> u32 {
    ((random as u64 * range as u64) >> 32) as u32
}

/// Gives an answer from the world the pod's address and port again. Unchanged: no pod waits for it.
#[inline(always)]
pub fn come_back<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if work.packet.is(ICMP_ERROR) {
        return error_comes_back(env, work);
    }
    match env.nat(&key(&work.packet, BACK)) {
        Some(value) if value.tracked_only == 0 => work.nat = *value,
        _ => return Ok(()),
    }
    env.part(Part::RewriteDestination, work)
}

/// An ICMP error about a packet that left with the node's address: both the error and what it quotes are rewritten.
#[inline(always)]
fn error_comes_back<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if env.part(Part::ParseInner, work).is_err() {
        return Ok(());
    }
    let (packet, inner) = (&mut work.packet, &work.inner);
    let wanted = NatKey {
        source: inner.destination,
        destination: inner.source,
        source_port: inner.destination_port,
        destination_port: inner.source_port,
        protocol: inner.protocol,
        direction: BACK,
        _pad: 0,
    };
    let Some(value) = env.nat(&wanted).copied() else { return Ok(()) };
    if value.tracked_only != 0 {
        return Ok(());
    }
    quoted(env, packet, inner, &value)?;
    let old = packet.destination;
    replace_address(env, packet, Half::Destination, &old, &value.addr, packet.is(IPV6))?;
    packet.destination = value.addr;
    Ok(())
}

/// Rewrites the source of the quoted packet, and the error's checksum, which covers it.
#[inline(always)]
fn quoted<E: Env>(env: &mut E, packet: &Packet, inner: &Packet, value: &NatValue) -> Result<(), DropReason> {
    let at = packet.l4 + 8;
    let port_at = if inner.is_echo() { inner.l4 + 4 } else { inner.l4 };
    let plain = Checksum::default();
    if packet.is(IPV6) {
        let mut i = 0;
        while i < 4 {
            let (from, to) = (inner.source.words[i & 3], value.addr.words[i & 3]);
            env.set_u32(at + 8 + i as u32 * 4, to)?;
            env.fix_l4(packet.l4 + 2, from, to, 4, plain)?;
            i += 1;
        }
    } else {
        // The quoted header's checksum makes up for the quoted address, so the error's own does not change by it.
        env.set_u32(at + 12, value.addr.v4_word())?;
        env.fix_l3(at + 10, inner.source.v4_word(), value.addr.v4_word())?;
    }
    env.set_u16(port_at, value.port)?;
    env.fix_l4(packet.l4 + 2, u32::from(inner.source_port), u32::from(value.port), 2, plain)
}

/// Offset of the transport checksum behind the transport header's start, and whether zero means none.
#[inline(always)]
const fn checksum_at(packet: &Packet) -> Option<(u32, bool)> {
    match packet.protocol {
        protocol::TCP => Some((16, false)),
        protocol::UDP => Some((6, !packet.is(IPV6))),
        protocol::ICMPV6 => Some((2, false)),
        _ => None,
    }
}

/// Rewrites one end of the packet to the address and port of `work.nat`.
#[inline(always)]
pub fn rewrite<E: Env>(env: &mut E, work: &mut Work, half: Half) -> Result<(), DropReason> {
    let (packet, addr, port) = (&mut work.packet, work.nat.addr, work.nat.port);
    let (old_addr, old_port) = match half {
        Half::Source => (packet.source, packet.source_port),
        Half::Destination => (packet.destination, packet.destination_port),
    };
    // A later fragment carries no transport header to correct.
    let later = packet.is(LATER_FRAGMENT);
    replace_address(env, packet, half, &old_addr, &addr, !later)?;
    if !later && old_port != port {
        replace_port(env, packet, half, old_port, port)?;
    }
    match half {
        Half::Source => (packet.source, packet.source_port) = (addr, port),
        Half::Destination => (packet.destination, packet.destination_port) = (addr, port),
    }
    Ok(())
}

/// Writes an address and corrects the header checksum, and the transport's if it covers addresses (`transport`).
#[inline(always)]
fn replace_address<E: Env>(
    env: &mut E,
    packet: &Packet,
    half: Half,
    from: &Addr,
    to: &Addr,
    transport: bool,
) -> Result<(), DropReason> {
    let covered = if transport { checksum_at(packet) } else { None };
    if !packet.is(IPV6) {
        let offset = if half == Half::Source { 12 } else { 16 };
        env.set_u32(L3 + offset, to.v4_word())?;
        env.fix_l3(L3 + 10, from.v4_word(), to.v4_word())?;
        if let Some((checksum, keep_zero)) = covered {
            let how = Checksum { pseudo: true, keep_zero };
            env.fix_l4(packet.l4 + checksum, from.v4_word(), to.v4_word(), 4, how)?;
        }
        return Ok(());
    }
    let offset = if half == Half::Source { 8 } else { 24 };
    let mut i = 0;
    while i < 4 {
        let (old, new) = (from.words[i & 3], to.words[i & 3]);
        env.set_u32(L3 + offset + i as u32 * 4, new)?;
        if let Some((checksum, keep_zero)) = covered {
            env.fix_l4(packet.l4 + checksum, old, new, 4, Checksum { pseudo: true, keep_zero })?;
        }
        i += 1;
    }
    Ok(())
}

#[inline(always)]
fn replace_port<E: Env>(
    env: &mut E,
    packet: &Packet,
    half: Half,
    from: u16,
    to: u16,
) -> Result<(), DropReason> {
    let (offset, checksum, keep_zero) = match packet.protocol {
        protocol::TCP | protocol::UDP => {
            let offset = if half == Half::Source { 0 } else { 2 };
            let (checksum, keep_zero) = checksum_at(packet).unwrap_or((16, false));
            (offset, checksum, keep_zero)
        }
        protocol::ICMP | protocol::ICMPV6 if packet.is_echo() => (4, 2, false),
        // SCTP's checksum is a CRC over everything: its ports cannot change on the way.
        _ => return Err(DropReason::NatUnsupportedProtocol),
    };
    env.set_u16(packet.l4 + offset, to)?;
    env.fix_l4(packet.l4 + checksum, u32::from(from), u32::from(to), 2, Checksum { pseudo: false, keep_zero })
}

/// Whether a packet's ports can be told apart for masquerading.
#[inline(always)]
pub fn translatable(packet: &Packet) -> bool {
    let echo_request = packet.is_echo() && !packet.is(ECHO_REPLY);
    matches!(packet.protocol, protocol::TCP | protocol::UDP) || echo_request
}
