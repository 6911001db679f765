//! `CiliumNode`: what a node tells the others (addresses, keys) and which pod CIDRs the operator gave it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ClusterResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};
use crate::schema::free_form;

/// A node managed by Cilium: its configuration in `spec`, how far the operator and the agent got in `status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumNode {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumNode`.
    #[serde(default)]
    pub kind: Kind<CiliumNode>,
    /// Name is the Kubernetes node's name.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Spec defines the desired specification/configuration of the node.
    pub spec: NodeSpec,
    /// Status defines the realized specification/configuration and status of the node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: NodeStatus,
}

custom_resource!(CiliumNode, "ciliumnodes", ClusterResourceScope);

impl CiliumNode {
    /// A node object of that name.
    #[must_use]
    pub fn new(name: impl Into<String>, spec: NodeSpec) -> Self {
        Self {
            metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
            spec,
            ..Self::default()
        }
    }
}

/// Configuration of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeSpec {
    /// InstanceID is the identifier of the node at the cloud provider, where it has one.
    #[serde(rename = "instance-id", skip_serializing_if = "String::is_empty")]
    pub instance_id: String,
    /// BootID is a unique node identifier generated on boot.
    #[serde(rename = "bootid", skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Addresses is the list of all node addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// HealthAddressing is the addressing information for health connectivity checking.
    #[serde(skip_serializing_if = "is_default")]
    pub health: AddressPair,
    /// IngressAddressing is the addressing information for Ingress listener.
    #[serde(skip_serializing_if = "is_default")]
    pub ingress: AddressPair,
    /// Encryption is the encryption configuration of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub encryption: EncryptionSpec,
    /// IPAM is the address management specification. This section can be populated by a user or by the operator.
    #[serde(skip_serializing_if = "is_default")]
    pub ipam: IpamSpec,
    /// NodeIdentity is the Cilium numeric identity allocated for the node, if any.
    #[serde(rename = "nodeidentity", skip_serializing_if = "is_default")]
    pub node_identity: u64,
    /// ENI is the AWS ENI specific configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub eni: Option<Value>,
    /// Azure is the Azure IPAM specific configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub azure: Option<Value>,
    /// AlibabaCloud is the AlibabaCloud IPAM specific configuration.
    #[serde(rename = "alibaba-cloud", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub alibaba_cloud: Option<Value>,
}

/// One address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeAddress {
    /// Type is the type of the node address: `InternalIP`, `ExternalIP`, `Hostname`, `CiliumInternalIP` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// IP is an IP of a node.
    pub ip: String,
}

impl NodeAddress {
    /// Type of the address under which the other nodes reach this one.
    pub const INTERNAL_IP: &'static str = "InternalIP";
    /// Type of the router's address on the node (`cilium_host`).
    pub const CILIUM_INTERNAL_IP: &'static str = "CiliumInternalIP";
}

/// An address of each family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AddressPair {
    /// The IPv4 address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv4: String,
    /// The IPv6 address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ipv6: String,
}

/// Encryption of a node or an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EncryptionSpec {
    /// Key is the index to the key to use for encryption or 0 if encryption is disabled.
    #[serde(skip_serializing_if = "is_default")]
    pub key: u32,
}

/// Address management of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpamSpec {
    /// PodCIDRs is the list of CIDRs available to the node for allocation.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// Pool is the list of IPv4 addresses available to the node for allocation (mode `crd`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pool: BTreeMap<String, AllocationIp>,
    /// IPv6Pool is the list of IPv6 addresses available to the node for allocation (mode `crd`).
    #[serde(rename = "ipv6-pool", skip_serializing_if = "BTreeMap::is_empty")]
    pub ipv6_pool: BTreeMap<String, AllocationIp>,
    /// Pools contains the list of assigned IPAM pools for this node (mode `multi-pool`).
    #[serde(skip_serializing_if = "is_default")]
    pub pools: IpamPools,
    /// MinAllocate is the minimum number of IPs that must be allocated when the node is first bootstrapped.
    #[serde(rename = "min-allocate", skip_serializing_if = "is_default")]
    pub min_allocate: u32,
    /// MaxAllocate is the maximum number of IPs that can be allocated to the node.
    #[serde(rename = "max-allocate", skip_serializing_if = "is_default")]
    pub max_allocate: u32,
    /// PreAllocate defines the number of IP addresses that must be available for allocation.
    #[serde(rename = "pre-allocate", skip_serializing_if = "is_default")]
    pub pre_allocate: u32,
    /// MaxAboveWatermark is the maximum number of addresses to allocate beyond those needed to reach PreAllocate.
    #[serde(rename = "max-above-watermark", skip_serializing_if = "is_default")]
    pub max_above_watermark: u32,
    /// StaticIPTags are used to determine the pool of IPs from which to attribute a static IP to the node.
    #[serde(rename = "static-ip-tags", skip_serializing_if = "BTreeMap::is_empty")]
    pub static_ip_tags: BTreeMap<String, String>,
}

