//! Local redirect policies: what they ask for, and the pods of this node that may answer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use abi::{Addr, Backend};
use ipnet::IpNet;
use types::{Labels, Selector};

use crate::candidates::backend;
use crate::compile::wildcard;
use crate::model::{ObjectName, Owner, Protocol};

/// A port of a local redirect policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedirectPort {
    /// Its name in small letters, empty if it has none.
    pub name: Arc<str>,
    /// Its number.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

/// `spec.redirectFrontend`: what is redirected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectFrom {
    /// `addressMatcher`.
    Address {
        /// The address.
        ip: IpAddr,
        /// Its ports.
        ports: Vec<RedirectPort>,
    },
    /// `serviceMatcher`: a service of the policy's own namespace. There is no way to name another.
    Service {
        /// The service's name.
        name: Arc<str>,
        /// Ports of the service; none: all of them.
        ports: Vec<RedirectPort>,
    },
}

/// A CiliumLocalRedirectPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.creationTimestamp`, seconds. Of two policies that want the same, the older has it.
    pub created: u64,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// What is redirected.
    pub from: RedirectFrom,
    /// `redirectBackend.localEndpointSelector`: among the pods of the policy's namespace.
    pub selector: Selector,
    /// `redirectBackend.toPorts`; several have names.
    pub to_ports: Vec<RedirectPort>,
    /// `skipRedirectFromBackend`: the selected pods themselves are not redirected.
    pub spares_backends: bool,
}

/// A pod of this node, as far as policies may redirect to it. A pod that has come to its end is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its own labels, as Kubernetes has them.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Condition `Ready`.
    pub ready: bool,
    /// It is in the node's own network.
    pub host_network: bool,
    /// The ports that its containers name.
    pub ports: Vec<(u16, Protocol)>,
}

/// Why a policy redirects nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No packet of a pod's goes there.
    #[error("is no address that can be redirected; name one outside of nodes, pods and services")]
    Unusable,
    /// `localRedirectPolicies.addressMatcherCIDRs` does not hold it.
    #[error(
        "is outside of the addresses that this cluster lets policies redirect; the chart value localRedirectPolicies.addressMatcherCIDRs lists them"
    )]
    NotAllowed,
    /// It is a service's.
    #[error(
        "is an address of service {0}, which no policy may take by its address; use serviceMatcher in a policy of that service's namespace"
    )]
    Service(ObjectName),
    /// It is the API server's.
    #[error("is an address of the API server, which no policy may take")]
    ApiServer,
    /// It is a node's.
    #[error("is an address of a node, which no policy may take")]
    Node,
    /// It is, or may become, a pod's.
    #[error("lies among the addresses of pods ({0}), which no policy may take")]
    Pod(IpNet),
}

/// All policies and the pods that they may select.
#[derive(Debug, Default)]
pub(crate) struct Redirects {
    pub(crate) policies: BTreeMap<ObjectName, Redirect>,
    pub(crate) pods: BTreeMap<ObjectName, LocalPod>,
    /// Policies of each service: age and name, the first of which counts.
    by_service: BTreeMap<ObjectName, BTreeSet<(u64, ObjectName)>>,
    /// Policies that name an address, and what stands against it, as of the last settle.
    pub(crate) refused: BTreeMap<ObjectName, (IpAddr, Refusal)>,
    /// Prefixes of pods.
    pub(crate) pod_cidrs: BTreeSet<IpNet>,
}

/// Where a frontend is led.
#[derive(Clone, Debug, Default)]
pub(crate) struct Led {
    /// Pods of this node that are ready; never empty.
    pub(crate) backends: Arc<[Backend]>,
    /// Who is not led there.
    pub(crate) spared: Vec<Addr>,
}

impl Redirect {
    /// Whose rows change with this policy.
    pub(crate) fn owner(&self) -> Owner {
        match &self.from {
            RedirectFrom::Address { .. } => Owner::Redirect(self.name.clone()),
            RedirectFrom::Service { name, .. } => Owner::Service(self.service(name)),
        }
    }

    /// The address that it names.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.from {
            RedirectFrom::Address { ip, .. } => Some(ip.to_canonical()),
            RedirectFrom::Service { .. } => None,
        }
    }

    fn service(&self, name: &Arc<str>) -> ObjectName {
        ObjectName { namespace: Arc::clone(&self.name.namespace), name: Arc::clone(name) }
    }

    fn target(&self) -> Option<ObjectName> {
        match &self.from {
            RedirectFrom::Address { .. } => None,
            RedirectFrom::Service { name, .. } => Some(self.service(name)),
        }
    }

    /// The pods' port for a frontend's: the one that has the same name, or the only one.
    fn pod_port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let port = match &*self.to_ports {
            [port] => port,
            ports => ports.iter().find(|port| *port.name == *name)?,
        };
        (port.protocol == protocol && port.port != 0).then_some(port.port)
    }

    /// The name by which a service's port finds the pods' port; `None`: it is not redirected.
    fn service_port(&self, name: &Arc<str>, port: u16, protocol: Protocol) -> Option<Arc<str>> {
        let RedirectFrom::Service { ports, .. } = &self.from else { return None };
        if ports.is_empty() {
            return Some(Arc::clone(name));
        }
        let found = ports.iter().find(|one| one.port == port && one.protocol == protocol)?;
        Some(Arc::clone(if found.name.is_empty() { name } else { &found.name }))
    }
}

