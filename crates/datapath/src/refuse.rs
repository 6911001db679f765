//! What is said instead of nothing: "connection refused" for a service that has no backend, "administratively prohibited"
//! where policy denies.

use abi::{DropReason, config, identity, mark};

use crate::env::{Action, Checksum, Env, Room};
use crate::packet::{FRAGMENT, ICMP_ERROR, IPV6, L3, Packet, UNREAD, protocol, tcp};
use crate::parts::Part;
use crate::service::Step;
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

/// Answers of one CPU in a second that tell of a denial (RFC 4443 §2.4 (f)).
const DENIALS_A_SECOND: u32 = 1000;
const SECOND: u64 = 1_000_000_000;

/// Tells the sender of a packet that policy denies it: the packet becomes the ICMP error, and goes back the way it came.
/// An error means that nobody is told.
#[inline(always)]
pub(crate) fn prohibit<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let packet = &work.packet;
    // Whoever spoke to a service knows nothing of its backend.
    let odd = packet.flags & (FRAGMENT | ICMP_ERROR | UNREAD) != 0 || packet.tcp & tcp::RST != 0;
    if odd || work.served != 0 || env.is_gso() || !is_unicast(packet) || !within_rate(env, work) {
        return Err(DropReason::PolicyDenied);
    }
    swap_links(env)?;
    work.step = Step::Prohibit as u32;
    env.part(Part::Unreachable, work)?;
    let tunnelled =
        env.config().features & config::TUNNEL != 0 && env.ifindex() == env.config().tunnel_ifindex;
    if tunnelled {
        work.verdict.action = Action::Tunnel;
        work.verdict.gateway = work.tunnel.remote;
        work.verdict.identity = match work.receiver.identity {
            identity::HOST => identity::REMOTE_NODE,
            other => other,
        };
        return Ok(());
    }
    env.set_mark(mark::SNAT_DONE);
    work.verdict.action = Action::Reply;
    Ok(())
}

/// Whether both ends are somebody in particular.
#[inline(always)]
const fn is_unicast(packet: &Packet) -> bool {
    if packet.is(IPV6) {
        let first = u32::from_be(packet.destination.words[0]);
        return first >> 24 != 0xff && !packet.source.is_unspecified();
    }
    let (from, to) = (u32::from_be(packet.source.v4_word()), u32::from_be(packet.destination.v4_word()));
    from != 0 && to >> 28 < 0xe
}

/// Counts the answer, unless there were enough in this second. What is recorded for a comparison has no clock.
#[inline(always)]
fn within_rate<E: Env>(env: &E, work: &mut Work) -> bool {
    let second = (env.now() / SECOND) as u32;
    let [last, count] = work.told;
    let count = if last == second { count + 1 } else { 1 };
    work.told = [second, count];
    count <= DENIALS_A_SECOND || env.config().features & config::RECORD_VERDICT != 0
}

/// Puts an ICMP error before the packet, which it quotes with eight bytes of its payload (RFC 792, RFC 4443 §3.1); with the
/// whole header under TCP, since the kernel cuts no packet whose checksum is still to be written behind that.
#[inline(always)]
pub(crate) fn unreachable<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let v6 = work.packet.is(IPV6);
    let header = if v6 { 40 } else { 20 };
    let quote = if work.packet.protocol == protocol::TCP { 20 } else { 8 };
    // With options or extension headers, or cut short, it is not worth an answer.
    if work.packet.l4 != L3 + header || env.length() < L3 + header + quote {
        return Err(DropReason::NoBackend);
    }
    env.cut(L3 + header + quote)?;
    env.make_room(header + 8, Room::BehindLink)?;
    let Packet { source, destination, .. } = work.packet;
    if v6 {
        env.set_u32(L3, 0x6000_0000_u32.to_be())?;
        env.set_u32(L3 + 4, ((header + 8 + quote) << 16 | u32::from(protocol::ICMPV6) << 8 | 64).to_be())?;
        let mut i = 0;
        while i < 4 {
            env.set_u32(L3 + 8 + i * 4, destination.words[i as usize & 3])?;
            env.set_u32(L3 + 24 + i * 4, source.words[i as usize & 3])?;
            i += 1;
        }
    } else {
        env.set_u32(L3, (0x4500_0000 | (header * 2 + 8 + quote)).to_be())?;
        env.set_u32(L3 + 4, 0)?;
        env.set_u32(L3 + 8, (0x4000_0000 | u32::from(protocol::ICMP) << 16).to_be())?;
        env.set_u32(L3 + 12, destination.v4_word())?;
        env.set_u32(L3 + 16, source.v4_word())?;
        let sum = sum_of(env, L3, 10, 0)?;
        env.set_u16(L3 + 10, sum)?;
    }
    let icmp = L3 + header;
    // RFC 4443 §3.1: 1 prohibited, 4 port; RFC 792, RFC 1812 §5.2.7.1: 13 prohibited, 3 port.
    let code = match (work.step == Step::Prohibit as u32, v6) {
        (true, true) => 1,
        (true, false) => 13,
        (false, true) => 4,
        (false, false) => 3,
    };
    let kind = if v6 { 1_u32 } else { 3 } << 24 | code << 16;
    env.set_u32(icmp, kind.to_be())?;
    env.set_u32(icmp + 4, 0)?;
    let sum = if v6 {
        // The pseudo header: both addresses as they lie before, the length, the protocol.
        sum_of(env, L3 + 8, 16 + 24 + quote / 2, header + 8 + quote + u32::from(protocol::ICMPV6))?
    } else {
        sum_of(env, icmp, 14 + quote / 2, 0)?
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
