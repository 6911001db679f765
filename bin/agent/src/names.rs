//! Names for flows, out of the control state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use agent_core::{PodKey, State};
use flow::{Emitter, Endpoint, Lookups, Pod, Policies, Policy, Workload};
use types::{Labels, PolicyKind, PolicyOrigin};

use crate::devices::Devices;
use crate::tasks::namespaces::Namespaces;

/// What does not change while the agent runs.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    /// `cluster/node`.
    pub node: Arc<str>,
    /// Name of the cluster.
    pub cluster: String,
    /// Labels of the node when the agent started, `key=value`.
    pub labels: Arc<[String]>,
    /// This program.
    pub emitter: Arc<Emitter>,
}

impl Fixed {
    /// Of this node.
    pub(crate) fn new(cluster: &str, node: &str, labels: &BTreeMap<String, String>) -> Self {
        let emitter = Emitter { name: "Axoneme".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Self {
            node: format!("{cluster}/{node}").into(),
            cluster: cluster.to_owned(),
            labels: labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            emitter: Arc::new(emitter),
        }
    }
}

/// A look at the state.
pub(crate) struct Names<'a> {
    /// The state.
    pub state: &'a State,
    /// The node's devices.
    pub devices: &'a Devices,
    /// What does not change.
    pub fixed: &'a Fixed,
    /// Network namespaces.
    pub namespaces: &'a Namespaces,
}

impl Names<'_> {
    fn pod(&self, key: &PodKey) -> Option<Arc<Pod>> {
        (!key.name.is_empty()).then(|| {
            Arc::new(Pod {
                cluster: self.fixed.cluster.clone(),
                namespace: key.namespace.clone(),
                name: key.name.clone(),
                workloads: self.workload(key).into_iter().collect(),
            })
        })
    }

    /// What runs a pod, which only its own node knows.
    fn workload(&self, key: &PodKey) -> Option<Workload> {
        let (kind, name) = self.state.pod(key)?.workload.clone()?;
        Some(Workload { name, kind })
    }

    fn local(&self, endpoint: &agent_core::Endpoint) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: endpoint.spec.id,
            identity: endpoint.identity,
            labels: endpoint.labels.clone(),
            pod: self.pod(&endpoint.spec.pod),
        })
    }
}

impl Lookups for Names<'_> {
    fn node_name(&self) -> Arc<str> {
        Arc::clone(&self.fixed.node)
    }

    fn node_labels(&self) -> Arc<[String]> {
        Arc::clone(&self.fixed.labels)
    }

    fn emitter(&self) -> Option<Arc<Emitter>> {
        Some(Arc::clone(&self.fixed.emitter))
    }

    fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = self.state.endpoint(id) {
            return Some(self.local(endpoint));
        }
        (self.state.host_endpoint() == Some(id)).then(|| {
            let labels = self.state.host_labels();
            Arc::new(Endpoint { id, identity: abi::identity::HOST, labels, pod: None })
        })
    }

    fn endpoint_at(&self, address: IpAddr) -> Option<Arc<Endpoint>> {
        if let Some(endpoint) = self.state.by_address(address) {
            return Some(self.local(endpoint));
        }
        let key = self.state.remote_pod(address)?;
        let identity = self.state.ipcache().identity(address)?;
        let labels = self.state.labels_of(identity).unwrap_or_default();
        Some(Arc::new(Endpoint { id: 0, identity, labels, pod: self.pod(key) }))
    }

    fn identity_at(&self, address: IpAddr) -> Option<u32> {
        Some(
            self.state
                .ipcache()
                .identity(address)
                .unwrap_or_else(|| self.state.settings().world_identity(address)),
        )
    }

    fn labels(&self, identity: u32) -> Option<Labels> {
        self.state.labels_of(identity)
    }

    fn interface(&self, index: u32) -> Option<Arc<str>> {
        let device = self.devices.all().find(|d| d.index == index).map(|d| d.name.as_str().into());
        let of_pod =
            |e: &&agent_core::Endpoint| e.attachment.as_ref().is_some_and(|a| a.host_ifindex == index);
        device.or_else(|| {
            self.state.endpoints().values().find(of_pod).map(|e| e.spec.host_ifname.as_str().into())
        })
    }

    fn address_in(&self, namespace: u64, v6: bool) -> Option<IpAddr> {
        let of_family = |address: &IpAddr| address.is_ipv6() == v6;
        if self.namespaces.is_host(namespace) {
            return self.state.settings().node.underlay.iter().copied().find(of_family);
        }
        let path = self.namespaces.path(namespace)?;
        let endpoint = self.state.endpoints().values().find(|endpoint| endpoint.spec.netns == path)?;
        endpoint.spec.addresses().find(of_family)
    }

    fn policies(&self, cookie: u32) -> Option<Policies> {
        let rules = self.state.engine().cookie(cookie)?;
        let revision = self.state.realized_policy_revision();
        let mut policies: Vec<Policy> = Vec::new();
        for rule in rules {
            let origin = &rule.origin;
            let policy = Policy {
                kind: origin.kind.name().to_owned(),
                namespace: origin.namespace.clone(),
                name: origin.name.clone(),
                labels: rule_labels(origin),
                revision,
            };
            if !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        Some(policies.into())
    }

    fn policy_log(&self, cookie: u32) -> Arc<[String]> {
        let rules = self.state.engine().cookie(cookie).unwrap_or_default();
        let texts: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.log.as_deref()).collect();
        texts.into_iter().map(str::to_owned).collect()
    }
}

/// The labels that rules of a policy carry, by which Cilium's tools know them.
fn rule_labels(origin: &PolicyOrigin) -> Vec<String> {
    let label = |key: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{key}={value}");
    let kind = origin.kind.name();
    let mut labels = match origin.kind {
        PolicyKind::Builtin => return Vec::new(),
        _ => vec![label("derived-from", kind), label("name", &origin.name)],
    };
    if !origin.namespace.is_empty() {
        labels.push(label("namespace", &origin.namespace));
    }
    labels.push(label("uid", &origin.uid));
    labels
}
