//! Editing headers in place: addresses, ports, and the checksums that cover them.

use abi::{Addr, DropReason};

use crate::env::{Checksum, Env};
use crate::packet::{IPV6, L3, LATER_FRAGMENT, Packet, protocol};
use crate::work::Work;

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// Rewrites one end of the packet to the address and port that `work.nat` has for it.
#[inline(always)]
pub fn rewrite<E: Env>(env: &mut E, work: &mut Work, half: Half) -> Result<(), DropReason> {
    let Work { packet, nat, .. } = work;
    let (addr, port, old_addr, old_port) = match half {
        Half::Source => (nat.source, nat.source_port, packet.source, packet.source_port),
        Half::Destination => {
            (nat.destination, nat.destination_port, packet.destination, packet.destination_port)
        }
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

/// Writes an address and corrects the header checksum, and the transport's if it covers addresses (`transport`).
#[inline(always)]
pub fn replace_address<E: Env>(
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
