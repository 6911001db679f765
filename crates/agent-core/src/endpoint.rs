use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::Identity;
use types::Labels;

use crate::PodKey;

/// Where an endpoint is in its life, by Cilium's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The labels are not known yet, or have no number yet.
    WaitingForIdentity,
    /// Something changed; the tables are not written yet.
    WaitingToRegenerate,
    /// The tables are being written.
    Regenerating,
    /// The kernel does what the policies say.
    Ready,
    /// Known from the last run; the kernel still does what it did then.
    Restoring,
    /// On its way out.
    Disconnecting,
}

impl Phase {
    /// The name in `cilium-dbg endpoint list` and in CiliumEndpoint objects.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::WaitingForIdentity => "waiting-for-identity",
            Phase::WaitingToRegenerate => "waiting-to-regenerate",
            Phase::Regenerating => "regenerating",
            Phase::Ready => "ready",
            Phase::Restoring => "restoring",
            Phase::Disconnecting => "disconnecting",
        }
    }
}

/// What the plugin made: the two ends of the pod's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Interface index of the end on the host.
    pub host_ifindex: u32,
    /// MAC address of the end on the host.
    pub host_mac: [u8; 6],
    /// MAC address of the end in the pod.
    pub mac: [u8; 6],
}

/// What is fixed when an endpoint is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Number on this node, 1–65535.
    pub id: u16,
    /// Container (sandbox) the runtime named.
    pub container_id: String,
    /// Interface name in the pod.
    pub ifname: String,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Name of the end on the host.
    pub host_ifname: String,
    /// The pod.
    pub pod: PodKey,
    /// The pod's UID; empty if the runtime did not tell.
    pub pod_uid: String,
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Another plugin gave the addresses and made the link (chaining); the node's pools know nothing of them.
    pub foreign: bool,
}

/// What a plugin that ran before ours made for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignLink {
    /// Name of the end on the host.
    pub host_ifname: String,
    /// IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl EndpointSpec {
    /// The addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    /// Those of the node's own pools.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let foreign = self.foreign;
        self.addresses().filter(move |_| !foreign)
    }

    /// Those of another plugin's, to which the node needs a route each.
    pub fn foreign_addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let foreign = self.foreign;
        self.addresses().filter(move |_| foreign)
    }
}

/// A pod of this node.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What is fixed.
    pub spec: EndpointSpec,
    /// The link, once the plugin has made it.
    pub attachment: Option<Attachment>,
    /// Labels that make up the identity; empty until the pod's object was seen.
    pub labels: Labels,
    /// Number of the labels; [`abi::identity::UNKNOWN`] until it is known.
    pub identity: Identity,
    /// Labels it should have and that have no number yet.
    pub awaited: Option<Labels>,
    /// Service account of its pod.
    pub service_account: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// Counts the endpoints of this run; of two for one pod the later counts.
    pub sequence: u64,
    /// The revision of the tables with which this endpoint last changed.
    pub wanted: u64,
    /// Reports of policy drops instead of drops.
    pub audit: bool,
}

impl Endpoint {
    /// A new endpoint without link and identity.
    pub fn new(spec: EndpointSpec) -> Self {
        Self {
            spec,
            attachment: None,
            labels: Labels::default(),
            identity: abi::identity::UNKNOWN,
            awaited: None,
            service_account: String::new(),
            phase: Phase::WaitingForIdentity,
            sequence: 0,
            wanted: 0,
            audit: false,
        }
    }

    /// Whether the kernel can serve it: link made, identity known.
    pub fn is_complete(&self) -> bool {
        self.attachment.is_some() && self.identity != abi::identity::UNKNOWN
    }
}
