//! From an object to the rows it wants, without regard to others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use abi::service::{
    CLUSTER_IP, DSR, EXTERNAL_ALLOWED, EXTERNAL_DROP, EXTERNAL_IP, EXTERNAL_LOCAL, HOST_PORT, INTERNAL_DROP,
    LOAD_BALANCER, LOCAL_REDIRECT, MEMBER_ACTIVE, MEMBER_DRAINING, MEMBER_SPARED, NODE_PORT, REDIRECTED,
    SOURCE_RANGES, SOURCE_RANGES_DENY, SPARES, WILDCARD_V4, WILDCARD_V6,
};
use abi::{Addr, Backend, FrontendKey};
use types::prefix;

use crate::candidates::{Choices, backend, choose, gather};
use crate::model::{IpMode, PodPorts, Protocol, Service, ServiceKind, ServicePort, Slice, TrafficPolicy};
use crate::redirect::{Led, Redirect, RedirectFrom};
use crate::sets::Choice;
use crate::settings::{NoBackend, Settings};

/// What a frontend's row is to say, slots and number aside.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) flags: u32,
    pub(crate) affinity: u32,
    pub(crate) external: Choice,
    pub(crate) internal: Choice,
}

/// One port of a service, or one host port of a pod: what has a number.
#[derive(Clone, Debug)]
pub(crate) struct PortPlan {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
    /// Each key once; never empty.
    pub(crate) frontends: Vec<(FrontendKey, Plan)>,
    /// In the order of `Backend`.
    pub(crate) members: Vec<(Backend, u32)>,
    /// Bits in the 128-bit space, address; sorted.
    pub(crate) source_ranges: Vec<(u32, Addr)>,
}

/// Whether this node serves the service at all.
pub(crate) fn is_served(service: &Service, settings: &Settings) -> bool {
    service.kind != ServiceKind::ExternalName
        && !service.cluster_ips.is_empty()
        && !service.proxied_by_other
        && service.nodes.admits(&settings.node_labels)
}

/// The families of a service that this node serves, IPv4 as `true`.
pub(crate) fn families(service: &Service, settings: &Settings) -> impl Iterator<Item = bool> {
    let has = |v4: bool| service.cluster_ips.iter().any(|ip| ip.to_canonical().is_ipv4() == v4);
    let (v4, v6) = (settings.v4 && has(true), settings.v6 && has(false));
    [(v4, true), (v6, false)].into_iter().filter(|(served, _)| *served).map(|(_, family)| family)
}

/// What a service wants. `led` says where a policy leads a port's cluster IPs of a family (IPv4 as `true`).
pub(crate) fn service(
    service: &Service,
    slices: &BTreeMap<Arc<str>, Slice>,
    led: &dyn Fn(&ServicePort, bool) -> Option<Led>,
    settings: &Settings,
) -> Vec<PortPlan> {
    if !is_served(service, settings) {
        return Vec::new();
    }
    let ports = service.ports.iter().filter(|port| port.port != 0);
    let plans = ports.map(|port| service_port(service, port, slices, led, settings));
    plans.filter(|plan| !plan.frontends.is_empty()).collect()
}

fn service_port(
    service: &Service,
    port: &ServicePort,
    slices: &BTreeMap<Arc<str>, Slice>,
    led: &dyn Fn(&ServicePort, bool) -> Option<Led>,
    settings: &Settings,
) -> PortPlan {
    let mut plan = PortPlan::new(Arc::clone(&port.name), port.protocol);
    for v4 in families(service, settings) {
        let frontends = frontends(service, port, v4, settings);
        if frontends.is_empty() {
            continue;
        }
        let mut candidates = gather(slices, &port.name, port.protocol, v4, settings);
        let choices = choose(&mut candidates, settings);
        let led = if frontends.iter().any(|(_, kind)| *kind == CLUSTER_IP) { led(port, v4) } else { None };
        let mut used = (false, false);
        for (key, kind) in frontends {
            if plan.frontends.iter().all(|(other, _)| *other != key) {
                let led = led.as_ref().filter(|_| kind == CLUSTER_IP);
                let row = frontend(service, port, kind, &choices, led, settings, &mut used);
                plan.frontends.push((key, row));
            }
        }
        plan.members.extend(candidates.iter().map(|candidate| {
            let active = used.0 && candidate.cluster_choice || used.1 && candidate.local_choice;
            (candidate.backend, if active { MEMBER_ACTIVE } else { MEMBER_DRAINING })
        }));
        led.iter().for_each(|led| plan.lead(led));
    }
    plan.members.sort_unstable();
    // A pod of this node may be a backend of the service as well: active comes first.
    plan.members.dedup_by_key(|(backend, _)| *backend);
    if plan.frontends.iter().any(|(_, row)| row.flags & SOURCE_RANGES != 0) {
        plan.source_ranges = source_ranges(service);
    }
    plan
}

