//! `ip list` and `node list`.

model! {
    /// An address or prefix and its identity.
    pub struct IpEntry in "camelCase" {
        /// The prefix, with its length.
        pub cidr: String,
        /// Its identity.
        pub identity: u32,
        /// Underlay address of the node behind which it lives; empty if none.
        #[serde(rename = "hostIP")]
        pub host_ip: String,
        /// Number of the encryption key; 0 = not encrypted.
        pub encrypt_key: u8,
        /// Where this is known from.
        pub metadata: IpMetadata,
    }

    /// Where an address is known from.
    pub struct IpMetadata in "camelCase" {
        /// `agent-local`, `local`, `kvstore`, `custom-resource`, `k8s` or `generated`.
        pub source: String,
        /// Namespace of the pod.
        pub namespace: String,
        /// Name of the pod.
        pub name: String,
    }

    /// A node of the cluster.
    pub struct Node in "kebab-case" {
        /// `cluster/node`.
        pub name: String,
        /// Underlay addresses and pod CIDRs.
        pub primary_address: NodeAddresses,
        /// Where this is known from: `local` or `custom-resource`.
        pub source: String,
    }

    /// Addresses of a node, by family.
    pub struct NodeAddresses in "kebab-case" {
        /// IPv4, if the family is on.
        pub ipv4: Option<NodeAddress>,
        /// IPv6, if the family is on.
        pub ipv6: Option<NodeAddress>,
    }

    /// One family's addresses of a node.
    pub struct NodeAddress in "kebab-case" {
        /// Whether the family is on.
        pub enabled: bool,
        /// Underlay address.
        pub ip: String,
        /// First pod CIDR.
        pub alloc_range: String,
    }
}
