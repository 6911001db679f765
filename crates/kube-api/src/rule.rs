//! A policy rule as written in the `spec` of a policy object: which endpoints, and what they may receive and send.
//!
//! Absent and empty are different here, and stay different: a list that is absent says nothing, a list that is present
//! and empty selects nothing. So the lists of peers are `Option<Vec<_>>`, and written back as they were read.
//! `null` is what a template leaves behind that had nothing to fill in; it counts as empty, not as absent.
//! What a rule holds beyond the known fields is kept in `unknown`, so that conversion can refuse it by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::ports::{IcmpRule, PortDenyRule, PortRule};
use crate::schema::free_form;

/// Fields that this version does not know, by name.
pub type Unknown = BTreeMap<String, Value>;

/// One rule: the endpoints that it is about, and what is allowed and denied for them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// EndpointSelector selects all endpoints which should be subject to this rule. EndpointSelector and NodeSelector
    /// cannot be both empty and are mutually exclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint_selector: Option<LabelSelector>,
    /// NodeSelector selects all nodes which should be subject to this rule. Can only be used in
    /// CiliumClusterwideNetworkPolicies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<LabelSelector>,
    /// Ingress is a list of IngressRule which are enforced at ingress. If omitted or empty, this rule does not apply
    /// at ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Vec<IngressRule>>,
    /// IngressDeny is a list of IngressDenyRule which are enforced at ingress. Any rule inserted here will be denied
    /// regardless of the allowed ingress rules in the 'ingress' field. If omitted or empty, this rule does not apply
    /// at ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_deny: Option<Vec<IngressDenyRule>>,
    /// Egress is a list of EgressRule which are enforced at egress. If omitted or empty, this rule does not apply at
    /// egress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Vec<EgressRule>>,
    /// EgressDeny is a list of EgressDenyRule which are enforced at egress. Any rule inserted here will be denied
    /// regardless of the allowed egress rules in the 'egress' field. If omitted or empty, this rule does not apply at
    /// egress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress_deny: Option<Vec<EgressDenyRule>>,
    /// Labels is a list of optional strings which can be used to re-identify the rule or to store metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<RuleLabel>>,
    /// EnableDefaultDeny determines whether this policy configures the subject endpoint(s) to have a default deny
    /// mode. If enabled, this causes all traffic not explicitly allowed by a network policy to be dropped. If not
    /// specified, the default is true for each traffic direction that has rules, and false otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_default_deny: Option<DefaultDeny>,
    /// Description is a free form string, it can be used by the creator of the rule to store human readable
    /// explanation of the purpose of this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Log specifies custom policy-specific Hubble logging configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogConfig>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Selects by labels; all requirements must hold, and no requirement holds for everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// matchLabels is a map of {key,value} pairs; each is a requirement.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// matchExpressions is a list of label selector requirements.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A requirement on one label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRequirement {
    /// key is the label key that the selector applies to.
    pub key: String,
    /// operator represents a key's relationship to a set of values.
    #[schemars(schema_with = "crate::schema::selector_operator")]
    pub operator: String,
    /// values must be non-empty for In and NotIn, and empty for Exists and DoesNotExist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// A label of a rule, of any source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleLabel {
    /// Key of the label.
    pub key: String,
    /// Source of the label, such as `k8s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Value of the label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Whether traffic that no rule allows is dropped, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DefaultDeny {
    /// Whether or not the endpoint should have a default-deny rule applied to egress traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<bool>,
    /// Whether or not the endpoint should have a default-deny rule applied to ingress traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<bool>,
}

/// What is added to the flows of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogConfig {
    /// Value is a free-form string that is included in Hubble flows that match this policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^\PC*$"))]
    pub value: Option<String>,
}

/// Where traffic may come from. At most one kind of peer in one rule; none means any peer, where ports are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IngressPeers {
    /// FromEndpoints is a list of endpoints identified by a selector which are allowed to communicate with the
    /// endpoint subject to the rule. An empty list does not select anything; to select everything, use one selector
    /// without any match requirements.
    #[serde(rename = "fromEndpoints", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<LabelSelector>>,
    /// FromRequires is a list of additional constraints which must be met in order for the selected endpoints to be
    /// reachable. Deprecated.
    #[serde(rename = "fromRequires", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub requires: Option<Vec<LabelSelector>>,
    /// FromCIDR is a list of IP blocks which the endpoint subject to the rule is allowed to receive connections from.
    #[serde(rename = "fromCIDR", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Vec<String>>,
    /// FromCIDRSet is a list of IP blocks which the endpoint subject to the rule is allowed to receive connections
    /// from, along with a list of subnets contained within their IP block from which traffic should not be allowed.
    #[serde(rename = "fromCIDRSet", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cidr_set: Option<Vec<CidrRule>>,
    /// FromEntities is a list of special entities which the endpoint subject to the rule is allowed to receive
    /// connections from.
    #[serde(rename = "fromEntities", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::entities")]
    pub entities: Option<Vec<String>>,
    /// FromGroups is a directive that allows the integration with multiple outside providers.
    #[serde(rename = "fromGroups", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
    /// FromNodes is a list of nodes identified by a selector which are allowed to communicate with the endpoint
    /// subject to the rule.
    #[serde(rename = "fromNodes", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<LabelSelector>>,
}

