//! Objects → facts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_api::{CiliumEndpoint, CiliumIdentity, CiliumNode};

use crate::plan::HEARTBEAT_ANNOTATION;

/// Which object exactly, and in which state: what a conditional write states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// UID.
    pub(crate) uid: String,
    /// Resource version.
    pub(crate) version: String,
}

/// A Kubernetes node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeFacts {
    /// Its version.
    pub(crate) version: Version,
    /// Its taints.
    pub(crate) taints: Vec<Taint>,
    /// Status and reason of the condition NetworkUnavailable.
    pub(crate) network_unavailable: Option<(String, String)>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodFacts {
    /// UID.
    pub(crate) uid: String,
    /// Node it was scheduled to.
    pub(crate) node: Option<String>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// UID of the controller that would make it anew.
    pub(crate) controller: Option<String>,
    /// It uses the node's network.
    pub(crate) host_network: bool,
    /// Its containers run (phase Running).
    pub(crate) running: bool,
    /// Its containers have ended for good.
    pub(crate) finished: bool,
    /// It is being deleted.
    pub(crate) deleting: bool,
    /// Its readiness probes succeed.
    pub(crate) ready: bool,
    /// When the kubelet started it.
    pub(crate) started: Option<Timestamp>,
}

/// A CiliumNode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CiliumNodeFacts {
    /// Its version.
    pub(crate) version: Version,
    /// When it was made; of two that claim one block, the older has it.
    pub(crate) created: Option<Timestamp>,
    /// `spec.ipam.podCIDRs`, as written.
    pub(crate) pod_cidrs: Vec<String>,
    /// `status.ipam.operator-status.error`.
    pub(crate) error: String,
}

/// A CiliumEndpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndpointFacts {
    /// Its version.
    pub(crate) version: Version,
    /// Number of its identity.
    pub(crate) identity: Option<i64>,
    /// UID of the pod that owns it.
    pub(crate) pod_uid: Option<String>,
}

/// A CiliumIdentity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdentityFacts {
    /// Its version.
    pub(crate) version: Version,
    /// Its number, if the name is one.
    pub(crate) number: Option<u32>,
    /// The annotation that marks it for collection, as written.
    pub(crate) mark: Option<String>,
}

impl From<&ObjectMeta> for Version {
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            version: meta.resource_version.clone().unwrap_or_default(),
        }
    }
}

impl From<&Node> for NodeFacts {
    fn from(node: &Node) -> Self {
        let conditions =
            node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        Self {
            version: Version::from(&node.metadata),
            taints: node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            network_unavailable: conditions
                .iter()
                .find(|condition| condition.type_ == "NetworkUnavailable")
                .map(|condition| (condition.status.clone(), condition.reason.clone().unwrap_or_default())),
        }
    }
}

impl From<&Pod> for PodFacts {
    fn from(pod: &Pod) -> Self {
        let nothing = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&nothing);
        let phase = status.phase.as_deref().unwrap_or_default();
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let spec = pod.spec.as_ref();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            // A static pod's mirror belongs to its node: deleting it would change nothing.
            controller: owners
                .iter()
                .find(|owner| owner.controller == Some(true) && owner.kind != "Node")
                .map(|owner| owner.uid.clone()),
            host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
            running: phase == "Running",
            finished: matches!(phase, "Succeeded" | "Failed"),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            ready: conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            started: status.start_time.as_ref().map(|time| time.0),
        }
    }
}

impl From<&CiliumNode> for CiliumNodeFacts {
    fn from(node: &CiliumNode) -> Self {
        Self {
            version: Version::from(&node.metadata),
            created: node.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pod_cidrs: node.spec.ipam.pod_cidrs.clone(),
            error: node.status.ipam.operator_status.error.clone(),
        }
    }
}

impl From<&CiliumEndpoint> for EndpointFacts {
    fn from(endpoint: &CiliumEndpoint) -> Self {
        let owners = endpoint.metadata.owner_references.as_deref().unwrap_or_default();
        Self {
            version: Version::from(&endpoint.metadata),
            identity: endpoint.status.identity.as_ref().map(|identity| identity.id),
            pod_uid: owners.iter().find(|owner| owner.kind == "Pod").map(|owner| owner.uid.clone()),
        }
    }
}

impl From<&CiliumIdentity> for IdentityFacts {
    fn from(identity: &CiliumIdentity) -> Self {
        let annotations = identity.metadata.annotations.as_ref();
        Self {
            version: Version::from(&identity.metadata),
            number: identity.number(),
            mark: annotations.and_then(|annotations| annotations.get(HEARTBEAT_ANNOTATION).cloned()),
        }
    }
}
