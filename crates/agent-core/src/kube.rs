//! Kubernetes objects into the model. What cannot be parsed is left out; what cannot be applied says why.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_api::node::NodeAddress;
use kube_api::{
    CiliumClusterwideNetworkPolicy, CiliumEndpoint, CiliumIdentity, CiliumNetworkPolicy, CiliumNode,
    CiliumPolicy, ToRules,
};
use serde::Serialize;
use serde_json::Value;
use types::{PolicyKind, PolicyOrigin};

use crate::model::{ClusterIdentity, NamedPort, Namespace, Node, Pod, PodKey, RemoteEndpoint};
use crate::state::PolicyObject;
use crate::untracked;

fn key(meta: &ObjectMeta) -> PodKey {
    PodKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Annotation of a pod: whatever source address it sends from, let it pass.
const ANY_SOURCE: &str = "config.cilium.io/disable-source-ip-verification";
/// Annotation of a namespace, without which that of its pods means nothing.
const DELEGATE_SOURCE: &str = "config.cilium.io/delegate-source-ip-verification";

/// Whether an annotation is there and true. Anything else leaves the check in force.
fn is_true(meta: &ObjectMeta, annotation: &str) -> bool {
    let value = meta.annotations.as_ref().and_then(|annotations| annotations.get(annotation));
    value.is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// A pod of this node.
pub fn pod(pod: core::Pod) -> Option<Pod> {
    let named_ports = kube_api::named_ports(&pod)
        .into_iter()
        .flat_map(|(name, ports)| {
            ports.into_iter().map(move |(protocol, port)| NamedPort { name: name.clone(), port, protocol })
        })
        .collect();
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref());
    let host_network = spec.and_then(|s| s.host_network).unwrap_or_default();
    Some(Pod {
        key: key(&pod.metadata),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        service_account: spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        workload: workload(&pod.metadata),
        host_network,
        any_source: is_true(&pod.metadata, ANY_SOURCE),
        no_track: untracked::asked(&pod.metadata, host_network),
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

/// Kind and name of what runs a pod: what people wrote, where the name tells, and not what a controller made of it.
fn workload(meta: &ObjectMeta) -> Option<(String, String)> {
    let name = meta.name.clone()?;
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        return Some(("Pod".to_owned(), name));
    };
    let label = |key: &str| meta.labels.as_ref().and_then(|labels| labels.get(key));
    let named = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = label("pod-template-hash").map(|hash| format!("-{hash}"));
            match hash.and_then(|hash| owner.name.strip_suffix(&hash)) {
                Some(deployment) => named("Deployment", deployment),
                None => named("ReplicaSet", &owner.name),
            }
        }
        "ReplicationController" => match label("deploymentconfig") {
            Some(config) => named("DeploymentConfig", config),
            None => named("ReplicationController", &owner.name),
        },
        // The name of a job that a cron job makes ends in its time in minutes.
        "Job" => match owner.name.rsplit_once('-') {
            Some((cron, time))
                if matches!(time.len(), 8..=11) && time.bytes().all(|b| b.is_ascii_digit()) =>
            {
                named("CronJob", cron)
            }
            _ => named("Job", &owner.name),
        },
        kind => named(kind, &owner.name),
    }
}

/// A namespace.
pub fn namespace(namespace: core::Namespace) -> Option<Namespace> {
    let labels = namespace.metadata.labels.clone().unwrap_or_default();
    let name = key(&namespace.metadata).name;
    // What is neither yes nor no enforces, and is told.
    let (audit, refused) = match kube_api::audit_asked(namespace.metadata.annotations.as_ref()) {
        Ok(audit) => (audit, None),
        Err(error) => {
            let place = format!("Namespace {name}: metadata.annotations.{}", kube_api::AUDIT_MODE);
            (false, Some(format!("{place}: {error}; until then policy is enforced")))
        }
    };
    let delegates_source = is_true(&namespace.metadata, DELEGATE_SOURCE);
    Some(Namespace { name, labels, audit, delegates_source, refused })
}

/// A node of the cluster.
pub fn node(node: CiliumNode) -> Option<Node> {
    let of_kind = |kinds: &[&str]| -> Vec<IpAddr> {
        let addresses = node.spec.addresses.iter().filter(|a| kinds.contains(&a.kind.as_str()));
        addresses.filter_map(|a| a.ip.parse().ok()).collect()
    };
    Some(Node {
        name: key(&node.metadata).name,
        underlay: of_kind(&[NodeAddress::INTERNAL_IP, "ExternalIP"]),
        routers: of_kind(&[NodeAddress::CILIUM_INTERNAL_IP]),
        pod_cidrs: node.spec.ipam.pod_cidrs.iter().filter_map(|c| c.parse().ok()).collect(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
    })
}

/// A pod of any node.
pub fn endpoint(endpoint: CiliumEndpoint) -> Option<RemoteEndpoint> {
    let networking = endpoint.status.networking.as_ref();
    let pairs = networking.map(|n| n.addressing.as_slice()).unwrap_or_default();
    let texts = pairs.iter().flat_map(|pair| [&pair.ipv4, &pair.ipv6]);
    let protocol = |text: &str| match text {
        "UDP" => 17,
        "SCTP" => 132,
        _ => 6,
    };
    Some(RemoteEndpoint {
        key: key(&endpoint.metadata),
        identity: endpoint
            .status
            .identity
            .as_ref()
            .and_then(|i| u32::try_from(i.id).ok())
            .unwrap_or_default(),
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
pub fn identity(identity: CiliumIdentity) -> Option<ClusterIdentity> {
    Some(ClusterIdentity { number: identity.number()?, labels: identity.security_labels })
}

/// A Cilium policy; one that cannot be applied says why.
pub fn cilium_policy<P: ToRules + CiliumPolicy>(policy: &P) -> Option<PolicyObject> {
    Some(object(policy, &specs(policy), policy.generation()))
}

/// A policy of the cluster's admins.
pub fn cluster_policy(policy: &kube_api::ClusterNetworkPolicy) -> Option<PolicyObject> {
    Some(object(policy, &policy.spec, policy.metadata.generation.unwrap_or_default()))
}

/// A Kubernetes policy.
pub fn network_policy(policy: &k8s_openapi::api::networking::v1::NetworkPolicy) -> Option<PolicyObject> {
    Some(object(policy, &policy.spec, policy.metadata.generation.unwrap_or_default()))
}

/// A policy from a file of the node; `object` is what is written there, or why that cannot be read. A
/// CiliumNetworkPolicy without a namespace is about all of them, as with Cilium.
pub fn file_policy(file: &str, object: Result<Value, String>) -> PolicyObject {
    let read = object.and_then(|mut object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let cluster = match (text("/kind"), text("/metadata/namespace")) {
            (CiliumNetworkPolicy::KIND, namespace) => namespace.is_empty(),
            (CiliumClusterwideNetworkPolicy::KIND, _) => true,
            (kind, _) => {
                return Err(format!(
                    "file {file}: kind {kind:?} does not come from files: write a CiliumNetworkPolicy or a \
                     CiliumClusterwideNetworkPolicy"
                ));
            }
        };
        let bad = |error: serde_json::Error| format!("file {file}: {error}");
        if cluster {
            object["kind"] = CiliumClusterwideNetworkPolicy::KIND.into();
            serde_json::from_value(object).map_err(bad).map(|policy| {
                let policy: CiliumClusterwideNetworkPolicy = policy;
                self::object(&policy, &specs(&policy), policy.generation())
            })
        } else {
            serde_json::from_value(object).map_err(bad).map(|policy| {
                let policy: CiliumNetworkPolicy = policy;
                self::object(&policy, &specs(&policy), policy.generation())
            })
        }
    });
    let origin = PolicyOrigin {
        kind: PolicyKind::File,
        namespace: String::new(),
        name: file.to_owned(),
        uid: String::new(),
    };
    match read {
        Ok(policy) => PolicyObject { origin, ..policy },
        Err(error) => PolicyObject {
            origin,
            rules: Vec::new(),
            refused: Some(error),
            generation: 0,
            text: String::new(),
        },
    }
}

fn specs<P: CiliumPolicy>(policy: &P) -> Vec<&kube_api::rule::Rule> {
    policy.rules().into_iter().map(|(_, rule)| rule).collect()
}

/// The rules of a cluster-wide Cilium policy whose specification was kept as text (see [`PolicyObject::text`]).
pub fn kept_rules(text: &str) -> Option<Vec<policy::Rule>> {
    let specs = Some(serde_json::from_str(text).ok()?);
    kube_api::CiliumClusterwideNetworkPolicy { specs, ..Default::default() }.to_rules().ok()
}

fn object(policy: &impl ToRules, spec: &impl Serialize, generation: i64) -> PolicyObject {
    let (rules, refused) = match policy.to_rules() {
        Ok(rules) => (rules, None),
        Err(error) => (policy.closing(), Some(kube_api::error::chain(&error))),
    };
    let text = serde_json::to_string(spec).unwrap_or_default();
    PolicyObject { origin: policy.origin(), rules, refused, text, generation }
}
