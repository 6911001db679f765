//! Direct server return: the backend's node learns the service's address from the packet that opens a connection, and
//! answers the client under it.
//!
//! On the wire as Cilium has it, since nodes of both kinds may meet: IPv4 option 0x9a with port and address in
//! *reversed* byte order, IPv6 destination option 0x1b with both in network order.

use abi::flow::HALF_OPEN_LIFETIME;
use abi::nat::{ANSWERED, CLOSED, CONFIRMED, DIRECT, ENDED, OUT};
use abi::{Addr, Backend, DropReason};

use crate::env::{Env, Room, Table};
use crate::nat::{key, unchanged};
use crate::packet::{IPV6, L3, protocol};
use crate::parts::Part;
use crate::service::{Target, frontend, member};
use crate::work::Work;

/// Type (copied into fragments, number 26) and length of the IPv4 option, before two bytes of port and four of address.
const OPTION_V4: u32 = 0x9a08_0000;
/// Type and length of the IPv6 option, after the extension header's own two bytes: next header, and 2 × 8 more bytes.
const OPTION_V6: u32 = 0x0002_1b14;
const LENGTH_V4: u32 = 8;
const LENGTH_V6: u32 = 24;
const HOP_BY_HOP: u8 = 0;
const DESTINATION_OPTIONS: u32 = 60;

/// Adds the service's address to a packet that goes to a backend elsewhere: to each that may be the first.
#[inline(always)]
pub(crate) fn add<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    let packet = &work.packet;
    if packet.protocol == protocol::TCP && !packet.is_syn() {
        return Ok(());
    }
    let (addr, port) = (work.nat_key.destination, work.nat_key.destination_port);
    if packet.is(IPV6) {
        let lengths = env.u32_at(L3 + 4)?;
        if lengths.to_ne_bytes()[2] == HOP_BY_HOP {
            // Nothing may stand before these.
            return Err(DropReason::InvalidExtensionHeader);
        }
        env.make_room(LENGTH_V6, Room::BehindIp)?;
        let [high, low, next, hops] = lengths.to_ne_bytes();
        let payload = u16::from_be_bytes([high, low]).wrapping_add(LENGTH_V6 as u16).to_be_bytes();
        let lengths = [payload[0], payload[1], DESTINATION_OPTIONS as u8, hops];
        env.set_u32(L3 + 4, u32::from_ne_bytes(lengths))?;
        env.set_u32(L3 + 40, (OPTION_V6 | u32::from(next) << 24).to_be())?;
        let mut i = 0;
        while i < 4 {
            env.set_u32(L3 + 44 + i * 4, addr.words[i as usize & 3])?;
            i += 1;
        }
        env.set_u16(L3 + 60, port)?;
        env.set_u16(L3 + 62, 0)?;
        work.packet.l4 += LENGTH_V6;
        return Ok(());
    }
    if packet.l4 != L3 + 20 {
        // No room is looked for beside other options.
        return Err(DropReason::InvalidPacket);
    }
    let old = env.u32_at(L3)?;
    env.make_room(LENGTH_V4, Room::BehindIp)?;
    let [version, service, high, low] = old.to_ne_bytes();
    let length = u16::from_be_bytes([high, low]).wrapping_add(LENGTH_V4 as u16).to_be_bytes();
    let new = u32::from_ne_bytes([version + 2, service, length[0], length[1]]);
    let words = [(OPTION_V4 | u32::from(port)).to_be(), addr.v4_word().to_be()];
    env.set_u32(L3, new)?;
    env.set_u32(L3 + 20, words[0])?;
    env.set_u32(L3 + 24, words[1])?;
    env.fix_l3(L3 + 10, old, new)?;
    env.fix_l3(L3 + 10, 0, words[0])?;
    env.fix_l3(L3 + 10, 0, words[1])?;
    work.packet.l4 += LENGTH_V4;
    Ok(())
}

/// Reads what another node has added, and remembers under which address to answer. `work.served` tells.
#[inline(always)]
pub(crate) fn learn<E: Env>(env: &mut E, work: &mut Work) -> Result<(), DropReason> {
    // Only these carry one, see above.
    if work.packet.protocol == protocol::TCP && !work.packet.is_syn() {
        return Ok(());
    }
    let mut addr = Addr::UNSPECIFIED;
    let port;
    if work.packet.is(IPV6) {
        if u32::from(env.u8_at(L3 + 6)?) != DESTINATION_OPTIONS {
            return Ok(());
        }
        if u32::from_be(env.u32_at(L3 + 40)?) & 0x00ff_ffff != OPTION_V6 {
            return Ok(());
        }
        let mut i = 0;
        while i < 4 {
            addr.words[i as usize & 3] = env.u32_at(L3 + 44 + i * 4)?;
            i += 1;
        }
        port = env.u16_at(L3 + 60)?;
    } else {
        if work.packet.l4 < L3 + 28 {
            return Ok(());
        }
        let option = u32::from_be(env.u32_at(L3 + 20)?);
        if option & 0xffff_0000 != OPTION_V4 {
            return Ok(());
        }
        addr = Addr::v4(u32::from_be(env.u32_at(L3 + 24)?));
        port = option as u16;
    }
    // Only for a service of this cluster that this pod stands behind: whoever else adds the option speaks for nobody.
    let Work { packet, frontend: row, .. } = &mut *work;
    if !frontend(env, &Target { addr, port, protocol: packet.protocol }, false, row) {
        return Ok(());
    }
    let backend = Backend { addr: packet.destination, port: packet.destination_port, _pad: 0 };
    if env.member(&member(&backend, row.service, packet.protocol)) == 0 {
        return Ok(());
    }
    // The answer to this packet, and how it leaves.
    key(&work.packet, OUT, &mut work.nat_key);
    work.nat_key = work.nat_key.mirrored();
    let now = env.now();
    if let Some(known) = env.nat(Table::Answered, &work.nat_key) {
        // The client may have come before by the same port, this way or another: that is over if it ended, or never began.
        let ended = known.flags & (ENDED | CLOSED) != 0 || known.expires < now;
        let over = ended || work.packet.protocol != protocol::TCP;
        let same = known.source.same(&addr) && known.source_port == port && known.expires >= now;
        if same && !(over && work.packet.is_syn()) {
            work.served = 1;
            return Ok(());
        }
        if !over {
            // Whoever forges a packet of a client does not end its connection.
            return Err(DropReason::NoNatMapping);
        }
        work.nat = *known;
        env.part(Part::Forget, work)?;
    }
    unchanged(&work.packet, &mut work.nat);
    work.nat.service = work.frontend.service;
    work.nat.destination = work.packet.source;
    work.nat.destination_port = work.packet.source_port;
    work.nat.source = addr;
    work.nat.source_port = port;
    // The client's packets do not come as its own: nothing more is to be heard of it.
    work.nat.flags = ANSWERED | CONFIRMED | DIRECT;
    work.nat.expires = now + HALF_OPEN_LIFETIME;
    env.put_nat(Table::HalfOpen, &work.nat_key, &work.nat, false);
    work.served = 1;
    Ok(())
}
