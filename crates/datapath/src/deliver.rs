//! Sending a packet on: hop limit, addresses of the link, mark, and the way out.

use abi::flow::{GO_NEIGHBOUR, GO_POD, GO_TUNNEL};
use abi::{DropReason, End, mark};

use crate::env::{Env, Verdict};
use crate::packet::{IPV6, L3, LAST_HOP, Packet};

const ETH_HEADER: u32 = 14;

/// How a packet may travel.
#[derive(Clone, Copy)]
pub struct Pass {
    /// Identity of the sender, carried in the mark or the tunnel header.
    pub identity: u32,
    /// It leaves with the node's address: no mark, so that the device's program translates it.
    pub masquerade: bool,
}

/// Sends the packet towards `end`. What the stack does better (fragment, answer "too big" or "time exceeded", find a
/// route) goes up the stack, with the sender's identity in the mark, since its policy was enforced.
#[inline(always)]
pub fn send<E: Env>(env: &mut E, packet: &Packet, end: &End, pass: Pass) -> Result<Verdict, DropReason> {
    if packet.is(LAST_HOP) || oversized(env, end) {
        return Ok(to_stack(env, pass));
    }
    match end.go {
        GO_POD => {
            age(env, packet)?;
            address(env, &end.mac, &end.host_mac)?;
            Ok(Verdict::Pod { ifindex: end.ifindex })
        }
        GO_NEIGHBOUR => {
            age(env, packet)?;
            if !pass.masquerade {
                env.set_mark(mark::with_identity(pass.identity));
            }
            Ok(Verdict::Neighbour { ifindex: end.ifindex, gateway: end.gateway })
        }
        GO_TUNNEL => {
            age(env, packet)?;
            Ok(Verdict::Tunnel { gateway: end.gateway, identity: pass.identity })
        }
        _ => Ok(to_stack(env, pass)),
    }
}

#[inline(always)]
fn to_stack<E: Env>(env: &mut E, pass: Pass) -> Verdict {
    if !pass.masquerade {
        env.set_mark(mark::with_identity(pass.identity));
    }
    Verdict::Stack
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

/// One hop less.
#[inline(always)]
fn age<E: Env>(env: &mut E, packet: &Packet) -> Result<(), DropReason> {
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
