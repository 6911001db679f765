//! Local redirect policies as `cilium-dbg lrp list` shows them.

use std::net::IpAddr;

use abi::{Backend, FrontendKey};
use api::lrp::{FrontendMapping, LocalBackend, LocalRedirectPolicy};
use api::service::{BackendAddress, FrontendAddress};
use services::{Balancer, Protocol, RedirectFrom, RedirectView};

use super::listing::WEIGHT;

/// All policies by namespace and name. Those that redirect nothing have frontends without backends, or none.
pub(crate) fn list(balancer: &Balancer) -> Vec<LocalRedirectPolicy> {
    balancer.redirects().iter().map(policy).collect()
}

fn policy(view: &RedirectView) -> LocalRedirectPolicy {
    let policy = view.policy;
    let namespace = policy.name.namespace.to_string();
    let (lrp_type, frontend_type, service_id) = match &policy.from {
        RedirectFrom::Address { ports, .. } => {
            ("addr", if ports.len() > 1 { "IP + named ports" } else { "IP + port" }, String::new())
        }
        RedirectFrom::Service { name, ports } => {
            let kind = match ports.len() {
                0 => "clusterIP + all svc ports",
                1 => "clusterIP + port",
                _ => "clusterIP + named ports",
            };
            ("svc", kind, format!("{namespace}/{name}"))
        }
    };
    LocalRedirectPolicy {
        uid: policy.uid.to_string(),
        name: policy.name.name.to_string(),
        namespace,
        frontend_type: frontend_type.to_owned(),
        lrp_type: lrp_type.to_owned(),
        service_id,
        frontend_mappings: mappings(view),
    }
}

fn mappings(view: &RedirectView) -> Vec<FrontendMapping> {
    let led = view.frontends.iter().map(|(key, backends)| FrontendMapping {
        frontend_address: frontend(IpAddr::from(key.addr), u16::from_be(key.port), protocol(key)),
        backends: backends.iter().map(|(pod, at)| backend(pod.map(ToString::to_string), at, key)).collect(),
    });
    let mut mappings: Vec<FrontendMapping> = led.collect();
    if let RedirectFrom::Address { ip, ports } = &view.policy.from {
        for port in ports {
            let asked = frontend(ip.to_canonical(), port.port, port.protocol.to_string());
            if mappings.iter().all(|mapping| mapping.frontend_address != asked) {
                mappings.push(FrontendMapping { frontend_address: asked, backends: Vec::new() });
            }
        }
    }
    mappings.sort_by_key(|mapping| {
        let address = &mapping.frontend_address;
        (address.ip.clone(), address.port, address.protocol.clone())
    });
    mappings
}

fn protocol(key: &FrontendKey) -> String {
    Protocol::from_number(key.protocol).map(|protocol| protocol.to_string()).unwrap_or_default()
}

fn frontend(ip: IpAddr, port: u16, protocol: String) -> FrontendAddress {
    FrontendAddress { ip: ip.to_string(), port, protocol, scope: "external".to_owned() }
}

fn backend(pod: Option<String>, at: &Backend, key: &FrontendKey) -> LocalBackend {
    LocalBackend {
        pod_id: pod.unwrap_or_else(|| "unknown".to_owned()),
        backend_address: BackendAddress {
            ip: IpAddr::from(at.addr).to_string(),
            port: u16::from_be(at.port),
            protocol: protocol(key),
            state: "active".to_owned(),
            weight: WEIGHT,
            ..BackendAddress::default()
        },
    }
}
