//! The flow, in our own words; its meaning is that of `flow.Flow` in Cilium's flow API 1.19.

mod agent;
mod l7;
mod numbers;

pub use agent::{AgentEvent, AgentNews};
pub use l7::{L7, L7Kind, L7Record};
pub use numbers::{LostSource, Point, Reason, SocketPoint, Verdict};

use std::net::IpAddr;
use std::sync::Arc;
use types::Labels;

/// Message type of a drop (`event_type.type`).
pub const EVENT_DROP: i32 = 1;
/// Message type of a debug capture.
pub const EVENT_CAPTURE: i32 = 3;
/// Message type of a trace.
pub const EVENT_TRACE: i32 = 4;
/// Message type of a policy verdict.
pub const EVENT_POLICY_VERDICT: i32 = 5;
/// Message type of a translation at a socket.
pub const EVENT_TRACE_SOCK: i32 = 7;
/// Message type of a record of the L7 proxy.
pub const EVENT_ACCESS_LOG: i32 = 129;

/// A packet, or a message of layer 7, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// When, ns since the Unix epoch.
    pub time: u64,
    /// Names this flow; the same event always gets the same one.
    pub uuid: String,
    /// Who made the flow, and its version.
    pub emitter: Option<Arc<Emitter>>,
    /// What became of it.
    pub verdict: Verdict,
    /// Number of the drop reason (`flow.DropReason`), 0 unless dropped.
    pub drop_reason: u8,
    /// Layer 2, if there is one.
    pub ethernet: Option<Ethernet>,
    /// Layer 3, absent for ARP and the like.
    pub ip: Option<Ip>,
    /// Layer 4, absent in later fragments and for protocols nobody decodes.
    pub l4: Option<L4>,
    /// The tunnel that the packet was seen in.
    pub tunnel: Option<Tunnel>,
    /// Layer 7, if the proxy saw it.
    pub l7: Option<Arc<L7>>,
    /// Who sent it.
    pub source: End,
    /// Who gets it.
    pub destination: End,
    /// Which layer the record is about.
    pub kind: FlowKind,
    /// Node that saw it, `cluster/name`.
    pub node_name: Arc<str>,
    /// Labels of that node, `key=value`.
    pub node_labels: Arc<[String]>,
    /// Type of the event behind the flow, one of the `EVENT_` constants.
    pub event_type: i32,
    /// Its subtype: trace point (0 = to-endpoint) or drop reason.
    pub event_subtype: i32,
    /// Seen from the pod whose policy counts.
    pub direction: Direction,
    /// How the policy entry matched: 0 none, 1 L3, 2 L3 and L4, 3 L4, 4 all, 5 L3 and protocol, 6 protocol.
    pub policy_match: u32,
    /// Where a traced packet was seen.
    pub point: Option<Point>,
    /// How a traced packet stands to its connection.
    pub reason: Option<Reason>,
    /// Whether it goes against the direction of the connection; `None` where nobody knows.
    pub is_reply: Option<bool>,
    /// Device on which it was seen.
    pub interface: Option<Interface>,
    /// Port of the proxy that it was sent to, 0 if none.
    pub proxy_port: u16,
    /// Policies that let it out of its source.
    pub egress_allowed_by: Policies,
    /// Policies that let it into its destination.
    pub ingress_allowed_by: Policies,
    /// Policies that denied (or, under audit, would have denied) its leaving.
    pub egress_denied_by: Policies,
    /// Policies that denied (or, under audit, would have denied) its coming in.
    pub ingress_denied_by: Policies,
    /// `log` texts of the policies that matched.
    pub policy_log: Arc<[String]>,
    /// What few flows have.
    pub rare: Option<Arc<Rare>>,
    /// One line for people, if whoever made the flow gave one; see [`Flow::summary`].
    pub given_summary: Option<String>,
}

/// What few flows have, apart from the others so that these stay small. Numbers and texts without a meaning are 0 and
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// Distributed trace that the message belongs to.
    pub trace_id: String,
    /// Trace number that the packet carries in an IP option.
    pub ip_trace_id: u64,
    /// Kind of the IP option that carries it.
    pub ip_option: u32,
    /// Side of a translation at a socket (`flow.SocketTranslationPoint`).
    pub socket_point: i32,
    /// Cookie of that socket.
    pub socket_cookie: u64,
    /// Control group of the process behind it.
    pub cgroup: u64,
    /// Where a capture was taken (`flow.DebugCapturePoint`).
    pub capture_point: i32,
    /// How the peer had to prove who it is (`flow.AuthType`).
    pub auth: i32,
}

/// A list of policies, shared between flows.
pub type Policies = Arc<[Policy]>;

