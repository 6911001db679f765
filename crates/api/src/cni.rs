//! The calls of the network plugin. Order of an ADD: allocate, the plugin makes the devices, attach.

use crate::Mac;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Asks for addresses and a number for a new pod. Asking again for the same container and interface gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateRequest {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`, the interface inside the pod.
    pub ifname: String,
    /// `CNI_NETNS`, a path of the host.
    pub netns: String,
    /// Namespace of the pod; empty outside Kubernetes.
    pub namespace: String,
    /// Name of the pod; empty outside Kubernetes.
    pub pod_name: String,
    /// UID of the pod; empty if the runtime does not tell.
    pub pod_uid: String,
    /// What a plugin that ran before has made; then nothing is allocated.
    #[serde(default)]
    pub foreign: Option<ForeignLink>,
}

/// The link of a pod that another plugin made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignLink {
    /// Name of the device on the host.
    pub host_ifname: String,
    /// The pod's address.
    pub ipv4: Option<Ipv4Addr>,
    /// The pod's address.
    pub ipv6: Option<Ipv6Addr>,
}

/// How the pod's devices are to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocateResponse {
    /// Number of the endpoint on this node.
    pub endpoint_id: u16,
    /// The pod's address, used with /32.
    pub ipv4: Option<Ipv4Addr>,
    /// The pod's address, used with /128.
    pub ipv6: Option<Ipv6Addr>,
    /// The router's address, next hop of the pod's default route.
    pub gateway_ipv4: Option<Ipv4Addr>,
    /// The router's address, next hop of the pod's default route.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// MTU of both devices, bytes.
    pub mtu: u32,
    /// MTU of the pod's default routes, bytes, if it is lower than the device's (tunnel overhead); 0 = as the device.
    #[serde(default)]
    pub route_mtu: u32,
    /// Name of the device on the host, `lxc…`.
    pub host_ifname: String,
    /// MAC address inside the pod, if it is to have a certain one.
    #[serde(default)]
    pub mac: Option<Mac>,
    /// MAC address of the device on the host, if it is to have a certain one.
    #[serde(default)]
    pub host_mac: Option<Mac>,
}

/// The devices are there: put programs and policy on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// From [`AllocateResponse`].
    pub endpoint_id: u16,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// Name of the device on the host.
    pub host_ifname: String,
    /// Index of the device on the host.
    pub host_ifindex: u32,
    /// MAC address of the device on the host.
    pub host_mac: Mac,
    /// MAC address inside the pod.
    pub mac: Mac,
}

/// The pod's traffic is under policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachResponse {
    /// Security identity of the pod.
    pub identity: u32,
    /// Revision of the policy that is in the kernel.
    pub policy_revision: u64,
}

/// Asks whether an attachment is known and in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// What the agent holds to be true of an attachment. Not known: 404. Known and not in order: 409 with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResponse {
    /// Number of the endpoint on this node.
    pub endpoint_id: u16,
    /// The pod's address.
    pub ipv4: Option<Ipv4Addr>,
    /// The pod's address.
    pub ipv6: Option<Ipv6Addr>,
    /// Index of the device on the host.
    pub host_ifindex: u32,
}

/// Answer to the release of an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseResponse {
    /// Whether there was something to release.
    pub released: bool,
}
