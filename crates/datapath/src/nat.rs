//! Translated connections: pods that reach the world with the node's address, clients that reach a service's backend.
//!
//! An entry says how a packet leaves, its twin how the answer does ([`abi::nat`]). Both begin among the half-open ones
//! and move to the table that never evicts when the server has answered and, under TCP, the client has gone on, so that a
//! flood of openings evicts only openings, answered or not.

use abi::flow::{CLOSING_LIFETIME, HALF_OPEN_LIFETIME, OTHER_LIFETIME, TCP_LIFETIME};
use abi::nat::{ANSWERED, BACK, CLOSED, CONFIRMED, DIRECT, ENDED, OUT};
use abi::nat::{PORT_TRIES, RENEW_AFTER, TRACKED_ONLY};
use abi::{Addr, DropReason, NatKey, NatValue};

use crate::env::{Env, NatRef, Table};
use crate::packet::{ECHO_REPLY, ICMP_ERROR, IPV6, Packet, protocol, tcp};
use crate::parts::Part;
use crate::work::Work;

/// Writes the key of the packet in hand.
#[inline(always)]
pub fn key(packet: &Packet, direction: u8, out: &mut NatKey) {
    out.source = packet.source;
    out.destination = packet.destination;
    out.source_port = packet.source_port;
    out.destination_port = packet.destination_port;
    out.protocol = packet.protocol;
    out.direction = direction;
    out._pad = 0;
}

/// The value that changes nothing of the packet.
#[inline(always)]
pub fn unchanged(packet: &Packet, out: &mut NatValue) {
    out.source = packet.source;
    out.destination = packet.destination;
    out.source_port = packet.source_port;
    out.destination_port = packet.destination_port;
    out.flags = 0;
    out.service = 0;
    out.epoch = 0;
}

/// The entry of a key in either table.
#[inline(always)]
pub fn find<E: Env>(env: &E, key: &NatKey) -> Option<NatRef> {
    match env.nat(Table::Answered, key) {
        Some(entry) => Some(entry),
        None => env.nat(Table::HalfOpen, key),
    }
}

/// Whether the entry stands for the packet's connection, and not for an earlier one that has ended. The end of a direct
/// one is only seen from the client's side.
#[inline(always)]
pub fn lives(entry: &NatValue, packet: &Packet, now: u64) -> bool {
    let ended = if entry.flags & DIRECT != 0 { ENDED | CLOSED } else { ENDED };
    entry.expires >= now && !(packet.is_syn() && entry.flags & ended != 0)
}

/// Takes the entry of `work.nat_key` as the packet's, and follows its state; renews it where that is due.
#[inline(always)]
pub fn follow<E: Env>(env: &mut E, work: &mut Work, mut entry: NatRef, now: u64) -> Result<(), DropReason> {
    // The table of half-open ones forgets each half on its own, so there each packet looks whether the pair is whole.
    let mut news = !settled(entry.flags, work.packet.protocol);
    if work.packet.protocol == protocol::TCP && work.packet.tcp & (tcp::FIN | tcp::RST) != 0 {
        entry.flags |= if work.packet.tcp & tcp::RST != 0 { ENDED } else { CLOSED };
        news = true;
    }
    // The answers to a direct connection pass this node by: that the client goes on shows that they come.
    if entry.flags & DIRECT != 0 && !work.packet.is_syn() {
        entry.flags |= ANSWERED;
    }
    let goes_on = work.nat_key.direction == OUT && !work.packet.is_syn();
    if goes_on && entry.flags & ANSWERED != 0 {
        entry.flags |= CONFIRMED;
    }
    work.nat = *entry;
    let due = now + lifetime(&work.nat, work.packet.protocol) - RENEW_AFTER;
    if news || work.nat.expires < due { env.part(Part::Renew, work) } else { Ok(()) }
}

/// Whether both sides have spoken: the server has answered and, under TCP, the client has gone on.
#[inline(always)]
const fn settled(flags: u32, protocol: u8) -> bool {
    flags & ANSWERED != 0 && (protocol != protocol::TCP || flags & CONFIRMED != 0)
}

/// How long a connection lives on without another packet.
#[inline(always)]
const fn lifetime(entry: &NatValue, protocol: u8) -> u64 {
    if entry.flags & ENDED != 0 {
        CLOSING_LIFETIME
    } else if !settled(entry.flags, protocol) {
        HALF_OPEN_LIFETIME
    } else if protocol == protocol::TCP {
        TCP_LIFETIME
    } else {
        OTHER_LIFETIME
    }
}

