//! A cluster as its API server describes it.

use crate::document::Document;
use crate::inventory::Inventory;
use kube_api::AnyPolicy;
use policy::EnforcementMode;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a cluster holds, and how it enforces policy.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Pods, namespaces, policies.
    pub inventory: Inventory,
    /// `policyEnforcementMode`.
    pub mode: EnforcementMode,
    /// Its name.
    pub name: String,
    /// The objects behind the policies.
    pub policies: Vec<KnownPolicy>,
}

/// The object of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownPolicy {
    /// Its kind.
    pub kind: String,
    /// Its namespace, empty for cluster-wide ones.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object, without what only the API server says of it.
    pub object: Value,
}

impl Cluster {
    /// Reads objects, and the data of the ConfigMap `cilium-config`.
    pub fn of(objects: impl IntoIterator<Item = Value>, settings: &BTreeMap<String, String>) -> Self {
        let documents: Vec<Document> = objects.into_iter().map(Document::of).collect();
        let setting = |key: &str| settings.get(key).map(String::as_str);
        let mode = match setting("enable-policy") {
            Some("always") => EnforcementMode::Always,
            Some("never") => EnforcementMode::Never,
            _ => EnforcementMode::Default,
        };
        let name = setting("cluster-name").unwrap_or("default").to_owned();
        let mut inventory = Inventory::read(&documents, &name, "default");
        let matched = setting("policy-cidr-match-mode").unwrap_or_default().split([',', ' ']);
        inventory.cidr_match = matched.fold(inventory.cidr_match, |all, name| all.with(name).unwrap_or(all));
        if setting("policy-audit-mode") == Some("true") {
            inventory = inventory.under_audit();
        }
        let policies = documents.iter().filter_map(|document| known(&document.value)).collect();
        Self { inventory, mode, name, policies }
    }
}

fn known(object: &Value) -> Option<KnownPolicy> {
    // A policy that cannot be read is one all the same, and shown so that somebody mends it.
    if matches!(AnyPolicy::read(object), Ok(None)) {
        return None;
    }
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace" | "labels" | "annotations"));
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
                if annotations.is_empty() {
                    metadata.remove("annotations");
                }
            }
        }
    }
    Some(KnownPolicy { kind, namespace, name, object })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn policies_are_known_by_what_people_wrote() {
        let policy = json!({ "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
            "metadata": { "name": "p", "namespace": "n", "uid": "u", "managedFields": [],
                "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}" } },
            "spec": { "endpointSelector": {} }, "status": { "conditions": [] } });
        let pod = json!({ "kind": "Pod", "metadata": { "name": "x", "namespace": "n" } });
        let settings = [("enable-policy", "always"), ("cluster-name", "east")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let cluster = Cluster::of([policy, pod], &settings.into());
        assert_eq!((cluster.mode, cluster.name.as_str()), (EnforcementMode::Always, "east"));
        assert_eq!((cluster.policies.len(), cluster.inventory.pods.len()), (1, 1));
        let known = &cluster.policies[0].object;
        assert_eq!(known["metadata"], json!({ "name": "p", "namespace": "n" }));
        assert_eq!(known.get("status"), None);
    }
}
