//! A literal reading of the API's text: slow, and as unlike the crate as can be. It asks, for one frontend, one client
//! and one endpoint at a time, whether the one may be led to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use abi::service::*;
use abi::{Backend, FrontendKey};
use axoneme_services::*;

use super::kernel::Resolved;

/// All objects there are.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub services: BTreeMap<ObjectName, Service>,
    pub slices: BTreeMap<ObjectName, Slice>,
    pub pods: BTreeMap<ObjectName, PodPorts>,
    pub zone: Option<Arc<str>>,
    pub nodes: BTreeSet<IpAddr>,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq)]
enum Client {
    Inside,
    Outside,
}

/// An endpoint's address, port, and what is said of it.
struct Listed<'a> {
    ip: IpAddr,
    port: u16,
    endpoint: &'a Endpoint,
    here: bool,
}

/// An address and port that somebody wants to be known by.
struct Wish<'a> {
    age: (u64, u8, ObjectName),
    kind: u32,
    of: Of<'a>,
}

enum Of<'a> {
    Service(&'a Service, &'a ServicePort, bool),
    Pod(IpAddr, &'a HostPort),
}

/// The frontends of a node that sees this cluster.
pub fn frontends(cluster: &Cluster, settings: &Settings) -> BTreeMap<FrontendKey, Resolved> {
    let mut wishes: BTreeMap<FrontendKey, Vec<Wish>> = BTreeMap::new();
    for service in cluster.services.values() {
        service_wishes(service, settings, &mut wishes);
    }
    for pod in cluster.pods.values() {
        pod_wishes(pod, settings, &mut wishes);
    }
    let mut rows = BTreeMap::new();
    for (key, mut all) in wishes {
        all.sort_by(|a, b| a.age.cmp(&b.age));
        let winner = &all[0];
        let row = match &winner.of {
            Of::Service(service, port, v4) => service_row(cluster, settings, service, port, *v4, winner.kind),
            Of::Pod(address, port) => pod_row(*address, port),
        };
        rows.insert(key, row);
        let ip = IpAddr::from(key.addr);
        if matches!(winner.kind, CLUSTER_IP | EXTERNAL_IP | LOAD_BALANCER) && !cluster.nodes.contains(&ip) {
            let other_ports = FrontendKey { addr: key.addr, ..FrontendKey::default() };
            let none = (Vec::new(), false);
            let flags = EXTERNAL_DROP | INTERNAL_DROP;
            rows.insert(other_ports, Resolved { flags, affinity: 0, external: none.clone(), internal: none });
        }
    }
    rows
}

fn service_wishes<'a>(
    service: &'a Service,
    settings: &Settings,
    wishes: &mut BTreeMap<FrontendKey, Vec<Wish<'a>>>,
) {
    let is_headless = service.cluster_ips.is_empty();
    if is_headless
        || service.kind == ServiceKind::ExternalName
        || service.proxied_by_other
        || service.nodes != NodeRule::Everywhere
    {
        return;
    }
    let exposed = service.exposed_types.unwrap_or(ExposedTypes {
        cluster_ip: true,
        node_port: true,
        load_balancer: true,
    });
    for v4 in [true, false] {
        let node_speaks = if v4 { settings.v4 } else { settings.v6 };
        let service_speaks = service.cluster_ips.iter().any(|ip| ip.is_ipv4() == v4);
        if !(node_speaks && service_speaks) {
            continue;
        }
        for port in &service.ports {
            let mut wish = |ip: IpAddr, number: u16, kind: u32| {
                let addr = ip.into();
                let key =
                    FrontendKey { addr, port: number.to_be(), protocol: port.protocol.number(), _pad: 0 };
                let age = (service.created, 0, service.name.clone());
                let all = wishes.entry(key).or_default();
                // The first of a service has it.
                if all.iter().all(|other| other.age != age) {
                    all.push(Wish { age, kind, of: Of::Service(service, port, v4) });
                }
            };
            for ip in service.cluster_ips.iter().filter(|ip| exposed.cluster_ip && ip.is_ipv4() == v4) {
                wish(*ip, port.port, CLUSTER_IP);
            }
            let has_balancer = service.kind == ServiceKind::LoadBalancer;
            for vip in service.load_balancer_ips.iter().filter(|vip| has_balancer && vip.ip.is_ipv4() == v4) {
                if exposed.load_balancer && vip.mode == IpMode::Vip {
                    wish(vip.ip, port.port, LOAD_BALANCER);
                }
            }
            for ip in service.external_ips.iter().filter(|ip| ip.is_ipv4() == v4) {
                wish(*ip, port.port, EXTERNAL_IP);
            }
            let has_node_ports = has_balancer || service.kind == ServiceKind::NodePort;
            if has_node_ports && exposed.node_port && port.node_port != 0 {
                wish(IpAddr::from(if v4 { WILDCARD_V4 } else { WILDCARD_V6 }), port.node_port, NODE_PORT);
            }
        }
    }
}