/// Where traffic may go to. At most one kind of peer in one rule; none means any peer, where ports are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EgressPeers {
    /// ToEndpoints is a list of endpoints identified by a selector to which the endpoints subject to the rule are
    /// allowed to communicate. An empty list does not select anything; to select everything, use one selector without
    /// any match requirements.
    #[serde(rename = "toEndpoints", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<LabelSelector>>,
    /// ToRequires is a list of additional constraints which must be met in order for the selected endpoints to be
    /// able to connect to other endpoints. Deprecated.
    #[serde(rename = "toRequires", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub requires: Option<Vec<LabelSelector>>,
    /// ToCIDR is a list of IP blocks which the endpoint subject to the rule is allowed to initiate connections to.
    #[serde(rename = "toCIDR", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Vec<String>>,
    /// ToCIDRSet is a list of IP blocks which the endpoint subject to the rule is allowed to initiate connections to,
    /// along with a list of subnets contained within their IP block to which traffic should not be allowed.
    #[serde(rename = "toCIDRSet", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub cidr_set: Option<Vec<CidrRule>>,
    /// ToEntities is a list of special entities to which the endpoint subject to the rule is allowed to initiate
    /// connections.
    #[serde(rename = "toEntities", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::entities")]
    pub entities: Option<Vec<String>>,
    /// ToServices is a list of services to which the endpoint subject to the rule is allowed to initiate connections.
    #[serde(rename = "toServices", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServicePeer>>,
    /// ToGroups is a directive that allows the integration with multiple outside providers.
    #[serde(rename = "toGroups", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Group>>,
    /// ToNodes is a list of nodes identified by a selector to which endpoints subject to the rule are allowed to
    /// communicate.
    #[serde(rename = "toNodes", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<LabelSelector>>,
}

/// What is allowed at ingress. All members given must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressRule {
    /// Where from.
    #[serde(flatten)]
    pub peers: IngressPeers,
    /// ToPorts is a list of destination ports which the endpoint subject to the rule is allowed to receive
    /// connections on.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to_ports: Option<Vec<PortRule>>,
    /// ICMPs is a list of ICMP rules identified by type number which the endpoint subject to the rule is allowed to
    /// receive.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Authentication is the required authentication type for the allowed traffic, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// What is denied at ingress. All members given must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressDenyRule {
    /// Where from.
    #[serde(flatten)]
    pub peers: IngressPeers,
    /// ToPorts is a list of destination ports which the endpoint subject to the rule is not allowed to receive
    /// connections on.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to_ports: Option<Vec<PortDenyRule>>,
    /// ICMPs is a list of ICMP rules identified by type number which the endpoint subject to the rule is not allowed
    /// to receive.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// What is allowed at egress. All members given must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressRule {
    /// Where to.
    #[serde(flatten)]
    pub peers: EgressPeers,
    /// ToFQDNs allows whitelisting DNS names in place of IPs.
    #[serde(rename = "toFQDNs", deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to_fqdns: Option<Vec<FqdnSelector>>,
    /// ToPorts is a list of destination ports which the endpoint subject to the rule is allowed to connect to.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to_ports: Option<Vec<PortRule>>,
    /// ICMPs is a list of ICMP rules identified by type number which the endpoint subject to the rule is allowed to
    /// send.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Authentication is the required authentication type for the allowed traffic, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// What is denied at egress. All members given must match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressDenyRule {
    /// Where to.
    #[serde(flatten)]
    pub peers: EgressPeers,
    /// ToPorts is a list of destination ports which the endpoint subject to the rule is not allowed to connect to.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub to_ports: Option<Vec<PortDenyRule>>,
    /// ICMPs is a list of ICMP rules identified by type number which the endpoint subject to the rule is not allowed
    /// to send.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub icmps: Option<Vec<IcmpRule>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A block of addresses with holes, named by itself, by a CiliumCIDRGroup's name or by a selector of such groups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CidrRule {
    /// CIDR is a CIDR prefix / IP Block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// CIDRGroupRef is a reference to a CiliumCIDRGroup object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub cidr_group_ref: Option<String>,
    /// CIDRGroupSelector selects CiliumCIDRGroups by their labels, rather than by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr_group_selector: Option<LabelSelector>,
    /// ExceptCIDRs is a list of IP blocks inside of CIDR which the rule does not cover.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A Kubernetes service as a peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePeer {
    /// K8sService selects service by name and namespace pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_service: Option<ServiceName>,
    /// K8sServiceSelector selects services by k8s labels and namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_service_selector: Option<ServiceSelector>,
}

/// A service by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceName {
    /// Name of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_name: String,
    /// Namespace of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// Services by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceSelector {
    /// Namespace of the services.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Labels of the services.
    pub selector: LabelSelector,
}

/// A group of addresses that a cloud provider keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Group {
    /// AWSGroup is a structure that can be used to whitelist information from AWS integration.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub aws: Option<Value>,
}

/// DNS names as a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FqdnSelector {
    /// MatchName matches literal DNS names. A trailing "." is automatically added when missing.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 255), regex(pattern = r"^([-a-zA-Z0-9_]+[.]?)+$"))]
    pub match_name: String,
    /// MatchPattern allows using wildcards to match DNS names. All wildcards are case insensitive.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 255), regex(pattern = r"^([-a-zA-Z0-9_*]+[.]?)+$"))]
    pub match_pattern: String,
}

/// Mutual authentication asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Authentication {
    /// Mode is the required authentication mode for the allowed traffic.
    #[schemars(schema_with = "crate::schema::authentication_mode")]
    pub mode: String,
}

/// A list that is there; `null` is an empty one.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(|list| Some(list.unwrap_or_default()))
}
