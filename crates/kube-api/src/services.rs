//! Services, EndpointSlices, the host ports of pods and local redirect policies into what the load balancer knows of them.
//!
//! A part that cannot be read does not count and is complained of; the rest of the object does. Where leaving a part
//! out would open what its author meant to close (source ranges), nothing is opened.

mod annotations;
mod complaints;
mod redirect;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use services::{
    Endpoint, HostPort, IpMode, LoadBalancerIp, ObjectName, PodPorts, Protocol, Service, ServiceKind,
    ServicePort, Slice, SlicePort, TrafficPolicy,
};

use complaints::Complaints;
pub use redirect::{RedirectError, RedirectProblem, local_pod, redirect};

/// Seconds for which a client keeps its backend, where the object does not say.
const AFFINITY_TIMEOUT: u32 = 10_800;
const HEADLESS: &str = "service.kubernetes.io/headless";
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A Service, and what is wrong with it: each text names object, field and cure. Served are those with the label
/// `service.kubernetes.io/service-proxy-name: proxy_name`; empty: those without it.
#[must_use]
pub fn service(object: &core::Service, proxy_name: &str) -> (Service, Vec<String>) {
    let name = object_name(&object.metadata);
    let (no_spec, no_status) = (core::ServiceSpec::default(), core::ServiceStatus::default());
    let spec = object.spec.as_ref().unwrap_or(&no_spec);
    let status = object.status.as_ref().unwrap_or(&no_status);
    let mut complaints = Complaints::of(&name);
    let mut service = Service {
        created: created(&object.metadata),
        kind: kind(spec, &mut complaints),
        cluster_ips: cluster_ips(spec, &mut complaints),
        external_ips: external_ips(spec, &mut complaints),
        load_balancer_ips: load_balancer_ips(status, &mut complaints),
        ports: service_ports(spec, &mut complaints),
        external_traffic_policy: policy(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref(),
            &mut complaints,
        ),
        internal_traffic_policy: policy(
            "spec.internalTrafficPolicy",
            spec.internal_traffic_policy.as_deref(),
            &mut complaints,
        ),
        session_affinity: session_affinity(spec, &mut complaints),
        health_check_node_port: complaints.node_port("spec.healthCheckNodePort", spec.health_check_node_port),
        proxied_by_other: is_of_other(&object.metadata, proxy_name),
        name,
        ..Service::default()
    };
    annotations::apply(&object.metadata, spec, &mut service, &mut complaints);
    (service, complaints.texts)
}

/// An EndpointSlice; `None` if it says nothing to a load balancer: names instead of addresses, no service, or that of a
/// headless one.
#[must_use]
pub fn slice(object: &discovery::EndpointSlice) -> Option<Slice> {
    let labels = object.metadata.labels.as_ref()?;
    let service = labels.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    if !matches!(object.address_type.as_str(), "IPv4" | "IPv6") || labels.contains_key(HEADLESS) {
        return None;
    }
    let ports = object.ports.iter().flatten().filter_map(|port| {
        Some(SlicePort {
            name: port.name.as_deref().unwrap_or_default().into(),
            protocol: protocol(port.protocol.as_deref())?,
            port: port.port.and_then(port_number)?,
        })
    });
    Some(Slice {
        name: object_name(&object.metadata),
        service: service.as_str().into(),
        ports: ports.collect(),
        endpoints: object.endpoints.iter().map(endpoint).collect(),
    })
}

/// The host ports of a pod; `None` if it has none: also when it has come to its end, has no address yet, or is in the
/// node's own network, where it listens itself.
#[must_use]
pub fn pod_ports(object: &core::Pod) -> Option<PodPorts> {
    let (spec, status) = (object.spec.as_ref()?, object.status.as_ref()?);
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if finished || spec.host_network == Some(true) {
        return None;
    }
    let addresses = pod_addresses(status);
    let ports: Vec<HostPort> = crate::labels::lasting_containers(spec)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(host_port)
        .collect();
    if addresses.is_empty() || ports.is_empty() {
        return None;
    }
    let (name, created) = (object_name(&object.metadata), created(&object.metadata));
    Some(PodPorts { name, created, addresses, ports })
}