/// Writes both entries of the packet's connection anew, with what is known of it now.
#[inline(always)]
pub fn renew<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let Work { nat_key, nat, twin_key, twin, .. } = work;
    *twin_key = nat.twin(nat_key);
    let mut flags = nat.flags;
    if nat_key.direction == BACK {
        flags |= ANSWERED;
    }
    mirror(nat_key, nat, twin);
    // What the backend's node has learned stands alone: the client's packets are led by another node.
    let alone = nat_key.direction == BACK && flags & DIRECT != 0;
    let (mut other, mut whole) = (0, false);
    if !alone && let Some(found) = find(env, twin_key) {
        if !leads_to(&found, twin) {
            // Another connection has taken the port since this half was forgotten.
            return Err(DropReason::NoNatMapping);
        }
        other = found.flags;
        whole = true;
    }
    flags |= other & (ANSWERED | CONFIRMED | ENDED);
    let now = env.now();
    if whole
        && flags & (ANSWERED | CLOSED | ENDED) == 0
        && nat.expires >= now + HALF_OPEN_LIFETIME - RENEW_AFTER
    {
        // One side speaks alone, maybe often: nothing is new.
        return Ok(());
    }
    if flags & other & CLOSED != 0 {
        flags |= ENDED;
    }
    nat.flags = flags;
    nat.expires = now + lifetime(nat, nat_key.protocol);
    twin.flags = (flags & !CLOSED) | (other & CLOSED);
    twin.expires = nat.expires;
    let settled = settled(flags, nat_key.protocol)
        && env.put_nat(Table::Answered, nat_key, nat, false)
        && (alone || env.put_nat(Table::Answered, twin_key, twin, false));
    if settled {
        env.remove_nat(Table::HalfOpen, nat_key);
        if !alone {
            env.remove_nat(Table::HalfOpen, twin_key);
        }
    } else {
        // Not yet, or no room: a flood may evict it here, but it goes on.
        env.put_nat(Table::HalfOpen, nat_key, nat, false);
        if !alone {
            env.put_nat(Table::HalfOpen, twin_key, twin, false);
        }
    }
    Ok(())
}

/// The value of the entry for the other direction.
#[inline(always)]
fn mirror(key: &NatKey, value: &NatValue, out: &mut NatValue) {
    out.source = key.destination;
    out.destination = key.source;
    out.source_port = key.destination_port;
    out.destination_port = key.source_port;
    out.flags = value.flags;
    out.expires = value.expires;
    out.service = value.service;
    out.epoch = value.epoch;
}

/// Whether two entries send packets to the same place under the same name.
#[inline(always)]
fn leads_to(a: &NatValue, b: &NatValue) -> bool {
    a.source.same(&b.source)
        && a.destination.same(&b.destination)
        && a.source_port == b.source_port
        && a.destination_port == b.destination_port
}

/// Forgets the entry of `work.nat_key` and its twin, unless that is another connection's by now; `work.nat` is the value.
#[inline(always)]
pub fn forget<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let Work { nat_key, nat, twin_key, twin, .. } = work;
    *twin_key = nat.twin(nat_key);
    mirror(nat_key, nat, twin);
    for table in [Table::Answered, Table::HalfOpen] {
        env.remove_nat(table, nat_key);
        if let Some(found) = env.nat(table, twin_key)
            && leads_to(&found, twin)
        {
            env.remove_nat(table, twin_key);
        }
    }
    Ok(())
}

/// Gives a packet that leaves the node's address and a free port. The host's own packet (`work.own`) keeps its port
/// unless another connection has it.
#[inline(always)]
pub fn leave<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    key(&work.packet, OUT, &mut work.nat_key);
    let now = env.now();
    let mut found = false;
    if let Some(mut entry) = find(env, &work.nat_key) {
        let lives = lives(&entry, &work.packet, now);
        if !lives && entry.flags & ENDED != 0 {
            // What is remembered of its end would end the new one early.
            work.nat = *entry;
            env.part(Part::Forget, work)?;
        } else {
            if !lives {
                entry.flags &= TRACKED_ONLY;
            }
            found = follow(env, work, entry, now).is_ok();
        }
    }
    if !found {
        unchanged(&work.packet, &mut work.nat);
        if work.own == 0 {
            work.nat.source = if work.packet.is(IPV6) { env.config().node_v6 } else { env.config().node_v4 };
        }
        env.part(Part::Allocate, work)?;
    }
    if work.nat.flags & TRACKED_ONLY != 0 { Ok(()) } else { env.part(Part::Translate, work) }
}

