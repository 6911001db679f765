//! Pods as the commands look at them.

use serde_json::Value;

/// Label of each part's pods.
const LABELS: [(&str, &str, &str); 6] = [
    ("cilium", "k8s-app", "cilium"),
    ("cilium-envoy", "k8s-app", "cilium-envoy"),
    ("cilium-operator", "name", "cilium-operator"),
    ("hubble-relay", "k8s-app", "hubble-relay"),
    ("hubble-ui", "k8s-app", "hubble-ui"),
    ("clustermesh-apiserver", "k8s-app", "clustermesh-apiserver"),
];

/// A pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pod<'a>(pub(crate) &'a Value);

impl<'a> Pod<'a> {
    fn text(self, path: &str) -> &'a str {
        self.0.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn name(self) -> &'a str {
        self.text("/metadata/name")
    }

    pub(crate) fn namespace(self) -> &'a str {
        self.text("/metadata/namespace")
    }

    pub(crate) fn node(self) -> &'a str {
        self.text("/spec/nodeName")
    }

    pub(crate) fn phase(self) -> &'a str {
        self.text("/status/phase")
    }

    /// It has a network of its own, and runs.
    pub(crate) fn is_networked(self) -> bool {
        self.0.pointer("/spec/hostNetwork") != Some(&Value::Bool(true)) && self.phase() == "Running"
    }

    pub(crate) fn is_ready(self) -> bool {
        let conditions = self.0.pointer("/status/conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    }

    /// Its addresses, the first family first.
    pub(crate) fn addresses(self) -> Vec<std::net::IpAddr> {
        let list = self.0.pointer("/status/podIPs").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|one| one["ip"].as_str()?.parse().ok()).collect()
    }

    /// Which part of Cilium it belongs to.
    pub(crate) fn part(self) -> Option<&'static str> {
        let labels = self.0.pointer("/metadata/labels")?;
        LABELS
            .iter()
            .find(|(_, key, value)| labels.get(key).is_some_and(|v| v == value))
            .map(|(part, ..)| *part)
    }

    /// Images of its containers.
    pub(crate) fn images(self) -> impl Iterator<Item = &'a str> {
        let containers = self.0.pointer("/spec/containers").and_then(Value::as_array);
        containers.into_iter().flatten().filter_map(|container| container["image"].as_str())
    }

    /// Why a container of it does not run: `container X is in CrashLoopBackOff, exited with code 1: why`.
    pub(crate) fn trouble(self) -> Option<String> {
        let groups = ["/status/initContainerStatuses", "/status/containerStatuses"];
        let statuses = groups.iter().filter_map(|path| self.0.pointer(path)?.as_array()).flatten();
        statuses.filter_map(trouble).next()
    }
}

fn trouble(status: &Value) -> Option<String> {
    let reason = status.pointer("/state/waiting/reason").and_then(Value::as_str)?;
    let mut text = format!("container {} is in {reason}", status["name"].as_str().unwrap_or_default());
    if let Some(ended) = status.pointer("/lastState/terminated") {
        text.push_str(&format!(", exited with code {}", ended["exitCode"]));
        // The end of the log: the last line says what was fatal.
        let message = ended["message"].as_str().unwrap_or_default();
        if let Some(line) = message.lines().rev().find(|line| !line.trim().is_empty()) {
            text.push_str(&format!(": {}", line.trim()));
        }
    } else if let Some(message) = status.pointer("/state/waiting/message").and_then(Value::as_str) {
        text.push_str(&format!(": {message}"));
    }
    Some(text)
}

/// The agents' pods among all pods.
pub(crate) fn agents<'a>(pods: &'a [Value], namespace: &str) -> Vec<Pod<'a>> {
    let all = pods.iter().map(Pod).filter(|pod| pod.namespace() == namespace);
    all.filter(|pod| pod.part() == Some("cilium")).collect()
}