/// The addresses and ports under which a port is known, each with its kind. Where one is there twice, the first counts:
/// the kind that lets fewer in.
fn frontends(
    service: &Service,
    port: &ServicePort,
    v4: bool,
    settings: &Settings,
) -> Vec<(FrontendKey, u32)> {
    let exposed = service.exposed_types;
    let is_balanced = service.kind == ServiceKind::LoadBalancer;
    let mut found = Vec::new();
    let mut add = |ip: IpAddr, kind| {
        let ip = ip.to_canonical();
        if ip.is_ipv4() == v4 && may_be_frontend(ip) {
            found.push((key(ip.into(), port.port, port.protocol), kind));
        }
    };
    if exposed.is_none_or(|types| types.cluster_ip) {
        service.cluster_ips.iter().for_each(|ip| add(*ip, CLUSTER_IP));
    }
    if settings.only_cluster_ips {
        return found;
    }
    if is_balanced && exposed.is_none_or(|types| types.load_balancer) {
        let vips = service.load_balancer_ips.iter().filter(|vip| vip.mode == IpMode::Vip);
        vips.for_each(|vip| add(vip.ip, LOAD_BALANCER));
    }
    service.external_ips.iter().for_each(|ip| add(*ip, EXTERNAL_IP));
    let has_node_port = (is_balanced || service.kind == ServiceKind::NodePort) && port.node_port != 0;
    if has_node_port && exposed.is_none_or(|types| types.node_port) {
        found.push((key(wildcard(v4), port.node_port, port.protocol), NODE_PORT));
    }
    found
}

/// The row of one frontend. `led`: where a policy leads it. `used` gathers which choices it needs: (cluster, local).
fn frontend(
    service: &Service,
    port: &ServicePort,
    kind: u32,
    choices: &Choices,
    led: Option<&Led>,
    settings: &Settings,
    used: &mut (bool, bool),
) -> Plan {
    let is_cluster_ip = kind == CLUSTER_IP;
    let allowed = !is_cluster_ip || settings.external_cluster_ip;
    // Who comes from inside by an outer address is subject to neither policy: as if the way led out to a load balancer
    // and back in by a node that has endpoints. The policy for a cluster IP is one, whoever asks.
    let (external, internal) = match is_cluster_ip {
        true => (service.internal_traffic_policy, service.internal_traffic_policy),
        false => (service.external_traffic_policy, TrafficPolicy::Cluster),
    };
    let mut pick = |policy: TrafficPolicy| match policy {
        TrafficPolicy::Cluster => {
            used.0 = true;
            Arc::clone(&choices.cluster)
        }
        TrafficPolicy::Local => {
            used.1 = true;
            Arc::clone(&choices.local)
        }
    };
    let backends = led.map_or_else(|| pick(internal), |led| Arc::clone(&led.backends));
    let internal = Choice { backends, maglev: false };
    // Only what comes from outside can come by several nodes; inside, a flow stays with the node that chose.
    let maglev = allowed && settings.is_maglev(service);
    // Whom a policy spares goes where clients outside do, or would.
    let spares = led.is_some_and(|led| !led.spared.is_empty());
    let has_external = allowed || spares;
    let external = if has_external { Choice { backends: pick(external), maglev } } else { Choice::default() };

    let mut flags = kind;
    let mut set = |bit: u32, on: bool| flags |= if on { bit } else { 0 };
    let drops = |choice: &Choice| {
        choice.backends.is_empty() && (choices.any || settings.no_backend == NoBackend::Drop)
    };
    let filtered =
        !service.source_ranges.is_empty() && (kind == LOAD_BALANCER || settings.source_ranges_all_types);
    set(EXTERNAL_ALLOWED, allowed);
    set(EXTERNAL_LOCAL, service.external_traffic_policy == TrafficPolicy::Local);
    set(EXTERNAL_DROP, has_external && drops(&external));
    set(INTERNAL_DROP, drops(&internal));
    set(SOURCE_RANGES, filtered);
    set(SOURCE_RANGES_DENY, filtered && service.source_ranges_deny);
    set(DSR, allowed && settings.is_dsr(service, port.protocol));
    set(REDIRECTED, led.is_some());
    set(SPARES, spares);
    // Who is bound to one of the service's backends would not be led here for as long.
    let affinity = if led.is_some() { 0 } else { service.session_affinity.unwrap_or(0) };
    Plan { flags, affinity, external, internal }
}

impl PortPlan {
    fn new(name: Arc<str>, protocol: Protocol) -> Self {
        Self { name, protocol, frontends: Vec::new(), members: Vec::new(), source_ranges: Vec::new() }
    }

