//! Tables that the agent writes and the programs read.

use crate::{Addr, plain};

plain! {
/// Key of the prefix trie: an LPM key in the kernel's form.
pub struct PrefixKey {
    /// Bits of `addr` that count, in the 128-bit space (an IPv4 /24 is 120).
    pub len: u32,
    pub addr: Addr,
} size 20
}

plain! {
/// What is known of an address that is not a pod of this node: value of both the host hash and the prefix trie.
pub struct IpcacheEntry {
    /// Security identity.
    pub identity: u32,
    /// [`IPCACHE_TUNNEL`] and others.
    pub flags: u32,
    /// Underlay address of the node behind which the address lives; unspecified if none.
    pub node: Addr,
} size 24
}

/// Reach the address through the tunnel to `node`.
pub const IPCACHE_TUNNEL: u32 = 1;
/// The address belongs to this node itself.
pub const IPCACHE_HOST: u32 = 2;

plain! {
/// A pod of this node, found by the interface index of its host-side device; or the node itself, if it has a policy of its
/// own, by that of `cilium_host`. Without that row nothing of the node's is held back.
pub struct PodFacts {
    /// Security identity of the pod's labels.
    pub identity: u32,
    /// Slot of its policy table in [`crate::maps::POLICIES`].
    pub policy: u32,
    /// Rules behind a default deny of packets to it (rule cookie; 0 = none).
    pub deny_cookie_ingress: u32,
    /// Rules behind a default deny of packets from it.
    pub deny_cookie_egress: u32,
    /// The pod's IPv4 address; unspecified if it has none.
    pub v4: Addr,
    /// The pod's IPv6 address; unspecified if it has none.
    pub v6: Addr,
    /// MAC address inside the pod.
    pub mac: [u8; 6],
    /// MAC address of the host-side device, the pod's next hop.
    pub host_mac: [u8; 6],
    /// Endpoint number on this node, 1–65535.
    pub endpoint: u16,
    /// [`POD_AUDIT`] and others.
    pub flags: u16,
} size 64
}

/// Policy drops of this pod become allowed and audited.
pub const POD_AUDIT: u16 = 1;
/// The pod may send from any address.
pub const POD_ANY_SOURCE: u16 = 4;
/// The pod's policy names addresses whoever has them: peers are looked up by their block, too.
pub const POD_BLOCKS: u16 = 2;

plain! {
/// Key of a policy table; in the trie it follows a prefix length of 72 (identity, block and direction) plus 0 (any
/// protocol), 8 (any port) or 9–24 (port prefix). Looked up with all 96 bits.
pub struct PolicyKey {
    /// The peer's identity; 0 = any.
    pub identity: u32,
    /// The block that the peer's address lies in ([`crate::maps::BLOCKS`]), whoever has the address; 0 = any.
    pub block: u32,
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u8,
    /// IP protocol number; 0 = any, then the port is 0 too.
    pub protocol: u8,
    /// Destination port in network order; for ICMP the type (high byte first), 0 = any.
    pub port: u16,
} size 12
}

/// Packets to the pod.
pub const INGRESS: u8 = 0;
/// Packets from the pod.
pub const EGRESS: u8 = 1;
/// Bits of [`PolicyKey`] that always count: identity, block and direction.
pub const POLICY_STATIC_BITS: u32 = 72;
/// Bits of a full [`PolicyKey`].
pub const POLICY_FULL_BITS: u32 = 96;

plain! {
/// Value of a policy table.
pub struct PolicyEntry {
    /// Bits 31–8 the inverted priority of the rule, low byte 255 deny, 129–254 redirect, 2 redirect without priority,
    /// 1 allow, 0 pass.
    pub precedence: u32,
    /// Rule cookie: which policies are behind this entry.
    pub cookie: u32,
    /// Port of the proxy in network order; 0 = none.
    pub proxy_port: u16,
    /// [`POLICY_DENY`] and others.
    pub flags: u8,
    /// Bits beyond [`POLICY_STATIC_BITS`] that this entry matched on (0, 8, 9–24): ties go to the longer one.
    pub bits: u8,
} size 12
}

/// The entry denies.
pub const POLICY_DENY: u8 = 1;
/// The entry stands for "direction not enforced": allow, and no verdict is worth an event.
pub const POLICY_UNENFORCED: u8 = 2;
/// A deny of a policy under audit: allow, and report `AUDIT`.
pub const POLICY_AUDITED: u8 = 4;