/// A policy behind a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Kind of object, such as `CiliumNetworkPolicy`.
    pub kind: String,
    /// Its namespace, empty for cluster-wide ones.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels of its rules.
    pub labels: Vec<String>,
    /// Revision of the policy repository at which it was in force.
    pub revision: u64,
}

/// Software that makes flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emitter {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Number of the endpoint on the node that saw the flow, 0 if it is not one of that node.
    pub endpoint: u32,
    /// Security identity, 0 if unknown.
    pub identity: u32,
    /// Labels of that identity.
    pub labels: Labels,
    /// The pod, if it is one.
    pub pod: Option<Arc<Pod>>,
    /// DNS names of the address.
    pub names: Arc<[String]>,
    /// Service of which the address is a frontend.
    pub service: Option<Arc<Service>>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Cluster it runs in.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What runs it.
    pub workloads: Vec<Workload>,
}

/// What runs a pod: a Deployment, a DaemonSet, …
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
}

/// A Kubernetes service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// Layer 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// MAC address of the sender.
    pub source: [u8; 6],
    /// MAC address of the receiver.
    pub destination: [u8; 6],
}

/// Layer 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The source before it was translated, if it was.
    pub source_xlated: Option<IpAddr>,
    /// The packet travels encrypted.
    pub encrypted: bool,
}

/// Layer 4; ICMP counts, as in the flow API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP; flags are `None` where the capture ends before them.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flags of this segment.
        flags: Option<TcpFlags>,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// SCTP.
    Sctp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP over IPv4.
    Icmp4 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// ICMPv6.
    Icmp6 {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// VRRP version 2.
    Vrrp {
        /// Type, 1 = advertisement.
        kind: u8,
        /// Virtual router.
        id: u8,
        /// Priority of the sender.
        priority: u8,
    },
    /// IGMP.
    Igmp {
        /// Type.
        kind: u8,
        /// Group.
        group: IpAddr,
    },
}

/// TCP flags as they lie in the header: bit 0 FIN to bit 7 CWR, bit 8 NS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

/// A tunnel around the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How it is wrapped.
    pub protocol: TunnelProtocol,
    /// Addresses of the tunnel's ends.
    pub ip: Ip,
    /// Its ports.
    pub l4: L4,
    /// Network identifier: the sender's identity.
    pub vni: u32,
}

/// Kinds of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelProtocol {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name, empty if it is gone.
    pub name: Arc<str>,
}

/// Which layer a flow is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlowKind {
    /// Nobody knows.
    Unknown,
    /// A packet.
    #[default]
    L3L4,
    /// A message that the proxy saw.
    L7,
    /// A translation at a socket.
    Sock,
}

/// Direction, seen from the pod whose policy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Nobody knows.
    #[default]
    Unknown,
    /// Into the pod.
    Ingress,
    /// Out of the pod.
    Egress,
}

/// Events that were lost before anyone saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostEvents {
    /// Where.
    pub source: LostSource,
    /// How many.
    pub count: u64,
    /// On which CPU, where that is known.
    pub cpu: Option<u32>,
    /// When the first was lost, ns since the Unix epoch; 0 if unknown.
    pub first: u64,
    /// When the last was lost, ns since the Unix epoch; 0 if unknown.
    pub last: u64,
}

impl Default for End {
    fn default() -> Self {
        Self {
            endpoint: 0,
            identity: 0,
            labels: Labels::none(),
            pod: None,
            names: Arc::default(),
            service: None,
        }
    }
}

impl Flow {
    /// One line for people: TCP flags, ICMP type, request. Empty if there is nothing to say.
    pub fn summary(&self) -> String {
        match (&self.given_summary, &self.l7, &self.l4) {
            (Some(text), _, _) => text.clone(),
            (None, Some(l7), _) => crate::summary::l7(l7),
            (None, None, Some(l4)) => crate::summary::l4(l4),
            (None, None, None) => String::new(),
        }
    }
}

impl L4 {
    /// Source and destination port, if the protocol has ports.
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match *self {
            L4::Tcp { source, destination, .. }
            | L4::Udp { source, destination }
            | L4::Sctp { source, destination } => Some((source, destination)),
            _ => None,
        }
    }
}

impl TcpFlags {
    /// Each flag's bit and name, in the order in which they are printed.
    pub const NAMES: [(u16, &'static str); 9] = [
        (0x02, "SYN"),
        (0x10, "ACK"),
        (0x04, "RST"),
        (0x01, "FIN"),
        (0x08, "PSH"),
        (0x20, "URG"),
        (0x40, "ECE"),
        (0x80, "CWR"),
        (0x100, "NS"),
    ];

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: TcpFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flag with this name, whatever its case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(bit, _)| Self(*bit))
    }
}
