//! "Connection refused", said for a service that has no backend.

use abi::{DropReason, mark};

use crate::env::{Action, Checksum, Env, Room};
use crate::packet::{FRAGMENT, IPV6, L3, Packet, protocol, tcp};
use crate::parts::Part;
use crate::work::Work;

const OLD_FLAGS: u32 = 12;

/// Answers a packet to a service without backends: a reset for TCP, "port unreachable" for anything else.
#[inline(always)]
pub(crate) fn refuse<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if work.packet.is(FRAGMENT) || env.is_gso() {
        return Err(DropReason::NoBackend);
    }
    swap_links(env)?;
    env.set_mark(mark::SNAT_DONE);
    if work.packet.protocol == protocol::TCP {
        env.part(Part::Reset, work)?;
    } else {
        env.part(Part::Unreachable, work)?;
    }
    work.verdict.action = Action::Reply;
    Ok(())
}

/// Puts an ICMP error before the packet, which it quotes with eight bytes of its payload (RFC 792, RFC 4443 §3.1).
#[inline(always)]
pub(crate) fn unreachable<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let v6 = work.packet.is(IPV6);
    let header = if v6 { 40 } else { 20 };
    // With options or extension headers it is not worth an answer.
    if work.packet.l4 != L3 + header {
        return Err(DropReason::NoBackend);
    }
    env.cut(L3 + header + 8)?;
    env.make_room(header + 8, Room::BehindLink)?;
    let Packet { source, destination, .. } = work.packet;
    if v6 {
        env.set_u32(L3, 0x6000_0000_u32.to_be())?;
        env.set_u32(L3 + 4, ((header + 16) << 16 | u32::from(protocol::ICMPV6) << 8 | 64).to_be())?;
        let mut i = 0;
        while i < 4 {
            env.set_u32(L3 + 8 + i * 4, destination.words[i as usize & 3])?;
            env.set_u32(L3 + 24 + i * 4, source.words[i as usize & 3])?;
            i += 1;
        }
    } else {
        env.set_u32(L3, (0x4500_0000 | (header * 2 + 16)).to_be())?;
        env.set_u32(L3 + 4, 0)?;
        env.set_u32(L3 + 8, (0x4000_0000 | u32::from(protocol::ICMP) << 16).to_be())?;
        env.set_u32(L3 + 12, destination.v4_word())?;
        env.set_u32(L3 + 16, source.v4_word())?;
        let sum = sum_of(env, L3, 10, 0)?;
        env.set_u16(L3 + 10, sum)?;
    }
    let icmp = L3 + header;
    let kind = if v6 { 0x0104_0000_u32 } else { 0x0303_0000 };
    env.set_u32(icmp, kind.to_be())?;
    env.set_u32(icmp + 4, 0)?;
    let sum = if v6 {
        // The pseudo header: both addresses as they lie before, the length, the protocol.
        sum_of(env, L3 + 8, 16 + 28, header + 16 + u32::from(protocol::ICMPV6))?
    } else {
        sum_of(env, icmp, 18, 0)?
    };
    env.set_u16(icmp + 2, sum)
}

/// Internet checksum (RFC 1071) of `words` words from `at`, started with `start`; network order.
#[inline(always)]
fn sum_of<E: Env>(env: &E, at: u32, words: u32, start: u32) -> Result<u16, DropReason> {
    let mut sum = start;
    let mut i = 0;
    while i < words {
        sum += u32::from(u16::from_be(env.u16_at(at + i * 2)?));
        i += 1;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    Ok((!(sum as u16)).to_be())
}

/// Turns a TCP packet into its refusal (RFC 9293 §3.5.2).
#[inline(always)]
pub(crate) fn reset<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if work.packet.tcp & tcp::RST != 0 {
        return Err(DropReason::NoBackend);
    }
    let l4 = work.packet.l4;
    // Source and destination change places: neither checksum minds the order of what it adds up.
    if work.packet.is(IPV6) {
        let mut i = 0;
        while i < 4 {
            swap_words(env, L3 + 8 + i * 4, L3 + 24 + i * 4)?;
            i += 1;
        }
    } else {
        swap_words(env, L3 + 12, L3 + 16)?;
    }
    let (from, to) = (env.u16_at(l4)?, env.u16_at(l4 + 2)?);
    env.set_u16(l4, to)?;
    env.set_u16(l4 + 2, from)?;
    let (sequence, acknowledged) = (env.u32_at(l4 + 4)?, env.u32_at(l4 + 8)?);
    let syn = u32::from(work.packet.tcp & tcp::SYN != 0);
    // What was acknowledged names the number the other side expects; an opening expects its own, plus one.
    let (new_sequence, new_acknowledged, flags) = if work.packet.tcp & tcp::ACK != 0 {
        (acknowledged, 0, tcp::RST)
    } else {
        (0, u32::from_be(sequence).wrapping_add(syn).to_be(), tcp::RST | tcp::ACK)
    };
    replace(env, l4, 4, sequence, new_sequence)?;
    replace(env, l4, 8, acknowledged, new_acknowledged)?;
    let old = env.u32_at(l4 + OLD_FLAGS)?;
    let mut bytes = old.to_ne_bytes();
    bytes[1] = flags;
    replace(env, l4, OLD_FLAGS, old, u32::from_ne_bytes(bytes))
}

/// Writes four bytes of the TCP header and corrects its checksum.
#[inline(always)]
fn replace<E: Env>(env: &mut E, l4: u32, at: u32, from: u32, to: u32) -> Result<(), DropReason> {
    env.set_u32(l4 + at, to)?;
    env.fix_l4(l4 + 16, from, to, 4, Checksum::default())
}

#[inline(always)]
fn swap_words<E: Env>(env: &mut E, a: u32, b: u32) -> Result<(), DropReason> {
    let (first, second) = (env.u32_at(a)?, env.u32_at(b)?);
    env.set_u32(a, second)?;
    env.set_u32(b, first)
}

/// The frame goes back to the device that sent it.
#[inline(always)]
fn swap_links<E: Env>(env: &mut E) -> Result<(), DropReason> {
    let mut at = 0;
    while at < 6 {
        let (to, from) = (env.u16_at(at)?, env.u16_at(at + 6)?);
        env.set_u16(at, from)?;
        env.set_u16(at + 6, to)?;
        at += 2;
    }
    Ok(())
}
