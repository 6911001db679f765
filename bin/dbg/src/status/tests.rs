use super::*;
use serde_json::{Value, json};

/// A node in tunnel mode, dual stack, with one job that fails.
fn status() -> Status {
    serde_json::from_value(json!({
        "kvstore": { "state": "Disabled" },
        "kubernetes": { "state": "Ok", "msg": "1.34 (v1.34.0) [linux/amd64]",
            "k8s-api-versions": ["cilium/v2::CiliumNetworkPolicy", "core/v1::Pods"] },
        "kube-proxy-replacement": { "mode": "True", "directRoutingDevice": "eth0",
            "deviceList": [{ "name": "eth0", "ip": ["172.31.0.11", "fd00:31::11"] }, { "name": "eth1", "ip": ["10.9.0.1"] }],
            "features": { "socketLB": { "enabled": true }, "sessionAffinity": { "enabled": true },
                "nodePort": { "enabled": true, "mode": "SNAT", "algorithm": "Maglev", "lutSize": 16381,
                    "acceleration": "Disabled", "portMin": 30000, "portMax": 32767 } } },
        "host-firewall": { "mode": "Disabled" },
        "srv6": { "enabled": false },
        "cni-chaining": { "mode": "none" },
        "cni-file": { "state": "Ok", "msg": "successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist" },
        "cilium": { "state": "Ok", "msg": "1.19.0 (v1.19.0)" },
        "nodeMonitor": { "cpus": 2, "npages": 64, "pagesize": 4096, "lost": 3 },
        "cluster": { "ciliumHealth": { "state": "Ok" }, "self": "default/node-1" },
        "ipam": { "status": "IPv4: 2/254 allocated from 10.244.1.0/24, ",
            "allocations": { "10.244.1.5": "default/web-0", "10.244.1.1": "router" } },
        "ipv4-big-tcp": { "enabled": false },
        "ipv6-big-tcp": { "enabled": true, "maxGRO": 196608, "maxGSO": 196608 },
        "bandwidth-manager": { "enabled": false },
        "routing": { "inter-host-routing-mode": "Tunnel", "intra-host-routing-mode": "BPF", "tunnel-protocol": "vxlan" },
        "attach-mode": "TCX",
        "datapath-mode": "veth",
        "masquerading": { "enabled": true, "mode": "BPF", "enabledProtocols": { "ipv4": true },
            "snat-exclusion-cidr-v4": "10.244.0.0/16", "devices": ["eth0"] },
        "clock-source": { "mode": "ktime" },
        "controllers": [
            { "name": "sync-b", "status": { "success-count": 2, "last-success-timestamp": "2026-01-01T00:00:00Z" } },
            { "name": "sync-a", "status": { "consecutive-failure-count": 4, "last-failure-msg": "API server away",
                "last-failure-timestamp": "2026-01-01T00:01:00.5Z", "last-success-timestamp": "0001-01-01T00:00:00Z" } } ],
        "proxy": { "ip": "10.244.1.1", "port-range": "10000-20000", "envoy-deployment-mode": "external",
            "redirects": [{ "name": "77:ingress:TCP:80", "proxy": "http", "proxy-port": 12000 }], "total-redirects": 1 },
        "identity-range": { "min-identity": 256, "max-identity": 65535 },
        "hubble": { "state": "Ok", "observer": { "current-flows": 2047, "max-flows": 4095, "seen-flows": 9000, "uptime": "50m0s" },
            "metrics": { "state": "Disabled" } },
        "bpf-maps": { "dynamic-size-ratio": 0.0025, "maps": [{ "name": "TCP connection tracking", "size": 524_288 }] },
        "encryption": { "mode": "Disabled" },
        "modules-health": { "degraded": 1, "ok": 40 },
    }))
    .expect("a status")
}

/// 2026-01-01T00:02:05Z.
const NOW: i64 = 1_767_225_725;

