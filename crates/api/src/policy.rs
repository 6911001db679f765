//! `policy get`, `policy selectors`, `policy trace`.

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
        /// Endpoint whose policy was asked; 0 = none of this node, nothing was asked.
        pub endpoint: u16,
        /// `ALLOWED`, `DENIED`, `AUDIT`, or `NOT ENFORCED` where no policy selects the endpoint in this direction.
        pub verdict: String,
        /// How the entry matched: `L3-L4`, `L3-Only`, `L4-Only`, `all`, `none`, …
        pub matched: String,
        /// Rule cookie of the entry, or of the default deny.
        pub cookie: u32,
        /// Policies behind it.
        pub policies: Vec<PolicyRef>,
    }

    /// Answer to a trace.
    pub struct Trace in "camelCase" {
        /// What the datapath did, one step a line, in order.
        pub steps: Vec<String>,
        /// `ALLOWED`, `DENIED` or `AUDIT`.
        pub verdict: String,
        /// Text of the drop reason; empty if the packet passes.
        pub reason: String,
        /// Policy decisions on the way, egress first.
        pub decisions: Vec<Decision>,
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

/// Asks what would happen to the first packet of a connection.
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
}