fn pod_wishes<'a>(pod: &'a PodPorts, settings: &Settings, wishes: &mut BTreeMap<FrontendKey, Vec<Wish<'a>>>) {
    for port in &pod.ports {
        for address in &pod.addresses {
            let speaks = if address.is_ipv4() { settings.v4 } else { settings.v6 };
            let wildcard = IpAddr::from(if address.is_ipv4() { WILDCARD_V4 } else { WILDCARD_V6 });
            let host_ip = port.host_ip.unwrap_or(wildcard);
            if speaks && host_ip.is_ipv4() == address.is_ipv4() {
                let (addr, protocol) = (host_ip.into(), port.protocol.number());
                let key = FrontendKey { addr, port: port.host_port.to_be(), protocol, _pad: 0 };
                let age = (pod.created, 1, pod.name.clone());
                let all = wishes.entry(key).or_default();
                if all.iter().all(|other| other.age != age) {
                    all.push(Wish { age, kind: HOST_PORT, of: Of::Pod(*address, port) });
                }
            }
        }
    }
}

fn pod_row(address: IpAddr, port: &HostPort) -> Resolved {
    let set = (vec![backend(address, port.pod_port)], false);
    match port.host_ip {
        Some(ip) if ip.is_loopback() => {
            Resolved { flags: HOST_PORT, affinity: 0, external: (Vec::new(), false), internal: set }
        }
        _ => Resolved {
            flags: HOST_PORT | EXTERNAL_ALLOWED,
            affinity: 0,
            external: set.clone(),
            internal: set,
        },
    }
}

fn service_row(
    cluster: &Cluster,
    settings: &Settings,
    service: &Service,
    port: &ServicePort,
    v4: bool,
    kind: u32,
) -> Resolved {
    let listed = listed(cluster, settings, service, port, v4);
    let led = |client: Client| -> Vec<Backend> {
        let allowed =
            listed.iter().filter(|one| may_reach(cluster, settings, service, kind, client, one, &listed));
        allowed.map(|one| backend(one.ip, one.port)).collect()
    };
    let some_could_serve = listed.iter().any(|one| one.endpoint.ready || leaving(one.endpoint));
    let drops = some_could_serve || settings.no_backend == NoBackend::Drop;
    let outsiders = kind != CLUSTER_IP || settings.external_cluster_ip;
    let (external, internal) =
        (if outsiders { led(Client::Outside) } else { Vec::new() }, led(Client::Inside));
    let mut flags = kind;
    if service.external_traffic_policy == TrafficPolicy::Local {
        flags |= EXTERNAL_LOCAL;
    }
    if outsiders {
        flags |= EXTERNAL_ALLOWED;
        if external.is_empty() && drops {
            flags |= EXTERNAL_DROP;
        }
        let default_is_dsr = match settings.forwarding {
            ForwardingMode::Snat => false,
            ForwardingMode::Dsr => true,
            ForwardingMode::Hybrid => port.protocol == Protocol::Tcp,
        };
        if service.forwarding.map_or(default_is_dsr, |forwarding| forwarding == Forwarding::Dsr) {
            flags |= DSR;
        }
    }
    if internal.is_empty() && drops {
        flags |= INTERNAL_DROP;
    }
    if !service.source_ranges.is_empty() && (kind == LOAD_BALANCER || settings.source_ranges_all_types) {
        flags |= SOURCE_RANGES | if service.source_ranges_deny { SOURCE_RANGES_DENY } else { 0 };
    }
    let maglev = service.algorithm.unwrap_or(settings.algorithm) == Algorithm::Maglev && external.len() > 1;
    let affinity = service.session_affinity.unwrap_or(0);
    Resolved { flags, affinity, external: (external, maglev), internal: (internal, false) }
}

