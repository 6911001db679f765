//! Records in the event ring: one fixed-size header, then the first bytes of the packet, or a [`SocketEvent`].

use crate::{Addr, plain};

/// Bytes of the packet that follow the header of a record.
pub const CAPTURE: usize = 128;

/// What a record tells (numbers of Cilium's monitor API).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A packet was dropped.
    Drop = 1,
    /// A packet was seen at a trace point.
    Trace = 4,
    /// Policy decided on a new flow.
    PolicyVerdict = 5,
    /// A service's address became a backend's, or the other way around, at a socket.
    TraceSock = 7,
}

/// Where a packet was seen (numbers of the datapath; the flow API counts 0 as 101).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracePoint {
    ToEndpoint = 0,
    ToProxy = 1,
    ToHost = 2,
    ToStack = 3,
    ToOverlay = 4,
    FromEndpoint = 5,
    FromProxy = 6,
    FromHost = 7,
    FromStack = 8,
    FromOverlay = 9,
    FromNetwork = 10,
    ToNetwork = 11,
}

/// How a traced packet stands to its flow.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceReason {
    New = 0,
    Established = 1,
    Reply = 2,
    Related = 3,
    Unknown = 5,
}

/// Side of a translation at a socket (numbers of Cilium's monitor API).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketPoint {
    /// The service that the program named.
    PreForward = 1,
    /// The backend in its place.
    PostForward = 2,
    /// The backend that the kernel speaks to, or heard of.
    PreReverse = 3,
    /// The service that the program is told of.
    PostReverse = 4,
}

plain! {
/// What follows the header of a record about a socket.
pub struct SocketEvent {
    /// The kernel's number for the socket.
    pub cookie: u64,
    /// Control group of the process, in the unified hierarchy.
    pub cgroup: u64,
    /// The kernel's number for the socket's network namespace.
    pub namespace: u64,
    /// Address at that point.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    pub _pad: [u8; 5],
} size 48
}

plain! {
/// Header of a record.
pub struct Event {
    /// Monotonic clock, ns.
    pub time: u64,
    /// Identity of the sender.
    pub source_identity: u32,
    /// Identity of the receiver.
    pub destination_identity: u32,
    /// Rule cookie of the verdict; for a default deny, of the policies behind it.
    pub cookie: u32,
    /// Interface the program ran on.
    pub ifindex: u32,
    /// Length of the packet, bytes.
    pub length: u32,
    /// Source endpoint on this node, 0 if none.
    pub source_endpoint: u16,
    /// Destination endpoint on this node, 0 if none.
    pub destination_endpoint: u16,
    /// [`EventKind`].
    pub kind: u8,
    /// [`crate::DropReason`] of a drop (or of a denying verdict, 0 = allowed); [`TracePoint`] of a trace; [`SocketPoint`].
    pub code: u8,
    /// [`TraceReason`].
    pub reason: u8,
    /// [`IPV6`] and others.
    pub flags: u8,
    /// How the policy entry matched: 0 none, 1 L3, 2 L3+L4, 3 L4, 4 all, 5 L3+protocol, 6 protocol.
    pub matched: u8,
    pub _pad: [u8; 3],
    /// Endpoint whose policy decided, 0 if none.
    pub policy_endpoint: u32,
    /// Bytes that follow: of the packet, at most [`CAPTURE`].
    pub captured: u32,
} size 48
}

impl Event {
    /// All zeros.
    pub const EMPTY: Event = Event {
        time: 0,
        source_identity: 0,
        destination_identity: 0,
        cookie: 0,
        ifindex: 0,
        length: 0,
        source_endpoint: 0,
        destination_endpoint: 0,
        kind: 0,
        code: 0,
        reason: 0,
        flags: 0,
        matched: 0,
        _pad: [0; 3],
        policy_endpoint: 0,
        captured: 0,
    };
}

/// The packet is IPv6.
pub const IPV6: u8 = 1;
/// The verdict is about a packet that leaves the pod (egress).
pub const EGRESS: u8 = 2;
/// The verdict was "deny", and the packet passed under audit.
pub const AUDITED: u8 = 4;
/// The packet is encapsulated.
pub const ENCAPSULATED: u8 = 8;
