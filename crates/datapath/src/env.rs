//! What the packet path may ask of the world it runs in, and what it answers.

use abi::{
    Addr, Affinity, AffinityKey, Backend, Event, Flow, FlowKey, Frontend, FrontendKey, IpcacheEntry,
    MemberKey, NatKey, NatValue, NodeConfig, PodFacts, PolicyEntry, PolicyKey, SocketKey, SocketPoint,
    SocketValue, SourceRangeKey,
};
use abi::{DropReason, maps::FragmentKey, maps::FragmentPorts};
use core::ops::{Deref, DerefMut};

use crate::packet::Packet;
use crate::parts::Part;
use crate::work::Work;

/// What to do with the packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Not ours to decide: the next program, then the stack.
    Pass = 1,
    /// Up the node's network stack, although the frame was addressed to another device.
    Stack = 2,
    /// Into the pod behind `ifindex`.
    Pod = 3,
    /// Out of the native device `ifindex`, to the neighbour `gateway`, whose MAC address the stack knows or resolves.
    Neighbour = 4,
    /// Out of the tunnel device to the node `gateway`, with `identity` as VNI.
    Tunnel = 5,
    /// Back where it came from: answers to ARP, to neighbour solicitations, to what is refused.
    Reply = 6,
    /// Out of the device `ifindex` as it is, link addresses and all.
    Transmit = 7,
    /// The node's own, and allowed: on to the next program and the stack or the wire, as it came.
    Own = 8,
}

/// What to do with a packet, and how. Flat and always whole: registers that only some variants fill are "unreadable" to
/// the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// Device, 0 where none is needed.
    pub ifindex: u32,
    /// Identity of the sender, for the tunnel.
    pub identity: u32,
    /// Next hop or other node.
    pub gateway: Addr,
}

impl Verdict {
    /// An action that needs nothing else.
    #[inline(always)]
    pub const fn plain(action: Action) -> Verdict {
        Verdict { action, ifindex: 0, identity: 0, gateway: Addr::UNSPECIFIED }
    }
}

/// Which table of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Flows in which both sides have spoken.
    Answered,
    /// Flows that one side has yet to go on with.
    HalfOpen,
}

/// Not to a neighbour on a device: to this node, nowhere, or too large. The stack knows how to deliver, fragment or
/// refuse.
pub const ROUTE_STACK: u32 = 0;

/// What the tunnel device knows of a packet it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TunnelKey {
    /// VNI: identity of the sender.
    pub identity: u32,
    /// Underlay address of the node that encapsulated.
    pub remote: Addr,
}

/// An entry of a table of flows or translations, in place.
///
/// Another CPU may change the entry at the same time (the two directions of a flow can run on two CPUs), as with any
/// BPF map value. All fields are words that stand for themselves, so a torn read costs at most one trip over the slow
/// path or a lost count, never memory safety.
pub struct EntryRef<T>(*mut T);

/// A flow, in place.
pub type FlowRef = EntryRef<Flow>;
/// A translated connection, in place.
pub type NatRef = EntryRef<NatValue>;

impl<T> EntryRef<T> {
    /// Wraps a pointer into a table.
    ///
    /// # Safety
    /// `entry` must point to a valid entry that stays allocated while the current packet is handled.
    #[inline(always)]
    pub unsafe fn new(entry: *mut T) -> Self {
        EntryRef(entry)
    }
}

impl<T> Deref for EntryRef<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: valid for the handling of this packet, as promised to `new`.
        unsafe { &*self.0 }
    }
}

impl<T> DerefMut for EntryRef<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: valid for the handling of this packet, as promised to `new`.
        unsafe { &mut *self.0 }
    }
}

/// What packets and sockets both ask of their world: node facts, addresses, and the tables of services.
pub trait Tables {
    /// Monotonic clock, ns.
    fn now(&self) -> u64;
    /// A random number.
    fn random(&mut self) -> u32;
    /// Facts of this node.
    fn config(&self) -> &NodeConfig;
    /// What is known of one address.
    fn host_entry(&self, addr: &Addr) -> Option<&IpcacheEntry>;

