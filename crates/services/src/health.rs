//! What load balancers ask the node: does it have endpoints of a service?

use std::collections::BTreeSet;

use crate::compile::is_served;
use crate::model::{ObjectName, Service, ServiceKind, Slice, TrafficPolicy};
use crate::settings::Settings;

/// A service with a `healthCheckNodePort`: `200` if it has ready endpoints on this node, `503` if not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The port on which load balancers ask.
    pub port: u16,
    /// The service.
    pub service: ObjectName,
    /// Its ready endpoints on this node. Terminating ones do not count: the balancer shall look elsewhere.
    pub local_endpoints: usize,
}

/// The health of a service that has a port for it.
pub(crate) fn of<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Slice>,
    settings: &Settings,
) -> Option<Health> {
    let asked = service.kind == ServiceKind::LoadBalancer
        && service.external_traffic_policy == TrafficPolicy::Local
        && service.health_check_node_port != 0;
    if !asked || !is_served(service, settings) {
        return None;
    }
    let endpoints = slices.flat_map(|slice| &slice.endpoints);
    let here = endpoints.filter(|endpoint| endpoint.ready && endpoint.node.as_ref() == Some(&settings.node));
    let addresses: BTreeSet<_> = here.filter_map(|endpoint| endpoint.addresses.first()).collect();
    // A pod of two families is in a slice of each.
    let v4 = addresses.iter().filter(|ip| ip.is_ipv4()).count();
    Some(Health {
        port: service.health_check_node_port,
        service: service.name.clone(),
        local_endpoints: v4.max(addresses.len() - v4),
    })
}
