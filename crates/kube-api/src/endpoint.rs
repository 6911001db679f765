//! `CiliumEndpoint`: what the agent of a pod's node tells the others about the pod. There is no spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::node::{AddressPair, EncryptionSpec, is_default};
use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};
use crate::schema::free_form_list;

/// CiliumEndpoint is the status of one pod's network: identity, addresses, node, and whether policy is enforced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumEndpoint {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumEndpoint`.
    #[serde(default)]
    pub kind: Kind<CiliumEndpoint>,
    /// Name and namespace are the pod's, which also owns the object.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Status is the status of the endpoint.
    #[serde(default)]
    pub status: EndpointStatus,
}

custom_resource!(CiliumEndpoint, "ciliumendpoints", NamespaceResourceScope);

impl CiliumEndpoint {
    /// The endpoint object of a pod; the API server removes it together with the pod of that `pod_uid`.
    #[must_use]
    pub fn new(
        namespace: impl Into<String>,
        pod: impl Into<String>,
        pod_uid: &str,
        status: EndpointStatus,
    ) -> Self {
        let pod = pod.into();
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: pod.clone(),
            uid: pod_uid.to_owned(),
            ..OwnerReference::default()
        };
        Self {
            metadata: ObjectMeta {
                name: Some(pod),
                namespace: Some(namespace.into()),
                owner_references: (!pod_uid.is_empty()).then(|| vec![owner]),
                ..ObjectMeta::default()
            },
            status,
            ..Self::default()
        }
    }
}

/// Status of one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointStatus {
    /// ID is the cilium-agent-local ID of the endpoint.
    #[serde(skip_serializing_if = "is_default")]
    pub id: i64,
    /// Controllers is the list of failing controllers for this endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_form_list")]
    pub controllers: Vec<Value>,
    /// ExternalIdentifiers is a set of identifiers to identify the endpoint apart from the pod name.
    #[serde(rename = "external-identifiers", skip_serializing_if = "Option::is_none")]
    pub external_identifiers: Option<ExternalIdentifiers>,
    /// Health is the overall endpoint and subcomponent health.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<EndpointHealth>,
    /// Identity is the security identity associated with the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<EndpointIdentity>,
    /// Log is the list of the last few warning and error log entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "free_form_list")]
    pub log: Vec<Value>,
    /// Networking is the networking properties of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<EndpointNetworking>,
    /// Encryption is the encryption configuration of the node.
    #[serde(skip_serializing_if = "is_default")]
    pub encryption: EncryptionSpec,
    /// Policy tells in which directions policy is enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<EndpointPolicy>,
    /// State is the state of the endpoint: creating, waiting-for-identity, not-ready, waiting-to-regenerate,
    /// regenerating, restoring, ready, disconnecting, disconnected, invalid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// NamedPorts is the list of named Layer 4 port and protocol pairs which will be used in Network Policy specs.
    #[serde(rename = "named-ports", skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
    /// ServiceAccount is the service account associated with the endpoint.
    #[serde(rename = "service-account", skip_serializing_if = "String::is_empty")]
    pub service_account: String,
}

/// Names that others have for an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExternalIdentifiers {
    /// ID assigned to this attachment by the container runtime: container ID and interface name.
    #[serde(rename = "cni-attachment-id", skip_serializing_if = "String::is_empty")]
    pub cni_attachment_id: String,
    /// ID assigned by container runtime (deprecated, may not be unique).
    #[serde(rename = "container-id", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Name assigned to container (deprecated, may not be unique).
    #[serde(rename = "container-name", skip_serializing_if = "String::is_empty")]
    pub container_name: String,
    /// K8s namespace for this endpoint (deprecated, may not be unique).
    #[serde(rename = "k8s-namespace", skip_serializing_if = "String::is_empty")]
    pub k8s_namespace: String,
    /// K8s pod name for this endpoint (deprecated, may not be unique).
    #[serde(rename = "k8s-pod-name", skip_serializing_if = "String::is_empty")]
    pub k8s_pod_name: String,
    /// K8s pod for this endpoint, `namespace/name` (deprecated, may not be unique).
    #[serde(rename = "pod-name", skip_serializing_if = "String::is_empty")]
    pub pod_name: String,
}

/// Health of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointHealth {
    /// Health of the datapath part.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bpf: String,
    /// Is this endpoint reachable.
    #[serde(skip_serializing_if = "is_default")]
    pub connected: bool,
    /// Overall health.
    #[serde(rename = "overallHealth", skip_serializing_if = "String::is_empty")]
    pub overall_health: String,
    /// Health of the policy part.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// Identity of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointIdentity {
    /// ID is the numeric identity of the endpoint.
    #[serde(skip_serializing_if = "is_default")]
    pub id: i64,
    /// Labels is the list of labels associated with the identity, each `source:key=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// Where an endpoint is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointNetworking {
    /// IP4/6 addresses assigned to this Endpoint.
    pub addressing: Vec<AddressPair>,
    /// NodeIP is the IP of the node the endpoint is running on. The IP must be reachable between nodes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// Policy of an endpoint by direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointPolicy {
    /// Traffic towards the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<EndpointPolicyDirection>,
    /// Traffic from the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<EndpointPolicyDirection>,
}

/// Policy of an endpoint in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointPolicyDirection {
    /// Whether what no rule allows is dropped.
    pub enforcing: bool,
    /// EndpointPolicyState defines the state of the Policy mode: "enforcing", "non-enforcing", "disabled".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
}

/// A port that a pod gave a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NamedPort {
    /// Layer 4 port name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Layer 4 port number.
    pub port: u16,
    /// Layer 4 protocol: TCP, UDP, SCTP, ANY.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}
