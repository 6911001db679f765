//! ICMP errors about translated packets: the error and what it quotes are rewritten to what its receiver once sent.

use abi::nat::{BACK, OUT, TRACKED_ONLY};
use abi::{Addr, DropReason, NatValue};

use crate::env::{Checksum, Env};
use crate::nat::{find, key};
use crate::packet::{IPV6, Packet};
use crate::parts::Part;
use crate::rewrite::{Half, replace_address};
use crate::work::Work;

/// Reads what an ICMP error quotes into `work.inner`; false where it makes no sense, or the error went astray: it is
/// addressed to whoever sent the packet that it quotes.
#[inline(always)]
pub(crate) fn read<E: Env>(env: &mut E, work: &mut Work) -> bool {
    work.quoted = 1;
    env.part(Part::Read, work).is_ok() && work.inner.source.same(&work.packet.destination)
}

/// Brings an error home. What it quotes is a packet as it left here: turned around, that is the key of what would have
/// answered it, whose value names the one that sent it.
#[inline(always)]
pub(crate) fn error<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    if !read(env, work) {
        return Ok(());
    }
    let now = env.now();
    let Work { packet, inner, nat_key, nat, served, inside, .. } = work;
    key(inner, OUT, nat_key);
    // From the server's side the client's packet is quoted, from the client's side the server's answer. A pod is taken for
    // the client here; as the server it is known by its flow, and comes by again.
    let mut wanted = nat_key.mirrored();
    wanted.direction = if *inside != 0 { OUT } else { BACK };
    let entry = match find(env, &wanted) {
        Some(entry) => entry,
        None if wanted.direction == OUT => return Ok(()),
        None => {
            wanted.direction = OUT;
            match find(env, &wanted) {
                Some(entry) => entry,
                None => return Ok(()),
            }
        }
    };
    if entry.flags & TRACKED_ONLY != 0 || entry.expires < now {
        return Ok(());
    }
    // A pod forwards for nobody: it speaks of its own. What leaves the node is masqueraded where it leaves.
    if *inside != 0 && (entry.service == 0 || !inner.destination.same(&packet.source)) {
        return Ok(());
    }
    *nat = *entry;
    requote(env, packet, inner, nat)?;
    let old = packet.destination;
    replace_address(env, packet, Half::Destination, &old, &nat.destination, packet.is(IPV6))?;
    packet.destination = nat.destination;
    // The other end itself is only known by the address under which it answers.
    if inner.destination.same(&packet.source) {
        let old = packet.source;
        replace_address(env, packet, Half::Source, &old, &nat.source, packet.is(IPV6))?;
        packet.source = nat.source;
    }
    *served = 1;
    Ok(())
}

/// Rewrites both ends of the quoted packet, and the error's checksum, which covers it.
#[inline(always)]
fn requote<E: Env>(env: &mut E, packet: &Packet, inner: &Packet, value: &NatValue) -> Result<(), DropReason> {
    end(env, packet, inner, Half::Source, &inner.source, &value.destination)?;
    end(env, packet, inner, Half::Destination, &inner.destination, &value.source)?;
    let plain = Checksum::default();
    if inner.is_echo() {
        let (old, new) =
            (inner.source_port | inner.destination_port, value.source_port | value.destination_port);
        env.set_u16(inner.l4 + 4, new)?;
        return env.fix_l4(packet.l4 + 2, u32::from(old), u32::from(new), 2, plain);
    }
    env.set_u16(inner.l4, value.destination_port)?;
    env.fix_l4(packet.l4 + 2, u32::from(inner.source_port), u32::from(value.destination_port), 2, plain)?;
    env.set_u16(inner.l4 + 2, value.source_port)?;
    env.fix_l4(packet.l4 + 2, u32::from(inner.destination_port), u32::from(value.source_port), 2, plain)
}

/// Rewrites one address of the quoted packet.
#[inline(always)]
fn end<E: Env>(
    env: &mut E,
    packet: &Packet,
    inner: &Packet,
    half: Half,
    from: &Addr,
    to: &Addr,
) -> Result<(), DropReason> {
    let at = packet.l4 + 8;
    if from.same(to) {
        return Ok(());
    }
    if inner.is(IPV6) {
        let offset = if half == Half::Source { 8 } else { 24 };
        let mut i = 0;
        while i < 4 {
            let (old, new) = (from.words[i & 3], to.words[i & 3]);
            env.set_u32(at + offset + i as u32 * 4, new)?;
            env.fix_l4(packet.l4 + 2, old, new, 4, Checksum::default())?;
            i += 1;
        }
        return Ok(());
    }
    // The quoted header's checksum makes up for the quoted address, so the error's own does not change by it.
    let offset = if half == Half::Source { 12 } else { 16 };
    env.set_u32(at + offset, to.v4_word())?;
    env.fix_l3(at + 10, from.v4_word(), to.v4_word())
}
