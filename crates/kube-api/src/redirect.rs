//! `CiliumLocalRedirectPolicy`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};
use crate::rule::LabelSelector;

/// CiliumLocalRedirectPolicy redirects traffic of pods to pods of their own node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumLocalRedirectPolicy {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumLocalRedirectPolicy`.
    #[serde(default)]
    pub kind: Kind<CiliumLocalRedirectPolicy>,
    /// The policy redirects to pods of the metadata's namespace.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Spec is the desired behavior of the local redirect policy.
    #[serde(default)]
    pub spec: RedirectSpec,
    /// Status is the most recent status of the local redirect policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RedirectStatus>,
}

custom_resource!(CiliumLocalRedirectPolicy, "ciliumlocalredirectpolicies", NamespaceResourceScope);

/// What is redirected, and where to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectSpec {
    /// Description says what the policy is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// RedirectFrontend is the traffic to redirect.
    pub redirect_frontend: RedirectFrontend,
    /// RedirectBackend is where it is redirected to.
    pub redirect_backend: RedirectBackend,
    /// SkipRedirectFromBackend leaves traffic of the pods of redirectBackend as it is.
    #[serde(default)]
    pub skip_redirect_from_backend: bool,
}

/// The traffic to redirect: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RedirectFrontend {
    /// AddressMatcher is an address outside of the cluster's services, with ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_matcher: Option<AddressMatcher>,
    /// ServiceMatcher is a service of the policy's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_matcher: Option<ServiceMatcher>,
}

/// An address and its ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressMatcher {
    /// IP is the address, IPv4 or IPv6.
    pub ip: String,
    /// ToPorts are the ports. Several must have names.
    pub to_ports: Vec<PortInfo>,
}

/// A service and, if not all, its ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMatcher {
    /// ServiceName is the service's name. Its cluster IPs are redirected.
    pub service_name: String,
    /// Namespace is the service's namespace, which must be the policy's.
    pub namespace: String,
    /// ToPorts are ports of the service; none: all. Several must have names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to_ports: Vec<PortInfo>,
}

/// Pods of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectBackend {
    /// LocalEndpointSelector selects pods of the policy's namespace.
    pub local_endpoint_selector: LabelSelector,
    /// ToPorts are ports of the pods, which their containers must name. Several must have names.
    pub to_ports: Vec<PortInfo>,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PortInfo {
    /// Name is the port's name, by which frontends find their backends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,4})|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*$"))]
    pub name: Option<String>,
    /// Port is the port's number.
    #[schemars(regex(
        pattern = r"^()([1-9]|[1-5]?[0-9]{2,4}|6[1-4][0-9]{3}|65[1-4][0-9]{2}|655[1-2][0-9]|6553[1-5])$"
    ))]
    pub port: String,
    /// Protocol is the port's protocol.
    #[schemars(schema_with = "crate::schema::redirected_protocol")]
    pub protocol: String,
}

/// Status of a policy, of which nobody makes use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RedirectStatus {
    /// Whether the policy is in force.
    pub ok: bool,
}
