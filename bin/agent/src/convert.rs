//! Kubernetes objects into the control state's model. What has no meaning for the agent becomes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use agent_core::{Change, ClusterIdentity, Input, Keyed, NamedPort, Namespace, Node, Pod, PodKey, PolicyObject, RemoteEndpoint};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_api::node::NodeAddress;
use kube_api::{CiliumEndpoint, CiliumIdentity, CiliumNode, CiliumPolicy, ToRules};
use kube_watch::Key;
use kube_watch::kube::{Resource, ResourceExt};
use serde::Serialize;
use types::{PolicyKind, PolicyOrigin};

/// A batch of a watch as changes to the model; `read` gives nothing for an object that means nothing.
pub(crate) fn changes<K, T: Keyed>(
    batch: Vec<kube_watch::Change<K>>,
    read: impl Fn(K) -> Option<T>,
    key: impl Fn(Key) -> Option<T::Key>,
) -> Vec<Change<T>>
where
    K: Resource<DynamicType = ()>,
{
    let step = |change| match change {
        kube_watch::Change::Apply(object) => {
            let name = Key::of(&object);
            read(object).map(Change::Apply).or_else(|| key(name).map(Change::Delete))
        }
        kube_watch::Change::Delete(name) => key(name).map(Change::Delete),
        kube_watch::Change::Reset(objects) => Some(Change::Reset(objects.into_iter().filter_map(&read).collect())),
        kube_watch::Change::Invalid(invalid) => {
            let kind = K::kind(&());
            tracing::warn!(%kind, object = %invalid.key, error = invalid.error, "an object cannot be read and does not count");
            key(invalid.key).map(Change::Delete)
        }
    };
    batch.into_iter().filter_map(step).collect()
}

/// `namespace/name`.
pub(crate) fn pod_key(key: Key) -> Option<PodKey> {
    Some(PodKey::new(key.namespace, key.name))
}

/// The name of an object without namespace.
pub(crate) fn name(key: Key) -> Option<String> {
    Some(key.name)
}

/// The number that a CiliumIdentity's name is.
pub(crate) fn number(key: Key) -> Option<u32> {
    key.name.parse().ok()
}

/// A pod of this node.
pub(crate) fn pod(pod: core::Pod) -> Option<Pod> {
    let named_ports = kube_api::named_ports(&pod)
        .into_iter()
        .flat_map(|(name, ports)| {
            ports.into_iter().map(move |(protocol, port)| NamedPort { name: name.clone(), port, protocol })
        })
        .collect();
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref());
    Some(Pod {
        key: PodKey::new(pod.namespace().unwrap_or_default(), pod.name_any()),
        uid: pod.uid().unwrap_or_default(),
        labels: pod.labels().clone(),
        service_account: spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        host_network: spec.and_then(|s| s.host_network).unwrap_or_default(),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        addresses: status
            .and_then(|s| s.pod_ips.as_ref())
            .into_iter()
            .flatten()
            .filter_map(|ip| ip.ip.parse().ok())
            .collect(),
        named_ports,
    })
}

/// A namespace.
pub(crate) fn namespace(namespace: core::Namespace) -> Option<Namespace> {
    Some(Namespace { name: namespace.name_any(), labels: namespace.labels().clone() })
}

/// A node of the cluster.
pub(crate) fn node(node: CiliumNode) -> Option<Node> {
    let of_kind = |kinds: &[&str]| -> Vec<IpAddr> {
        let addresses = node.spec.addresses.iter().filter(|a| kinds.contains(&a.kind.as_str()));
        addresses.filter_map(|a| a.ip.parse().ok()).collect()
    };
    Some(Node {
        name: node.name_any(),
        underlay: of_kind(&[NodeAddress::INTERNAL_IP, "ExternalIP"]),
        routers: of_kind(&[NodeAddress::CILIUM_INTERNAL_IP]),
        pod_cidrs: node.spec.ipam.pod_cidrs.iter().filter_map(|c| c.parse().ok()).collect(),
    })
}