impl Redirects {
    pub(crate) fn set(&mut self, policy: Redirect) -> Option<Redirect> {
        if let Some(service) = policy.target() {
            self.by_service.entry(service).or_default().insert((policy.created, policy.name.clone()));
        }
        self.policies.insert(policy.name.clone(), policy)
    }

    pub(crate) fn remove(&mut self, name: &ObjectName) -> Option<Redirect> {
        let policy = self.policies.remove(name)?;
        self.refused.remove(name);
        if let Some(service) = policy.target()
            && let Some(policies) = self.by_service.get_mut(&service)
        {
            policies.remove(&(policy.created, policy.name.clone()));
            if policies.is_empty() {
                self.by_service.remove(&service);
            }
        }
        Some(policy)
    }

    /// The policy that counts for a service.
    pub(crate) fn of_service(&self, service: &ObjectName) -> Option<&Redirect> {
        let (_, name) = self.by_service.get(service)?.first()?;
        self.policies.get(name)
    }

    /// Policies that redirect nothing since another has their service: the service, who has it, who does not.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = (&ObjectName, &ObjectName, &ObjectName)> {
        self.by_service.iter().flat_map(|(service, policies)| {
            let winner = policies.first().map(|(_, name)| name);
            let losers = policies.iter().skip(1).map(|(_, name)| name);
            losers.filter_map(move |loser| Some((service, winner?, loser)))
        })
    }

    /// Policies that name an address.
    pub(crate) fn with_address(&self) -> impl Iterator<Item = &Redirect> {
        self.policies.values().filter(|policy| policy.address().is_some())
    }

    /// Owners whose rows may change when a pod of this namespace does.
    pub(crate) fn owners_in(&self, namespace: &Arc<str>) -> Vec<Owner> {
        in_namespace(&self.policies, namespace).map(|(_, policy)| policy.owner()).collect()
    }

    /// The selected pods: those of the policy's namespace, whatever the selector says.
    pub(crate) fn selected<'a>(&'a self, policy: &'a Redirect) -> impl Iterator<Item = &'a LocalPod> {
        let pods = in_namespace(&self.pods, &policy.name.namespace).map(|(_, pod)| pod);
        pods.filter(|pod| policy.selector.matches(&pod.labels))
    }

    /// Where a service's port is led, if it is; `v4`: by which family.
    pub(crate) fn service_port(
        &self,
        policy: &Redirect,
        (name, port, protocol): (&Arc<str>, u16, Protocol),
        v4: bool,
    ) -> Option<Led> {
        let name = policy.service_port(name, port, protocol)?;
        self.led(policy, &name, protocol, v4)
    }

    /// Where a port of this name is led. `None`: no pod is there to answer, and all is as if there were no policy.
    pub(crate) fn led(&self, policy: &Redirect, name: &str, protocol: Protocol, v4: bool) -> Option<Led> {
        let port = policy.pod_port(name, protocol)?;
        let family = |ip: &IpAddr| ip.is_ipv4() == v4;
        let mut backends: Vec<Backend> = self
            .selected(policy)
            .filter(|pod| pod.ready && pod.ports.contains(&(port, protocol)))
            // A pod has one address of a family.
            .filter_map(|pod| pod.addresses.iter().map(IpAddr::to_canonical).find(family))
            .map(|ip| backend(ip, port))
            .collect();
        if backends.is_empty() {
            return None;
        }
        backends.sort_unstable_by_key(crate::sets::in_order);
        backends.dedup();
        let spared = if policy.spares_backends { self.spared(policy, v4) } else { Vec::new() };
        Some(Led { backends: backends.into(), spared })
    }

    /// The selected pods as senders, ready or not. Those in the node's network cannot be told from it.
    fn spared(&self, policy: &Redirect, v4: bool) -> Vec<Addr> {
        let mut spared: Vec<Addr> = Vec::new();
        for pod in self.selected(policy) {
            if pod.host_network {
                spared.push(wildcard(v4));
            } else {
                let addresses = pod.addresses.iter().map(IpAddr::to_canonical);
                spared.extend(addresses.filter(|ip| ip.is_ipv4() == v4).map(Addr::from));
            }
        }
        spared.sort_unstable();
        spared.dedup();
        spared
    }
}

fn in_namespace<'a, T>(
    objects: &'a BTreeMap<ObjectName, T>,
    namespace: &'a Arc<str>,
) -> impl Iterator<Item = (&'a ObjectName, &'a T)> {
    let first = ObjectName { namespace: Arc::clone(namespace), name: "".into() };
    let from = (Bound::Included(first), Bound::Unbounded);
    objects.range(from).take_while(move |(name, _)| name.namespace == *namespace)
}
