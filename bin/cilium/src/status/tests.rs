use super::super::text::summary;
use super::*;
use serde_json::json;

fn daemonset(ready: u64) -> Value {
    json!({
        "metadata": { "generation": 2, "labels": { "helm.sh/chart": "cilium-1.15.1" } },
        "status": { "observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3,
            "numberReady": ready, "numberAvailable": ready, "numberUnavailable": 3 - ready },
    })
}

fn deployment() -> Value {
    json!({
        "metadata": { "generation": 1 }, "spec": { "replicas": 1 },
        "status": { "observedGeneration": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1 },
    })
}

fn pod(namespace: &str, name: &str, labels: &Value, image: &str, host: bool) -> Value {
    json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "hostNetwork": host, "containers": [{ "name": "c", "image": image }] },
        "status": { "phase": "Running" },
    })
}

const AGENT: &str = "registry.example/cilium/cilium:v1.15.1";
const OPERATOR: &str = "registry.example/cilium/operator-generic:v1.15.1";

/// The cluster of the article on 1.15: three nodes, no relay, two pods.
fn cluster() -> (Installation, Vec<Value>) {
    let mut seen = Installation::default();
    workload(&mut seen, "DaemonSet", "cilium", true, Some(&daemonset(3)));
    workload(&mut seen, "DaemonSet", "cilium-envoy", false, None);
    workload(&mut seen, "Deployment", "cilium-operator", true, Some(&deployment()));
    workload(&mut seen, "Deployment", "hubble-relay", false, None);
    workload(&mut seen, "Deployment", "clustermesh-apiserver", false, None);
    let label = json!({ "k8s-app": "cilium" });
    let mut pods: Vec<Value> =
        (0..3).map(|n| pod("kube-system", &format!("cilium-{n}"), &label, AGENT, true)).collect();
    pods.push(pod("kube-system", "cilium-operator-x", &json!({ "name": "cilium-operator" }), OPERATOR, true));
    for name in ["coredns-1", "coredns-2"] {
        pods.push(pod("kube-system", name, &json!({}), "coredns", false));
    }
    (seen, pods)
}

fn endpoint(name: &str) -> Value {
    json!({ "metadata": { "namespace": "kube-system", "name": name } })
}

/// Line by line what the article shows, but for two things: Cilium printed kinds in random order (here DaemonSets come
/// first, as in its newer versions), and its images have digests.
#[test]
fn the_screen_of_the_article() {
    let (mut seen, pods) = cluster();
    count(&mut seen, &pods, &[endpoint("coredns-1"), endpoint("coredns-2"), endpoint("gone")]);
    of_parts(&mut seen, &pods, "kube-system");
    let expected = r"
    /¯¯\
 /¯¯\__/¯¯\    Cilium:             OK
 \__/¯¯\__/    Operator:           OK
 /¯¯\__/¯¯\    Envoy DaemonSet:    disabled (using embedded mode)
 \__/¯¯\__/    Hubble Relay:       disabled
    \__/       ClusterMesh:        disabled

DaemonSet              cilium             Desired: 3, Ready: 3/3, Available: 3/3
Deployment             cilium-operator    Desired: 1, Ready: 1/1, Available: 1/1
Containers:            cilium             Running: 3
                       cilium-operator    Running: 1
Cluster Pods:          2/2 managed by Cilium
Helm chart version:    1.15.1
Image versions         cilium             registry.example/cilium/cilium:v1.15.1: 3
                       cilium-operator    registry.example/cilium/operator-generic:v1.15.1: 1
";
    assert_eq!(summary(&seen, false), &expected[1..]);
    assert_eq!(seen.wrong(false), None);
    let coloured = summary(&seen, true);
    assert!(
        coloured.contains("\x1b[32mOK\x1b[0m") && coloured.contains("Cilium:             \x1b[32m"),
        "{coloured}"
    );
}

#[test]
fn what_is_wrong_is_told_by_part_and_pod() {
    let (_, mut pods) = cluster();
    let mut seen = Installation::default();
    workload(&mut seen, "DaemonSet", "cilium", true, Some(&daemonset(1)));
    workload(&mut seen, "Deployment", "cilium-operator", true, None);
    pods[0]["status"]["containerStatuses"] = json!([{ "name": "cilium-agent",
        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } },
        "lastState": { "terminated": { "exitCode": 1, "message": "starting\nError: native routing cidr must be configured\n\n" } } }]);
    pods[1]["status"]["phase"] = json!("Pending");
    of_parts(&mut seen, &pods[..2], "kube-system");
    let status: Status = serde_json::from_value(json!({
        "kubernetes": { "state": "Failure", "msg": "no answer" }, "cilium": { "state": "Warning", "msg": "nearly full" },
        "controllers": [{ "name": "sync", "status": { "consecutive-failure-count": 4, "last-failure-msg": "away" } }] }))
    .expect("a status");
    of_agent(&mut seen, "cilium-2", &status);
    let text = summary(&seen, false);
    let rest = text.split_once("Errors:").expect("errors").1;
    assert_eq!(
        rest,
        "                cilium             cilium             2 pods of DaemonSet cilium are not ready
                       cilium             cilium-0           unable to retrieve cilium status: container cilium-agent is in CrashLoopBackOff, exited with code 1: Error: native routing cidr must be configured
                       cilium             cilium-2           Kubernetes: no answer
                       cilium             cilium-2           controller sync is failing (4x): away
                       cilium-operator    cilium-operator    deployments.apps \"cilium-operator\" not found
Warnings:              cilium             cilium-1           pod is pending
                       cilium             cilium-2           Cilium: nearly full
"
    );
    assert!(text.contains("Cilium:             4 errors, 2 warnings\n"), "{text}");
    assert!(text.contains("Desired: 3, Ready: 1/3, Available: 1/3, Unavailable: 2/3\n"), "{text}");
    assert!(seen.wrong(true).is_some_and(|wrong| wrong.ends_with("and 2 more")), "{:?}", seen.wrong(true));
}

#[test]
fn a_rollout_under_way_is_not_well() {
    let mut old = daemonset(3);
    old["status"]["updatedNumberScheduled"] = json!(1);
    let mut seen = Installation::default();
    workload(&mut seen, "DaemonSet", "cilium", true, Some(&old));
    assert_eq!(
        seen.wrong(false).as_deref(),
        Some("cilium: 2 pods of DaemonSet cilium are still of the last revision")
    );
    assert_eq!(seen.wrong(true), None);
}

#[test]
fn the_keys_of_the_json() {
    let (seen, _) = cluster();
    let json = serde_json::to_value(&seen).expect("JSON");
    for key in [
        "image_count",
        "phase_count",
        "pod_state",
        "pods_count",
        "cilium_status",
        "cilium_endpoints",
        "errors",
        "collection_errors",
        "helm_chart_version",
        "config_errors",
    ] {
        assert!(json.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(json.pointer("/pod_state/cilium/Type"), Some(&json!("DaemonSet")));
    assert_eq!(json.pointer("/pod_state/cilium/Ready"), Some(&json!(3)));
    assert_eq!(json.pointer("/pods_count/ByCilium"), Some(&json!(0)));
}
