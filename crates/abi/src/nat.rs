use crate::{Addr, plain};

plain! {
/// Key of the masquerade table: a packet's own source and destination, not sorted.
pub struct NatKey {
    pub source: Addr,
    pub destination: Addr,
    /// Network order; for ICMP echo the identifier in the client's place and 0 in the other.
    pub source_port: u16,
    /// Network order.
    pub destination_port: u16,
    pub protocol: u8,
    /// [`OUT`] or [`BACK`].
    pub direction: u8,
    pub _pad: u16,
} size 40
}

/// A packet that leaves: rewrite its source.
pub const OUT: u8 = 0;
/// A packet that comes back: rewrite its destination.
pub const BACK: u8 = 1;

plain! {
/// Value of the masquerade table. For [`OUT`] the address and port to leave with; for [`BACK`] the pod's own.
pub struct NatValue {
    pub addr: Addr,
    /// When the entry was last used, ns of the monotonic clock.
    pub used: u64,
    /// Network order.
    pub port: u16,
    /// 1: a connection of the host itself, recorded only so that its port is not given to a pod.
    pub tracked_only: u16,
    pub _pad: u32,
} size 32
}

/// How many ports are tried for one connection before it is dropped (`NO_MAPPING_FOR_NAT_MASQUERADE`).
pub const PORT_TRIES: u32 = 32;
