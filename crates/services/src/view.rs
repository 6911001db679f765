//! What people and other parts of the agent ask.

use std::net::IpAddr;
use std::sync::Arc;

use abi::service::{
    CLUSTER_IP, EXTERNAL_IP, HOST_PORT, KIND_MASK, LOAD_BALANCER, LOCAL_REDIRECT, NODE_PORT, REDIRECTED,
};
use abi::{Addr, Backend, Frontend, FrontendKey};

use crate::balancer::{Balancer, Port};
use crate::candidates::{gather, is_leaving};
use crate::claims::{Claim, PortRef};
use crate::compile;
use crate::health::Health;
use crate::model::{Endpoint, ObjectName, Owner, Protocol, Service};
use crate::problem::Problem;
use crate::sets::{Choice, in_order};
use crate::update::{Tables, member_key, range_key};

/// A frontend with its backends, as `cilium-dbg service list` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendView {
    /// Number of the service port.
    pub number: u32,
    /// Its address; unspecified for ports of nodes.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// What makes it known.
    pub kind: FrontendKind,
    /// Whose it is.
    pub owner: Owner,
    /// Name of the service port.
    pub port_name: Arc<str>,
    /// The row as the kernel has it.
    pub row: Frontend,
    /// All backends of its family, in the order of slots.
    pub backends: Vec<BackendView>,
}