/// Finds a free port on `work.nat.source`: the packet's own if it is in range, else a random one, then one after the
/// other.
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
    // SCTP's ports cannot change, see `rewrite.rs`.
    let sctp = work.packet.protocol == protocol::SCTP;
    let keep = work.own != 0 || sctp || (wanted >= low && wanted <= high);
    work.port = [if keep { wanted } else { first }, first];
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
    work.nat.source_port = (port as u16).to_be();
    work.nat.flags = if work.own != 0 && port == wanted { TRACKED_ONLY } else { 0 };
    if env.part(Part::Claim, work).is_ok() {
        return Ok(());
    }
    let next = if port == wanted && first != wanted { first } else { port + 1 };
    work.port[0] = if next > high { low } else { next };
    Err(DropReason::NoNatMapping)
}

/// Makes the connection of `work.nat_key` and `work.nat`, unless its answers would be another's.
#[inline(always)]
pub fn claim<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let Work { nat_key, nat, twin_key, twin, .. } = work;
    let now = env.now();
    nat.expires = now + HALF_OPEN_LIFETIME;
    *twin_key = nat.twin(nat_key);
    mirror(nat_key, nat, twin);
    if let Some(taken) = env.nat(Table::Answered, twin_key) {
        if taken.expires >= now {
            return Err(DropReason::NoNatMapping);
        }
        env.remove_nat(Table::Answered, twin_key);
    }
    if !env.put_nat(Table::HalfOpen, twin_key, twin, true) {
        match env.nat(Table::HalfOpen, twin_key) {
            Some(taken) if taken.expires >= now => return Err(DropReason::NoNatMapping),
            _ => env.put_nat(Table::HalfOpen, twin_key, twin, false),
        };
    }
    // What the client's port was before, to the same address, is over.
    env.remove_nat(Table::Answered, nat_key);
    env.put_nat(Table::HalfOpen, nat_key, nat, false);
    Ok(())
}

/// A number below `range` from a random one, without division (Lemire).
#[inline(always)]
pub const fn scale(random: u32, range: u32) -> u32 {
    ((random as u64 * range as u64) >> 32) as u32
}

/// Gives an answer the addresses that its client waits for. Unchanged: nobody waits for it here. `work.served` tells.
#[inline(always)]
pub fn come_back<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    work.served = 0;
    if work.packet.is(ICMP_ERROR) {
        return crate::quoted::error(env, work);
    }
    key(&work.packet, BACK, &mut work.nat_key);
    let now = env.now();
    match find(env, &work.nat_key) {
        Some(entry) if entry.expires >= now => {
            if follow(env, work, entry, now).is_err() {
                return Ok(());
            }
        }
        _ => return Ok(()),
    }
    if work.nat.flags & TRACKED_ONLY != 0 {
        work.own = 1;
        return Ok(());
    }
    work.served = 1;
    env.part(Part::Translate, work)
}

/// Rewrites the packet as `work.nat` says.
#[inline(always)]
pub fn translate<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let (packet, nat) = (&work.packet, &work.nat);
    if !same(&packet.source, packet.source_port, &nat.source, nat.source_port) {
        env.part(Part::RewriteSource, work)?;
    }
    let (packet, nat) = (&work.packet, &work.nat);
    if !same(&packet.destination, packet.destination_port, &nat.destination, nat.destination_port) {
        env.part(Part::RewriteDestination, work)?;
    }
    Ok(())
}

#[inline(always)]
fn same(a: &Addr, a_port: u16, b: &Addr, b_port: u16) -> bool {
    a.same(b) && a_port == b_port
}

/// Whether a packet's ports can be told apart for masquerading.
#[inline(always)]
pub fn translatable(packet: &Packet) -> bool {
    let echo_request = packet.is_echo() && !packet.is(ECHO_REPLY);
    matches!(packet.protocol, protocol::TCP | protocol::UDP) || echo_request
}
