//! Services as `cilium-dbg service list` shows them: a line for each address and, where they are led elsewhere, one more
//! for clients inside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::service::EXTERNAL_ALLOWED;
use api::service::{BackendAddress, FrontendAddress, Service, ServiceFlags, ServiceSpec, ServiceStatus};
use services::{
    BackendState, BackendView, Balancer, FrontendKind, FrontendView, Owner, Protocol, TrafficPolicy,
};

/// What every backend weighs: Cilium's default.
pub(super) const WEIGHT: u16 = 100;

/// Numbers of lines. A line has the next number when it is listed first, keeps it while it stays, and takes it along
/// when it goes; a new start of the agent begins with 1 again. Thus the list is sorted by number, and, as far as it was
/// there at the first look, by service port, kind and address. These are not the numbers of service ports, which all
/// frontends of one port share and `bpf lb list` shows.
#[derive(Debug, Default)]
pub(crate) struct LineIds {
    last: u32,
    of: BTreeMap<Line, u32>,
}

/// What tells lines apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    address: IpAddr,
    port: u16,
    protocol: Protocol,
    internal: bool,
}

impl LineIds {
    /// The numbers of all lines there are.
    fn assign(&mut self, lines: &[Line]) -> Vec<u32> {
        let present: BTreeSet<&Line> = lines.iter().collect();
        self.of.retain(|line, _| present.contains(line));
        let Self { last, of } = self;
        let number = |line: &Line| {
            *of.entry(*line).or_insert_with(|| {
                *last = last.saturating_add(1);
                *last
            })
        };
        lines.iter().map(number).collect()
    }
}

/// All lines, sorted by number. Node ports are known by `own`, addresses of this node, and by the unspecified address.
pub(crate) fn list(balancer: &Balancer, ids: &mut LineIds, node: &str, own: &[IpAddr]) -> Vec<Service> {
    let views = balancer.services();
    let mut lines = Vec::new();
    for view in &views {
        let policies = Policies::of(view, balancer);
        let is_of_nodes = view.address.is_unspecified();
        let own = own.iter().filter(|ip| is_of_nodes && ip.is_ipv4() == view.address.is_ipv4());
        for address in own.copied().chain([view.address]) {
            for &internal in policies.scopes() {
                let line = Line { address, port: view.port, protocol: view.protocol, internal };
                lines.push((line, view, policies));
            }
        }
    }
    let numbers = ids.assign(&lines.iter().map(|(line, ..)| *line).collect::<Vec<_>>());
    let numbered = numbers.into_iter().zip(&lines);
    let mut list: Vec<Service> = numbered
        .map(|(id, (line, view, policies))| {
            let spec = ServiceSpec {
                id,
                frontend_address: frontend(line),
                backend_addresses: backends(line, view, *policies, node),
                flags: flags(view, balancer, *policies),
            };
            Service { spec: spec.clone(), status: ServiceStatus { realized: spec } }
        })
        .collect();
    list.sort_by_key(|service| service.spec.id);
    list
}

/// The traffic policies of a frontend.
#[derive(Clone, Copy)]
struct Policies {
    external: TrafficPolicy,
    internal: TrafficPolicy,
    kind: FrontendKind,
    /// Clients outside may use it.
    open: bool,
}

impl Policies {
    fn of(view: &FrontendView, balancer: &Balancer) -> Self {
        let service = match &view.owner {
            Owner::Service(name) => balancer.service(name),
            Owner::Pod(_) | Owner::Redirect(_) => None,
        };
        let (external, internal) =
            service.map_or_else(Default::default, |s| (s.external_traffic_policy, s.internal_traffic_policy));
        Self { external, internal, kind: view.kind, open: view.row.flags & EXTERNAL_ALLOWED != 0 }
    }

    /// Whether there are different lines for clients inside (true) and outside.
    fn scopes(self) -> &'static [bool] {
        let inner = matches!(self.kind, FrontendKind::ClusterIp | FrontendKind::LocalRedirect);
        let two = !inner && self.open && self.external == TrafficPolicy::Local;
        if two { &[false, true] } else { &[false] }
    }

    /// Whether a line leads to endpoints of this node alone.
    fn is_local(self, internal: bool) -> bool {
        let policy = match self.kind {
            FrontendKind::ClusterIp => self.internal,
            FrontendKind::LocalRedirect => TrafficPolicy::Cluster,
            _ if internal => TrafficPolicy::Cluster,
            _ => self.external,
        };
        policy == TrafficPolicy::Local
    }
}

fn frontend(line: &Line) -> FrontendAddress {
    FrontendAddress {
        ip: line.address.to_string(),
        port: line.port,
        protocol: line.protocol.to_string(),
        scope: if line.internal { "internal" } else { "external" }.to_owned(),
    }
}

/// Those that may be chosen, and those that keep what they have.
fn backends(line: &Line, view: &FrontendView, policies: Policies, node: &str) -> Vec<BackendAddress> {
    let is_local = policies.is_local(line.internal);
    let inner = matches!(policies.kind, FrontendKind::ClusterIp | FrontendKind::LocalRedirect);
    let from_inside = line.internal || inner || !policies.open;
    let is_shown = |backend: &&BackendView| match backend.state {
        BackendState::Active if from_inside => backend.internal,
        BackendState::Active => backend.external,
        BackendState::Terminating | BackendState::TerminatingNotServing => {
            !is_local || backend.node.as_deref() == Some(node)
        }
        BackendState::NotReady => false,
    };
    let model = |backend: &BackendView| BackendAddress {
        ip: backend.address.to_string(),
        port: backend.port,
        protocol: view.protocol.to_string(),
        state: backend.state.to_string(),
        weight: WEIGHT,
        zone: backend.zone.as_deref().unwrap_or_default().to_owned(),
        node_name: backend.node.as_deref().unwrap_or_default().to_owned(),
        preferred: false,
    };
    view.backends.iter().filter(is_shown).map(model).collect()
}

fn flags(view: &FrontendView, balancer: &Balancer, policies: Policies) -> ServiceFlags {
    let (name, health) = match &view.owner {
        Owner::Service(name) => (name, balancer.service(name).map_or(0, |s| s.health_check_node_port)),
        Owner::Pod(name) | Owner::Redirect(name) => (name, 0),
    };
    // As Cilium names what a policy makes of an address.
    let suffix = if matches!(view.owner, Owner::Redirect(_)) { ":local-redirect" } else { "" };
    let policy = |policy: TrafficPolicy| match policy {
        TrafficPolicy::Cluster => "Cluster".to_owned(),
        TrafficPolicy::Local => "Local".to_owned(),
    };
    ServiceFlags {
        kind: view.kind.to_string(),
        name: format!("{}{suffix}", name.name),
        namespace: name.namespace.to_string(),
        cluster: String::new(),
        ext_traffic_policy: policy(policies.external),
        int_traffic_policy: policy(policies.internal),
        traffic_policy: policy(policies.external),
        health_check_node_port: health,
    }
}

#[cfg(test)]
mod tests;
