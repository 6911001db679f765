//! What runs a pod: the thing that people think of when they think of its traffic.

use k8s_openapi::api::core::v1::Pod;
use std::fmt;

/// A Deployment, a StatefulSet, …, or a lone pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its kind; `Pod` for one that nothing runs.
    pub kind: String,
}

impl Workload {
    /// What runs a pod, by its owner. The name of a Deployment's pods ends in two parts that its ReplicaSets make.
    pub fn of(pod: &Pod) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
        let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)).or(owners.first())
        else {
            return Self { namespace, name, kind: "Pod".to_owned() };
        };
        let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
        let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match deployment {
            Some(name) if owner.kind == "ReplicaSet" => {
                Self { namespace, name: name.to_owned(), kind: "Deployment".to_owned() }
            }
            _ => Self { namespace, name: owner.name.clone(), kind: owner.kind.clone() },
        }
    }

    /// What runs the pod of a recorded flow: what the flow says, else what the pod's name looks like.
    pub fn of_flow(pod: &flow::Pod) -> Self {
        let namespace = pod.namespace.clone();
        match pod.workloads.first() {
            Some(workload) => Self { namespace, name: workload.name.clone(), kind: workload.kind.clone() },
            None => match made_by_deployment(&pod.name) {
                Some(name) => Self { namespace, name: name.to_owned(), kind: "Deployment".to_owned() },
                None => Self { namespace, name: pod.name.clone(), kind: "Pod".to_owned() },
            },
        }
    }
}

/// `web-5d4f8c7b9-x2x7k` → `web`. The letters of such endings have no vowels, so that they make no words.
fn made_by_deployment(name: &str) -> Option<&str> {
    let (rest, pod) = name.rsplit_once('-')?;
    let (deployment, set) = rest.rsplit_once('-')?;
    let drawn = |text: &str| text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let hash = |text: &str| text.bytes().all(|b| b"bcdf".contains(&b) || drawn(&char::from(b).to_string()));
    (pod.len() == 5 && drawn(pod) && (6..=10).contains(&set.len()) && hash(set)).then_some(deployment)
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_belong_to_what_their_owner_belongs_to() {
        let pod = |name: &str, owner: &serde_json::Value| {
            let pod = json!({ "metadata": { "namespace": "shop", "name": name, "ownerReferences": owner,
                "labels": { "pod-template-hash": "5d4f8c7b9" } } });
            let workload = Workload::of(&serde_json::from_value(pod).expect("a pod"));
            format!("{workload} {}", workload.kind)
        };
        let owner = |kind: &str, name: &str| json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true }]);
        assert_eq!(pod("web-5d4f8c7b9-x2x7k", &owner("ReplicaSet", "web-5d4f8c7b9")), "shop/web Deployment");
        assert_eq!(pod("db-0", &owner("StatefulSet", "db")), "shop/db StatefulSet");
        assert_eq!(pod("lone", &json!([])), "shop/lone Pod");
    }

    #[test]
    fn flows_without_workloads_are_grouped_by_the_form_of_names() {
        let name = |pod: &str| {
            let pod = flow::Pod { namespace: "n".into(), name: pod.to_owned(), ..flow::Pod::default() };
            Workload::of_flow(&pod).name
        };
        assert_eq!(name("web-5d4f8c7b9-x2x7k"), "web");
        assert_eq!((name("db-0").as_str(), name("echo-same-node").as_str()), ("db-0", "echo-same-node"));
    }
}
