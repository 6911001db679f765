//! Masquerade: pods reach the world with the node's address.

use abi::nat::{BACK, OUT, PORT_TRIES};
use abi::{Addr, DropReason, NatKey, NatValue};

use crate::env::{Checksum, Env};
use crate::packet::{ECHO_REPLY, ICMP_ERROR, IPV6, L3, LATER_FRAGMENT, Packet, parse_inner, protocol};

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Source,
    Destination,
}

#[inline(always)]
fn node_address<E: Env>(env: &E, packet: &Packet) -> Addr {
    if packet.is(IPV6) { env.config().node_v6 } else { env.config().node_v4 }
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

/// Gives a packet that leaves the node's address and a free port. `own`: it is the host's own packet, which keeps its
/// port unless a pod's connection has it.
#[inline(never)]
pub fn leave<E: Env>(env: &mut E, packet: &mut Packet, own: bool) -> Result<(), DropReason> {
    let out = key(packet, OUT);
    let now = env.now();
    let value = match env.nat(&out) {
        Some(mut value) => {
            value.used = now;
            env.put_nat(&out, &value, false);
            // The table forgets the longest unused, and each half on its own: make the pair whole again.
            env.put_nat(&back(packet, &value), &home(packet, &value, now), true);
            value
        }
        None => allocate(env, packet, &out, own, now)?,
    };
    if value.tracked_only != 0 {
        return Ok(());
    }
    rewrite(env, packet, Half::Source, &value.addr, value.port)
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

/// Where an answer belongs.
#[inline(always)]
fn home(packet: &Packet, value: &NatValue, now: u64) -> NatValue {
    NatValue { addr: packet.source, used: now, port: packet.source_port, tracked_only: value.tracked_only, _pad: 0 }
}

/// Keeps the port if it is in range and free, else takes one at random and counts up from there.
#[inline(always)]
fn allocate<E: Env>(env: &mut E, packet: &Packet, out: &NatKey, own: bool, now: u64) -> Result<NatValue, DropReason> {
    let (low, high) = if matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6) {
        (0, 0xffff)
    } else {
        (env.config().nat_port_min & 0xffff, env.config().nat_port_max & 0xffff)
    };
    let wanted = u32::from(u16::from_be(packet.source_port));
    let range = high.wrapping_sub(low).wrapping_add(1);
    let random = env.random();
    let addr = node_address(env, packet);
    let mut port = wanted;
    if !own && (wanted < low || wanted > high) {
        port = low + scale(random, range);
    }
    let mut tries = 0;
    while tries < PORT_TRIES {
        let tracked_only = u16::from(own && port == wanted);
        let value = NatValue { addr, used: now, port: (port as u16).to_be(), tracked_only, _pad: 0 };
        if env.put_nat(&back(packet, &value), &home(packet, &value, now), true) {
            env.put_nat(out, &value, false);
            return Ok(value);
        }
        port = if tries == 0 { low + scale(random, range) } else { port + 1 };
        if port > high {
            port = low;
        }
        tries += 1;
    }
    Err(DropReason::NoNatMapping)
}

/// A number below `range` from a random one, without division (Lemire).
#[inline(always)]
const fn scale(random: u32, range: u32) -> u32 {
    ((random as u64 * range as u64) >> 32) as u32
}

/// Gives an answer from the world the pod's address and port again. `false`: nobody here waits for it.
#[inline(never)]
pub fn come_back<E: Env>(env: &mut E, packet: &mut Packet) -> Result<bool, DropReason> {
    if packet.is(ICMP_ERROR) {
        return error_comes_back(env, packet);
    }
    match env.nat(&key(packet, BACK)) {
        Some(value) if value.tracked_only == 0 => {
            rewrite(env, packet, Half::Destination, &value.addr, value.port)?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// An ICMP error about a packet that left with the node's address: both the error and what it quotes are rewritten.
#[inline(always)]
fn error_comes_back<E: Env>(env: &mut E, packet: &mut Packet) -> Result<bool, DropReason> {
    let mut inner = Packet::default();
    if parse_inner(env, packet, &mut inner).is_err() {
        return Ok(false);
    }
    let wanted = NatKey {
        source: inner.destination,
        destination: inner.source,
        source_port: inner.destination_port,
        destination_port: inner.source_port,
        protocol: inner.protocol,
        direction: BACK,
        _pad: 0,
    };
    let Some(value) = env.nat(&wanted) else { return Ok(false) };
    if value.tracked_only != 0 {
        return Ok(false);
    }
    quoted(env, packet, &inner, &value)?;
    replace_address(env, packet, L3, Half::Destination, &packet.destination.clone(), &value.addr, packet.is(IPV6))?;
    packet.destination = value.addr;
    Ok(true)
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

#[inline(always)]
fn rewrite<E: Env>(env: &mut E, packet: &mut Packet, half: Half, addr: &Addr, port: u16) -> Result<(), DropReason> {
    let (old_addr, old_port) = match half {
        Half::Source => (packet.source, packet.source_port),
        Half::Destination => (packet.destination, packet.destination_port),
    };
    // A later fragment carries no transport header to correct.
    let later = packet.is(LATER_FRAGMENT);
    replace_address(env, packet, L3, half, &old_addr, addr, !later)?;
    if !later && old_port != port {
        replace_port(env, packet, half, old_port, port)?;
    }
    match half {
        Half::Source => (packet.source, packet.source_port) = (*addr, port),
        Half::Destination => (packet.destination, packet.destination_port) = (*addr, port),
    }
    Ok(())
}

/// Writes an address and corrects the header checksum, and the transport's if it covers addresses (`transport`).
#[inline(always)]
fn replace_address<E: Env>(
    env: &mut E,
    packet: &Packet,
    at: u32,
    half: Half,
    from: &Addr,
    to: &Addr,
    transport: bool,
) -> Result<(), DropReason> {
    let covered = if transport { checksum_at(packet) } else { None };
    if !packet.is(IPV6) {
        let offset = if half == Half::Source { 12 } else { 16 };
        env.set_u32(at + offset, to.v4_word())?;
        env.fix_l3(at + 10, from.v4_word(), to.v4_word())?;
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
        env.set_u32(at + offset + i as u32 * 4, new)?;
        if let Some((checksum, keep_zero)) = covered {
            env.fix_l4(packet.l4 + checksum, old, new, 4, Checksum { pseudo: true, keep_zero })?;
        }
        i += 1;
    }
    Ok(())
}

#[inline(always)]
fn replace_port<E: Env>(env: &mut E, packet: &Packet, half: Half, from: u16, to: u16) -> Result<(), DropReason> {
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