/// An address that can be or is allocated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AllocationIp {
    /// Owner is the owner of the IP: a pod's name or another identifier. Blank in `spec.ipam.pool`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// Resource represents what resource the IP is associated with, e.g. the ID of an ENI.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
}

/// Pools asked for and given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpamPools {
    /// Requested: how many addresses this node requests out of each pool. Written by the agent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested: Vec<IpamPoolRequest>,
    /// Allocated: the pooled CIDRs assigned to this node. The operator adds, the agent removes those it released.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allocated: Vec<IpamPoolAllocation>,
}

/// What a node wants from one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IpamPoolRequest {
    /// Pool is the name of the IPAM pool backing this request.
    #[schemars(length(min = 1))]
    pub pool: String,
    /// Needed indicates how many IPs out of the above Pool this node requests from the operator.
    #[serde(default)]
    pub needed: IpamPoolDemand,
}

/// A number of addresses by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpamPoolDemand {
    /// IPv4Addrs contains the number of requested IPv4 addresses out of a given pool.
    #[serde(rename = "ipv4-addrs", skip_serializing_if = "is_default")]
    pub ipv4_addrs: u32,
    /// IPv6Addrs contains the number of requested IPv6 addresses out of a given pool.
    #[serde(rename = "ipv6-addrs", skip_serializing_if = "is_default")]
    pub ipv6_addrs: u32,
}

/// What a node got from one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IpamPoolAllocation {
    /// Pool is the name of the IPAM pool backing this allocation.
    #[schemars(length(min = 1))]
    pub pool: String,
    /// CIDRs contains a list of pod CIDRs currently allocated from this pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cidrs: Vec<String>,
}

/// How far the node got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeStatus {
    /// IPAM is the IPAM status of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub ipam: IpamStatus,
    /// ENI is the AWS ENI specific status of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub eni: Option<Value>,
    /// Azure is the Azure specific status of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub azure: Option<Value>,
    /// AlibabaCloud is the AlibabaCloud specific status of the node.
    #[serde(rename = "alibaba-cloud", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub alibaba_cloud: Option<Value>,
}

/// Address management as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IpamStatus {
    /// Used lists all IPv4 addresses out of `spec.ipam.pool` which have been allocated and are in use.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, AllocationIp>,
    /// IPv6Used lists all IPv6 addresses out of `spec.ipam.ipv6-pool` which have been allocated and are in use.
    #[serde(rename = "ipv6-used", skip_serializing_if = "BTreeMap::is_empty")]
    pub ipv6_used: BTreeMap<String, AllocationIp>,
    /// PodCIDRs lists the status of each pod CIDR allocated to this node.
    #[serde(rename = "pod-cidrs", skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_cidrs: BTreeMap<String, PodCidrStatus>,
    /// OperatorStatus is the operator's status: why pod CIDRs could not be given.
    #[serde(rename = "operator-status", skip_serializing_if = "is_default")]
    pub operator_status: OperatorStatus,
    /// ReleaseIPs tracks the state of addresses that the operator wants back.
    #[serde(rename = "release-ips", skip_serializing_if = "BTreeMap::is_empty")]
    pub release_ips: BTreeMap<String, String>,
    /// ReleaseIPv6s tracks the state of IPv6 addresses that the operator wants back.
    #[serde(rename = "release-ipv6s", skip_serializing_if = "BTreeMap::is_empty")]
    pub release_ipv6s: BTreeMap<String, String>,
    /// AssignedStaticIP is the static IP assigned to the node (e.g. a public Elastic IP address in AWS).
    #[serde(rename = "assigned-static-ip", skip_serializing_if = "String::is_empty")]
    pub assigned_static_ip: String,
}

/// State of one pod CIDR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PodCidrStatus {
    /// Status describes the status of a pod CIDR: `released`, `depleted` or `in-use`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
}

/// What the operator has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OperatorStatus {
    /// Error is the error message set by the operator; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Whether a value says nothing and is left out of the JSON.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
