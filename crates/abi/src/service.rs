//! Services: from a frontend (an address that nobody has) to a backend (a pod or another server).
//!
//! A frontend names ranges of [`Backend`] slots. The agent writes a new range beside the old one, then the frontend
//! (one atomic replacement), then, after a while in which no packet can still look, gives the old range away.

use crate::{Addr, plain};

plain! {
/// Key of [`crate::maps::FRONTENDS`].
///
/// A NodePort has one entry for each family, under [`WILDCARD_V4`] or [`WILDCARD_V6`], asked for addresses of nodes.
/// Port 0 with protocol 0 stands for "any port of this address without an entry": drop, it leads nowhere.
pub struct FrontendKey {
    /// The service's address.
    pub addr: Addr,
    /// Network order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    pub _pad: u8,
} size 20
}

/// Stands for the IPv4 addresses of any node in the key of a NodePort or a HostPort: `0.0.0.0`.
pub const WILDCARD_V4: Addr = Addr::v4(0);
/// Stands for the IPv6 addresses of any node in the key of a NodePort or a HostPort: `::`.
pub const WILDCARD_V6: Addr = Addr::UNSPECIFIED;

plain! {
/// Backends that may be chosen for new connections: `count` slots from `start`.
pub struct Range {
    /// First slot in [`crate::maps::BACKENDS`].
    pub start: u32,
    /// How many.
    pub count: u32,
    /// One more than the slot in [`crate::maps::MAGLEV`] of the table that chooses among them; 0 = at random.
    pub maglev: u32,
} size 12
}

plain! {
/// Value of [`crate::maps::FRONTENDS`].
pub struct Frontend {
    /// Number of the service port; all frontends of one port share it. Never 0.
    pub service: u32,
    /// [`KIND_MASK`] and others.
    pub flags: u32,
    /// For clients outside of the cluster.
    pub external: Range,
    /// For clients inside: pods and nodes.
    pub internal: Range,
    /// A client keeps its backend for this many seconds without a connection; 0 = no affinity.
    pub affinity: u32,
} size 36
}

/// Bits that hold what makes the frontend known: one of the next.
pub const KIND_MASK: u32 = 0xf;
/// The service's own address in the cluster. Not for clients outside, unless [`EXTERNAL_ALLOWED`].
pub const CLUSTER_IP: u32 = 0;
/// A port of every node.
pub const NODE_PORT: u32 = 1;
/// `spec.externalIPs`.
pub const EXTERNAL_IP: u32 = 2;
/// `status.loadBalancer.ingress[].ip`.
pub const LOAD_BALANCER: u32 = 3;
/// A container's `hostPort`.
pub const HOST_PORT: u32 = 4;
/// An address that a CiliumLocalRedirectPolicy names. It is somebody's outside of the cluster: clients outside, and ports
/// without an entry, are left alone.
pub const LOCAL_REDIRECT: u32 = 5;

/// Clients outside may use it.
pub const EXTERNAL_ALLOWED: u32 = 0x10;
/// No backend for clients outside: drop (there are some, but not for them); without this bit: refuse.
pub const EXTERNAL_DROP: u32 = 0x20;
/// No backend for clients inside: drop; without this bit: refuse.
pub const INTERNAL_DROP: u32 = 0x40;
/// Clients outside are checked against [`crate::maps::SOURCE_RANGES`].
pub const SOURCE_RANGES: u32 = 0x80;
/// A match among the source ranges denies; without this bit, only a match allows.
pub const SOURCE_RANGES_DENY: u32 = 0x100;
/// Packets of clients outside reach a backend on another node with the client's address (DSR).
pub const DSR: u32 = 0x200;
/// Clients outside are for the nodes that have a backend themselves: no node answers in another's place.
pub const EXTERNAL_LOCAL: u32 = 0x800;
/// Some clients inside are not led to `internal` ([`MEMBER_SPARED`]), but as if no CiliumLocalRedirectPolicy were there: of
/// a cluster IP, to `external`; of [`LOCAL_REDIRECT`], nowhere.
pub const SPARES: u32 = 0x400;
/// A cluster IP that a CiliumLocalRedirectPolicy leads to pods of this node. `external` are the service's own backends.
pub const REDIRECTED: u32 = 0x1000;

plain! {
/// A slot of [`crate::maps::BACKENDS`].
pub struct Backend {
    /// Its address.
    pub addr: Addr,
    /// Network order.
    pub port: u16,
    pub _pad: u16,
} size 20
}

plain! {
/// Key of [`crate::maps::MEMBERS`]: is this backend (still) one of the service's? Port 0: a client, no backend.
pub struct MemberKey {
    /// Address of the backend.
    pub addr: Addr,
    /// Number of the service port.
    pub service: u32,
    /// Port of the backend, network order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    pub _pad: u8,
} size 24
}

/// Value of [`crate::maps::MEMBERS`]: it may get new connections.
pub const MEMBER_ACTIVE: u32 = 1;
/// Value of [`crate::maps::MEMBERS`]: it only keeps those it has (terminating, or not ready).
pub const MEMBER_DRAINING: u32 = 2;
/// Value of [`crate::maps::MEMBERS`] under port 0: a client that a frontend with [`SPARES`] spares. The node itself is
/// [`WILDCARD_V4`] or [`WILDCARD_V6`].
pub const MEMBER_SPARED: u32 = 3;

/// Entries of one Maglev table where nobody says otherwise.
pub const MAGLEV_SIZE: u32 = 16_381;
/// Entries that a Maglev table may have: primes, as Cilium's.
pub const MAGLEV_SIZES: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, MAGLEV_SIZE, 32_749, 65_521, 131_071];
/// Rows of one element of a Maglev table's array: a power of two, so that a program can bound a row by a mask.
pub const MAGLEV_PIECE: u32 = 2048;

plain! {
/// Key of [`crate::maps::AFFINITY`].
pub struct AffinityKey {
    /// The client: its address, or the cookie of its network namespace in the first two words.
    pub client: Addr,
    /// Number of the service port.
    pub service: u32,
    /// Bits: 1 = `client` is a cookie, 2 = of a socket that speaks IPv6, 4 = by the service's cluster IP. A backend that
    /// one of them allows may be none for another.
    pub cookie: u32,
} size 24
}

plain! {
/// Value of [`crate::maps::AFFINITY`].
pub struct Affinity {
    /// The backend.
    pub backend: Backend,
    pub _pad: u32,
    /// When the client last opened a connection, ns of the monotonic clock.
    pub used: u64,
} size 32
}

plain! {
/// Key of the trie [`crate::maps::SOURCE_RANGES`], in the kernel's form.
pub struct SourceRangeKey {
    /// Bits that count: 32 for the service, then those of the address in the 128-bit space.
    pub len: u32,
    /// Number of the service port.
    pub service: u32,
    /// The client.
    pub addr: Addr,
} size 24
}

plain! {
/// Key of [`crate::maps::SOCKETS`]: a socket that speaks with a backend and believes to speak with a service.
pub struct SocketKey {
    /// The kernel's number for the socket.
    pub cookie: u64,
    /// The backend.
    pub backend: Backend,
    pub _pad: u32,
} size 32
}

plain! {
/// Value of [`crate::maps::SOCKETS`]: the frontend that the socket asked for.
pub struct SocketValue {
    /// Its address.
    pub addr: Addr,
    /// Its port, network order.
    pub port: u16,
    pub _pad: u16,
    /// Number of the service port.
    pub service: u32,
} size 24
}
