//! The option names the operator knows: one table for flags, environment and the ConfigMap.

/// One option.
pub(super) struct Key {
    /// The name, as in the ConfigMap `cilium-config` and after `--`.
    pub(super) name: &'static str,
    /// The value when nobody sets it.
    pub(super) default: &'static str,
    /// One line for `--help`.
    pub(super) help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help }
}

/// Every option, in alphabetical order. Defaults are Cilium's, but for the times of the chart.
pub(super) const KEYS: &[Key] = &[
    key(
        "agent-not-ready-taint-key",
        "node.cilium.io/agent-not-ready",
        "taint of nodes whose agent is not ready",
    ),
    key(
        "cilium-endpoint-gc-interval",
        "5m",
        "how often CiliumEndpoints without a pod are looked for; 0: never",
    ),
    key("cilium-pod-labels", "k8s-app=cilium", "labels of the agents' pods"),
    key(
        "cluster-pool-ipv4-cidr",
        "",
        "IPv4 ranges that nodes' pod CIDRs are cut from, separated by spaces or commas",
    ),
    key("cluster-pool-ipv4-mask-size", "24", "prefix length of a node's IPv4 pod CIDR"),
    key(
        "cluster-pool-ipv6-cidr",
        "",
        "IPv6 ranges that nodes' pod CIDRs are cut from, separated by spaces or commas",
    ),
    key("cluster-pool-ipv6-mask-size", "112", "prefix length of a node's IPv6 pod CIDR"),
    key("config-dir", "", "folder with one file per option (the mounted ConfigMap)"),
    key("debug", "false", "log more"),
    key("disable-endpoint-crd", "false", "agents write no CiliumEndpoints: identities cannot be collected"),
    key("enable-ipv4", "true", "IPv4 for pods"),
    key("enable-ipv6", "false", "IPv6 for pods"),
    key("enable-metrics", "false", "serve metrics"),
    key("identity-gc-interval", "15m", "how often unused CiliumIdentities are looked for; 0: never"),
    key(
        "identity-heartbeat-timeout",
        "30m",
        "how long an identity must have been unused before it is deleted",
    ),
    key("ipam", "cluster-pool", "cluster-pool: give nodes pod CIDRs; kubernetes: leave that to the agents"),
    key("k8s-api-server", "", "URL of the API server; empty: kubeconfig or service account"),
    key("k8s-kubeconfig-path", "", "kubeconfig file; empty: service account"),
    key("k8s-namespace", "kube-system", "namespace of agents and lease; normally from CILIUM_K8S_NAMESPACE"),
    key("leader-election-lease-duration", "15s", "a leader that has not renewed for this long is replaced"),
    key("leader-election-renew-deadline", "10s", "a leader that could not renew for this long stops leading"),
    key("leader-election-retry-period", "2s", "time between tries to take or renew the lease"),
    key("nodes-gc-interval", "5m", "how often CiliumNodes without a Node are looked for; 0: never"),
    key("operator-api-serve-addr", "localhost:9234", "address of /healthz"),
    key("operator-prometheus-serve-addr", ":9963", "address of the metrics, with enable-metrics"),
    key(
        "pod-restart-selector",
        "k8s-app=kube-dns",
        "which pods without a CiliumEndpoint are restarted; empty: all",
    ),
    key("remove-cilium-node-taints", "true", "remove the taint once the node's agent is ready"),
    key("set-cilium-is-up-condition", "true", "set NetworkUnavailable=False once the node's agent is ready"),
    key("set-cilium-node-taints", "false", "taint nodes whose agent is not ready"),
    key("skip-crd-creation", "false", "leave the custom resource definitions to somebody else"),
    key(
        "unmanaged-pod-watcher-interval",
        "15s",
        "how often pods without a CiliumEndpoint are looked for; 0: never",
    ),
];

/// The entry of `name`, if the operator knows it.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