fn pod_addresses(status: &core::PodStatus) -> Vec<IpAddr> {
    let texts = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses: Vec<IpAddr> = texts.filter_map(address).collect();
    if addresses.is_empty() {
        addresses.extend(status.pod_ip.as_deref().and_then(address));
    }
    addresses
}

/// The zone of a node, by its labels.
#[must_use]
pub fn zone(labels: &BTreeMap<String, String>) -> Option<Arc<str>> {
    let zone = labels.get(ZONE)?;
    (!zone.is_empty()).then(|| zone.as_str().into())
}

fn object_name(meta: &ObjectMeta) -> ObjectName {
    ObjectName::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Seconds since 1970.
fn created(meta: &ObjectMeta) -> u64 {
    let time = meta.creation_timestamp.as_ref();
    time.and_then(|time| u64::try_from(time.0.as_second()).ok()).unwrap_or_default()
}

fn is_of_other(meta: &ObjectMeta, proxy_name: &str) -> bool {
    let label = |name| meta.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    let expected = Some(proxy_name).filter(|name| !name.is_empty());
    label(PROXY_NAME) != expected || label(HEADLESS).is_some()
}

fn kind(spec: &core::ServiceSpec, complaints: &mut Complaints) -> ServiceKind {
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => ServiceKind::ClusterIp,
        Some("NodePort") => ServiceKind::NodePort,
        Some("LoadBalancer") => ServiceKind::LoadBalancer,
        Some("ExternalName") => ServiceKind::ExternalName,
        Some(other) => {
            complaints.add("spec.type", other, "is unknown: the service is served at its cluster IPs alone");
            ServiceKind::ClusterIp
        }
    }
}

fn cluster_ips(spec: &core::ServiceSpec, complaints: &mut Complaints) -> Vec<IpAddr> {
    // Objects of before 1.20 have the one field alone.
    let all = spec.cluster_ips.as_deref().filter(|ips| !ips.is_empty());
    let texts = all.unwrap_or(spec.cluster_ip.as_slice());
    let texts = texts.iter().enumerate().filter(|(_, text)| !matches!(text.as_str(), "" | "None"));
    let read = |(i, text): (usize, &String)| complaints.address(format!("spec.clusterIPs[{i}]"), text);
    texts.filter_map(read).collect()
}

fn external_ips(spec: &core::ServiceSpec, complaints: &mut Complaints) -> Vec<IpAddr> {
    let texts = spec.external_ips.iter().flatten().enumerate();
    texts.filter_map(|(i, text)| complaints.address(format!("spec.externalIPs[{i}]"), text)).collect()
}

fn load_balancer_ips(status: &core::ServiceStatus, complaints: &mut Complaints) -> Vec<LoadBalancerIp> {
    let ingress = status.load_balancer.iter().flat_map(|status| status.ingress.iter().flatten()).enumerate();
    let read = |(i, ingress): (usize, &core::LoadBalancerIngress)| {
        let field = format!("status.loadBalancer.ingress[{i}]");
        let ip = complaints.address(format!("{field}.ip"), ingress.ip.as_deref()?)?;
        let mode = match ingress.ip_mode.as_deref() {
            None | Some("" | "VIP") => IpMode::Vip,
            Some("Proxy") => IpMode::Proxy,
            Some(other) => {
                complaints.add(
                    format!("{field}.ipMode"),
                    other,
                    "is unknown and read as VIP: write VIP or Proxy",
                );
                IpMode::Vip
            }
        };
        Some(LoadBalancerIp { ip, mode })
    };
    ingress.filter_map(read).collect()
}

