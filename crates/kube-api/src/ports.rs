//! Ports, ICMP types and the L7 rules on ports, as written in a policy.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::rule::Unknown;
use crate::schema::{free_form, free_form_list};

/// Ports that are allowed, and what is asked of the traffic on them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortRule {
    /// Ports is a list of L4 port/protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub ports: Option<Vec<PortProtocol>>,
    /// TerminatingTLS is the TLS context for the connection terminated by the L7 proxy.
    #[serde(rename = "terminatingTLS", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub terminating_tls: Option<Value>,
    /// OriginatingTLS is the TLS context for the connections originated by the L7 proxy.
    #[serde(rename = "originatingTLS", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub originating_tls: Option<Value>,
    /// ServerNames is a list of allowed TLS SNI values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub server_names: Option<Vec<String>>,
    /// Listener specifies the name of a custom Envoy listener to which this traffic should be redirected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub listener: Option<Value>,
    /// Rules is a list of additional port level rules which must be met in order for the PortRule to allow the
    /// traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<L7Rules>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Ports that are denied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PortDenyRule {
    /// Ports is a list of L4 port/protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub ports: Option<Vec<PortProtocol>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A port or a range of ports of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortProtocol {
    /// Port can be an L4 port number, or a name in the form of "http" or "http-8080"; absent or "0" is every port.
    #[serde(deserialize_with = "number_or_text", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::port")]
    pub port: Option<String>,
    /// EndPort can only be an L4 port number: the last port of the range.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub end_port: Option<i32>,
    /// Protocol is the L4 protocol. If omitted or empty, any protocol matches. Matching on ICMP is not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::protocol")]
    pub protocol: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Rules on what is said on a port. Only one kind can be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct L7Rules {
    /// HTTP specific rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_list")]
    pub http: Option<Vec<Value>>,
    /// Kafka-specific rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_list")]
    pub kafka: Option<Vec<Value>>,
    /// DNS-specific rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_list")]
    pub dns: Option<Vec<Value>>,
    /// Name of the L7 protocol for which the key-value pair rules apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l7proto: Option<String>,
    /// Key-value pair rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_list")]
    pub l7: Option<Vec<Value>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A list of ICMP messages.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct IcmpRule {
    /// Fields is a list of ICMP fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub fields: Option<Vec<IcmpField>>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// One ICMP message type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IcmpField {
    /// Family is an IP address version: IPv4, which is the default, or IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::icmp_family")]
    pub family: Option<String>,
    /// Type is an ICMP type: a number of 8 bits or its CamelCase name, for example "EchoReply".
    #[serde(rename = "type")]
    #[schemars(schema_with = "crate::schema::icmp_type")]
    pub kind: IntOrString,
}

/// A number or a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A number.
    Int(i64),
    /// A word, which can be a number too.
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

/// Ports are text in the API; a bare number, which YAML makes of an unquoted port, is taken as well.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<IntOrString>::deserialize(deserializer)?.map(|value| match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text,
    }))
}
