//! Conntrack: one entry a flow, found by both directions (design §5).

use crate::{Addr, plain};

plain! {
/// Canonical key: the two ends in sorted order (by address, then port), so both directions meet in one entry.
/// For ICMP echo the client's port is the identifier and the server's port 0, so a request from the other side is
/// another flow (advisory GHSA-c66w-hq56-4q97). For other ICMP messages the ports are 0x0100 and 0x0200 plus the type.
pub struct FlowKey {
    /// The ends' addresses, the lower first.
    pub addr: [Addr; 2],
    /// The ends' ports in network order, in the order of `addr`.
    pub port: [u16; 2],
    /// IP protocol number.
    pub protocol: u8,
    pub _pad: [u8; 3],
} size 40
}

plain! {
/// How packets *to* one end of a flow travel on from this node.
pub struct End {
    /// Next hop, or tunnel endpoint, for [`GO_NEIGHBOUR`] and [`GO_TUNNEL`].
    pub gateway: Addr,
    /// Interface to send through. For a pod of this node, also the interface its own packets must come from; for the node
    /// itself, if it has a policy, `cilium_host`.
    pub ifindex: u32,
    /// [`GO_STACK`] and others.
    pub go: u8,
    pub _pad: u8,
    /// MAC address of the pod at this end, checked on what it sends and written on what it gets.
    pub mac: [u8; 6],
    /// MAC address of the pod's host-side device.
    pub host_mac: [u8; 6],
    /// Endpoint number of the pod at this end; 0 if it is none of this node's.
    pub endpoint: u16,
} size 36
}

/// Not known yet: take the slow path.
pub const GO_UNKNOWN: u8 = 0;
/// Hand the packet to the node's network stack.
pub const GO_STACK: u8 = 1;
/// Straight into a pod of this node.
pub const GO_POD: u8 = 2;
/// To a neighbour on a native device.
pub const GO_NEIGHBOUR: u8 = 3;
/// Encapsulated to another node.
pub const GO_TUNNEL: u8 = 4;
/// The node's own traffic, which goes on as its stack has it: to this node itself (then `ifindex` is that of
/// `cilium_host`) or to whom it speaks.
pub const GO_ON: u8 = 5;

plain! {
/// A flow. Arrays of two are indexed by the side (position in [`FlowKey::addr`]) that *sends*, for counters and TCP
/// flags, or by the side itself for ends and identities.
pub struct Flow {
    /// When the entry may go, ns of the monotonic clock.
    pub expires: u64,
    /// Packets sent by each side.
    pub packets: [u64; 2],
    /// Bytes sent by each side.
    pub bytes: [u64; 2],
    /// The generation of policy, ipcache and routes under which this entry was decided; older than
    /// [`crate::maps::EPOCH`] means: decide again.
    pub epoch: u32,
    /// [`LOW_STARTED`] and others.
    pub flags: u32,
    /// Identity of each side.
    pub identity: [u32; 2],
    /// Rule cookies of the verdicts: `[0]` at the receiver (ingress), `[1]` at the sender (egress).
    pub cookie: [u32; 2],
    /// How packets to each side travel.
    pub end: [End; 2],
    /// When each direction was last reported, seconds of the monotonic clock.
    pub reported: [u32; 2],
    /// TCP flags seen from each side.
    pub tcp: [u8; 2],
    /// TCP flags reported from each side.
    pub tcp_reported: [u8; 2],
    /// When the flow was created, seconds of the monotonic clock.
    pub created: u32,
} size 152
}

impl Flow {
    /// All zeros.
    pub const EMPTY: Flow = Flow {
        expires: 0,
        packets: [0; 2],
        bytes: [0; 2],
        epoch: 0,
        flags: 0,
        identity: [0; 2],
        cookie: [0; 2],
        end: [End::UNKNOWN; 2],
        reported: [0; 2],
        tcp: [0; 2],
        tcp_reported: [0; 2],
        created: 0,
    };
}

impl End {
    /// An end of which nothing is known.
    pub const UNKNOWN: End = End::going(GO_UNKNOWN);

    /// An end of which only `go` is known.
    #[inline(always)]
    pub const fn going(go: u8) -> End {
        End {
            gateway: Addr::UNSPECIFIED,
            ifindex: 0,
            go,
            _pad: 0,
            mac: [0; 6],
            host_mac: [0; 6],
            endpoint: 0,
        }
    }
}

/// The lower end sent the first packet.
pub const LOW_STARTED: u32 = 1;
/// The other side has answered.
pub const ANSWERED: u32 = 2;
/// The lower side sent FIN.
pub const LOW_CLOSED: u32 = 4;
/// The higher side sent FIN.
pub const HIGH_CLOSED: u32 = 8;
/// A side sent RST.
pub const RESET: u32 = 16;
/// Packets of the starting side leave with the node's address (masquerade).
pub const MASQUERADE: u32 = 32;
/// The last decision was "deny"; the entry only remembers why.
pub const DENIED: u32 = 64;
/// The allowed verdict was a policy drop under audit.
pub const AUDITED: u32 = 128;
/// The starting side spoke to a service: what the other side answers is translated (see [`crate::nat`]).
pub const SERVED: u32 = 256;

/// Lifetime of an answered TCP flow, ns (8,000 s, as Cilium's default).
pub const TCP_LIFETIME: u64 = 8_000_000_000_000;
/// Lifetime of an answered flow of any other protocol, ns.
pub const OTHER_LIFETIME: u64 = 60_000_000_000;
/// Lifetime of a flow that only begins: nobody has answered or, under TCP, who began has not gone on; ns.
pub const HALF_OPEN_LIFETIME: u64 = 60_000_000_000;
/// Lifetime after both sides closed or one reset, ns.
pub const CLOSING_LIFETIME: u64 = 10_000_000_000;
/// A direction is reported again after this many seconds.
pub const REPORT_INTERVAL: u32 = 5;
