//! Sending a packet on: hop limit, addresses of the link, mark, and the way out.

use abi::flow::{GO_NEIGHBOUR, GO_ON, GO_POD, GO_STACK, GO_TUNNEL, GO_UNKNOWN};
use abi::{DropReason, End, config, mark};

use crate::env::{Action, Env, Verdict};
use crate::packet::{IPV6, L3, LAST_HOP, Packet};
use crate::work::Work;

const ETH_HEADER: u32 = 14;

/// Sends the packet towards `end`, with the identity of its sender in the mark or the tunnel header. What the stack
/// does better (fragment, answer "too big" or "time exceeded", find a route) goes up the stack. A masqueraded packet
/// carries no mark, so that the device's program translates it.
#[inline(always)]
pub fn send<E: Env>(env: &mut E, work: &mut Work, end: &End, identity: u32) -> Result<(), DropReason> {
    if env.config().features & config::HOST_FIREWALL != 0 && end.go == GO_ON {
        work.verdict.action = Action::Own;
        return Ok(());
    }
    let hop = work.hop != 0;
    let mut go = end.go;
    if (hop && work.packet.is(LAST_HOP)) || oversized(env, end) || go == GO_UNKNOWN {
        go = GO_STACK;
    }
    if hop && go != GO_STACK {
        age(env, &work.packet)?;
    }
    if work.decision.masquerade == 0 && (go == GO_STACK || go == GO_NEIGHBOUR) {
        env.set_mark(mark::with_identity(identity));
    }
    work.verdict = Verdict { action: Action::Stack, ifindex: end.ifindex, identity, gateway: end.gateway };
    match go {
        GO_POD => {
            work.verdict.action = Action::Pod;
            return address(env, &end.mac, &end.host_mac);
        }
        GO_NEIGHBOUR => work.verdict.action = Action::Neighbour,
        GO_TUNNEL => work.verdict.action = Action::Tunnel,
        _ => {}
    }
    Ok(())
}

/// Whether the packet is larger than the way to `end` carries. Into a pod there is no such limit.
#[inline(always)]
pub fn oversized<E: Env>(env: &E, end: &End) -> bool {
    let limit = match end.go {
        GO_NEIGHBOUR => env.config().native_mtu,
        GO_TUNNEL => env.config().tunnel_mtu,
        _ => return false,
    };
    env.length() > limit + ETH_HEADER && !env.is_gso()
}

/// Whether the packet is larger than a way without the stack carries; `mtu` 0 = as the native devices.
#[inline(always)]
pub fn oversized_for<E: Env>(env: &E, mtu: u32) -> bool {
    let native = env.config().native_mtu;
    env.length() > ETH_HEADER + if mtu != 0 && mtu < native { mtu } else { native }
}

/// One hop less.
#[inline(always)]
pub fn age<E: Env>(env: &mut E, packet: &Packet) -> Result<(), DropReason> {
    if packet.is(IPV6) {
        let hops = env.u8_at(L3 + 7)?;
        return env.set_u8(L3 + 7, hops.wrapping_sub(1));
    }
    let hops = env.u8_at(L3 + 8)?;
    env.set_u8(L3 + 8, hops.wrapping_sub(1))?;
    // RFC 1624: the header lost 0x0100, so its complement gains it.
    let sum = u32::from(u16::from_be(env.u16_at(L3 + 10)?)) + 0x0100;
    let folded = (sum & 0xffff) + (sum >> 16);
    env.set_u16(L3 + 10, (folded as u16).to_be())
}

/// Writes the link addresses.
#[inline(always)]
pub fn address<E: Env>(env: &mut E, to: &[u8; 6], from: &[u8; 6]) -> Result<(), DropReason> {
    env.set_u32(0, u32::from_ne_bytes([to[0], to[1], to[2], to[3]]))?;
    env.set_u32(4, u32::from_ne_bytes([to[4], to[5], from[0], from[1]]))?;
    env.set_u32(8, u32::from_ne_bytes([from[2], from[3], from[4], from[5]]))
}
