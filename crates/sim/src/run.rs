//! One run of a program over one packet.

use abi::maps::{FragmentKey, FragmentPorts};
use abi::{Addr, Affinity, AffinityKey, Backend, DropReason, Event, Flow, FlowKey, Frontend, FrontendKey};
use abi::{
    IpcacheEntry, MemberKey, NatKey, NatValue, NodeConfig, PodFacts, PolicyEntry, PolicyKey, SourceRangeKey,
};
use datapath::packet::{L3, Packet};
use datapath::{
    Checksum, Env, FlowRef, Link, NatRef, Part, ROUTE_STACK, Room, Table, Tables, TunnelKey, Verdict, Work,
    parts,
};

use crate::node::Node;

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the programs' names")]
pub enum Program {
    PodEgress,
    NetdevIngress,
    XdpIngress,
    NetdevEgress,
    OverlayIngress,
    HostEgress,
}

/// A packet about to meet a program.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// The frame, from the Ethernet header on.
    pub frame: Vec<u8>,
    /// Interface the program runs on.
    pub ifindex: u32,
    /// The packet's mark.
    pub mark: u32,
    /// What the tunnel device knows of it.
    pub tunnel: Option<TunnelKey>,
    /// It is one of the stack's large ones.
    pub gso: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Verdict or drop.
    pub verdict: Result<Verdict, DropReason>,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The mark afterwards.
    pub mark: u32,
}

/// Runs `program` on `node` over `sent`.
pub fn run(node: &mut Node, program: Program, sent: Sent) -> Outcome {
    let mut work = std::mem::take(&mut node.work);
    let mut world = World { node, sent };
    let done = match program {
        Program::PodEgress => datapath::pod_egress(&mut world, &mut work),
        Program::NetdevIngress => datapath::netdev_ingress(&mut world, &mut work),
        Program::XdpIngress => datapath::xdp_ingress(&mut world, &mut work),
        Program::NetdevEgress => datapath::netdev_egress(&mut world, &mut work),
        Program::OverlayIngress => datapath::overlay_ingress(&mut world, &mut work),
        Program::HostEgress => datapath::host_egress(&mut world, &mut work),
    };
    let World { node, sent } = world;
    let verdict = done.map(|()| work.verdict);
    node.work = work;
    node.removed.clear();
    node.removed_nat.clear();
    Outcome { verdict, frame: sent.frame, mark: sent.mark }
}

/// A node and the packet in hand.
struct World<'a> {
    node: &'a mut Node,
    sent: Sent,
}

impl World<'_> {
    fn bytes<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let at = offset as usize;
        self.sent.frame.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn put<const N: usize>(&mut self, offset: u32, bytes: [u8; N]) -> Result<(), DropReason> {
        let at = offset as usize;
        let room = self.sent.frame.get_mut(at..at + N).ok_or(DropReason::WriteError)?;
        room.copy_from_slice(&bytes);
        Ok(())
    }

    /// RFC 1624 equation 3 over 16-bit words: `~(~sum + ~from + to)`.
    fn fix(&mut self, offset: u32, from: &[u16], to: &[u16], keep_zero: bool) -> Result<(), DropReason> {
        let old = u16::from_be_bytes(self.bytes(offset).ok_or(DropReason::L4Checksum)?);
        if keep_zero && old == 0 {
            return Ok(());
        }
        let mut sum = u32::from(!old);
        for (from, to) in from.iter().zip(to) {
            sum += u32::from(!from) + u32::from(*to);
        }
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let mut new = !(sum as u16);
        if keep_zero && new == 0 {
            new = 0xffff;
        }
        self.put(offset, new.to_be_bytes())
    }
}

/// A value as it lies in the packet, as 16-bit words of the checksum.
fn words(value: u32) -> [u16; 2] {
    let bytes = value.to_ne_bytes();
    [u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])]
}

const VLAN: u32 = 4;
/// The direct access of the kernel world ends here.
const FURTHEST: u32 = 512;

impl Tables for World<'_> {
    crate::node_tables!();
}

