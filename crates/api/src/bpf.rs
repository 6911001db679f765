//! The kernel's tables, as the agent decodes them.

use crate::policy::PolicyRef;

model! {
    /// What is known of an address or prefix.
    pub struct IpcacheEntry in "camelCase" {
        /// The prefix, with its length.
        pub prefix: String,
        /// Its identity.
        pub identity: u32,
        /// Number of the encryption key; 0 = not encrypted.
        pub encrypt_key: u8,
        /// Underlay address of its node; empty if none.
        pub tunnel_endpoint: String,
        /// `hastunnel` and others.
        pub flags: Vec<String>,
    }

    /// One direction of a tracked flow, in the form `cilium-dbg bpf ct list` prints.
    pub struct CtEntry in "camelCase" {
        /// IP protocol number.
        pub protocol: u8,
        /// `IN`, `OUT` or `SVC`.
        pub direction: String,
        /// `address:port` of who started the flow, IPv6 in brackets.
        pub source: String,
        /// `address:port` of the other side.
        pub destination: String,
        /// Seconds of the monotonic clock at which the entry may go.
        pub expires: u64,
        /// Packets, both ways.
        pub packets: u64,
        /// Bytes, both ways.
        pub bytes: u64,
        /// TCP flags seen from the side that answers.
        pub rx_flags_seen: u8,
        /// When that side was last reported, seconds of the monotonic clock.
        pub last_rx_report: u32,
        /// TCP flags seen from the side that started.
        pub tx_flags_seen: u8,
        /// When that side was last reported, seconds of the monotonic clock.
        pub last_tx_report: u32,
        /// Raw flags of the entry.
        pub flags: u32,
        /// Their names, as printed in brackets (`SeenNonSyn`, `RxClosing`, …).
        pub flag_names: Vec<String>,
        /// Service number to translate back; 0 = none.
        pub rev_nat: u16,
        /// Identity of who started the flow.
        pub source_identity: u32,
        /// Service backend; 0 = none.
        pub backend: u32,
        /// Port taken for masquerading; 0 = none.
        pub nat_port: u16,
        /// Whether nobody answered yet.
        pub half_open: bool,
    }

    /// The policy table of an endpoint.
    pub struct PolicyTable in "camelCase" {
        /// The endpoint.
        pub endpoint: u16,
        /// Slot of the table; endpoints with equal policy share one.
        pub slot: u32,
        /// Entries, sorted by direction, identity, protocol, port.
        pub entries: Vec<PolicyEntry>,
    }

    /// An entry of a policy table.
    pub struct PolicyEntry in "camelCase" {
        /// Whether it denies.
        pub deny: bool,
        /// Whether it leaves this direction open because no policy selects the endpoint.
        pub unenforced: bool,
        /// Whether its deny is only reported.
        pub audited: bool,
        /// `Ingress` or `Egress`.
        pub direction: String,
        /// The peer's identity; 0 = any.
        pub identity: u32,
        /// Labels of that identity.
        pub labels: Vec<String>,
        /// IP protocol number; 0 = any.
        pub protocol: u8,
        /// First destination port, host order; 0 = any.
        pub port: u16,
        /// Last destination port of a range, host order; equal to `port` for a single one.
        pub port_end: u16,
        /// Proxy to redirect to, host order; 0 = none.
        pub proxy_port: u16,
        /// Raw precedence.
        pub precedence: u32,
        /// Bits of protocol and port that count (0, 8, 9–24).
        pub prefix: u8,
        /// Bytes that matched, where the kernel counts them.
        pub bytes: u64,
        /// Packets that matched, where the kernel counts them.
        pub packets: u64,
        /// Rule cookie.
        pub cookie: u32,
        /// Policies behind it.
        pub policies: Vec<PolicyRef>,
    }

    /// Packets and bytes of a reason.
    pub struct Metric in "camelCase" {
        /// Number of the reason; 0 = forwarded.
        pub code: u8,
        /// Its text.
        pub reason: String,
        /// `INGRESS`, `EGRESS` or `SERVICE`.
        pub direction: String,
        /// Packets since the map was made.
        pub packets: u64,
        /// Bytes since the map was made.
        pub bytes: u64,
        /// Line of the program; 0 = not known.
        pub line: u32,
        /// File of the program; empty = not known.
        pub file: String,
    }

    /// A pod of this node, as the programs know it.
    pub struct LocalEndpoint in "camelCase" {
        /// Its addresses.
        pub addresses: Vec<String>,
        /// Endpoint number.
        pub endpoint: u16,
        /// Identity.
        pub identity: u32,
        /// Interface on the host.
        pub ifindex: u32,
        /// MAC address inside the pod.
        pub mac: String,
        /// MAC address of the interface on the host.
        pub host_mac: String,
        /// Slot of its policy table.
        pub policy_slot: u32,
    }
}
