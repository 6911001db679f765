//! `CiliumNetworkPolicy` and `CiliumClusterwideNetworkPolicy`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::{ApiVersion, Kind, custom_resource, metadata_schema};
use crate::rule::Rule;
use crate::schema::free_form;

/// CiliumNetworkPolicy is a Kubernetes third-party resource with an extended version of NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumNetworkPolicy {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumNetworkPolicy`.
    #[serde(default)]
    pub kind: Kind<CiliumNetworkPolicy>,
    /// The rules reach pods of the metadata's namespace.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Spec is the desired Cilium specific rule specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Rule>,
    /// Specs is a list of desired Cilium specific rule specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specs: Option<Vec<Rule>>,
    /// Status is the status of the Cilium policy rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PolicyStatus>,
}

custom_resource!(CiliumNetworkPolicy, "ciliumnetworkpolicies", NamespaceResourceScope);

/// CiliumClusterwideNetworkPolicy is a Kubernetes third-party resource with a modified version of CiliumNetworkPolicy
/// which is cluster scoped rather than namespace scoped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CiliumClusterwideNetworkPolicy {
    /// Always `cilium.io/v2`.
    #[serde(rename = "apiVersion", default)]
    pub api_version: ApiVersion,
    /// Always `CiliumClusterwideNetworkPolicy`.
    #[serde(default)]
    pub kind: Kind<CiliumClusterwideNetworkPolicy>,
    /// Name of the policy.
    #[schemars(schema_with = "metadata_schema")]
    pub metadata: ObjectMeta,
    /// Spec is the desired Cilium specific rule specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Rule>,
    /// Specs is a list of desired Cilium specific rule specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specs: Option<Vec<Rule>>,
    /// Status is the status of the Cilium policy rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PolicyStatus>,
}

custom_resource!(CiliumClusterwideNetworkPolicy, "ciliumclusterwidenetworkpolicies", ClusterResourceScope);

/// Status of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PolicyStatus {
    /// Conditions: `Valid` tells whether the policy could be understood and is applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<PolicyCondition>,
    /// DerivativePolicies is the status of all policies derived from this one.
    #[serde(rename = "derivativePolicies", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub derivative_policies: Option<BTreeMap<String, Value>>,
}

/// A condition of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyCondition {
    /// The type of the policy condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status of the condition, one of True, False, or Unknown.
    pub status: String,
    /// The last time the condition transitioned from one status to another (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::date_time")]
    pub last_transition_time: Option<String>,
    /// The reason for the condition's last transition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A human readable message indicating details about the transition.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl PolicyCondition {
    /// Type of the condition that tells whether a policy was understood.
    pub const VALID: &'static str = "Valid";
    /// Type of the condition that tells whether what a policy says of nodes had to be taken back on one.
    pub const HOST_FIREWALL: &'static str = "HostFirewall";

    /// The `Valid` condition for the outcome of a conversion; `now` is RFC 3339.
    #[must_use]
    pub fn valid<T, E: std::error::Error>(outcome: &Result<T, E>, now: &str) -> Self {
        let (status, message) = match outcome {
            Ok(_) => ("True", "Policy validation succeeded".to_owned()),
            Err(error) => ("False", crate::error::chain(error)),
        };
        Self {
            kind: Self::VALID.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(now.to_owned()),
            reason: String::new(),
            message,
        }
    }
}

/// Policies with conditions in their status.
pub trait Conditioned {
    /// The conditions as last read.
    fn conditions(&self) -> &[PolicyCondition];
}

/// What the two policy kinds have in common.
pub trait CiliumPolicy: Conditioned {
    /// The rules, each with its path in the object: `spec`, `specs[0]`, ...
    fn rules(&self) -> Vec<(String, &Rule)>;
    /// Version of the specification; 0 where the object was never stored.
    fn generation(&self) -> i64;
}

macro_rules! conditioned {
    ($kind:ty) => {
        impl $crate::policies::Conditioned for $kind {
            fn conditions(&self) -> &[$crate::policies::PolicyCondition] {
                self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
            }
        }
    };
}
pub(crate) use conditioned;
conditioned!(CiliumNetworkPolicy);
conditioned!(CiliumClusterwideNetworkPolicy);

macro_rules! cilium_policy {
    ($kind:ident) => {
        impl CiliumPolicy for $kind {
            fn rules(&self) -> Vec<(String, &Rule)> {
                let spec = self.spec.iter().map(|rule| ("spec".to_owned(), rule));
                let specs = self.specs.iter().flatten().enumerate();
                spec.chain(specs.map(|(index, rule)| (format!("specs[{index}]"), rule))).collect()
            }
            fn generation(&self) -> i64 {
                self.metadata.generation.unwrap_or_default()
            }
        }
    };
}
cilium_policy!(CiliumNetworkPolicy);
cilium_policy!(CiliumClusterwideNetworkPolicy);
