//! The labels that make a pod's identity, from the objects that say them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use policy::{NamedPorts, Protocol};
use types::{LabelFilter, Labels, PodLabels};

/// The identity labels of a pod: its own, its namespace's, and where it runs.
///
/// `filter` leaves out what differs on every pod. Labels of the pod that pass for derived ones never count
/// (GHSA-pfhr-pccp-hwmh, CVE-2023-39347).
#[must_use]
pub fn identity_labels(
    pod: &Pod,
    namespace_labels: &BTreeMap<String, String>,
    cluster_name: &str,
    filter: &LabelFilter,
) -> Labels {
    fn pairs(labels: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
        labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    filter.identity_labels(&PodLabels {
        namespace: pod.metadata.namespace.as_deref().unwrap_or_default(),
        service_account: account.unwrap_or_default(),
        cluster: cluster_name,
        pod: pod.metadata.labels.as_ref().map(pairs).unwrap_or_default(),
        namespace_labels: pairs(namespace_labels),
    })
}

/// The ports that a pod's containers name: name to protocol number and port. What is no port is left out.
#[must_use]
pub fn named_ports(pod: &Pod) -> NamedPorts {
    let mut names = NamedPorts::new();
    let Some(spec) = &pod.spec else { return names };
    for port in lasting_containers(spec).flat_map(|container| container.ports.iter().flatten()) {
        let protocol = match port.protocol.as_deref() {
            None | Some("" | "TCP") => Protocol::TCP,
            Some("UDP") => Protocol::UDP,
            Some("SCTP") => Protocol::SCTP,
            Some(_) => continue,
        };
        let (Some(name), Protocol::Number(protocol), Ok(port)) =
            (&port.name, protocol, u16::try_from(port.container_port))
        else {
            continue;
        };
        if port > 0 {
            names.entry(name.to_ascii_lowercase()).or_default().insert((protocol, port));
        }
    }
    names
}

/// The containers that are there to be talked to: of the init containers only sidecars.
pub(crate) fn lasting_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().chain(sidecars)
}

#[cfg(test)]
mod tests;