/// A pod of any node.
pub(crate) fn endpoint(endpoint: CiliumEndpoint) -> Option<RemoteEndpoint> {
    let networking = endpoint.status.networking.as_ref();
    let pairs = networking.map(|n| n.addressing.as_slice()).unwrap_or_default();
    let texts = pairs.iter().flat_map(|pair| [&pair.ipv4, &pair.ipv6]);
    let protocol = |text: &str| match text {
        "UDP" => 17,
        "SCTP" => 132,
        _ => 6,
    };
    Some(RemoteEndpoint {
        key: PodKey::new(endpoint.namespace().unwrap_or_default(), endpoint.name_any()),
        identity: endpoint.status.identity.as_ref().and_then(|i| u32::try_from(i.id).ok()).unwrap_or_default(),
        addresses: texts.filter_map(|t| t.parse().ok()).collect(),
        node: networking.and_then(|n| n.node.parse().ok()),
        named_ports: endpoint
            .status
            .named_ports
            .iter()
            .map(|p| NamedPort { name: p.name.clone(), port: p.port, protocol: protocol(&p.protocol) })
            .collect(),
    })
}

/// An identity of the cluster.
pub(crate) fn identity(identity: CiliumIdentity) -> Option<ClusterIdentity> {
    Some(ClusterIdentity { number: identity.number()?, labels: identity.security_labels })
}

/// A Cilium policy; one that cannot be applied says why.
pub(crate) fn cilium_policy<P: ToRules + CiliumPolicy>(policy: &P) -> Option<PolicyObject> {
    let specs: Vec<_> = policy.rules().into_iter().map(|(_, rule)| rule).collect();
    Some(object(policy, &specs))
}

/// A Kubernetes policy.
pub(crate) fn network_policy(policy: &k8s_openapi::api::networking::v1::NetworkPolicy) -> Option<PolicyObject> {
    Some(object(policy, &policy.spec))
}

fn object(policy: &impl ToRules, spec: &impl Serialize) -> PolicyObject {
    let (rules, refused) = match policy.to_rules() {
        Ok(rules) => (rules, None),
        Err(error) => (Vec::new(), Some(kube_api::error::chain(&error))),
    };
    let text = serde_json::to_string(spec).unwrap_or_default();
    PolicyObject { origin: policy.origin(), rules, refused, text }
}

/// Changes to policies of one kind. One that cannot even be read stays known, refused.
pub(crate) fn policies<K: Resource<DynamicType = ()>>(
    kind: PolicyKind,
    batch: Vec<kube_watch::Change<K>>,
    read: impl Fn(&K) -> Option<PolicyObject>,
) -> Vec<Input> {
    let step = |change| match change {
        kube_watch::Change::Apply(policy) => read(&policy).map(Change::Apply),
        kube_watch::Change::Delete(key) => Some(Change::Delete(PodKey::new(key.namespace, key.name))),
        kube_watch::Change::Reset(all) => Some(Change::Reset(all.iter().filter_map(&read).collect())),
        kube_watch::Change::Invalid(invalid) => {
            let Key { namespace, name } = invalid.key;
            let origin = PolicyOrigin { kind, namespace, name, uid: invalid.uid };
            Some(Change::Apply(PolicyObject { origin, rules: Vec::new(), refused: Some(invalid.error), text: String::new() }))
        }
    };
    batch.into_iter().filter_map(step).map(|change| Input::Policies(kind, change)).collect()
}

/// The API server's addresses: those of all slices of the Service `default/kubernetes`.
#[derive(Default)]
pub(crate) struct ApiServers {
    slices: Mutex<BTreeMap<Key, Vec<IpAddr>>>,
}

impl ApiServers {
    /// Takes in a batch and gives all addresses there are now.
    pub(crate) fn change(&self, batch: Vec<kube_watch::Change<EndpointSlice>>) -> Vec<Input> {
        // Only this watch uses the lock; a panic in it ends the agent.
        let Ok(mut slices) = self.slices.lock() else { return Vec::new() };
        let read = |slice: &EndpointSlice| -> Vec<IpAddr> {
            slice.endpoints.iter().flat_map(|e| &e.addresses).filter_map(|a| a.parse().ok()).collect()
        };
        for change in batch {
            match change {
                kube_watch::Change::Apply(slice) => {
                    slices.insert(Key::of(&slice), read(&slice));
                }
                kube_watch::Change::Delete(key) => {
                    slices.remove(&key);
                }
                kube_watch::Change::Reset(all) => {
                    *slices = all.iter().map(|slice| (Key::of(slice), read(slice))).collect();
                }
                kube_watch::Change::Invalid(_) => {}
            }
        }
        vec![Input::ApiServers(slices.values().flatten().copied().collect())]
    }
}
