//! What happens in the agent, for Hubble's `GetAgentEvents`.

use std::collections::BTreeMap;

use agent_core::{Change, Input, PodKey, PolicyObject, State};
use flow::AgentNews;
use observer::Observer;
use types::PolicyKind;

/// Tells of what happens. Without an observer nobody listens, and nothing is done.
#[derive(Debug, Default)]
pub(crate) struct News {
    observer: Option<Observer>,
    /// Endpoints that were told of, and their pods.
    told: BTreeMap<u16, PodKey>,
}

impl News {
    /// For `observer`. Endpoints of the last run are no news.
    pub(crate) fn new(observer: Option<Observer>, state: &State) -> Self {
        let told = state.endpoints().values().map(|e| (e.spec.id, e.spec.pod.clone())).collect();
        Self { observer, told }
    }

    /// An endpoint was written to its file: it may be new.
    pub(crate) fn saved(&mut self, state: &State, id: u16) {
        let (Some(observer), Some(endpoint)) = (&self.observer, state.endpoint(id)) else { return };
        if self.told.insert(id, endpoint.spec.pod.clone()).is_none() {
            let labels = endpoint.labels.iter().map(ToString::to_string).collect();
            observer.note(change(false, id, endpoint.spec.pod.clone(), labels));
        }
    }

    /// An endpoint is gone.
    pub(crate) fn forgotten(&mut self, id: u16) {
        if let (Some(observer), Some(pod)) = (&self.observer, self.told.remove(&id)) {
            observer.note(change(true, id, pod, Vec::new()));
        }
    }

    /// An endpoint's tables are in the kernel.
    pub(crate) fn ready(&self, state: &State, id: u16) {
        if let (Some(observer), Some(endpoint)) = (&self.observer, state.endpoint(id)) {
            let labels = endpoint.labels.iter().map(ToString::to_string).collect();
            observer.note(AgentNews::Regenerated { id, labels, error: None });
        }
    }

    /// Something was learned, and will hold from the next revision on.
    pub(crate) fn learned(&self, state: &State, input: &Input) {
        let (Some(observer), Input::Policies(kind, change)) = (&self.observer, input) else { return };
        let revision = state.revision() + 1;
        let told = |object: &PolicyObject| {
            let (labels, rules) = (labels(*kind, &agent_core::Keyed::key(object)), object.rules.len());
            observer.note(AgentNews::Policy { deleted: false, labels, revision, rules });
        };
        match change {
            Change::Apply(object) => told(object),
            Change::Reset(objects) => objects.iter().for_each(told),
            Change::Delete(key) => {
                let labels = labels(*kind, key);
                observer.note(AgentNews::Policy { deleted: true, labels, revision, rules: 0 });
            }
        }
    }
}

fn change(deleted: bool, id: u16, pod: PodKey, labels: Vec<String>) -> AgentNews {
    AgentNews::Endpoint { deleted, id, namespace: pod.namespace, pod: pod.name, labels }
}

/// What names a policy object, as labels of its rules under Cilium.
fn labels(kind: PolicyKind, key: &PodKey) -> Vec<String> {
    let label = |what: &str, value: &str| format!("k8s:io.cilium.k8s.policy.{what}={value}");
    let mut labels = vec![label("derived-from", kind.name()), label("name", &key.name)];
    if !key.namespace.is_empty() {
        labels.push(label("namespace", &key.namespace));
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_named_as_cilium_names_them() {
        assert_eq!(
            labels(PolicyKind::Cnp, &PodKey::new("shop", "web")),
            [
                "k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy",
                "k8s:io.cilium.k8s.policy.name=web",
                "k8s:io.cilium.k8s.policy.namespace=shop"
            ]
        );
        assert_eq!(labels(PolicyKind::Ccnp, &PodKey::new("", "all")).len(), 2);
    }
}
