//! `endpoint list` and `endpoint get`, with Cilium's JSON keys.

use crate::identity::Identity;

model! {
    /// A pod (or the host) of this node.
    pub struct Endpoint in "kebab-case" {
        /// Number on this node.
        pub id: u16,
        /// What was asked for.
        pub spec: Spec,
        /// What is.
        pub status: EndpointStatus,
    }

    /// What a user may set on an endpoint.
    pub struct Spec in "kebab-case" {
        /// Options, such as `PolicyAuditMode` → `Enabled`.
        pub options: std::collections::BTreeMap<String, String>,
        /// Labels given by a user.
        pub label_configuration: UserLabels,
    }

    /// Labels given by a user.
    pub struct UserLabels in "kebab-case" {
        /// The labels.
        pub user: Vec<String>,
    }

    /// State of an endpoint.
    pub struct EndpointStatus in "kebab-case" {
        /// `waiting-for-identity`, `waiting-to-regenerate`, `regenerating`, `ready`, `restoring`, `disconnecting`,
        /// `disconnected`.
        pub state: String,
        /// Identity of its labels; none while it is being looked up.
        pub identity: Option<Identity>,
        /// Devices and addresses.
        pub networking: Networking,
        /// Its policy.
        pub policy: Policy,
        /// How others call it.
        pub external_identifiers: ExternalIdentifiers,
        /// Its labels.
        pub labels: Labels,
        /// Container ports by name.
        #[serde(rename = "namedPorts")]
        pub named_ports: Vec<NamedPort>,
        /// How it is.
        pub health: Health,
        /// What happened to it, newest first.
        pub log: Vec<LogEntry>,
    }

    /// Devices and addresses.
    pub struct Networking in "kebab-case" {
        /// Addresses of the pod.
        pub addressing: Vec<AddressPair>,
        /// Interface inside the pod.
        pub container_interface_name: String,
        /// MAC address of the interface on the host.
        pub host_mac: String,
        /// Index of the interface on the host.
        pub interface_index: u32,
        /// Name of the interface on the host.
        pub interface_name: String,
        /// MAC address inside the pod.
        pub mac: String,
    }

    /// Addresses of a pod.
    pub struct AddressPair in "kebab-case" {
        /// IPv4; empty if none.
        pub ipv4: String,
        /// IPv6; empty if none.
        pub ipv6: String,
    }

    /// Policy of an endpoint.
    pub struct Policy in "kebab-case" {
        /// What is in the kernel.
        pub realized: RealizedPolicy,
        /// What is wanted.
        pub spec: RealizedPolicy,
    }

    /// A policy state.
    pub struct RealizedPolicy in "kebab-case" {
        /// Identity it was computed for.
        pub id: u32,
        /// Identities that are allowed in, ascending.
        pub allowed_ingress_identities: Vec<u32>,
        /// Identities that are allowed out, ascending.
        pub allowed_egress_identities: Vec<u32>,
        /// Identities that are denied in, ascending.
        pub denied_ingress_identities: Vec<u32>,
        /// Identities that are denied out, ascending.
        pub denied_egress_identities: Vec<u32>,
        /// `none`, `ingress`, `egress`, `both`, `audit-ingress`, `audit-egress` or `audit-both`.
        pub policy_enabled: String,
        /// Revision of the rules it was computed from.
        pub policy_revision: u64,
        /// Port rules.
        pub l4: L4Policy,
    }

    /// Port rules by direction.
    pub struct L4Policy in "kebab-case" {
        /// To the endpoint.
        pub ingress: Vec<L4Rule>,
        /// From the endpoint.
        pub egress: Vec<L4Rule>,
    }

    /// A port rule.
    pub struct L4Rule in "kebab-case" {
        /// The rule as JSON text.
        pub rule: String,
        /// Labels of the policies behind it.
        #[serde(rename = "derived-from-rules")]
        pub derived_from: Vec<Vec<String>>,
    }

    /// How others call an endpoint.
    pub struct ExternalIdentifiers in "kebab-case" {
        /// `container-id:ifname`.
        pub cni_attachment_id: String,
        /// Container (sandbox) id.
        pub container_id: String,
        /// Namespace of the pod.
        pub k8s_namespace: String,
        /// Name of the pod.
        pub k8s_pod_name: String,
        /// `namespace/name`.
        pub pod_name: String,
    }

    /// Labels of an endpoint.
    pub struct Labels in "kebab-case" {
        /// Those its identity is made of, sorted, `source:key=value`.
        pub security_relevant: Vec<String>,
        /// Those that are only for information.
        pub derived: Vec<String>,
        /// Those given by a user.
        pub realized: UserLabels,
    }

    /// A named container port.
    pub struct NamedPort in "kebab-case" {
        /// Name.
        pub name: String,
        /// Number.
        pub port: u16,
        /// `TCP`, `UDP` or `SCTP`.
        pub protocol: String,
    }

    /// How an endpoint is: each `OK`, `Bootstrap`, `Pending`, `Warning`, `Failure` or `Disabled`.
    pub struct Health in "camelCase" {
        /// Programs.
        pub bpf: String,
        /// Policy.
        pub policy: String,
        /// Whether it is connected.
        pub connected: bool,
        /// All in all.
        pub overall_health: String,
    }

    /// Something that happened to an endpoint.
    pub struct LogEntry in "kebab-case" {
        /// `OK`, `Failed`, …
        pub code: String,
        /// What.
        pub message: String,
        /// State after it.
        pub state: String,
        /// When, RFC 3339.
        pub timestamp: String,
    }
}
