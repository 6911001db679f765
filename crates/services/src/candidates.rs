//! Which endpoints of a service port may be chosen.
//!
//! Sources: the API text of EndpointSlice and Service, KEP-1669 (terminating endpoints), KEP-2433 and KEP-3015 (hints).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use abi::Backend;

use crate::model::{Endpoint, Protocol, Slice};
use crate::sets::in_order;
use crate::settings::Settings;

/// An address and port of an endpoint, of one service port and one family.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) backend: Backend,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) local: bool,
    /// May be chosen under the policy `Cluster`.
    pub(crate) cluster_choice: bool,
    /// May be chosen under the policy `Local`.
    pub(crate) local_choice: bool,
}

/// The sets of one family that frontends choose from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    /// Under the policy `Cluster`.
    pub(crate) cluster: Arc<[Backend]>,
    /// Under the policy `Local`.
    pub(crate) local: Arc<[Backend]>,
    /// Some endpoint of the cluster could serve.
    pub(crate) any: bool,
}

/// The endpoints of a port, in the order of slots, each address and port once.
pub(crate) fn gather<'a>(
    slices: &'a BTreeMap<Arc<str>, Slice>,
    name: &str,
    protocol: Protocol,
    v4: bool,
    settings: &Settings,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.values() {
        let ports = slice.ports.iter().filter(|p| *p.name == *name && p.protocol == protocol && p.port != 0);
        for port in ports {
            for endpoint in &slice.endpoints {
                let addresses = endpoint.addresses.iter().map(IpAddr::to_canonical);
                found.extend(addresses.filter(|ip| ip.is_ipv4() == v4 && may_be_endpoint(*ip)).map(|ip| {
                    Candidate {
                        backend: backend(ip, port.port),
                        endpoint,
                        local: endpoint.node.as_ref() == Some(&settings.node),
                        cluster_choice: false,
                        local_choice: false,
                    }
                }));
            }
        }
    }
    // While the controller moves an endpoint, two slices have it: the better word counts.
    found.sort_by_key(|candidate| {
        (in_order(&candidate.backend), std::cmp::Reverse(worth(candidate.endpoint)))
    });
    found.dedup_by(|next, kept| {
        let same = next.backend == kept.backend;
        kept.local |= same && next.local;
        same
    });
    found
}

/// Marks the candidates of one family that may be chosen.
pub(crate) fn choose(candidates: &mut [Candidate], settings: &Settings) -> Choices {
    let ready = |c: &Candidate| c.endpoint.ready;
    let leaving = |c: &Candidate| is_leaving(c.endpoint);
    let any_ready = candidates.iter().any(ready);
    let any_ready_here = candidates.iter().any(|c| c.local && ready(c));
    let topology = Topology::of(candidates, settings);
    for candidate in candidates.iter_mut() {
        candidate.cluster_choice = if any_ready {
            ready(candidate) && topology.admits(candidate, settings)
        } else {
            leaving(candidate)
        };
        let here = if any_ready_here { ready(candidate) } else { leaving(candidate) };
        candidate.local_choice = candidate.local && here;
    }
    let chosen = |which: fn(&Candidate) -> bool| -> Arc<[Backend]> {
        candidates.iter().filter(|c| which(c)).map(|c| c.backend).collect()
    };
    Choices {
        cluster: chosen(|c| c.cluster_choice),
        local: chosen(|c| c.local_choice),
        any: any_ready || candidates.iter().any(leaving),
    }
}

/// Terminating, but still serving: the next best to a ready one.
pub(crate) fn is_leaving(endpoint: &Endpoint) -> bool {
    endpoint.serving && endpoint.terminating
}

/// An address and port as they lie in a slot.
pub(crate) fn backend(ip: IpAddr, port: u16) -> Backend {
    Backend { addr: ip.into(), port: port.to_be(), _pad: 0 }
}

/// The API server refuses these, as they could lead into the node itself (CVE-2021-25737). Nobody else shall try.
fn may_be_endpoint(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

fn worth(endpoint: &Endpoint) -> u8 {
    match (endpoint.ready, is_leaving(endpoint)) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

/// Which hints count, for the policy `Cluster`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topology {
    Everywhere,
    SameZone,
    SameNode,
}

impl Topology {
    /// Hints of a kind count if every ready endpoint has one and at least one is for us: otherwise they are being made
    /// or do not know us, and following them would overload some endpoint or lose all.
    fn of(candidates: &[Candidate], settings: &Settings) -> Self {
        let ready = || candidates.iter().map(|c| c.endpoint).filter(|endpoint| endpoint.ready);
        if !settings.topology {
            Self::Everywhere
        } else if ready().all(|e| !e.node_hints.is_empty()) && ready().any(|e| for_node(e, settings)) {
            Self::SameNode
        } else if ready().all(|e| !e.zone_hints.is_empty()) && ready().any(|e| for_zone(e, settings)) {
            Self::SameZone
        } else {
            Self::Everywhere
        }
    }

    fn admits(self, candidate: &Candidate, settings: &Settings) -> bool {
        match self {
            Self::Everywhere => true,
            Self::SameZone => for_zone(candidate.endpoint, settings),
            Self::SameNode => for_node(candidate.endpoint, settings),
        }
    }
}

fn for_node(endpoint: &Endpoint, settings: &Settings) -> bool {
    endpoint.node_hints.contains(&settings.node)
}

fn for_zone(endpoint: &Endpoint, settings: &Settings) -> bool {
    settings.zone.as_ref().is_some_and(|zone| endpoint.zone_hints.contains(zone))
}