/// What makes a frontend known. Displayed as the command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// The service's address in the cluster.
    ClusterIp,
    /// A port of every node.
    NodePort,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress[].ip`.
    LoadBalancer,
    /// A container's `hostPort`.
    HostPort,
    /// An address that a local redirect policy names, or a cluster IP that one leads elsewhere.
    LocalRedirect,
}

/// A backend of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What its slice says.
    pub state: BackendState,
    /// Its zone.
    pub zone: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Clients outside may be led to it.
    pub external: bool,
    /// Clients inside may be led to it.
    pub internal: bool,
}

/// What a slice says of an endpoint. Displayed as the command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Ready.
    Active,
    /// Terminating, but serving.
    Terminating,
    /// Terminating.
    TerminatingNotServing,
    /// Not ready. The command leaves these out.
    NotReady,
}

impl Balancer {
    /// Every frontend that is served, by number and address, as of the last settle.
    pub fn services(&self) -> Vec<FrontendView> {
        let mut views = Vec::new();
        for (owner, port) in
            self.ports.iter().flat_map(|(owner, ports)| ports.iter().map(move |port| (owner, port)))
        {
            for v4 in [true, false] {
                let mut keys = self.keys_of(owner, port, v4).peekable();
                if keys.peek().is_some() {
                    let backends = self.backends_of(owner, port, v4);
                    views.extend(keys.map(|(key, claim, row)| match FrontendKind::of(row.flags) {
                        FrontendKind::LocalRedirect => view(key, claim, row, &self.led_to(claim)),
                        _ => view(key, claim, row, &backends),
                    }));
                }
            }
        }
        views.sort_by_key(|view| (view.number, view.kind, view.address, view.port));
        views
    }

    /// All rows that should be in the kernel, as of the last settle.
    pub fn tables(&self) -> Tables {
        let mut tables = Tables {
            backends: self.sets.slots().collect(),
            maglev: self.sets.tables().collect(),
            frontends: self.rows.iter().map(|(key, row)| (*key, *row)).chain(self.rows.dead_ends()).collect(),
            ..Tables::default()
        };
        for Port { port, number, members, source_ranges, .. } in self.ports.values().flatten() {
            let protocol = port.protocol.number();
            let members =
                members.iter().map(|(backend, state)| (member_key(*number, protocol, backend), *state));
            tables.members.extend(members);
            tables.source_ranges.extend(source_ranges.iter().map(|range| (range_key(*number, *range), 1)));
        }
        tables
    }

    /// What the operator of the cluster should know of, as of the last settle.
    pub fn problems(&self) -> Vec<Problem> {
        let conflicts = self.claims.conflicts().map(|(key, winner, loser)| Problem::Conflict {
            key,
            winner: winner.clone(),
            loser: loser.clone(),
        });
        let full = self.rows.short().iter().filter_map(|(key, shortage)| {
            let owner = self.claims.winner(key)?.rank.owner.clone();
            Some(Problem::Full { key: *key, owner, shortage: *shortage })
        });
        let range = &self.settings.node_port_range;
        let ports = self.services.values().filter_map(|entry| entry.service.as_ref()).flat_map(|service| {
            let ports = service.ports.iter().map(|port| port.node_port);
            ports.filter(|port| *port != 0 && !range.contains(port)).map(|port| Problem::NodePortOutOfRange {
                service: service.name.clone(),
                port,
                first: *range.start(),
                last: *range.end(),
            })
        });
        let refused = self.redirects.refused.iter().map(|(policy, (ip, refusal))| Problem::Redirect {
            policy: policy.clone(),
            ip: *ip,
            refusal: refusal.clone(),
        });
        let twice = self.redirects.conflicts().map(|(service, winner, loser)| Problem::RedirectedTwice {
            service: service.clone(),
            winner: winner.clone(),
            loser: loser.clone(),
        });
        conflicts.chain(full).chain(ports).chain(refused).chain(twice).collect()
    }

    /// The services about which load balancers ask this node, as of the last settle.
    pub fn health(&self) -> impl Iterator<Item = &Health> {
        self.health.values()
    }

    /// A service as the API has it.
    pub fn service(&self, name: &ObjectName) -> Option<&Service> {
        self.services.get(name)?.service.as_ref()
    }

    /// The service with this frontend, for naming the ends of flows.
    pub fn name_of(&self, address: IpAddr, port: u16) -> Option<&ObjectName> {
        let address = address.to_canonical();
        let addr = Addr::from(address);
        let wildcard = self.rows.is_node(&addr).then(|| compile::wildcard(address.is_ipv4()));
        let addresses = [Some(addr), wildcard].into_iter().flatten();
        let keys =
            addresses.flat_map(|addr| Protocol::ALL.map(|protocol| compile::key(addr, port, protocol)));
        let mut owners = keys.filter_map(|key| self.claims.winner(&key)).map(|claim| &claim.rank.owner);
        owners.find_map(|owner| match owner {
            Owner::Service(name) => Some(name),
            Owner::Pod(_) | Owner::Redirect(_) => None,
        })
    }

    /// The frontends of a family that a port has won.
    pub(crate) fn keys_of<'a>(
        &'a self,
        owner: &'a Owner,
        port: &'a Port,
        v4: bool,
    ) -> impl Iterator<Item = (&'a FrontendKey, &'a Claim, &'a Frontend)> {
        let won = port.frontends.iter().filter_map(|key| {
            let claim = self.claims.winner(key).filter(|claim| claim.rank.owner == *owner)?;
            Some((key, claim, self.rows.get(key)?))
        });
        won.filter(move |(key, ..)| IpAddr::from(key.addr).is_ipv4() == v4)
    }

    /// The pods of this node that a policy leads a frontend to.
    fn led_to(&self, claim: &Claim) -> Vec<(Backend, BackendView)> {
        let endpoint =
            Endpoint { ready: true, node: Some(Arc::clone(&self.settings.node)), ..Endpoint::default() };
        let backends = claim.plan.internal.backends.iter();
        backends.map(|backend| (*backend, of_endpoint(backend, &endpoint))).collect()
    }

    /// The backends of a port, of one family. Who may be led to them differs from frontend to frontend.
    fn backends_of(&self, owner: &Owner, port: &Port, v4: bool) -> Vec<(Backend, BackendView)> {
        match owner {
            Owner::Service(name) => {
                let slices = self.services.get(name).map(|entry| &entry.slices);
                let PortRef { name, protocol } = &*port.port;
                let candidates = slices.map(|slices| gather(slices, name, *protocol, v4, &self.settings));
                candidates
                    .unwrap_or_default()
                    .iter()
                    .map(|c| (c.backend, of_endpoint(&c.backend, c.endpoint)))
                    .collect()
            }
            Owner::Pod(_) => {
                let node = Some(&self.settings.node);
                let endpoint = Endpoint { ready: true, node: node.cloned(), ..Endpoint::default() };
                let members =
                    port.members.iter().map(|(backend, _)| *backend).filter(|b| b.addr.is_v4() == v4);
                members.map(|backend| (backend, of_endpoint(&backend, &endpoint))).collect()
            }
            // Known from the frontend itself.
            Owner::Redirect(_) => Vec::new(),
        }
    }
}

fn of_endpoint(backend: &Backend, endpoint: &Endpoint) -> BackendView {
    let state = match (endpoint.ready, endpoint.terminating) {
        (true, _) => BackendState::Active,
        (false, true) if is_leaving(endpoint) => BackendState::Terminating,
        (false, true) => BackendState::TerminatingNotServing,
        (false, false) => BackendState::NotReady,
    };
    BackendView {
        address: backend.addr.into(),
        port: u16::from_be(backend.port),
        state,
        zone: endpoint.zone.clone(),
        node: endpoint.node.clone(),
        external: false,
        internal: false,
    }
}

fn view(
    key: &FrontendKey,
    claim: &Claim,
    row: &Frontend,
    backends: &[(Backend, BackendView)],
) -> FrontendView {
    let may = |choice: &Choice, backend: &Backend| {
        choice.backends.binary_search_by_key(&in_order(backend), in_order).is_ok()
    };
    let backends = backends.iter().map(|(backend, view)| BackendView {
        external: may(&claim.plan.external, backend),
        internal: may(&claim.plan.internal, backend),
        ..view.clone()
    });
    FrontendView {
        number: claim.number,
        address: key.addr.into(),
        port: u16::from_be(key.port),
        protocol: claim.port.protocol,
        kind: FrontendKind::of(row.flags),
        owner: claim.rank.owner.clone(),
        port_name: Arc::clone(&claim.port.name),
        row: *row,
        backends: backends.collect(),
    }
}

impl FrontendKind {
    pub(crate) fn of(flags: u32) -> Self {
        match flags & KIND_MASK {
            NODE_PORT => Self::NodePort,
            EXTERNAL_IP => Self::ExternalIp,
            LOAD_BALANCER => Self::LoadBalancer,
            HOST_PORT => Self::HostPort,
            LOCAL_REDIRECT => Self::LocalRedirect,
            CLUSTER_IP if flags & REDIRECTED != 0 => Self::LocalRedirect,
            _ => Self::ClusterIp,
        }
    }
}

impl std::fmt::Display for FrontendKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::ExternalIp => "ExternalIPs",
            Self::LoadBalancer => "LoadBalancer",
            Self::HostPort => "HostPort",
            Self::LocalRedirect => "LocalRedirect",
        })
    }
}

impl std::fmt::Display for BackendState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Terminating => "terminating",
            Self::TerminatingNotServing => "terminating-not-serving",
            Self::NotReady => "not-ready",
        })
    }
}
