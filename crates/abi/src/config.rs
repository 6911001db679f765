use crate::{Addr, plain};

plain! {
/// Facts of this node, written into the program's read-only data before it is loaded and frozen there, so that the
/// verifier removes the code of what is switched off. Changing one means loading the programs again beside the old ones.
pub struct NodeConfig {
    /// This node's underlay IPv4 address; masqueraded traffic leaves with it.
    pub node_v4: Addr,
    /// This node's underlay IPv6 address.
    pub node_v6: Addr,
    /// IPv4 address of `cilium_host`, the pods' gateway.
    pub router_v4: Addr,
    /// IPv6 address of `cilium_host`, the pods' gateway.
    pub router_v6: Addr,
    /// Destinations that keep the pod's address (`ipv4NativeRoutingCIDR`).
    pub native_v4: Addr,
    /// Destinations that keep the pod's address (`ipv6NativeRoutingCIDR`).
    pub native_v6: Addr,
    /// Source with which a pod meets itself through a service, IPv4.
    pub loopback_v4: Addr,
    /// Source with which a pod meets itself through a service, IPv6.
    pub loopback_v6: Addr,
    /// Cookie of the host's network namespace (`SO_NETNS_COOKIE`, kernel 5.14).
    pub host_cookie: u64,
    /// Prefix length of `native_v4` in the 128-bit space; 0 = none.
    pub native_v4_len: u32,
    /// Prefix length of `native_v6`; 0 = none.
    pub native_v6_len: u32,
    /// Interface index of `cilium_host`.
    pub host_ifindex: u32,
    /// Interface index of the tunnel device; 0 = native routing.
    pub tunnel_ifindex: u32,
    /// Largest IP packet that leaves through a native device, bytes.
    pub native_mtu: u32,
    /// Largest inner IP packet that fits the tunnel, bytes.
    pub tunnel_mtu: u32,
    /// First port that masquerading may take (host order).
    pub nat_port_min: u32,
    /// Last port that masquerading may take (host order).
    pub nat_port_max: u32,
    /// Identity of an IPv4 address nobody knows: `world`, or `world-ipv4` in dual stack.
    pub world_v4: u32,
    /// Identity of an IPv6 address nobody knows: `world`, or `world-ipv6` in dual stack.
    pub world_v6: u32,
    /// UDP port of the tunnel (host order); pods may not send to it.
    pub tunnel_port: u32,
    /// First port of NodePort services (host order).
    pub node_port_min: u32,
    /// Last port of NodePort services (host order).
    pub node_port_max: u32,
    /// Entries of each Maglev table.
    pub maglev_size: u32,
    /// Switches, see the constants of this module.
    pub features: u32,
    /// MAC address of `cilium_host`, answered to ARP and ND of the pods.
    pub host_mac: [u8; 6],
    pub _pad: [u8; 6],
} size 208
}

/// Traffic between nodes is encapsulated.
pub const TUNNEL: u32 = 1;
/// Pods reach the world with the node's IPv4 address.
pub const MASQUERADE_V4: u32 = 2;
/// Pods reach the world with the node's IPv6 address.
pub const MASQUERADE_V6: u32 = 4;
/// Policy drops become allowed and audited.
pub const POLICY_AUDIT: u32 = 8;
/// Leave the verdict in `skb->cb`, where a test run can read it.
pub const RECORD_VERDICT: u32 = 16;
/// A packet's source is checked against its pod.
pub const SOURCE_CHECK: u32 = 32;
/// Services are translated packet by packet.
pub const SERVICES: u32 = 64;
/// Services are translated when a socket connects.
pub const SOCKET_LB: u32 = 128;
/// Only sockets of the host's network namespace are.
pub const SOCKET_LB_HOST_ONLY: u32 = 256;
/// A NodePort cannot be bound on the node.
pub const BIND_PROTECTION: u32 = 512;
/// Other nodes may say in a packet under which address it is to be answered (DSR).
pub const DSR: u32 = 1024;
/// kube-proxy serves this node, or did before: TCP connections from outside that are under way and unknown here are the
/// stack's.
pub const TAKEOVER: u32 = 2048;
/// The node is an endpoint: what it sends and gets through its devices and from its pods meets its own policy.
pub const HOST_FIREWALL: u32 = 4096;
/// Who is denied is told so by ICMP.
pub const DENY_RESPONSE: u32 = 8192;
/// Packets of protocols that have no ports, other than ICMP, are not dropped as unknown.
pub const EXTENDED_PROTOCOLS: u32 = 16384;
/// Connections that pods begin, and that stay neither on this node nor in the tunnel, take the node's IP stack, with all that
/// others have put there: masquerading rules above all.
pub const STACK_ROUTING: u32 = 32768;
