//! `policy get`, `policy selectors`, `policy trace`, `policy explain`.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

model! {
    /// All rules in force.
    pub struct Policy in "camelCase" {
        /// The rules as a JSON array, indented, in a string (Cilium's form).
        pub policy: String,
        /// Revision of the rule set.
        pub revision: u64,
    }

    /// A label.
    pub struct Label in "camelCase" {
        /// `k8s`, `reserved`, `cidr`, …
        pub source: String,
        /// Key.
        pub key: String,
        /// Value; may be empty.
        pub value: String,
    }

    /// A selector of the selector cache.
    pub struct Selector in "camelCase" {
        /// The selector as text.
        pub selector: String,
        /// Identities it selects, ascending.
        pub identities: Vec<u32>,
        /// How many rules use it.
        pub users: u32,
        /// Labels of the rules that use it.
        pub labels: Vec<Label>,
    }

    /// A policy object.
    pub struct PolicyRef in "camelCase" {
        /// `CiliumNetworkPolicy`, `CiliumClusterwideNetworkPolicy` or `NetworkPolicy`.
        pub kind: String,
        /// Empty for cluster-wide ones.
        pub namespace: String,
        /// Name of the object.
        pub name: String,
    }

    /// What one side's policy said.
    pub struct Decision in "camelCase" {
        /// `egress` (at the source) or `ingress` (at the destination).
        pub direction: String,
        /// Endpoint of this node whose policy was asked.
        pub endpoint: u16,
        /// `ALLOWED`, `DENIED`, `AUDIT`, or `NOT ENFORCED` where no policy selects the endpoint in this direction.
        pub verdict: String,
        /// How the entry matched: `L3-L4`, `L3-Only`, `L4-Only`, `all`, `none`, …; empty if the flow remembered the verdict.
        pub matched: String,
        /// Rule cookie of the entry, or of the default deny.
        pub cookie: u32,
        /// Policies behind it.
        pub policies: Vec<PolicyRef>,
    }

    /// One end of the packet that a trace sent.
    pub struct TraceEnd in "camelCase" {
        /// Its address.
        pub address: String,
        /// Its port, host order; 0 where the protocol has none.
        pub port: u16,
        /// Its security identity.
        pub identity: u32,
        /// Labels of the identity.
        pub labels: Vec<String>,
        /// Endpoint of this node, 0 if it is none.
        pub endpoint: u16,
        /// Where the identity was found.
        pub found: String,
    }

    /// Answer to a trace.
    pub struct Trace in "camelCase" {
        /// The sender.
        pub source: TraceEnd,
        /// The receiver.
        pub destination: TraceEnd,
        /// IP protocol number.
        pub protocol: u8,
        /// What the datapath did, one step a line, in order.
        pub steps: Vec<String>,
        /// `ALLOWED`, `DENIED` or `AUDIT`.
        pub verdict: String,
        /// Text of the drop reason; empty if the packet passes.
        pub reason: String,
        /// Policy decisions on the way in the order they were made, for ends that are pods of this node, or the node itself.
        pub decisions: Vec<Decision>,
        /// What another node has yet to decide, or has decided before; empty if the whole way is this node's.
        pub elsewhere: String,
    }
}

model! {
    /// A rule of a policy.
    pub struct RuleRef in "camelCase" {
        /// As in [`PolicyRef::kind`]; `Builtin` for what no user wrote.
        pub kind: String,
        /// Empty for cluster-wide ones.
        pub namespace: String,
        /// Name of the object.
        pub name: String,
        /// Where the rule stands in the object: `spec.ingress[0]`; empty if it is not known.
        pub place: String,
    }

    /// A rule that selects the endpoint, and how it stands to the packet.
    pub struct RuleStep in "camelCase" {
        /// The rule.
        pub rule: RuleRef,
        /// `allow`, `deny` or `pass`.
        pub verdict: String,
        /// `admin`, `normal` or `baseline`.
        pub tier: String,
        /// Lower goes first within a tier.
        pub priority: u32,
        /// It is a dry run.
        pub audit: bool,
        /// A peer of it fits.
        pub peer_matches: bool,
        /// A port of it fits.
        pub port_matches: bool,
    }

    /// What the policy of one end says to a connection.
    pub struct ExplainedSide in "camelCase" {
        /// `egress` (at the client) or `ingress` (at the server).
        pub direction: String,
        /// Endpoint of this node.
        pub endpoint: u16,
        /// Its pod, `namespace/name`; `node NAME` for the node itself.
        pub pod: String,
        /// Identity of the other end.
        pub peer: u32,
        /// Labels of that identity.
        pub peer_labels: Vec<String>,
        /// `ALLOWED`, `REDIRECTED`, `DENIED`, `AUDIT`, or `NOT ENFORCED` where nothing closes the direction.
        pub verdict: String,
        /// The same in words.
        pub text: String,
        /// The rules that decided; those that close the direction where no rule allows the connection.
        pub because: Vec<RuleRef>,
        /// Every rule that selects the endpoint in this direction, in the order they are asked.
        pub rules: Vec<RuleStep>,
    }

    /// What was recorded of a flow.
    pub struct RecordedVerdict in "camelCase" {
        /// `FORWARDED`, `DROPPED`, `AUDIT`, …
        pub verdict: String,
        /// Text of the drop reason; empty if it was not dropped.
        pub reason: String,
        /// Policies that allowed it.
        pub allowed_by: Vec<PolicyRef>,
        /// Policies that denied it, or would have.
        pub denied_by: Vec<PolicyRef>,
    }

    /// Answer to `policy explain`.
    pub struct Explanation in "camelCase" {
        /// The client.
        pub source: TraceEnd,
        /// The server.
        pub destination: TraceEnd,
        /// IP protocol number.
        pub protocol: u8,
        /// What was recorded.
        pub recorded: RecordedVerdict,
        /// What the rules of today say, at each end that is a pod of this node or the node itself, the client first.
        pub sides: Vec<ExplainedSide>,
        /// The ends whose policy another node knows; empty if there is none.
        pub elsewhere: String,
    }
}

/// One end of a traced packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Party {
    /// An endpoint of this node, by number.
    Endpoint(u16),
    /// A pod of the cluster.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Any address.
    Address(IpAddr),
    /// A security identity.
    Identity(u32),
    /// The identity that has exactly these labels (`source:key=value`).
    Labels(Vec<String>),
}

/// Asks what would happen to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceRequest {
    /// Who sends.
    pub source: Party,
    /// Who is addressed.
    pub destination: Party,
    /// IP protocol number.
    pub protocol: u8,
    /// Destination port, host order; for ICMP the type.
    pub port: u16,
    /// Source port, host order; 0 = any. For ICMP echo the identifier.
    #[serde(default, skip_serializing_if = "crate::model::is_empty")]
    pub source_port: u16,
    /// IPv6 where both ends have both families.
    #[serde(default, skip_serializing_if = "crate::model::is_empty")]
    pub ipv6: bool,
    /// The packet may belong to a connection that is tracked; without this it always opens a new one.
    #[serde(default, skip_serializing_if = "crate::model::is_empty")]
    pub existing: bool,
}
