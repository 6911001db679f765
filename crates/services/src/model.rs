//! What the edge hands in: Kubernetes' objects, parsed.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::node_rule::NodeRule;

/// Namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// Who asks for a frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A Service.
    Service(ObjectName),
    /// A pod of this node, by its host ports.
    Pod(ObjectName),
    /// A local redirect policy, by the address that it names.
    Redirect(ObjectName),
}

/// Layer 4 protocols that services know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// `ClusterIP`.
    #[default]
    ClusterIp,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`.
    LoadBalancer,
    /// `ExternalName`: an alias in DNS; the datapath has nothing to do with it.
    ExternalName,
}

/// `externalTrafficPolicy`, `internalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All endpoints.
    #[default]
    Cluster,
    /// Endpoints of this node only.
    Local,
}

/// How a backend is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// At random.
    #[default]
    Random,
    /// By consistent hashing of the connection, alike on all nodes.
    Maglev,
}

/// How packets of clients outside reach a backend on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// From this node's address; the reply comes back through this node.
    Snat,
    /// From the client's address; the backend's node replies directly.
    Dsr,
}

/// `status.loadBalancer.ingress[].ipMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpMode {
    /// Packets arrive addressed to the load balancer's address.
    #[default]
    Vip,
    /// The load balancer is a proxy of its own: its address is not served by nodes.
    Proxy,
}

/// One of `status.loadBalancer.ingress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadBalancerIp {
    /// The address.
    pub ip: IpAddr,
    /// How packets to it arrive.
    pub mode: IpMode,
}

/// Annotation `service.cilium.io/type`: the frontends that are wanted. External IPs are always served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExposedTypes {
    /// `ClusterIP`.
    pub cluster_ip: bool,
    /// `NodePort`.
    pub node_port: bool,
    /// `LoadBalancer`.
    pub load_balancer: bool,
}

/// One of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name, empty if it has none.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that clients use.
    pub port: u16,
    /// The port of every node, 0 if there is none.
    pub node_port: u16,
}

/// A Service, as far as the datapath is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`, seconds. Of two services that claim one frontend, the older has it.
    pub created: u64,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs` without `None`. A service without any is headless: it has no frontends at all.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[]`, those with an address.
    pub load_balancer_ips: Vec<LoadBalancerIp>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: TrafficPolicy,
    /// `spec.sessionAffinity: ClientIP`: its timeout, seconds.
    pub session_affinity: Option<u32>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<IpNet>,
    /// Annotation `service.cilium.io/src-ranges-policy: deny`: the ranges are those that may not come in.
    pub source_ranges_deny: bool,
    /// `spec.healthCheckNodePort`, 0 if there is none.
    pub health_check_node_port: u16,
    /// Annotation `service.cilium.io/lb-algorithm`.
    pub algorithm: Option<Algorithm>,
    /// Annotation `service.cilium.io/forwarding-mode`.
    pub forwarding: Option<Forwarding>,
    /// Annotation `service.cilium.io/type`; `None`: all.
    pub exposed_types: Option<ExposedTypes>,
    /// Annotations `service.cilium.io/node` and `/node-selector`: the nodes that serve it.
    pub nodes: NodeRule,
    /// Label `service.kubernetes.io/service-proxy-name`, or another sign that somebody else serves it.
    pub proxied_by_other: bool,
}

/// One of an EndpointSlice's `ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlicePort {
    /// The service port that it belongs to, empty if that has no name.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The endpoints' port.
    pub port: u16,
}

/// One of an EndpointSlice's `endpoints`. Conditions that are not set are to be read as the API says: `ready` true,
/// `serving` as `ready`, `terminating` false.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Its addresses, each a backend of its own.
    pub addresses: Vec<IpAddr>,
    /// May get connections (also what `publishNotReadyAddresses` makes of one that is not).
    pub ready: bool,
    /// Would be ready, were it not terminating.
    pub serving: bool,
    /// On its way out.
    pub terminating: bool,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// `hints.forZones[].name`.
    pub zone_hints: Vec<Arc<str>>,
    /// `hints.forNodes[].name`.
    pub node_hints: Vec<Arc<str>>,
}

/// An EndpointSlice (those of type FQDN are not for us).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Namespace and name.
    pub name: ObjectName,
    /// Label `kubernetes.io/service-name`.
    pub service: Arc<str>,
    /// Ports of all its endpoints.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One `hostPort` of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `hostIP`; `None` or an unspecified address: all addresses of the node.
    pub host_ip: Option<IpAddr>,
    /// `hostPort`.
    pub host_port: u16,
    /// `protocol`.
    pub protocol: Protocol,
    /// `containerPort`.
    pub pod_port: u16,
}

/// The host ports of a pod of this node. A pod that has come to its end has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPorts {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`, seconds, as [`Service::created`].
    pub created: u64,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// Its host ports.
    pub ports: Vec<HostPort>,
}

impl Service {
    /// All addresses that it has, served here or not.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let vips = self.load_balancer_ips.iter().map(|vip| &vip.ip);
        self.cluster_ips.iter().chain(&self.external_ips).chain(vips).map(IpAddr::to_canonical)
    }
}

impl ObjectName {
    /// A name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Service(name) => write!(f, "service {name}"),
            Owner::Pod(name) => write!(f, "pod {name}"),
            Owner::Redirect(name) => write!(f, "local redirect policy {name}"),
        }
    }
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// The IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with an IP protocol number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}
