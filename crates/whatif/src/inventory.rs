//! What a cluster holds, as far as policy cares: pods, namespaces, policies. From its API server, or from files.

use crate::document::Document;
use crate::workload::Workload;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube_api::{AnyPolicy, ToRules, audit_asked};
use policy::{
    AddressList, CidrGroup, CidrMatch, Directory, NodeFacts, ObjectName, Rule, Service, SubjectInfo,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use types::{Label, LabelFilter, PolicyOrigin, Source};

/// Pods, namespaces and policies.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Pods that have an identity of their own: those in the node's network have not.
    pub pods: Vec<KnownPod>,
    /// Namespaces: labels, and whether they are under audit.
    pub namespaces: BTreeMap<String, (BTreeMap<String, String>, bool)>,
    /// Policies in force, as they are written: what they name by other objects is not put in place.
    pub policies: BTreeMap<PolicyOrigin, Vec<Rule>>,
    /// Groups of blocks.
    pub groups: BTreeMap<String, CidrGroup>,
    /// Services.
    pub services: BTreeMap<ObjectName, Service>,
    /// Addresses that somebody listed for services.
    pub addresses: BTreeMap<ObjectName, AddressList>,
    /// Nodes.
    pub nodes: Vec<NodeFacts>,
    /// Whose addresses blocks mean (`policyCIDRMatchMode`).
    pub cidr_match: CidrMatch,
    /// What could not be used.
    pub problems: Vec<Problem>,
    /// Pods by namespace and name.
    by_name: BTreeMap<(String, String), usize>,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct KnownPod {
    /// Its name.
    pub name: String,
    /// What runs it.
    pub workload: Workload,
    /// Its addresses, as far as they are known.
    pub addresses: Vec<IpAddr>,
    /// Identity labels, named ports, and whether its namespace is under audit.
    pub info: SubjectInfo,
}

/// An object that does not count, or not as it is written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Which one.
    pub object: String,
    /// What becomes of it, and why.
    pub why: String,
}