fn trimmed(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_report() {
    let expected = r#"
KVStore:                 Disabled
Kubernetes:              Ok         1.34 (v1.34.0) [linux/amd64]
Kubernetes APIs:         ["cilium/v2::CiliumNetworkPolicy", "core/v1::Pods"]
KubeProxyReplacement:    True   [eth0 172.31.0.11 fd00:31::11 (Direct Routing), eth1 10.9.0.1]
Host firewall:           Disabled
SRv6:                    Disabled
CNI Chaining:            none
CNI Config file:         successfully wrote CNI configuration file to /host/etc/cni/net.d/05-cilium.conflist
Cilium:                  Ok   1.19.0 (v1.19.0)
NodeMonitor:             Listening for events on 2 CPUs with 64x4096 of shared memory
                         3 events lost, 0 unknown notifications
Cilium health daemon:    Ok
IPAM:                    IPv4: 2/254 allocated from 10.244.1.0/24,
IPv4 BIG TCP:            Disabled
IPv6 BIG TCP:            Enabled   [196608]
BandwidthManager:        Disabled
Routing:                 Network: Tunnel [vxlan]   Host: BPF
Attach Mode:             TCX
Device Mode:             veth
Masquerading:            BPF   [eth0]   10.244.0.0/16 [IPv4: Enabled, IPv6: Disabled]
Controller Status:       1/2 healthy
  Name                   Last success   Last error   Count   Message
  sync-a                 never          1m5s ago     4       API server away
Proxy Status:            OK, ip 10.244.1.1, 1 redirects active on ports 10000-20000, Envoy: external
Global Identity Range:   min 256, max 65535
Hubble:                  Ok         Current/Max Flows: 2047/4095 (49.99%), Flows/s: 3.00   Metrics: Disabled
Encryption:              Disabled
Cluster health:          Probe disabled
Modules Health:          Stopped(0) Degraded(1) OK(40)
"#;
    assert_eq!(trimmed(&report::report(&status(), None, Show::default(), NOW)), expected.trim_start());
}

#[test]
fn the_long_report() {
    let show = Show { addresses: true, controllers: true, redirects: true, nodes: true, details: true };
    let text = trimmed(&report::report(&status(), None, show, NOW));
    for block in [
        "Allocated addresses:\n  10.244.1.1 (router)\n  10.244.1.5 (default/web-0)\n",
        "Clock Source for BPF:    ktime\n",
        "  sync-b                 2m5s ago       never        0       no error\n",
        "  Protocol               Redirect            Proxy Port\n  http                   77:ingress:TCP:80   12000\n",
        "KubeProxyReplacement Details:\n  Status:               True\n  Socket LB:            Enabled\n",
        "  Socket LB Coverage:   Full\n  Devices:              eth0 172.31.0.11 fd00:31::11 (Direct Routing), eth1 10.9.0.1\n  Mode:                 SNAT\n",
        "  Backend Selection:    Maglev (Table Size: 16381)\n  Session Affinity:     Enabled\n",
        "  Services:\n  - ClusterIP:              Enabled\n  - NodePort:               Enabled (Range: 30000-32767)\n",
        "BPF Maps:                   dynamic sizing: on (ratio: 0.002500)\n  Name                      Size\n  TCP connection tracking   524288\n",
    ] {
        assert!(text.contains(block), "this block is missing:\n{block}\nin:\n{text}");
    }
}

#[test]
fn what_is_missing_has_its_filler() {
    let expected = "\
NodeMonitor:             Disabled
Proxy Status:            No managed proxy redirect
Global Identity Range:   Unknown
";
    assert_eq!(report::report(&Status::default(), None, Show::default(), NOW), expected);
}

#[test]
fn what_kube_proxy_left_is_a_warning() {
    let mut status = status();
    let kpr = status.kube_proxy_replacement.as_mut().expect("it is there");
    kpr.leftovers = vec!["nftables IPv4: the table kube-proxy".into(), "IPVS: the device kube-ipvs0".into()];
    let text = report::report(&status, None, Show::default(), NOW);
    let line = "Warning: kube-proxy has left nftables IPv4: the table kube-proxy; IPVS: the device kube-ipvs0 (cilium-dbg kube-proxy \
                cleanup)\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn the_brief_form() {
    assert_eq!(brief(&status()).0, "OK\n");
    assert_eq!(brief(&Status::default()).0, "OK\n");
    let mut ailing = status();
    ailing.kubernetes.as_mut().expect("kubernetes").state = "Failure".to_owned();
    ailing.kubernetes.as_mut().expect("kubernetes").msg = "connection refused".to_owned();
    assert_eq!(brief(&ailing), ("error in kubernetes: connection refused\n".to_owned(), ExitCode::FAILURE));
    assert_eq!(exit_code(&ailing), ExitCode::SUCCESS, "the agent itself is well");
    ailing.cilium = Some(State { state: "Warning".into(), msg: "stale".into() });
    assert_eq!(exit_code(&ailing), ExitCode::FAILURE);
}

/// The top keys that tools read.
#[test]
fn the_json() {
    let value: Value = serde_json::to_value(status()).expect("JSON");
    for key in [
        "attach-mode",
        "bandwidth-manager",
        "bpf-maps",
        "cilium",
        "clock-source",
        "cluster",
        "cni-chaining",
        "cni-file",
        "controllers",
        "datapath-mode",
        "encryption",
        "host-firewall",
        "hubble",
        "identity-range",
        "ipam",
        "ipv4-big-tcp",
        "ipv6-big-tcp",
        "kube-proxy-replacement",
        "kubernetes",
        "kvstore",
        "masquerading",
        "nodeMonitor",
        "proxy",
        "routing",
        "srv6",
    ] {
        assert!(value.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(
        value.pointer("/kube-proxy-replacement/features/nodePort/acceleration"),
        Some(&json!("Disabled"))
    );
    assert_eq!(value.pointer("/hubble/observer/uptime"), Some(&json!("50m0s")));
    assert_eq!(value.pointer("/proxy/envoy-deployment-mode"), Some(&json!("external")));
}

/// The screen of the article on socket load balancing (1.13), line by line: what stands there, and what stands here where
/// Cilium has changed the line since (1.19).
const ARTICLE: [(&str, &str); 21] = [
    // The state no longer says "Ok" about something that is switched off.
    ("KVStore: Ok Disabled", "KVStore: Disabled"),
    ("Kubernetes: Ok 1.23 (v1.23.4) [linux/amd64]", "Kubernetes: Ok 1.23 (v1.23.4) [linux/amd64]"),
    (r#"Kubernetes APIs: ["core/v1::Pods"]"#, r#"Kubernetes APIs: ["core/v1::Pods"]"#),
    // "Strict" became "True".
    (
        "KubeProxyReplacement: Strict [eth0 172.18.0.3 (Direct Routing)]",
        "KubeProxyReplacement: True [eth0 172.18.0.3 (Direct Routing)]",
    ),
    ("Host firewall: Disabled", "Host firewall: Disabled"),
    ("CNI Chaining: none", "CNI Chaining: none"),
    (
        "CNI Config file: CNI configuration file management disabled",
        "CNI Config file: CNI configuration file management disabled",
    ),
    ("Cilium: Ok 1.13.0-rc5 (v1.13.0-rc5-dc22a46f)", "Cilium: Ok 1.13.0-rc5 (v1.13.0-rc5-dc22a46f)"),
    (
        "NodeMonitor: Listening for events on 128 CPUs with 64x4096 of shared memory",
        "NodeMonitor: Listening for events on 128 CPUs with 64x4096 of shared memory",
    ),
    ("Cilium health daemon: Ok", "Cilium health daemon: Ok"),
    ("IPAM: IPv4: 6/254 allocated from 10.0.0.0/24,", "IPAM: IPv4: 6/254 allocated from 10.0.0.0/24,"),
    ("IPv6 BIG TCP: Disabled", "IPv6 BIG TCP: Disabled"),
    ("BandwidthManager: Disabled", "BandwidthManager: Disabled"),
    // One line for both kinds of routing.
    ("Host Routing: BPF", "Routing: Network: Native Host: BPF"),
    (
        "Masquerading: BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]",
        "Masquerading: BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]",
    ),
    ("Controller Status: 2/2 healthy", "Controller Status: 2/2 healthy"),
    // Where the proxy runs is new.
    (
        "Proxy Status: OK, ip 10.0.0.231, 0 redirects active on ports 10000-20000",
        "Proxy Status: OK, ip 10.0.0.231, 0 redirects active on ports 10000-20000, Envoy: embedded",
    ),
    ("Global Identity Range: min 256, max 65535", "Global Identity Range: min 256, max 65535"),
    (
        "Hubble: Ok Current/Max Flows: 4095/4095 (100.00%), Flows/s: 6.85 Metrics: Disabled",
        "Hubble: Ok Current/Max Flows: 4095/4095 (100.00%), Flows/s: 6.85 Metrics: Disabled",
    ),
    ("Encryption: Disabled", "Encryption: Disabled"),
    // The interval is new.
    (
        "Cluster health: 3/3 reachable (2024-06-27T09:06:44Z)",
        "Cluster health: 3/3 reachable (2024-06-27T09:06:44Z) (Probe interval: 14s)",
    ),
];

#[test]
fn the_screen_of_the_article_line_by_line() {
    let status: Status = serde_json::from_value(json!({
        "kvstore": { "state": "Disabled" },
        "kubernetes": { "state": "Ok", "msg": "1.23 (v1.23.4) [linux/amd64]", "k8s-api-versions": ["core/v1::Pods"] },
        "kube-proxy-replacement": { "mode": "True", "directRoutingDevice": "eth0", "deviceList": [{ "name": "eth0", "ip": ["172.18.0.3"] }] },
        "host-firewall": { "mode": "Disabled" }, "cni-chaining": { "mode": "none" },
        "cni-file": { "state": "Disabled", "msg": "CNI configuration file management disabled" },
        "cilium": { "state": "Ok", "msg": "1.13.0-rc5 (v1.13.0-rc5-dc22a46f)" },
        "nodeMonitor": { "cpus": 128, "npages": 64, "pagesize": 4096 },
        "cluster": { "ciliumHealth": { "state": "Ok" } }, "ipam": { "status": "IPv4: 6/254 allocated from 10.0.0.0/24," },
        "ipv6-big-tcp": { "enabled": false }, "bandwidth-manager": { "enabled": false },
        "routing": { "inter-host-routing-mode": "Native", "intra-host-routing-mode": "BPF" },
        "masquerading": { "enabled": true, "mode": "BPF", "enabledProtocols": { "ipv4": true },
            "snat-exclusion-cidr-v4": "10.0.0.0/8", "devices": ["eth0"] },
        "controllers": [{ "name": "a" }, { "name": "b" }],
        "proxy": { "ip": "10.0.0.231", "port-range": "10000-20000", "envoy-deployment-mode": "embedded" },
        "identity-range": { "min-identity": 256, "max-identity": 65535 },
        "hubble": { "state": "Ok", "observer": { "current-flows": 4095, "max-flows": 4095, "seen-flows": 685, "uptime": "1m40s" },
            "metrics": { "state": "Disabled" } },
        "encryption": { "mode": "Disabled" },
    }))
    .expect("a status");
    let node = |name: &str| {
        let probe = json!({ "latency": 1, "lastProbed": "x" });
        json!({ "name": name, "host": { "primary-address": { "ip": "172.18.0.3", "icmp": probe, "http": probe } } })
    };
    let health: HealthStatus = serde_json::from_value(json!({
        "nodes": [node("a"), node("b"), node("c")], "timestamp": "2024-06-27T09:06:44Z", "probeInterval": "14s" }))
    .expect("a round");
    let text = report::report(&status, Some(&health), Show::default(), NOW);
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines, ARTICLE.map(|(_, here)| here));
    let title = |line: &str| line.split(':').next().map(str::to_owned);
    let moved: Vec<_> = ARTICLE.iter().filter(|(there, here)| title(there) != title(here)).collect();
    assert_eq!(moved.len(), 1, "only one line has another title: {moved:?}");
}
