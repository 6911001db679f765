//! What the objects say of one packet that opens a conversation: a literal reading, one service at a time.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use services::{
    Endpoint, Forwarding, ForwardingMode, HostPort, NoBackend, ObjectName, PodPorts, Protocol, Service,
    ServiceKind, ServicePort, Settings, Slice, TrafficPolicy,
};

use crate::cluster::{Kind, PLACES, node_name, place_of};

/// The number of the only host port there may be, and its pod.
pub const HOST_PORT: u16 = 8443;
const HOST_PORT_POD: usize = 0;

/// All objects there are.
#[derive(Clone, Debug)]
pub struct Objects {
    pub settings: Settings,
    pub services: BTreeMap<ObjectName, Service>,
    pub slices: BTreeMap<ObjectName, Slice>,
    pub host_port: bool,
}

/// What is to happen to a packet that opens a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is for no service.
    Untouched,
    Dropped,
    Refused,
    Led(Led),
}

/// It goes to one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// Service and its port; `None` for a host port.
    pub port: Option<(ObjectName, String)>,
    pub backends: Vec<SocketAddr>,
    /// Terminating, and chosen by clients to whom another policy applies: who is bound to one of them stays.
    pub leaving: Vec<SocketAddr>,
    /// Seconds.
    pub affinity: Option<u32>,
    /// A pod elsewhere is to see the address of a client outside.
    pub direct: bool,
    /// The service's cluster IP was asked, to which another policy applies.
    pub by_cluster_ip: bool,
}

/// Who asks: whom, on which node, and whether as one of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub node: usize,
    pub inside: bool,
    pub client: IpAddr,
    pub target: SocketAddr,
    pub protocol: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    ClusterIp,
    LoadBalancer,
    ExternalIp,
    NodePort,
}

impl Objects {
    pub fn ask(&self, question: &Question) -> Ruling {
        let target = question.target;
        for service in self.services.values() {
            for port in service.ports.iter().filter(|port| port.protocol.number() == question.protocol) {
                if let Some(name) = known_as(service, port, question) {
                    return self.rule(service, port, name, question);
                }
            }
        }
        let on_first = PLACES[4].ip(target.is_ipv4()) == target.ip() && question.node == 0;
        if self.host_port && on_first && target.port() == HOST_PORT && question.protocol == 6 {
            let backend = SocketAddr::new(PLACES[HOST_PORT_POD].ip(target.is_ipv4()), 8080);
            return Ruling::Led(Led { backends: vec![backend], ..Led::default() });
        }
        // Other ports of a service's address lead nowhere.
        let closed = self.virtual_ips().any(|ip| ip == target.ip());
        if closed { Ruling::Dropped } else { Ruling::Untouched }
    }

    /// Addresses that services have for themselves.
    pub fn virtual_ips(&self) -> impl Iterator<Item = IpAddr> {
        self.services.values().filter(|service| !service.ports.is_empty()).flat_map(|service| {
            let own = service.cluster_ips.iter().copied();
            let all = own.chain(service.external_ips.iter().copied()).chain(balanced(service));
            all.filter(|ip| speaks(service, *ip))
        })
    }

    /// Whether slices name the backend of a service's port, in whatever condition.
    pub fn lists(&self, (name, port): &(ObjectName, String), protocol: u8, backend: SocketAddr) -> bool {
        let Some(service) = self.services.get(name) else { return false };
        let port = service.ports.iter().find(|p| *p.name == **port && p.protocol.number() == protocol);
        let family = service.cluster_ips.iter().any(|ip| ip.is_ipv4() == backend.is_ipv4());
        port.is_some_and(|port| {
            family && self.endpoints(service, port, backend.is_ipv4()).any(|(listed, _)| listed == backend)
        })
    }

