//! What the operator knows of the cluster: of each object the few facts that decisions need.

mod facts;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube_api::{CiliumEndpoint, CiliumIdentity, CiliumNode};
use kube_watch::kube::Resource;
use kube_watch::{Change, Key};

pub(crate) use facts::{CiliumNodeFacts, EndpointFacts, IdentityFacts, NodeFacts, PodFacts, Version};

/// News of one kind of object.
#[derive(Debug)]
pub(crate) enum News {
    /// Kubernetes nodes.
    Nodes(Vec<Change<Node>>),
    /// Pods of all namespaces.
    Pods(Vec<Change<Pod>>),
    /// CiliumNodes.
    CiliumNodes(Vec<Change<CiliumNode>>),
    /// CiliumEndpoints.
    Endpoints(Vec<Change<CiliumEndpoint>>),
    /// CiliumIdentities.
    Identities(Vec<Change<CiliumIdentity>>),
}

/// One kind's objects.
#[derive(Clone, Debug)]
pub(crate) struct Table<F> {
    facts: BTreeMap<Key, F>,
    /// Whether a full list was seen. Before that, nothing follows from what is missing.
    complete: bool,
}

/// The cluster. Everything may be a little older than the truth; who acts on it states what it relies on.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// Kubernetes nodes by name.
    pub(crate) nodes: Table<NodeFacts>,
    /// Pods.
    pub(crate) pods: Table<PodFacts>,
    /// CiliumNodes by name.
    pub(crate) cilium_nodes: Table<CiliumNodeFacts>,
    /// CiliumEndpoints, which have their pods' names.
    pub(crate) endpoints: Table<EndpointFacts>,
    /// CiliumIdentities by name.
    pub(crate) identities: Table<IdentityFacts>,
}

impl World {
    /// Takes news in.
    pub(crate) fn apply(&mut self, news: News) {
        match news {
            News::Nodes(changes) => self.nodes.apply(changes),
            News::Pods(changes) => self.pods.apply(changes),
            News::CiliumNodes(changes) => self.cilium_nodes.apply(changes),
            News::Endpoints(changes) => self.endpoints.apply(changes),
            News::Identities(changes) => self.identities.apply(changes),
        }
    }

    /// Whether all kinds were listed once.
    pub(crate) fn complete(&self) -> bool {
        self.nodes.complete
            && self.pods.complete
            && self.cilium_nodes.complete
            && self.endpoints.complete
            && self.identities.complete
    }
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self { facts: BTreeMap::new(), complete: false }
    }
}

impl<F> Table<F> {
    /// The facts of one object.
    pub(crate) fn get(&self, key: &Key) -> Option<&F> {
        self.facts.get(key)
    }

    /// Whether there is such an object.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.facts.contains_key(key)
    }

    /// All objects, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &F)> {
        self.facts.iter()
    }

    fn apply<K>(&mut self, changes: Vec<Change<K>>)
    where
        K: Resource<DynamicType = ()>,
        F: for<'a> From<&'a K>,
    {
        for change in changes {
            match change {
                Change::Apply(object) => {
                    self.facts.insert(Key::of(&object), F::from(&object));
                }
                Change::Delete(key) => {
                    self.facts.remove(&key);
                }
                Change::Reset(objects) => {
                    self.facts = objects.iter().map(|object| (Key::of(object), F::from(object))).collect();
                    self.complete = true;
                }
                // It exists, and what it said before is the best guess: forgetting it would free its pod CIDRs or
                // collect what it refers to.
                Change::Invalid(invalid) => {
                    tracing::warn!(object = %invalid.key, error = %invalid.error, "object cannot be read; its last state counts");
                }
            }
        }
    }
}

#[cfg(test)]
impl<F> Table<F> {
    /// A complete table of these facts.
    pub(crate) fn of(facts: impl IntoIterator<Item = (Key, F)>) -> Self {
        Self { facts: facts.into_iter().collect(), complete: true }
    }

    /// For tests that change single facts.
    pub(crate) fn facts_mut(&mut self) -> &mut BTreeMap<Key, F> {
        &mut self.facts
    }
}