impl Inventory {
    /// Reads objects; those of other kinds are nothing to policy. `cluster` is the cluster's name, `namespace` that of
    /// objects that do not tell theirs.
    pub fn read<'a>(objects: impl IntoIterator<Item = &'a Document>, cluster: &str, namespace: &str) -> Self {
        let mut inventory = Self::default();
        let mut pods: Vec<Pod> = Vec::new();
        for document in objects {
            let object = settled(&document.value, namespace);
            match object.get("kind").and_then(Value::as_str) {
                Some("Pod") => pods.extend(inventory.typed::<Pod>(&object)),
                Some("Namespace") => inventory.namespace(&object),
                Some("CiliumCIDRGroup") => inventory.group(&object),
                Some("Service") => inventory.service(&object),
                Some("EndpointSlice") => inventory.address_list(&object),
                Some("Node") => inventory.node(&object),
                _ => inventory.policy(&object),
            }
        }
        // Labels of namespaces are part of what their pods are, wherever in the files they stand.
        for pod in pods {
            inventory.pod(&pod, cluster);
        }
        inventory
    }

    /// The same cluster with the policies of `candidate` in place of those of equal kind and name.
    #[must_use]
    pub fn with(&self, candidate: &BTreeMap<PolicyOrigin, Vec<Rule>>) -> Self {
        let mut after = self.clone();
        let same = |one: &PolicyOrigin, other: &PolicyOrigin| {
            (one.kind, &one.namespace, &one.name) == (other.kind, &other.namespace, &other.name)
        };
        after.policies.retain(|origin, _| !candidate.keys().any(|new| same(origin, new)));
        after.policies.extend(candidate.clone());
        after
    }

    /// The policies with what they name by other objects in place.
    pub fn resolved(&self) -> BTreeMap<PolicyOrigin, Vec<Rule>> {
        let directory = self.directory();
        self.policies.iter().map(|(origin, rules)| (origin.clone(), directory.resolve(rules))).collect()
    }

    /// What policies may name.
    pub fn directory(&self) -> Directory<'_> {
        Directory {
            groups: &self.groups,
            services: &self.services,
            addresses: &self.addresses,
            nodes: &self.nodes,
            cidr_match: self.cidr_match,
        }
    }

    fn group(&mut self, object: &Value) {
        let Some(group) = self.typed(object) else { return };
        let (group, complaints) = kube_api::cidr_group(&group);
        let told = complaints.into_iter().map(|why| Problem { object: title(object), why });
        self.problems.extend(told);
        self.groups.insert(group.name.clone(), group);
    }

    fn service(&mut self, object: &Value) {
        let Some(service) = self.typed(object) else { return };
        let service = kube_api::named_service(&service);
        self.services.insert(service.name.clone(), service);
    }

    fn address_list(&mut self, object: &Value) {
        let list = self.typed(object).and_then(|slice| kube_api::address_list(&slice));
        self.addresses.extend(list.map(|list| (list.name.clone(), list)));
    }

    /// Every node is another one: connections are played with pods of one node and nodes elsewhere.
    fn node(&mut self, object: &Value) {
        let Some(node) = self.typed::<Node>(object) else { return };
        let labels = node.metadata.labels.iter().flatten();
        let labels = labels.map(|(key, value)| Label::new(Source::Node, key, value));
        let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let addresses = addresses.filter_map(|address| address.address.parse().ok()).collect();
        let labels = labels.chain([Label::reserved("remote-node")]).collect();
        self.nodes.push(NodeFacts { labels, own: false, addresses });
    }

    fn namespace(&mut self, object: &Value) {
        let Some(namespace) = self.typed::<Namespace>(object) else { return };
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let audit = audit_asked(namespace.metadata.annotations.as_ref()).unwrap_or_else(|error| {
            self.problems.push(Problem {
                object: format!("Namespace {name}"),
                why: format!("is not audited: metadata.annotations.{}: {error}", kube_api::AUDIT_MODE),
            });
            false
        });
        let mut labels = namespace.metadata.labels.unwrap_or_default();
        labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| name.clone());
        self.namespaces.insert(name, (labels, audit));
    }

    fn pod(&mut self, pod: &Pod, cluster: &str) {
        let finished = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let spec = pod.spec.as_ref();
        let on_host = spec.and_then(|spec| spec.host_network).unwrap_or_default();
        if on_host || matches!(finished, Some("Succeeded" | "Failed")) {
            return;
        }
        let name = pod.metadata.namespace.clone().unwrap_or_default();
        let (labels, audit) = self
            .namespaces
            .entry(name.clone())
            .or_insert_with(|| ([("kubernetes.io/metadata.name".to_owned(), name)].into(), false));
        // The labels that make identities unless somebody chose others (`labels` in the chart's values).
        let Ok(filter) = LabelFilter::new([]) else { return };
        let info = SubjectInfo {
            labels: kube_api::identity_labels(pod, labels, cluster, &filter),
            named_ports: kube_api::named_ports(pod),
            audit: *audit,
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        let workload = Workload::of(pod);
        self.by_name.insert((workload.namespace.clone(), name.clone()), self.pods.len());
        let ips = pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
        let addresses = ips.into_iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
        self.pods.push(KnownPod { name, workload, addresses, info });
    }

    fn policy(&mut self, object: &Value) {
        match AnyPolicy::read(object) {
            Ok(None) => {}
            Ok(Some(policy)) => match policy.to_rules() {
                Ok(rules) => {
                    self.policies.insert(policy.origin(), rules);
                }
                Err(error) => {
                    // As the agent does it: what it would have allowed is denied.
                    let why = format!("is refused, and only closes: {}: {}", error.path, error.problem);
                    self.problems.push(Problem { object: policy.origin().to_string(), why });
                    self.policies.insert(policy.origin(), policy.closing());
                }
            },
            Err(error) => {
                let why = format!("does not count: {error}");
                self.problems.push(Problem { object: title(object), why });
            }
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, object: &Value) -> Option<T> {
        match serde_json::from_value(object.clone()) {
            Ok(typed) => Some(typed),
            Err(error) => {
                let why = format!("does not count: {error}");
                self.problems.push(Problem { object: title(object), why });
                None
            }
        }
    }

    /// A pod by its name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<&KnownPod> {
        self.pods.get(*self.by_name.get(&(namespace.to_owned(), name.to_owned()))?)
    }

    /// The same cluster under audit as a whole (`policyAuditMode`).
    #[must_use]
    pub fn under_audit(mut self) -> Self {
        self.pods.iter_mut().for_each(|pod| pod.info.audit = true);
        self.namespaces.values_mut().for_each(|(_, audit)| *audit = true);
        self
    }
}

/// `Kind namespace/name` of any object.
pub(crate) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = match text("/kind") {
        "" => "object",
        kind => kind,
    };
    match (text("/metadata/namespace"), text("/metadata/name")) {
        ("", "") => format!("{kind} without a name"),
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}

/// The object with its namespace filled in, as `kubectl apply` does it.
pub(crate) fn settled(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    let namespaced = matches!(
        object.get("kind").and_then(Value::as_str),
        Some("Pod" | "NetworkPolicy" | "CiliumNetworkPolicy" | "Service" | "EndpointSlice")
    );
    if namespaced
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("namespace").and_then(Value::as_str).is_none_or(str::is_empty)
    {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    object
}
