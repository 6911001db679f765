//! The services' short cut: packets that this node only passes on, from a client outside to a backend elsewhere and
//! back, are translated and sent before the stack has made a buffer of them.
//!
//! It decides nothing of its own: whatever is not such a packet, or not certain, goes on untouched to the device's other
//! program, which finds the translation that was made here and reports what is to be reported.

use abi::nat::{BACK, DIRECT};
use abi::tables::IPCACHE_HOST;
use abi::{Addr, DropReason};

use crate::deliver::{address, age, oversized_for};
use crate::entry::{host_address, may_come_back};
use crate::env::{Action, Env, Link};
use crate::nat::{find, follow, key};
use crate::packet::{FRAGMENT, ICMP_ERROR, LAST_HOP, frame, protocol};
use crate::parts::Part;
use crate::service::{Step, possible};
use crate::work::Work;

/// A packet arrives on a native device: XDP.
#[inline(always)]
pub fn xdp_ingress<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.reset();
    if env.part(Part::Parse, work).is_err() || !eligible(work) {
        return Ok(());
    }
    work.nobody();
    let outcome = if work.packet.destination.same(host_address(env, &work.packet))
        && may_come_back(env, &work.packet)
    {
        returning(env, work)
    } else if possible(env, &work.packet) {
        opening(env, work)
    } else {
        return Ok(());
    };
    // The other program comes to the same end, and tells of it.
    if outcome.is_err() || work.served == 0 || !leaves(env, &work.nat.destination) {
        return Ok(());
    }
    let mut link = Link::NONE;
    if !env.link(work, &mut link) || oversized_for(env, link.mtu) {
        return Ok(());
    }
    env.part(Part::Translate, work)?;
    age(env, &work.packet)?;
    address(env, &link.to, &link.from)?;
    work.verdict.ifindex = link.ifindex;
    work.verdict.action = Action::Transmit;
    env.count(0, false);
    Ok(())
}

/// Whether the packet can be one that only passes.
#[inline(always)]
fn eligible(work: &Work) -> bool {
    let packet = &work.packet;
    packet.frame == frame::IP
        && packet.flags & (FRAGMENT | ICMP_ERROR | LAST_HOP) == 0
        && matches!(packet.protocol, protocol::TCP | protocol::UDP)
}

/// A backend's answer on its way to the client.
#[inline(always)]
fn returning<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    key(&work.packet, BACK, &mut work.nat_key);
    let now = env.now();
    match find(env, &work.nat_key) {
        // Masqueraded pods are of this node.
        Some(entry) if entry.expires >= now && entry.service != 0 => {
            work.served = 1;
            follow(env, work, entry, now)
        }
        _ => Ok(()),
    }
}

/// A client's packet on its way to a backend.
#[inline(always)]
fn opening<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    env.part(Part::FindService, work)?;
    if work.step == Step::Open as u32 {
        env.part(Part::Open, work)?;
        if work.step != Step::Choose as u32 {
            return Ok(());
        }
        env.part(Part::Choose, work)?;
        env.part(Part::Connect, work)?;
        if work.step == Step::Allocate as u32 {
            env.part(Part::Allocate, work)?;
        }
    }
    // What carries an option is made by the other program.
    if work.nat.flags & DIRECT != 0 {
        work.served = 0;
    }
    Ok(())
}

/// Whether a translated packet leaves this node: not to one of its pods, nor to itself, nor into the tunnel.
#[inline(always)]
fn leaves<E: Env>(env: &E, to: &Addr) -> bool {
    if env.local(to).is_some() {
        return false;
    }
    match env.host_entry(to) {
        Some(entry) => {
            let tunnelled = entry.flags & abi::tables::IPCACHE_TUNNEL != 0
                && env.config().features & abi::config::TUNNEL != 0;
            entry.flags & IPCACHE_HOST == 0 && !tunnelled
        }
        None => true,
    }
}