/// Whether new connections of `client` may be led to `one` of `all`.
fn may_reach(
    cluster: &Cluster,
    settings: &Settings,
    service: &Service,
    kind: u32,
    client: Client,
    one: &Listed,
    all: &[Listed],
) -> bool {
    let local_only = match (kind, client) {
        (CLUSTER_IP, _) => service.internal_traffic_policy == TrafficPolicy::Local,
        (_, Client::Outside) => service.external_traffic_policy == TrafficPolicy::Local,
        (_, Client::Inside) => false,
    };
    let in_pool = |other: &&Listed| !local_only || other.here;
    if !in_pool(&one) {
        return false;
    }
    if !all.iter().filter(in_pool).any(|other| other.endpoint.ready) {
        return leaving(one.endpoint);
    }
    if !one.endpoint.ready {
        return false;
    }
    if local_only || !settings.topology {
        return true;
    }
    let ready = || all.iter().map(|other| other.endpoint).filter(|endpoint| endpoint.ready);
    let for_us = |endpoint: &Endpoint| endpoint.node_hints.iter().any(|node| **node == *settings.node);
    if ready().all(|endpoint| !endpoint.node_hints.is_empty()) && ready().any(for_us) {
        return for_us(one.endpoint);
    }
    let for_our_zone =
        |endpoint: &Endpoint| endpoint.zone_hints.iter().any(|zone| Some(zone) == cluster.zone.as_ref());
    if ready().all(|endpoint| !endpoint.zone_hints.is_empty()) && ready().any(for_our_zone) {
        return for_our_zone(one.endpoint);
    }
    true
}

/// What slices say of a service port, each address and port once: if several speak of one, the best word counts.
fn listed<'a>(
    cluster: &'a Cluster,
    settings: &Settings,
    service: &Service,
    port: &ServicePort,
    v4: bool,
) -> Vec<Listed<'a>> {
    let mut found: BTreeMap<(Ipv6Addr, u16), Listed> = BTreeMap::new();
    for slice in cluster.slices.values() {
        if slice.name.namespace != service.name.namespace || slice.service != service.name.name {
            continue;
        }
        for slice_port in slice.ports.iter().filter(|p| p.name == port.name && p.protocol == port.protocol) {
            for endpoint in &slice.endpoints {
                for ip in endpoint.addresses.iter().filter(|ip| ip.is_ipv4() == v4) {
                    let here = endpoint.node.as_deref() == Some(&*settings.node);
                    let new = Listed { ip: *ip, port: slice_port.port, endpoint, here };
                    let order = match ip {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => *v6,
                    };
                    let old = found.entry((order, slice_port.port)).or_insert(Listed { ..new });
                    let worth = |e: &Endpoint| if e.ready { 2 } else { u8::from(leaving(e)) };
                    let better = worth(new.endpoint) > worth(old.endpoint);
                    let best = if better { new.endpoint } else { old.endpoint };
                    *old = Listed { ip: *ip, port: slice_port.port, endpoint: best, here: here || old.here };
                }
            }
        }
    }
    found.into_values().collect()
}

fn leaving(endpoint: &Endpoint) -> bool {
    endpoint.terminating && endpoint.serving
}

fn backend(ip: IpAddr, port: u16) -> Backend {
    Backend { addr: ip.into(), port: port.to_be(), _pad: 0 }
}
