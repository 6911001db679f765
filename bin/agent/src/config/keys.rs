//! The option names the agent knows, with their defaults: one table for flags, environment and the ConfigMap.

/// One option.
pub(super) struct Key {
    /// The name, as in the ConfigMap `cilium-config` and after `--`.
    pub name: &'static str,
    /// The value when nobody sets it.
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key { name, default, help }
}

/// Every option the agent reads.
pub(super) const KEYS: &[Key] = &[
    key("agent-health-port", "9879", "TCP port of /healthz on the loopback address"),
    key(
        "auto-direct-node-routes",
        "false",
        "route other nodes' pods directly through their addresses (same L2 network)",
    ),
    key("bpf-ct-global-tcp-max", "524288", "entries of the conntrack table"),
    key("bpf-lb-algorithm", "random", "how a service's backend is chosen: random or maglev"),
    key("bpf-lb-external-clusterip", "false", "clients outside the cluster may use cluster IPs"),
    key("bpf-lb-maglev-hash-seed", "JLfvgnHc2kaSUFaI", "12 bytes in base64, the same for all nodes"),
    key(
        "bpf-lb-maglev-table-size",
        "16381",
        "entries of a service's maglev table: a prime, from 251 to 131071",
    ),
    key("bpf-lb-map-max", "0", "entries of each service table; 0: the table's default"),
    key(
        "bpf-lb-acceleration",
        "disabled",
        "send what only passes through this node before its stack: disabled, native, best-effort, testing-only (generic)",
    ),
    key("bpf-lb-mode", "snat", "how clients outside reach a backend on another node: snat, dsr or hybrid"),
    key(
        "bpf-lb-sock",
        "",
        "connections to services are translated when they are opened; empty: as kube-proxy-replacement",
    ),
    key("bpf-lb-sock-hostns-only", "false", "bpf-lb-sock for processes of the node alone, not for pods"),
    key(
        "bpf-lb-source-range-all-types",
        "false",
        "loadBalancerSourceRanges hold for all addresses of a service",
    ),
    key("bpf-nat-global-max", "524288", "entries of the masquerade table"),
    key("bpf-policy-map-max", "65536", "accepted; policy tables take the memory they need"),
    key("bpf-root", "/sys/fs/bpf", "where the BPF file system is mounted"),
    key("cgroup-root", "/run/cilium/cgroupv2", "where the node's cgroup v2 hierarchy is mounted"),
    key(
        "cleanup-kube-proxy",
        "false",
        "remove what a kube-proxy has left on the node, once services are served",
    ),
    key("cluster-health-port", "4240", "TCP port on which nodes ask each other whether they are there"),
    key("cluster-id", "0", "number of this cluster"),
    key("cluster-name", "default", "name of this cluster"),
    key(
        "cni-chaining-mode",
        "none",
        "other CNI plugins beside this one: none, portmap, flannel or generic-veth",
    ),
    key("cni-conf-dir", "/etc/cni/net.d", "where the container runtime looks for CNI configurations"),
    key("cni-exclusive", "true", "set other CNI configurations aside"),
    key("cni-log-file", "/var/run/cilium/cilium-cni.log", "log of the CNI plugin"),
    key("config-dir", "", "folder with one file per option (the mounted ConfigMap)"),
    key("debug", "false", "log more"),
    key(
        "devices",
        "",
        "native devices, separated by spaces or commas; empty: those of the default route and the node's address",
    ),
    key("disable-endpoint-crd", "false", "write no CiliumEndpoint objects"),
    key("enable-bpf-masquerade", "true", "accepted; masquerading is always done in BPF"),
    key(
        "enable-extended-ip-protocols",
        "false",
        "let protocols without ports (VRRP, IGMP, ...) pass, as far as policy allows; false: they are dropped",
    ),
    key("enable-health-checking", "true", "nodes ask each other whether they are there"),
    key("enable-health-check-nodeport", "true", "serve the healthCheckNodePort of services"),
    key("enable-host-firewall", "false", "enforce the policies that select nodes on the node itself"),
    key("enable-host-legacy-routing", "false", "packets of pods to elsewhere take the node's IP stack"),
    key("enable-hubble", "true", "serve flows"),
    key("enable-hubble-open-metrics", "false", "serve hubble-metrics also as OpenMetrics, with exemplars"),
    key(
        "enable-ip-masq-agent",
        "false",
        "pods keep their own address towards the destinations that a file lists (ip-masq-agent-config-path)",
    ),
    key("enable-ipv4", "true", "IPv4 for pods"),
    key("enable-ipv4-masquerade", "true", "pods reach the world with the node's IPv4 address"),
    key("enable-ipv6", "false", "IPv6 for pods"),
    key("enable-ipv6-masquerade", "true", "pods reach the world with the node's IPv6 address"),
    key(
        "enable-k8s-cluster-network-policy",
        "false",
        "enforce policy.networking.k8s.io ClusterNetworkPolicy",
    ),
    key("enable-k8s-networkpolicy", "true", "enforce networking.k8s.io NetworkPolicy"),
    key(
        "enable-local-redirect-policy",
        "false",
        "follow CiliumLocalRedirectPolicy: lead services and addresses to pods of the node",
    ),
    key(
        "enable-node-selector-labels",
        "false",
        "policies may select nodes by their labels (fromNodes, toNodes)",
    ),
    key("enable-policy", "default", "policy enforcement: default, always or never"),
    key("enable-service-topology", "false", "heed the topology hints of EndpointSlices"),
    key(
        "enable-source-ip-verification",
        "true",
        "drop what a pod sends under an address that is not its own",
    ),
    key(
        "host-firewall-confirm-timeout",
        "30s",
        "a change of the node's own policy that keeps it from the API server for so long is rolled back",
    ),
    key("hubble-disable-tls", "false", "serve the Hubble API on hubble-listen-address in plain text"),
    key("hubble-drop-events", "false", "tell of drops of pods' packets by Events"),
    key("hubble-drop-events-interval", "2m", "how long the same drop makes no second Event"),
    key(
        "hubble-drop-events-reasons",
        "auth_required,policy_denied",
        "which drops those are, by the names of the flow API",
    ),
    key("hubble-event-buffer-capacity", "4095", "flows kept in memory"),
    key(
        "hubble-export-allowlist",
        "",
        "flows that hubble-export-file-path gets: FlowFilters as JSON, one after the other; empty: all",
    ),
    key("hubble-export-denylist", "", "flows that it does not get, written likewise"),
    key(
        "hubble-export-fieldmask",
        "",
        "fields of flows that it gets, such as time source.pod_name; empty: all",
    ),
    key("hubble-export-file-max-backups", "5", "full files of hubble-export-file-path that are kept"),
    key("hubble-export-file-max-size-mb", "10", "size at which hubble-export-file-path is full"),
    key("hubble-export-file-path", "", "file that flows go to as JSON, or stdout; empty: none"),
    key("hubble-flowlogs-config-path", "", "file that lists more exports, YAML; read again when it changes"),
    key("hubble-history-max-size-mb", "256", "bytes that hubble-history-path may have, in MB"),
    key("hubble-history-path", "", "folder that keeps flows beyond memory; empty: none are kept"),
    key("hubble-listen-address", "", "TCP address of the Hubble API, e.g. :4244; empty: none"),
    key(
        "hubble-metrics",
        "",
        "metrics made of flows, separated by spaces, such as drop:sourceContext=pod;destinationContext=pod tcp",
    ),
    key("hubble-metrics-server", "", "TCP address of hubble-metrics, e.g. :9965; empty: none"),
    key("hubble-redact-enabled", "false", "take secrets out of messages of layer 7"),
    key(
        "hubble-redact-http-headers-allow",
        "",
        "headers whose values are shown; those of all others are hidden",
    ),
    key("hubble-redact-http-headers-deny", "", "headers whose values are hidden"),
    key("hubble-redact-http-urlquery", "false", "leave the queries of URLs out"),
    key("hubble-redact-http-userinfo", "true", "hide passwords in URLs"),
    key("hubble-redact-kafka-apikey", "false", "hide the names of Kafka's APIs"),
    key("hubble-socket-path", "/var/run/cilium/hubble.sock", "unix socket of the Hubble API"),
    key("hubble-tls-cert-file", "", "certificate of the Hubble API in PEM; read again when it changes"),
    key(
        "hubble-tls-client-ca-files",
        "",
        "authorities that clients' certificates must come from; empty: anybody may ask",
    ),
    key("hubble-tls-key-file", "", "private key of hubble-tls-cert-file in PEM"),
    key(
        "ip-masq-agent-config-path",
        "/etc/config/ip-masq-agent",
        "file with the list of the ip-masq-agent, YAML or JSON; read again when it changes",
    ),
    key("ipam", "cluster-pool", "where pod addresses come from: cluster-pool or kubernetes"),
    key("ipv4-native-routing-cidr", "", "destinations that see the pods' own IPv4 addresses"),
    key("ipv6-native-routing-cidr", "", "destinations that see the pods' own IPv6 addresses"),
    key("k8s-api-server", "", "URL of the API server; empty: kubeconfig or service account"),
    key("k8s-kubeconfig-path", "", "kubeconfig file; empty: service account"),
    key("k8s-node-name", "", "name of this node; normally from the environment variable K8S_NODE_NAME"),
    key(
        "k8s-service-proxy-name",
        "",
        "serve the services with this label service.kubernetes.io/service-proxy-name; empty: those without it",
    ),
    key("kube-proxy-replacement", "false", "serve services; false: kube-proxy does"),
    key(
        "kube-proxy-replacement-healthz-bind-address",
        "",
        "TCP address of kube-proxy's /healthz, e.g. 0.0.0.0:10256; empty: none",
    ),
    key("lib-dir", "/var/lib/cilium", "folder with the kernel programs (axoneme.o)"),
    key("lrp-address-matcher-cidrs", "", "the addresses that local redirect policies may name; empty: all"),
    key("metrics", "", "metrics of prometheus-serve-addr: -NAME leaves one out, +NAME takes it in again"),
    key(
        "monitor-aggregation",
        "medium",
        "none: every packet is an event; otherwise one per connection event and 5 s",
    ),
    key("mtu", "0", "MTU of the underlay; 0: as found on the devices"),
    key(
        "node-labels",
        "",
        "labels of nodes that policies may select by: [!]regular expressions for the start of a key; empty: all",
    ),
    key("node-port-bind-protection", "true", "nobody may bind a node port"),
    key("node-port-range", "30000,32767", "first and last node port"),
    key("policy-audit-mode", "false", "report policy drops but let the packets pass"),
    key(
        "policy-cidr-match-mode",
        "",
        "whose addresses fromCIDR and toCIDR mean beside those outside of the cluster: nodes, pods",
    ),
    key("policy-deny-response", "none", "what senders get whom policy denies: none or icmp"),
    key("prometheus-serve-addr", "", "TCP address of the agent's own metrics, e.g. :9962; empty: none"),
    key("read-cni-conf", "", "file with the CNI configuration to write; empty: the agent makes its own"),
    key("routing-mode", "tunnel", "tunnel or native"),
    key(
        "service-no-backend-response",
        "reject",
        "what clients of a service without backends get: reject or drop",
    ),
    key("socket-path", "/var/run/cilium/cilium.sock", "unix socket of the agent's API"),
    key("state-dir", "/var/run/cilium", "folder of the agent's state"),
    key(
        "static-cnp-path",
        "",
        "folder with policies, one *.yaml each, that is followed; one that is missing holds none; empty: none",
    ),
    key("tunnel-port", "8472", "UDP port of the tunnel"),
    key("tunnel-protocol", "vxlan", "vxlan"),
    key(
        "write-cni-conf-when-ready",
        "/etc/cni/net.d/05-cilium.conflist",
        "CNI configuration to write once pods can be served; empty: none",
    ),
];

/// The entry of `name`, if the agent knows it.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}