    /// A service's address.
    fn frontend(&self, key: &FrontendKey) -> Option<&Frontend>;
    /// A slot of the backends' array.
    fn backend(&self, slot: u32) -> Option<&Backend>;
    /// Whether a backend is (still) one of a service's: [`abi::service::MEMBER_ACTIVE`] and others, 0 = no.
    fn member(&self, key: &MemberKey) -> u32;
    /// The offset in a row of a Maglev table.
    fn maglev(&self, table: u32, row: u32) -> Option<u32>;
    /// The backend that a client is bound to.
    fn affinity(&self, key: &AffinityKey) -> Option<&Affinity>;
    /// Binds a client to a backend.
    fn put_affinity(&mut self, key: &AffinityKey, value: &Affinity);
}

/// What a program on a socket may ask of its world.
pub trait Socket: Tables {
    /// IP protocol number of the socket.
    fn protocol(&self) -> u8;
    /// The address that the caller names: a peer to speak to, or the sender of what was received.
    fn address(&self) -> Addr;
    /// Its port, network order.
    fn port(&self) -> u16;
    /// Replaces both.
    fn set_peer(&mut self, addr: &Addr, port: u16);
    /// The kernel's number for the socket.
    fn cookie(&self) -> u64;
    /// The kernel's number for the socket's network namespace.
    fn namespace(&self) -> u64;
    /// What the socket believes to speak to.
    fn asked(&self, key: &SocketKey) -> Option<&SocketValue>;
    /// Remembers it. Whether there was room.
    fn put_asked(&mut self, key: &SocketKey, value: &SocketValue) -> bool;
    /// How much to report, as [`Env::monitor`].
    fn monitor(&self) -> u32;
    /// Reports an address on one side of a translation. `port`: network order.
    fn tell(&mut self, point: SocketPoint, addr: &Addr, port: u16);
}

/// The two worlds: the kernel (`bpf/`) and memory (`crates/sim`).
///
/// Offsets count from the Ethernet header. Reads and writes outside of the packet answer
/// [`DropReason::InvalidPacket`] and [`DropReason::WriteError`]. Multi-byte values are loaded and stored as they lie in
/// the packet: network order. Table entries are lent, not copied: an `Option` of a large value would leave registers
/// undefined that the verifier then refuses to see copied.
pub trait Env: Tables {
    /// Runs a part of the path, by calling [`crate::parts::run`] with it. The kernel does so in functions that its
    /// verifier checks once, whoever calls them.
    fn part(&mut self, part: Part, work: &mut Work) -> Result<(), DropReason>;

    /// Frame length, bytes.
    fn length(&self) -> u32;
    /// Whether the frame is one of the stack's large ones that the device will cut (GSO).
    fn is_gso(&self) -> bool;
    /// Makes the first `length` bytes readable. Called once when a read near the start failed.
    fn pull(&mut self, length: u32) -> Result<(), DropReason>;
    /// One byte.
    fn u8_at(&self, offset: u32) -> Result<u8, DropReason>;
    /// Two bytes.
    fn u16_at(&self, offset: u32) -> Result<u16, DropReason>;
    /// `N` words of four bytes, after one look at where the packet ends.
    fn words<const N: usize>(&self, offset: u32) -> Result<[u32; N], DropReason>;
    /// Four bytes.
    fn u32_at(&self, offset: u32) -> Result<u32, DropReason>;
    /// Writes one byte.
    fn set_u8(&mut self, offset: u32, value: u8) -> Result<(), DropReason>;
    /// Writes two bytes.
    fn set_u16(&mut self, offset: u32, value: u16) -> Result<(), DropReason>;
    /// Writes four bytes.
    fn set_u32(&mut self, offset: u32, value: u32) -> Result<(), DropReason>;
    /// Corrects the IPv4 header checksum at `offset` for a four-byte change.
    fn fix_l3(&mut self, offset: u32, from: u32, to: u32) -> Result<(), DropReason>;
    /// Corrects a transport checksum at `offset` for a change of `size` (2 or 4) bytes. `pseudo`: the change is in the
    /// pseudo header; `keep_zero`: a UDP checksum of zero means "none" and stays.
    fn fix_l4(
        &mut self,
        offset: u32,
        from: u32,
        to: u32,
        size: u32,
        flags: Checksum,
    ) -> Result<(), DropReason>;

