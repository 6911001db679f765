//! Asks the API server, and each agent through it.

use super::model::{Installation, PodState};
use super::pods::Pod;
use crate::cluster::{self, Reach};
use anyhow::{Context, Result, anyhow};
use api::status::{Controller, Status};
use kube_watch::{Clients, Container};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kind, name, and whether an installation must have it.
const PARTS: [(&str, &str, bool); 6] = [
    ("DaemonSet", "cilium", true),
    ("DaemonSet", "cilium-envoy", false),
    ("Deployment", "cilium-operator", true),
    ("Deployment", "hubble-relay", false),
    ("Deployment", "hubble-ui", false),
    ("Deployment", "clustermesh-apiserver", false),
];

/// Looks once at everything.
///
/// # Errors
/// The API server does not answer.
pub(crate) async fn gather(reach: &Reach) -> Result<Installation> {
    let mut seen = Installation::default();
    for (kind, name, required) in PARTS {
        let path = format!("/apis/apps/v1/namespaces/{}/{}s/{name}", reach.namespace, kind.to_lowercase());
        let object = cluster::find(&reach.clients, &path).await?;
        workload(&mut seen, kind, name, required, object.as_ref());
    }
    let pods = cluster::list(&reach.clients, "/api/v1/pods").await?;
    let endpoints = cluster::list(&reach.clients, "/apis/cilium.io/v2/ciliumendpoints").await?;
    count(&mut seen, &pods, &endpoints);
    of_parts(&mut seen, &pods, &reach.namespace);
    let asked = ask(&reach.clients, &pods, &reach.namespace).await;
    for (pod, answer) in asked {
        match answer {
            Ok(status) => {
                of_agent(&mut seen, &pod, &status);
                seen.cilium_status.insert(pod, status);
            }
            Err(error) => seen.error("cilium", &pod, format!("unable to retrieve cilium status: {error:#}")),
        }
    }
    Ok(seen)
}

/// A Deployment or DaemonSet, or its absence.
fn workload(seen: &mut Installation, kind: &str, name: &str, required: bool, object: Option<&Value>) {
    let Some(object) = object else {
        if required {
            let plural = format!("{}s.apps", kind.to_lowercase());
            seen.error(name, name, format!("{plural} {name:?} not found"));
        }
        let state = PodState { kind: kind.to_owned(), disabled: true, ..PodState::default() };
        seen.pod_state.insert(name.to_owned(), state);
        return;
    };
    let number = |name: &str| object["status"][name].as_u64().unwrap_or_default();
    let state = match kind {
        "DaemonSet" => PodState {
            desired: number("desiredNumberScheduled"),
            ready: number("numberReady"),
            available: number("numberAvailable"),
            unavailable: number("numberUnavailable"),
            ..PodState::default()
        },
        _ => PodState {
            desired: object["spec"]["replicas"].as_u64().unwrap_or(1),
            ready: number("readyReplicas"),
            available: number("availableReplicas"),
            unavailable: number("unavailableReplicas"),
            ..PodState::default()
        },
    };
    let missing = state.desired.saturating_sub(state.ready);
    if missing > 0 {
        seen.error(name, name, format!("{missing} pods of {kind} {name} are not ready"));
    }
    // A rollout that has not come by everywhere: the old pods are ready, and not what is wanted.
    let updated = match kind {
        "DaemonSet" => number("updatedNumberScheduled"),
        _ => number("updatedReplicas"),
    };
    let observed = object["status"]["observedGeneration"] == object["metadata"]["generation"];
    if missing == 0 && (!observed || updated < state.desired) {
        let behind = state.desired.saturating_sub(updated);
        seen.warning(name, name, format!("{behind} pods of {kind} {name} are still of the last revision"));
    }
    if name == "cilium" {
        let chart = object.pointer("/metadata/labels/helm.sh~1chart").and_then(Value::as_str);
        seen.helm_chart_version =
            chart.and_then(|chart| chart.strip_prefix("cilium-")).unwrap_or_default().to_owned();
    }
    seen.pod_state.insert(name.to_owned(), PodState { kind: kind.to_owned(), ..state });
}

