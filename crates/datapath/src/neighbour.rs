//! Answers to ARP and neighbour solicitations of pods: every address but their own is behind the host-side device.

use abi::{DropReason, PodFacts};

use crate::deliver::address;
use crate::env::{Action, Env, Verdict};
use crate::packet::{L3, Packet, frame};
use crate::work::Work;

const ARP_REQUEST_IPV4: u32 = 0x0001_0800_u32.to_be();
const ARP_SIZES: u16 = 0x0604_u16.to_be();
const ARP_REQUEST: u16 = 1_u16.to_be();
const ARP_REPLY: u16 = 2_u16.to_be();

/// Answers what a pod asks about its neighbours.
#[inline(always)]
pub fn answer<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let Some(pod) = env.pod(env.ifindex()).copied() else { return Err(DropReason::EndpointNotReady) };
    if work.packet.frame == frame::ARP {
        arp(env, &pod, &mut work.verdict)
    } else {
        solicitation(env, &work.packet, &pod, &mut work.verdict)
    }
}

/// Answers an ARP request of a pod (RFC 826).
#[inline(always)]
fn arp<E: Env>(env: &mut E, pod: &PodFacts, out: &mut Verdict) -> Result<(), DropReason> {
    let asked = env.u32_at(L3 + 24)?;
    let valid = env.u32_at(L3)? == ARP_REQUEST_IPV4 && env.u16_at(L3 + 4)? == ARP_SIZES;
    if !valid || env.u16_at(L3 + 6)? != ARP_REQUEST || env.u32_at(L3 + 14)? != pod.v4.v4_word() {
        return Err(DropReason::InvalidPacket);
    }
    if asked == pod.v4.v4_word() {
        // Nobody else has it, which is what a probe for duplicates wants to hear.
        return Err(DropReason::InvalidPacket);
    }
    address(env, &pod.mac, &pod.host_mac)?;
    env.set_u16(L3 + 6, ARP_REPLY)?;
    let (ours, theirs) = (&pod.host_mac, &pod.mac);
    hardware(env, L3 + 8, ours)?;
    env.set_u32(L3 + 14, asked)?;
    hardware(env, L3 + 18, theirs)?;
    env.set_u32(L3 + 24, pod.v4.v4_word())?;
    *out = Verdict::plain(Action::Reply);
    Ok(())
}

#[inline(always)]
fn hardware<E: Env>(env: &mut E, at: u32, mac: &[u8; 6]) -> Result<(), DropReason> {
    env.set_u32(at, u32::from_ne_bytes([mac[0], mac[1], mac[2], mac[3]]))?;
    env.set_u16(at + 4, u16::from_ne_bytes([mac[4], mac[5]]))
}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Length of a solicitation or advertisement with one link-layer option.
const ND_LENGTH: u32 = 32;
/// Solicited, override.
const ND_FLAGS: u32 = 0x6000_0000_u32.to_be();

/// Whether this ICMPv6 message belongs to the link: solicitations are answered, and no pod may play the router.
#[inline(always)]
pub const fn is_link_message(packet: &Packet) -> bool {
    packet.protocol == crate::packet::protocol::ICMPV6
        && matches!(packet.icmp_type, 130 | 131 | 132 | 133 | 134 | 135 | 136 | 137 | 143)
}

/// Answers a neighbour solicitation of a pod (RFC 4861 §7.2.4); every other link message is dropped
/// (`FORBIDDEN_ICMPV6_MESSAGE`), router advertisements among them (CVE-2020-10749).
#[inline(always)]
fn solicitation<E: Env>(
    env: &mut E,
    packet: &Packet,
    pod: &PodFacts,
    out: &mut Verdict,
) -> Result<(), DropReason> {
    let at = packet.l4;
    let with_option =
        env.length() >= at + ND_LENGTH && u32::from(u16::from_be(env.u16_at(L3 + 4)?)) == ND_LENGTH;
    if packet.icmp_type != SOLICITATION || at != L3 + 40 || !with_option || packet.source.is_unspecified() {
        return Err(DropReason::ForbiddenIcmp6);
    }
    let mut target = abi::Addr::UNSPECIFIED;
    let mut i = 0;
    while i < 4 {
        target.words[i] = env.u32_at(at + 8 + i as u32 * 4)?;
        i += 1;
    }
    if target.same(&pod.v6) {
        return Err(DropReason::ForbiddenIcmp6);
    }
    address(env, &pod.mac, &pod.host_mac)?;
    let mut i = 0;
    while i < 4 {
        env.set_u32(L3 + 8 + i as u32 * 4, target.words[i])?;
        env.set_u32(L3 + 24 + i as u32 * 4, packet.source.words[i])?;
        i += 1;
    }
    env.set_u8(L3 + 7, 255)?;
    env.set_u8(at, ADVERTISEMENT)?;
    env.set_u8(at + 1, 0)?;
    env.set_u16(at + 2, 0)?;
    env.set_u32(at + 4, ND_FLAGS)?;
    env.set_u16(at + 24, 0x0201_u16.to_be())?;
    hardware(env, at + 26, &pod.host_mac)?;
    let sum = checksum(env, at)?;
    env.set_u16(at + 2, sum)?;
    *out = Verdict::plain(Action::Reply);
    Ok(())
}

/// ICMPv6 checksum of the advertisement: pseudo header (addresses, length, next header 58), then 32 bytes.
#[inline(always)]
fn checksum<E: Env>(env: &E, at: u32) -> Result<u16, DropReason> {
    let mut sum = u32::from((ND_LENGTH as u16).to_be()) + u32::from(58_u16.to_be());
    let mut i = 0;
    while i < 16 {
        sum += u32::from(env.u16_at(L3 + 8 + i * 2)?);
        sum += u32::from(env.u16_at(at + i * 2)?);
        i += 1;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    Ok(!(sum as u16))
}