    fn rule(&self, service: &Service, port: &ServicePort, name: Name, question: &Question) -> Ruling {
        let Question { node, inside, client, target, .. } = *question;
        if !inside {
            if name == Name::ClusterIp && !self.settings.external_cluster_ip {
                return Ruling::Dropped;
            }
            let restricted = name == Name::LoadBalancer || self.settings.source_ranges_all_types;
            if restricted && !service.source_ranges.is_empty() {
                let within = service.source_ranges.iter().any(|range| range.contains(&client));
                if within == service.source_ranges_deny {
                    return Ruling::Dropped;
                }
            }
        }
        let policy = match (name, inside) {
            (Name::ClusterIp, _) => service.internal_traffic_policy,
            (_, true) => TrafficPolicy::Cluster,
            (_, false) => service.external_traffic_policy,
        };
        let all: Vec<_> = self.endpoints(service, port, target.is_ipv4()).collect();
        let near = |endpoint: &Endpoint| {
            policy == TrafficPolicy::Cluster || endpoint.node.as_ref() == Some(&node_name(node))
        };
        let of = |wanted: fn(&Endpoint) -> bool| -> Vec<SocketAddr> {
            all.iter().filter(|(_, endpoint)| near(endpoint) && wanted(endpoint)).map(|(at, _)| *at).collect()
        };
        let mut backends = of(|endpoint| endpoint.ready);
        if backends.is_empty() {
            backends = of(leaving);
        }
        if backends.is_empty() {
            let elsewhere = all.iter().any(|(_, endpoint)| endpoint.ready || leaving(endpoint));
            let silent = elsewhere || self.settings.no_backend == NoBackend::Drop;
            return if silent { Ruling::Dropped } else { Ruling::Refused };
        }
        let mode = match self.settings.forwarding {
            ForwardingMode::Snat => false,
            ForwardingMode::Dsr => true,
            ForwardingMode::Hybrid => port.protocol == Protocol::Tcp,
        };
        Ruling::Led(Led {
            port: Some((service.name.clone(), port.name.to_string())),
            backends,
            leaving: all.iter().filter(|(_, endpoint)| leaving(endpoint)).map(|(at, _)| *at).collect(),
            affinity: service.session_affinity,
            by_cluster_ip: name == Name::ClusterIp,
            direct: service.forwarding.map_or(mode, |forwarding| forwarding == Forwarding::Dsr),
        })
    }

    fn endpoints<'a>(
        &'a self,
        service: &'a Service,
        port: &'a ServicePort,
        v4: bool,
    ) -> impl Iterator<Item = (SocketAddr, &'a Endpoint)> {
        let slices = self.slices.values().filter(|slice| *slice.service == *service.name.name);
        slices.flat_map(move |slice| {
            let ports = slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol);
            ports.flat_map(move |port| {
                slice.endpoints.iter().flat_map(move |endpoint| {
                    let ips = endpoint.addresses.iter().filter(move |ip| ip.is_ipv4() == v4);
                    ips.map(move |ip| (SocketAddr::new(*ip, port.port), endpoint))
                })
            })
        })
    }
}

/// The pod with the host port.
pub fn host_port() -> PodPorts {
    let port = HostPort { host_ip: None, host_port: HOST_PORT, protocol: Protocol::Tcp, pod_port: 8080 };
    let pod = &PLACES[HOST_PORT_POD];
    PodPorts {
        name: ObjectName::new("default", pod.name),
        created: 0,
        addresses: [true, false].map(|v4| pod.ip(v4)).into(),
        ports: vec![port],
    }
}

fn known_as(service: &Service, port: &ServicePort, question: &Question) -> Option<Name> {
    let Question { node, inside, target, .. } = *question;
    if !speaks(service, target.ip()) {
        return None;
    }
    if target.port() == port.port {
        if service.cluster_ips.contains(&target.ip()) {
            return Some(Name::ClusterIp);
        }
        if balanced(service).any(|ip| ip == target.ip()) {
            return Some(Name::LoadBalancer);
        }
        if service.external_ips.contains(&target.ip()) {
            return Some(Name::ExternalIp);
        }
    }
    let has_node_port = matches!(service.kind, ServiceKind::NodePort | ServiceKind::LoadBalancer);
    if !has_node_port || target.port() != port.node_port {
        return None;
    }
    match PLACES[place_of(target.ip())?].kind {
        Kind::Host { node: at } if at == node => Some(Name::NodePort),
        // Another node's, in its place, unless it matters which node it is.
        Kind::Host { .. } if inside && service.external_traffic_policy == TrafficPolicy::Cluster => {
            Some(Name::NodePort)
        }
        _ => None,
    }
}

fn speaks(service: &Service, ip: IpAddr) -> bool {
    service.cluster_ips.iter().any(|own| own.is_ipv4() == ip.is_ipv4())
}

fn balanced(service: &Service) -> impl Iterator<Item = IpAddr> {
    let is_balanced = service.kind == ServiceKind::LoadBalancer;
    service.load_balancer_ips.iter().filter(move |_| is_balanced).map(|vip| vip.ip)
}

fn leaving(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}