/// How many pods there are, and how many of them have an endpoint.
fn count(seen: &mut Installation, pods: &[Value], endpoints: &[Value]) {
    let names: BTreeSet<(&str, &str)> =
        endpoints.iter().map(|endpoint| (Pod(endpoint).namespace(), Pod(endpoint).name())).collect();
    let networked: Vec<Pod<'_>> = pods.iter().map(Pod).filter(|pod| pod.is_networked()).collect();
    seen.pods_count.all = networked.len();
    seen.pods_count.by_cilium =
        networked.iter().filter(|pod| names.contains(&(pod.namespace(), pod.name()))).count();
}

/// Phases and images of Cilium's own pods, and those that do not run.
fn of_parts(seen: &mut Installation, pods: &[Value], namespace: &str) {
    for pod in pods.iter().map(Pod).filter(|pod| pod.namespace() == namespace) {
        let Some(part) = pod.part() else { continue };
        *seen.phase_count.entry(part.to_owned()).or_default().entry(pod.phase().to_owned()).or_default() += 1;
        for image in pod.images() {
            *seen.image_count.entry(part.to_owned()).or_default().entry(image.to_owned()).or_default() += 1;
        }
        match pod.trouble() {
            Some(trouble) if part == "cilium" => {
                seen.error(part, pod.name(), format!("unable to retrieve cilium status: {trouble}"));
            }
            Some(trouble) => seen.error(part, pod.name(), trouble),
            None if pod.phase() == "Pending" => seen.warning(part, pod.name(), "pod is pending"),
            None => {}
        }
    }
}

/// Asks each agent that runs.
async fn ask(clients: &Clients, pods: &[Value], namespace: &str) -> Vec<(String, Result<Status>)> {
    let mut asking = JoinSet::new();
    for pod in super::agents(pods, namespace) {
        if pod.phase() != "Running" || pod.trouble().is_some() {
            continue;
        }
        let (clients, namespace, pod) = (clients.clone(), namespace.to_owned(), pod.name().to_owned());
        asking.spawn(async move {
            let answer = status(&clients, &namespace, &pod).await;
            (pod, answer)
        });
    }
    asking.join_all().await
}

async fn status(clients: &Clients, namespace: &str, pod: &str) -> Result<Status> {
    let container = Container { namespace, pod, name: Some("cilium-agent") };
    let ran = clients
        .exec(container, &["cilium-dbg", "status", "-o", "json"], PATIENCE)
        .await
        .map_err(|error| anyhow!("{}", error.describe()))?;
    serde_json::from_slice(&ran.stdout)
        .with_context(|| String::from_utf8_lossy(&ran.stderr).trim().to_owned())
}

/// What an agent complains about.
fn of_agent(seen: &mut Installation, pod: &str, status: &Status) {
    let kubernetes = status.kubernetes.as_ref().map(|k| (k.state.as_str(), k.msg.as_str()));
    let states = [("Cilium", &status.cilium), ("KVStore", &status.kvstore)];
    let parts = states.into_iter().filter_map(|(name, state)| Some((name, state.as_ref()?)));
    let parts = parts.map(|(name, state)| (name, (state.state.as_str(), state.msg.as_str())));
    for (name, (state, message)) in parts.chain(kubernetes.map(|state| ("Kubernetes", state))) {
        match state {
            "Failure" => seen.error("cilium", pod, format!("{name}: {message}")),
            "Warning" => seen.warning("cilium", pod, format!("{name}: {message}")),
            _ => {}
        }
    }
    for Controller { name, status } in &status.controllers {
        if status.consecutive_failure_count > 0 {
            let (times, why) = (status.consecutive_failure_count, &status.last_failure_msg);
            seen.error("cilium", pod, format!("controller {name} is failing ({times}x): {why}"));
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
