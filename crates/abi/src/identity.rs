//! Security identities: 32-bit numbers that peers, the tunnel's VNI and every tool see (Cilium 1.19 numbering).

/// A numeric security identity.
pub type Identity = u32;

/// No identity known yet.
pub const UNKNOWN: Identity = 0;
/// This node.
pub const HOST: Identity = 1;
/// Anything outside the cluster (single-stack clusters).
pub const WORLD: Identity = 2;
/// A pod that another network plugin runs.
pub const UNMANAGED: Identity = 3;
/// The health endpoint.
pub const HEALTH: Identity = 4;
/// A pod whose labels are not known yet.
pub const INIT: Identity = 5;
/// Another node of the cluster.
pub const REMOTE_NODE: Identity = 6;
/// The Kubernetes API server.
pub const KUBE_APISERVER: Identity = 7;
/// The Ingress proxy.
pub const INGRESS: Identity = 8;
/// Outside, IPv4, in dual-stack clusters.
pub const WORLD_IPV4: Identity = 9;
/// Outside, IPv6, in dual-stack clusters.
pub const WORLD_IPV6: Identity = 10;

/// First identity that the cluster allocates for pod labels.
pub const CLUSTER_MIN: Identity = 256;
/// Last identity that the cluster allocates for pod labels.
pub const CLUSTER_MAX: Identity = 65_535;
/// First node-local identity for a CIDR; such numbers never leave the node.
pub const LOCAL_MIN: Identity = 0x0100_0001;
/// Last node-local identity for a CIDR.
pub const LOCAL_MAX: Identity = 0x01ff_ffff;

/// Whether `identity` only has a meaning on this node and must never be written into a tunnel header.
#[inline(always)]
pub const fn is_local_scope(identity: Identity) -> bool {
    identity >> 24 != 0
}