fn service_ports(spec: &core::ServiceSpec, complaints: &mut Complaints) -> Vec<ServicePort> {
    let ports = spec.ports.iter().flatten().enumerate();
    let read = |(i, port): (usize, &core::ServicePort)| {
        let field = format!("spec.ports[{i}]");
        let Some(protocol) = protocol(port.protocol.as_deref()) else {
            let value = port.protocol.as_deref().unwrap_or_default();
            complaints.add(
                format!("{field}.protocol"),
                value,
                "is unknown and the port not served: write TCP, UDP or SCTP",
            );
            return None;
        };
        let Some(number) = port_number(port.port) else {
            let value = port.port.to_string();
            complaints.add(
                format!("{field}.port"),
                &value,
                "is no port and not served: write a number from 1 to 65535",
            );
            return None;
        };
        let node_port = complaints.node_port(format!("{field}.nodePort"), port.node_port);
        let name = port.name.as_deref().unwrap_or_default().into();
        Some(ServicePort { name, protocol, port: number, node_port })
    };
    ports.filter_map(read).collect()
}

fn policy(field: &str, value: Option<&str>, complaints: &mut Complaints) -> TrafficPolicy {
    match value {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            complaints.add(field, other, "is unknown and read as Cluster: write Cluster or Local");
            TrafficPolicy::Cluster
        }
    }
}

fn session_affinity(spec: &core::ServiceSpec, complaints: &mut Complaints) -> Option<u32> {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => return None,
        Some("ClientIP") => {}
        Some(other) => {
            complaints.add(
                "spec.sessionAffinity",
                other,
                "is unknown and read as None: write ClientIP or None",
            );
            return None;
        }
    }
    let client = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = client.and_then(|client| client.timeout_seconds) else {
        return Some(AFFINITY_TIMEOUT);
    };
    let read = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    if read.is_none() {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        complaints.add(
            field,
            &seconds.to_string(),
            "is no time and read as 10800: write seconds from 1 to 86400",
        );
    }
    read.or(Some(AFFINITY_TIMEOUT))
}

fn endpoint(object: &discovery::Endpoint) -> Endpoint {
    let conditions = object.conditions.as_ref();
    let hints = object.hints.as_ref();
    let zones = hints.and_then(|hints| hints.for_zones.as_ref());
    let nodes = hints.and_then(|hints| hints.for_nodes.as_ref());
    Endpoint {
        addresses: object.addresses.iter().filter_map(|text| address(text)).collect(),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        node: object.node_name.as_deref().map(Arc::from),
        zone: object.zone.as_deref().map(Arc::from),
        zone_hints: zones.into_iter().flatten().map(|zone| zone.name.as_str().into()).collect(),
        node_hints: nodes.into_iter().flatten().map(|node| node.name.as_str().into()).collect(),
    }
}

/// A port with an address that cannot be read is left out: on all addresses it would be open to more than was meant.
fn host_port(port: &core::ContainerPort) -> Option<HostPort> {
    let host_ip = match port.host_ip.as_deref() {
        None | Some("") => None,
        Some(text) => Some(address(text)?),
    };
    Some(HostPort {
        host_ip,
        host_port: port.host_port.and_then(port_number)?,
        protocol: protocol(port.protocol.as_deref())?,
        pod_port: port_number(port.container_port)?,
    })
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number > 0)
}

/// An address as the API server takes it: old objects may have IPv4 in IPv6, or leading zeros, which mean nothing.
fn address(text: &str) -> Option<IpAddr> {
    let decimal = || {
        let octets: Option<Vec<u8>> = text.split('.').map(|octet| octet.parse().ok()).collect();
        <[u8; 4]>::try_from(octets?).ok().map(IpAddr::from)
    };
    text.parse().ok().or_else(decimal).map(|ip: IpAddr| ip.to_canonical())
}

/// A range, of which bits beyond the prefix mean nothing.
fn range(text: &str) -> Option<IpNet> {
    let (ip, length) = text.split_once('/')?;
    IpNet::new(address(ip)?, length.parse().ok()?).ok().map(|net| net.trunc())
}
