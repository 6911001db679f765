//! What the API server should hold because of this node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::Identity;

use crate::endpoint::Phase;
use crate::model::{NamedPort, PodKey};

/// Content of a CiliumEndpoint object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointObject {
    /// The pod.
    pub pod: PodKey,
    /// Its UID, owner of the object.
    pub pod_uid: String,
    /// Number on this node.
    pub id: u16,
    /// Container and interface, as `container:ifname`.
    pub attachment: String,
    /// Container the runtime named.
    pub container_id: String,
    /// Its identity.
    pub identity: Identity,
    /// Labels of the identity, each `source:key=value`.
    pub labels: Vec<String>,
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Underlay address of this node.
    pub node: Option<IpAddr>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Ports with names.
    pub named_ports: Vec<NamedPort>,
    /// Service account.
    pub service_account: String,
    /// Packets to it are filtered.
    pub enforced_ingress: bool,
    /// Packets from it are filtered.
    pub enforced_egress: bool,
}

/// Conditions of a policy object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Why the object was refused; `None` = it is in force.
    pub refused: Option<String>,
    /// Why what it says of this node was taken back; `None` = nothing was.
    pub rolled_back: Option<String>,
}