impl Env for World<'_> {
    fn part(&mut self, part: Part, work: &mut Work) -> Result<(), DropReason> {
        parts::run(self, part, work)
    }
    fn length(&self) -> u32 {
        self.sent.frame.len() as u32
    }
    fn is_gso(&self) -> bool {
        self.sent.gso
    }
    fn pull(&mut self, length: u32) -> Result<(), DropReason> {
        if length > self.length() { Err(DropReason::InvalidPacket) } else { Ok(()) }
    }
    fn u8_at(&self, offset: u32) -> Result<u8, DropReason> {
        let found = if offset > FURTHEST { None } else { self.bytes::<1>(offset) };
        found.map(|[byte]| byte).ok_or(DropReason::InvalidPacket)
    }
    fn u16_at(&self, offset: u32) -> Result<u16, DropReason> {
        let found = if offset > FURTHEST { None } else { self.bytes(offset) };
        found.map(u16::from_ne_bytes).ok_or(DropReason::InvalidPacket)
    }
    fn words<const N: usize>(&self, offset: u32) -> Result<[u32; N], DropReason> {
        let mut out = [0; N];
        for (i, word) in out.iter_mut().enumerate() {
            let found = if offset > FURTHEST { None } else { self.bytes(offset + i as u32 * 4) };
            *word = found.map(u32::from_ne_bytes).ok_or(DropReason::InvalidPacket)?;
        }
        Ok(out)
    }
    fn u32_at(&self, offset: u32) -> Result<u32, DropReason> {
        let found = if offset > FURTHEST { None } else { self.bytes(offset) };
        found.map(u32::from_ne_bytes).ok_or(DropReason::InvalidPacket)
    }
    fn set_u8(&mut self, offset: u32, value: u8) -> Result<(), DropReason> {
        self.put(offset, [value])
    }
    fn set_u16(&mut self, offset: u32, value: u16) -> Result<(), DropReason> {
        self.put(offset, value.to_ne_bytes())
    }
    fn set_u32(&mut self, offset: u32, value: u32) -> Result<(), DropReason> {
        self.put(offset, value.to_ne_bytes())
    }
    fn fix_l3(&mut self, offset: u32, from: u32, to: u32) -> Result<(), DropReason> {
        self.fix(offset, &words(from), &words(to), false).map_err(|_| DropReason::L3Checksum)
    }
    fn fix_l4(
        &mut self,
        offset: u32,
        from: u32,
        to: u32,
        size: u32,
        how: Checksum,
    ) -> Result<(), DropReason> {
        if size == 2 {
            let word = |value: u32| [u16::from_be_bytes((value as u16).to_ne_bytes())];
            return self
                .fix(offset, &word(from), &word(to), how.keep_zero)
                .map_err(|_| DropReason::L4Checksum);
        }
        self.fix(offset, &words(from), &words(to), how.keep_zero).map_err(|_| DropReason::L4Checksum)
    }

    fn cut(&mut self, length: u32) -> Result<(), DropReason> {
        self.sent.frame.truncate(length as usize);
        Ok(())
    }
    fn make_room(&mut self, length: u32, room: Room) -> Result<(), DropReason> {
        let header = if self.bytes(12) == Some([0x86, 0xdd]) { 40 } else { 20 };
        let at = L3 as usize + if room == Room::BehindIp { header } else { 0 };
        self.sent.frame.splice(at..at, std::iter::repeat_n(0, length as usize));
        Ok(())
    }

    fn ifindex(&self) -> u32 {
        self.sent.ifindex
    }
    fn mark(&self) -> u32 {
        self.sent.mark
    }
    fn set_mark(&mut self, mark: u32) {
        self.sent.mark = mark;
    }
    fn epoch(&self) -> u32 {
        #[cfg(test)]
        if let Some(raised) = &self.node.writer {
            return self.node.epoch + raised.get();
        }
        self.node.epoch
    }
    fn services_epoch(&self) -> u32 {
        self.node.services_epoch
    }
    fn pod(&self, ifindex: u32) -> Option<&PodFacts> {
        self.node.pods.get(&ifindex)
    }
    fn local(&self, addr: &Addr) -> Option<u32> {
        self.node.local.get(addr).copied()
    }
    fn prefix_entry(&self, addr: &Addr) -> Option<&IpcacheEntry> {
        let around = self.node.prefixes.iter().filter(|(base, len, _)| addr.within(base, *len));
        around.max_by_key(|(_, len, _)| *len).map(|(_, _, entry)| entry)
    }
    fn never_masqueraded(&self, addr: &Addr) -> bool {
        self.node.never_masqueraded.iter().any(|(base, len)| addr.within(base, *len))
    }
    fn block(&self, addr: &Addr) -> u32 {
        let around = self.node.blocks.iter().filter(|(base, len, _)| addr.within(base, *len));
        around.max_by_key(|(_, len, _)| *len).map_or(0, |(.., number)| *number)
    }
    fn policy(&self, slot: u32, key: &PolicyKey) -> Option<&PolicyEntry> {
        #[cfg(test)]
        if let Some(raised) = &self.node.writer {
            raised.set(raised.get() + 1);
        }
        self.node.policies.get(&slot)?.lookup(key)
    }

    fn flow(&self, table: Table, key: &FlowKey) -> Option<FlowRef> {
        let entry = match table {
            Table::Answered => self.node.flows.get(key),
            Table::HalfOpen => self.node.half_open.get(key),
        };
        // SAFETY: the box stays where it is until it is removed, and what is removed during a run is kept until its
        // end; the run is the only one that looks at the tables, and looks at one entry at a time.
        entry.map(|flow| unsafe { FlowRef::new(std::ptr::from_ref::<Flow>(flow).cast_mut()) })
    }
    fn put_flow(&mut self, table: Table, key: &FlowKey, flow: &Flow) -> Result<(), DropReason> {
        let limit = self.node.flow_limit;
        let entries = match table {
            Table::Answered => &mut self.node.flows,
            Table::HalfOpen => &mut self.node.half_open,
        };
        if table == Table::Answered && limit != 0 && entries.len() >= limit && !entries.contains_key(key) {
            return Err(DropReason::CtInsertFailed);
        }
        if let Some(old) = entries.insert(*key, Box::new(*flow)) {
            self.node.removed.push(old);
        }
        Ok(())
    }
    fn remove_flow(&mut self, table: Table, key: &FlowKey) {
        let entries = match table {
            Table::Answered => &mut self.node.flows,
            Table::HalfOpen => &mut self.node.half_open,
        };
        self.node.removed.extend(entries.remove(key));
    }

    fn nat(&self, table: Table, key: &NatKey) -> Option<NatRef> {
        let entry = match table {
            Table::Answered => self.node.nat.get(key),
            Table::HalfOpen => self.node.nat_half_open.get(key),
        };
        // SAFETY: as for flows.
        entry.map(|value| unsafe { NatRef::new(std::ptr::from_ref::<NatValue>(value).cast_mut()) })
    }
    fn put_nat(&mut self, table: Table, key: &NatKey, value: &NatValue, fresh: bool) -> bool {
        let limit = self.node.nat_limit;
        let entries = match table {
            Table::Answered => &mut self.node.nat,
            Table::HalfOpen => &mut self.node.nat_half_open,
        };
        let known = entries.contains_key(key);
        let full = table == Table::Answered && limit != 0 && entries.len() >= limit;
        if (fresh && known) || (full && !known) {
            return false;
        }
        self.node.removed_nat.extend(entries.insert(*key, Box::new(*value)));
        true
    }
    fn remove_nat(&mut self, table: Table, key: &NatKey) {
        let entries = match table {
            Table::Answered => &mut self.node.nat,
            Table::HalfOpen => &mut self.node.nat_half_open,
        };
        self.node.removed_nat.extend(entries.remove(key));
    }
    fn in_source_ranges(&self, key: &SourceRangeKey) -> bool {
        let mut ranges = self.node.source_ranges.iter();
        ranges.any(|range| range.service == key.service && key.addr.within(&range.addr, range.len - 32))
    }
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts> {
        self.node.fragments.get(key).copied()
    }
    fn put_fragment(&mut self, key: &FragmentKey, ports: FragmentPorts) {
        self.node.fragments.insert(*key, ports);
    }

    fn route(&mut self, packet: &Packet, gateway: &mut Addr) -> u32 {
        let to = packet.destination;
        // As `rt6_need_strict` in the kernel: these never leave their link.
        let stays = |addr: &Addr| {
            let words = addr.words.map(u32::from_be);
            words[0] >> 22 == 0xfe80 >> 6 || words[0] >> 24 == 0xff || words == [0, 0, 0, 1]
        };
        if stays(&packet.source) || stays(&to) {
            return ROUTE_STACK;
        }
        let around = self.node.routes.iter().filter(|route| to.within(&route.base, route.len));
        let Some(route) = around.max_by_key(|route| route.len) else { return ROUTE_STACK };
        *gateway = if route.gateway.is_unspecified() { to } else { route.gateway };
        // As the kernel's lookup has it (`is_skb_forwardable`): a VLAN tag is always allowed for.
        let large = self.length() > self.node.config.native_mtu + L3 + VLAN && !self.sent.gso;
        if large { ROUTE_STACK } else { route.ifindex }
    }
    fn link(&mut self, work: &Work, out: &mut Link) -> bool {
        let mut packet = work.packet;
        (packet.source, packet.destination) = (work.nat.source, work.nat.destination);
        let mut gateway = Addr::UNSPECIFIED;
        let ifindex = self.route(&packet, &mut gateway);
        // Every neighbour's link address ends as its IP address does.
        let last = gateway.words[3].to_ne_bytes()[3];
        *out = Link { ifindex, mtu: 0, to: [2, 0, 0, 0, 1, last], from: [2, 0, 0, 0, 1, 0] };
        ifindex != ROUTE_STACK
    }
    fn tunnel_key(&mut self, out: &mut TunnelKey) -> Result<(), DropReason> {
        *out = self.sent.tunnel.ok_or(DropReason::NoTunnelKey)?;
        Ok(())
    }

    fn monitor(&self) -> u32 {
        self.node.monitor
    }
    fn emit(&mut self, event: &mut Event) {
        event.time = self.node.now;
        event.ifindex = self.sent.ifindex;
        event.length = self.length();
        event.captured = event.length.min(abi::event::CAPTURE as u32);
        self.node.record(*event, &self.sent.frame);
    }
    fn count(&mut self, reason: u8, egress: bool) {
        let length = u64::from(self.length());
        let counter = self.node.counters.entry((reason, egress)).or_default();
        counter.0 += 1;
        counter.1 += length;
    }
}
