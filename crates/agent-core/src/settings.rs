use std::net::IpAddr;

use policy::{CidrMatch, EnforcementMode};
use types::LabelFilter;

use crate::model::Node;

/// What the state needs to know of this node and its configuration. Fixed for the life of the agent.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// This node.
    pub node: Node,
    /// Name of the cluster.
    pub cluster: String,
    /// IPv4 for pods.
    pub ipv4: bool,
    /// IPv6 for pods.
    pub ipv6: bool,
    /// Traffic between nodes is encapsulated.
    pub tunnel: bool,
    /// Without tunnel: a route per node through its address.
    pub direct_routes: bool,
    /// When a direction of a pod is closed.
    pub enforcement: EnforcementMode,
    /// Policy drops are reported but pass.
    pub audit: bool,
    /// Whose addresses blocks of policies mean beside those outside.
    pub cidr_match: CidrMatch,
    /// Policies may select nodes by labels.
    pub node_selectors: bool,
    /// The labels of nodes by which they may.
    pub node_labels: LabelFilter,
    /// Interface index of `cilium_host` if the node has a policy of its own (host firewall), else 0.
    pub host_firewall: u32,
}

impl Settings {
    /// Whether pods have addresses of the family of `like`.
    pub fn has_family(&self, like: IpAddr) -> bool {
        if like.is_ipv4() { self.ipv4 } else { self.ipv6 }
    }

    /// The name of the world that `address` lies in.
    pub fn world(&self, address: IpAddr) -> &'static str {
        match (self.ipv4 && self.ipv6, address) {
            (false, _) => "world",
            (true, IpAddr::V4(_)) => "world-ipv4",
            (true, IpAddr::V6(_)) => "world-ipv6",
        }
    }

    /// The identity of that world.
    pub fn world_identity(&self, address: IpAddr) -> abi::Identity {
        match self.world(address) {
            "world-ipv4" => abi::identity::WORLD_IPV4,
            "world-ipv6" => abi::identity::WORLD_IPV6,
            _ => abi::identity::WORLD,
        }
    }
}