    /// Adds the members that a policy brings in.
    fn lead(&mut self, led: &Led) {
        self.members.extend(led.backends.iter().map(|backend| (*backend, MEMBER_ACTIVE)));
        let client = |addr: &Addr| (Backend { addr: *addr, port: 0, _pad: 0 }, MEMBER_SPARED);
        self.members.extend(led.spared.iter().map(client));
    }
}

/// What a policy wants of the address that it names. `led` says where a port of a name is led.
pub(crate) fn redirect(
    policy: &Redirect,
    led: &dyn Fn(&str, Protocol) -> Option<Led>,
    settings: &Settings,
) -> Vec<PortPlan> {
    let RedirectFrom::Address { ip, ports } = &policy.from else { return Vec::new() };
    let ip = ip.to_canonical();
    let is_served = if ip.is_ipv4() { settings.v4 } else { settings.v6 };
    let mut plans: Vec<PortPlan> = Vec::new();
    for port in ports.iter().filter(|port| is_served && port.port != 0) {
        // While nobody is there to answer, packets go where they are addressed to.
        let Some(led) = led(&port.name, port.protocol) else { continue };
        let key = key(ip.into(), port.port, port.protocol);
        if plans.iter().flat_map(|plan| &plan.frontends).any(|(other, _)| *other == key) {
            continue;
        }
        let flags = LOCAL_REDIRECT | if led.spared.is_empty() { 0 } else { SPARES };
        let internal = Choice { backends: Arc::clone(&led.backends), maglev: false };
        let mut plan = PortPlan::new(port.port.to_string().into(), port.protocol);
        plan.frontends.push((key, Plan { flags, affinity: 0, external: Choice::default(), internal }));
        plan.lead(&led);
        plan.members.sort_unstable();
        plans.push(plan);
    }
    plans
}

/// Ranges of both families: a family without any lets nobody in (or, if they deny, everybody), as the text says that
/// access is restricted to these ranges.
fn source_ranges(service: &Service) -> Vec<(u32, Addr)> {
    let ranges = service.source_ranges.iter().map(|net| prefix::canonical(*net));
    let mut found: Vec<_> = ranges.map(|net| (prefix::len128(&net), Addr::from(net.addr()))).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// What the host ports of a pod want.
pub(crate) fn pod(pod: &PodPorts, settings: &Settings) -> Vec<PortPlan> {
    let mut plans: Vec<PortPlan> = Vec::new();
    if settings.only_cluster_ips {
        return plans;
    }
    for port in pod.ports.iter().filter(|port| port.host_port != 0 && port.pod_port != 0) {
        let host_ip = port.host_ip.map(|ip| ip.to_canonical());
        let shown = host_ip.map_or_else(|| "*".to_owned(), |ip| ip.to_string());
        let name: Arc<str> = format!("{shown}:{}", port.host_port).into();
        if plans.iter().any(|plan| plan.name == name && plan.protocol == port.protocol) {
            continue;
        }
        let mut plan = PortPlan::new(name, port.protocol);
        let served = |ip: &IpAddr| if ip.is_ipv4() { settings.v4 } else { settings.v6 };
        for v4 in [true, false].into_iter().filter(|v4| host_ip.is_none_or(|ip| ip.is_ipv4() == *v4)) {
            let mut addresses = pod.addresses.iter().map(IpAddr::to_canonical).filter(served);
            // A pod has one address of a family.
            let Some(address) = addresses.find(|ip| ip.is_ipv4() == v4) else { continue };
            let backend = backend(address, port.pod_port);
            let here = host_ip.filter(|ip| !ip.is_unspecified());
            let flags = if here.is_some_and(|ip| ip.is_loopback()) {
                HOST_PORT
            } else {
                HOST_PORT | EXTERNAL_ALLOWED
            };
            let internal = Choice { backends: [backend].into(), maglev: false };
            let external = if flags & EXTERNAL_ALLOWED != 0 { internal.clone() } else { Choice::default() };
            let addr = here.map_or(wildcard(v4), Addr::from);
            let row = Plan { flags, affinity: 0, external, internal };
            plan.frontends.push((key(addr, port.host_port, port.protocol), row));
            plan.members.push((backend, MEMBER_ACTIVE));
        }
        plan.members.sort_unstable();
        if !plan.frontends.is_empty() {
            plans.push(plan);
        }
    }
    plans
}

/// Addresses that would take the node's own traffic away, or that of all nodes, are nobody's to claim.
pub(crate) fn may_be_frontend(ip: IpAddr) -> bool {
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST))
}

/// What stands for all nodes' addresses of a family.
pub(crate) fn wildcard(v4: bool) -> Addr {
    if v4 { WILDCARD_V4 } else { WILDCARD_V6 }
}

pub(crate) fn key(addr: Addr, port: u16, protocol: Protocol) -> FrontendKey {
    FrontendKey { addr, port: port.to_be(), protocol: protocol.number(), _pad: 0 }
}
