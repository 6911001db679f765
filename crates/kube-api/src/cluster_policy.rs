//! `ClusterNetworkPolicy` of `policy.networking.k8s.io/v1alpha2`: what cluster admins enforce (tier Admin) and fall back to
//! (tier Baseline). Its definition is in the chart.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::ClusterResourceScope;
use serde::{Deserialize, Serialize};

use crate::policies::{PolicyStatus, conditioned};
use crate::rule::Unknown;

/// A policy of the cluster's admins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterNetworkPolicy {
    /// Name and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What it says.
    #[serde(default)]
    pub spec: ClusterPolicySpec,
    /// How nodes took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PolicyStatus>,
}

conditioned!(ClusterNetworkPolicy);

/// What a ClusterNetworkPolicy says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPolicySpec {
    /// `Admin` or `Baseline`.
    pub tier: String,
    /// 0 (asked first) to 1000.
    pub priority: i64,
    /// The pods it is about.
    pub subject: ClusterPeer,
    /// Rules for packets to them; the first that matches counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<ClusterRule>,
    /// Rules for packets from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<ClusterRule>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterRule {
    /// What people call it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `Accept`, `Deny` or `Pass`.
    pub action: String,
    /// Peers of an ingress rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Vec<ClusterPeer>>,
    /// Peers of an egress rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<ClusterPeer>>,
    /// Protocols and ports; absent: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Vec<ClusterProtocol>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A subject or a peer; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPeer {
    /// All pods of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<LabelSelector>,
    /// Some pods of namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<NamespacedPods>,
    /// Nodes by label (egress).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<LabelSelector>,
    /// Addresses, whoever has them (egress).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
    /// DNS names (egress).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_names: Option<Vec<String>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Pods by the labels of their namespace and their own; empty selectors select everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamespacedPods {
    /// Labels of the namespace.
    pub namespace_selector: LabelSelector,
    /// Labels of the pod.
    pub pod_selector: LabelSelector,
}

/// A protocol or a port; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterProtocol {
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<ClusterPorts>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<ClusterPorts>,
    /// SCTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sctp: Option<ClusterPorts>,
    /// A port of the receiving pod, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_named_port: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterPorts {
    /// Absent: all ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<ClusterPort>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A port or a range; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterPort {
    /// One port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<i64>,
    /// Several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<ClusterPortRange>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A range of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterPortRange {
    /// First port.
    pub start: i64,
    /// Last port.
    pub end: i64,
}

impl ClusterNetworkPolicy {
    /// Name of the kind.
    pub const KIND: &'static str = "ClusterNetworkPolicy";
}

impl kube::Resource for ClusterNetworkPolicy {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> std::borrow::Cow<'_, str> {
        Self::KIND.into()
    }
    fn group(_: &()) -> std::borrow::Cow<'_, str> {
        "policy.networking.k8s.io".into()
    }
    fn version(_: &()) -> std::borrow::Cow<'_, str> {
        "v1alpha2".into()
    }
    fn plural(_: &()) -> std::borrow::Cow<'_, str> {
        "clusternetworkpolicies".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
