//! "Connection refused", said for a service that has no backend.

use abi::{DropReason, mark};

use crate::env::{Action, Checksum, Env};
use crate::packet::{IPV6, L3, protocol, tcp};
use crate::work::Work;

const OLD_FLAGS: u32 = 12;

/// Turns a TCP packet into its refusal (RFC 9293 §3.5.2) and sends it back. Anything else is dropped.
#[inline(always)]
pub(crate) fn refuse<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if work.packet.protocol != protocol::TCP || work.packet.tcp & tcp::RST != 0 || env.is_gso() {
        return Err(DropReason::NoBackend);
    }
    let l4 = work.packet.l4;
    // Source and destination change places: neither checksum minds the order of what it adds up.
    swap_links(env)?;
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
    replace(env, l4, OLD_FLAGS, old, u32::from_ne_bytes(bytes))?;
    env.set_mark(mark::SNAT_DONE);
    work.verdict.action = Action::Reply;
    Ok(())
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
