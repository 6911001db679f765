//! Names of the entities that a rule can name as a peer.

/// All names, in the order of the schema.
pub(crate) const NAMES: [&str; 13] = [
    "all",
    "world",
    "world-ipv4",
    "world-ipv6",
    "cluster",
    "host",
    "init",
    "ingress",
    "unmanaged",
    "remote-node",
    "health",
    "none",
    "kube-apiserver",
];
