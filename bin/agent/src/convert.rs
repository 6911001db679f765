//! What the watches say as inputs of the control state; the objects themselves are read by [`agent_core::kube`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

use agent_core::{Change, Input, Keyed, PodKey, PolicyObject};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_watch::Key;
use kube_watch::kube::Resource;
use policy::ObjectName;
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
        kube_watch::Change::Reset(objects) => {
            Some(Change::Reset(objects.into_iter().filter_map(&read).collect()))
        }
        kube_watch::Change::Invalid(invalid) => {
            let kind = K::kind(&());
            tracing::warn!(%kind, object = %invalid.key, error = invalid.error, "an object cannot be read and does not count");
            key(invalid.key).map(Change::Delete)
        }
    };
    batch.into_iter().filter_map(step).collect()
}

/// The labels of this node's object, of which alone the batch tells. They stay while it is gone.
pub(crate) fn node_labels(batch: Vec<kube_watch::Change<Node>>) -> Vec<Input> {
    let last = |change| match change {
        kube_watch::Change::Apply(node) => Some(node),
        kube_watch::Change::Reset(nodes) => nodes.into_iter().next(),
        _ => None,
    };
    let labels = |node: Node| node.metadata.labels.unwrap_or_default();
    batch.into_iter().filter_map(last).map(labels).map(Input::NodeLabels).collect()
}

/// `namespace/name`.
pub(crate) fn pod_key(key: Key) -> Option<PodKey> {
    Some(PodKey::new(key.namespace, key.name))
}

/// Namespace and name.
pub(crate) fn object_name(key: Key) -> Option<ObjectName> {
    Some(ObjectName { namespace: key.namespace, name: key.name })
}

/// The name of an object without namespace.
pub(crate) fn name(key: Key) -> Option<String> {
    Some(key.name)
}

/// The number that a CiliumIdentity's name is.
pub(crate) fn number(key: Key) -> Option<u32> {
    key.name.parse().ok()
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
            Some(Change::Apply(PolicyObject {
                origin,
                rules: Vec::new(),
                refused: Some(invalid.error),
                text: String::new(),
                generation: 0,
            }))
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