    /// Makes the frame end after `length` bytes, which it has.
    fn cut(&mut self, length: u32) -> Result<(), DropReason>;
    /// Makes room for `length` bytes. What is in it is undefined.
    fn make_room(&mut self, length: u32, room: Room) -> Result<(), DropReason>;

    /// Interface the program runs on.
    fn ifindex(&self) -> u32;
    /// The packet's mark.
    fn mark(&self) -> u32;
    /// Sets the packet's mark.
    fn set_mark(&mut self, mark: u32);

    /// The current generation of policy, ipcache and routes.
    fn epoch(&self) -> u32;
    /// The current generation of services.
    fn services_epoch(&self) -> u32;
    /// The pod behind a host-side device.
    fn pod(&self, ifindex: u32) -> Option<&PodFacts>;
    /// The host-side device of a local pod's address.
    fn local(&self, addr: &Addr) -> Option<u32>;
    /// What is known of the longest prefix around an address.
    fn prefix_entry(&self, addr: &Addr) -> Option<&IpcacheEntry>;
    /// Whether masquerading spares this destination.
    fn never_masqueraded(&self, addr: &Addr) -> bool;
    /// The narrowest block around an address that policies name; 0 = none.
    fn block(&self, addr: &Addr) -> u32;
    /// Most specific entry of a policy table for a full key.
    fn policy(&self, slot: u32, key: &PolicyKey) -> Option<&PolicyEntry>;

    /// A flow, in place.
    fn flow(&self, table: Table, key: &FlowKey) -> Option<FlowRef>;
    /// Stores a flow.
    fn put_flow(&mut self, table: Table, key: &FlowKey, flow: &Flow) -> Result<(), DropReason>;
    /// Forgets a flow.
    fn remove_flow(&mut self, table: Table, key: &FlowKey);

    /// A translated connection, in place.
    fn nat(&self, table: Table, key: &NatKey) -> Option<NatRef>;
    /// Stores one; `fresh` fails if there is one. Whether it is stored.
    fn put_nat(&mut self, table: Table, key: &NatKey, value: &NatValue, fresh: bool) -> bool;
    /// Forgets one.
    fn remove_nat(&mut self, table: Table, key: &NatKey);
    /// Whether a client is within a service's source ranges.
    fn in_source_ranges(&self, key: &SourceRangeKey) -> bool;
    /// Ports of a fragmented datagram.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// Remembers the ports of a fragmented datagram.
    fn put_fragment(&mut self, key: &FragmentKey, ports: FragmentPorts);

    /// Where the node's routes send this packet: the device, with the next hop in `gateway`, or [`ROUTE_STACK`].
    fn route(&mut self, packet: &Packet, gateway: &mut Addr) -> u32;
    /// The way of a packet that leaves as `work.nat` says, with both link addresses; `false` if it is not fully known.
    /// Only where packets leave without the stack (XDP).
    fn link(&mut self, work: &Work, out: &mut Link) -> bool;
    /// What the tunnel device knows of this packet.
    fn tunnel_key(&mut self, out: &mut TunnelKey) -> Result<(), DropReason>;

    /// How much to report: 0 nothing, 1 drops, verdicts and aggregated traces, 2 every packet.
    fn monitor(&self) -> u32;
    /// Reports. Time, interface, lengths and the packet's bytes are filled in by the world.
    fn emit(&mut self, event: &mut Event);
    /// Counts a packet: `reason` 0 = forwarded.
    fn count(&mut self, reason: u8, egress: bool);
}

/// The way to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Device.
    pub ifindex: u32,
    /// Largest IP packet of the route, bytes; 0 = as the device.
    pub mtu: u32,
    /// Link address of the neighbour.
    pub to: [u8; 6],
    /// Link address of the device.
    pub from: [u8; 6],
}

impl Link {
    /// No way.
    pub const NONE: Link = Link { ifindex: 0, mtu: 0, to: [0; 6], from: [0; 6] };
}

/// Where room is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Between the Ethernet header and what follows.
    BehindLink,
    /// Behind the IP header without options or extension headers.
    BehindIp,
}

/// How a transport checksum changes, see [`Env::fix_l4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Checksum {
    /// The change is (also) in the pseudo header.
    pub pseudo: bool,
    /// Zero means "no checksum" and stays (UDP over IPv4).
    pub keep_zero: bool,
}
