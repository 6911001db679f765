//! Screens of the articles beside ours, line by line. A line of theirs, the line of ours that stands for it, and why the two
//! differ (nothing: they do not, but for numbers and names).

use crate::report::{Report, yes};

/// A line there, a pattern for ours (`*`: anything; empty: ours has none), why.
type Line = (&'static str, &'static str, &'static str);

/// A screen.
pub(super) struct Screen {
    /// Whose it is.
    pub(super) name: &'static str,
    /// Its lines.
    pub(super) lines: &'static [Line],
    /// Patterns of lines that ours has besides.
    pub(super) more: &'static [&'static str],
}

const OFF: &str = "\"Ok\" is no longer said of what is switched off";
const STRICT: &str = "\"Strict\" is called \"True\" since 1.14";

/// `cilium status` in the agent, article 001 (1.13).
pub(super) const AGENT: Screen = Screen {
    name: "001, cilium status in the agent",
    lines: &[
        ("KVStore: Ok Disabled", "KVStore: Disabled", OFF),
        ("Kubernetes: Ok 1.23 (v1.23.4) [linux/amd64]", "Kubernetes: Ok 1.* (v1.*) [linux/amd64]", ""),
        (
            "Kubernetes APIs: [\"cilium/v2::CiliumClusterwideNetworkPolicy\", …]",
            "Kubernetes APIs: [*\"cilium/v2::CiliumClusterwideNetworkPolicy\", *\"cilium/v2::CiliumEndpoint\", *\"core/v1::Pods\", *\"discovery/v1::EndpointSlice\"*]",
            "",
        ),
        (
            "KubeProxyReplacement: Strict [eth0 172.18.0.3 (Direct Routing)]",
            "KubeProxyReplacement: True [eth0 172.31.0.11* (Direct Routing)]",
            STRICT,
        ),
        ("Host firewall: Disabled", "Host firewall: Disabled", ""),
        ("CNI Chaining: none", "CNI Chaining: none", ""),
        (
            "CNI Config file: CNI configuration file management disabled",
            "CNI Config file: *05-cilium.conflist*",
            "the agent writes it since 1.14, not the init container",
        ),
        ("Cilium: Ok 1.13.0-rc5 (v1.13.0-rc5-dc22a46f)", "Cilium: Ok *", ""),
        (
            "NodeMonitor: Listening for events on 128 CPUs with 64x4096 of shared memory",
            "NodeMonitor: Listening for events on * CPUs with *x* of shared memory",
            "",
        ),
        ("Cilium health daemon: Ok", "Cilium health daemon: Ok", ""),
        (
            "IPAM: IPv4: 6/254 allocated from 10.0.0.0/24,",
            "IPAM: IPv4: */254 allocated from 10.0.*.0/24*",
            "",
        ),
        ("IPv6 BIG TCP: Disabled", "IPv6 BIG TCP: Disabled", ""),
        ("BandwidthManager: Disabled", "BandwidthManager: Disabled", ""),
        (
            "Host Routing: BPF",
            "Routing: Network: Native Host: BPF",
            "one line for both kinds of routing since 1.16",
        ),
        (
            "Masquerading: BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]",
            "Masquerading: BPF [eth0] 10.0.0.0/8 [IPv4: Enabled, IPv6: Disabled]",
            "",
        ),
        ("Controller Status: 35/35 healthy", "Controller Status: */* healthy", "fewer jobs that repeat"),
        (
            "Proxy Status: OK, ip 10.0.0.231, 0 redirects active on ports 10000-20000",
            "Proxy Status: No managed proxy redirect",
            "no policy of layer 7 in this version",
        ),
        ("Global Identity Range: min 256, max 65535", "Global Identity Range: min 256, max 65535", ""),
        (
            "Hubble: Ok Current/Max Flows: 4095/4095 (100.00%), Flows/s: 6.85 Metrics: Disabled",
            "Hubble: Ok Current/Max Flows: */* (*%), Flows/s: * Metrics: Disabled",
            "",
        ),
        ("Encryption: Disabled", "Encryption: Disabled", ""),
        (
            "Cluster health: 3/3 reachable (2024-06-27T09:06:44Z)",
            "Cluster health: 2/2 reachable (*Z) (Probe interval: *s)",
            "the interval is told since 1.15",
        ),
    ],
    more: &["SRv6: *", "IPv4 BIG TCP: *", "Attach Mode: *", "Device Mode: *", "Modules Health: *"],
};

/// The block that article 003 (1.15) shows of `cilium status --verbose`.
pub(super) const DETAILS: Screen = Screen {
    name: "003, KubeProxyReplacement Details",
    lines: &[
        ("Status: Strict", "Status: True", STRICT),
        ("Socket LB: Enabled", "Socket LB: Enabled", ""),
        (
            "Socket LB Tracing: Enabled",
            "Socket LB Tracing: *",
            "flows are told of by the datapath, not by the socket",
        ),
        ("Socket LB Coverage: Full", "Socket LB Coverage: Full", ""),
        (
            "Devices: eth0 10.12.12.5 fe80::d20d:10ff:fe08:9a52 (Direct Routing)",
            "Devices: eth0 172.31.0.11* (Direct Routing)",
            "",
        ),
        ("Mode: SNAT", "Mode: SNAT", ""),
        ("Backend Selection: Random", "Backend Selection: Random", ""),
        ("Session Affinity: Enabled", "Session Affinity: Enabled", ""),
        ("Graceful Termination: Enabled", "", "always so, and told of no longer since 1.17"),
        ("NAT46/64 Support: Disabled", "NAT46/64 Support: Disabled", ""),
        ("XDP Acceleration: Disabled", "XDP Acceleration: Disabled", ""),
        ("Services:", "Services:", ""),
        ("- ClusterIP: Enabled", "- ClusterIP: Enabled", ""),
        ("- NodePort: Enabled (Range: 30000-32767)", "- NodePort: Enabled (Range: 30000-32767)", ""),
        ("- LoadBalancer: Enabled", "- LoadBalancer: Enabled", ""),
        ("- externalIPs: Enabled", "- externalIPs: Enabled", ""),
        ("- HostPort: Enabled", "- HostPort: Enabled", ""),
    ],
    more: &["Annotations:", "- service.cilium.io/*", "Kernel:", "- *: Ok"],
};

/// `cilium status`, article 003 (1.15).
pub(super) const INSTALLATION: Screen = Screen {
    name: "003, cilium status",
    lines: &[
        ("/¯¯\\", "/¯¯\\", ""),
        ("/¯¯\\__/¯¯\\ Cilium: OK", "/¯¯\\__/¯¯\\ Cilium: OK", ""),
        ("\\__/¯¯\\__/ Operator: OK", "\\__/¯¯\\__/ Operator: OK", ""),
        (
            "/¯¯\\__/¯¯\\ Envoy DaemonSet: disabled (using embedded mode)",
            "/¯¯\\__/¯¯\\ Envoy DaemonSet: disabled (using embedded mode)",
            "",
        ),
        ("\\__/¯¯\\__/ Hubble Relay: disabled", "\\__/¯¯\\__/ Hubble Relay: disabled", ""),
        ("\\__/ ClusterMesh: disabled", "\\__/ ClusterMesh: disabled", ""),
        (
            "DaemonSet cilium Desired: 3, Ready: 3/3, Available: 3/3",
            "DaemonSet cilium Desired: 2, Ready: 2/2, Available: 2/2",
            "",
        ),
        (
            "Deployment cilium-operator Desired: 1, Ready: 1/1, Available: 1/1",
            "Deployment cilium-operator Desired: 1, Ready: 1/1, Available: 1/1",
            "",
        ),
        ("Containers: cilium Running: 3", "Containers: cilium Running: 2", ""),
        ("cilium-operator Running: 1", "cilium-operator Running: 1", ""),
        ("Cluster Pods: 2/2 managed by Cilium", "Cluster Pods: */* managed by Cilium", ""),
        ("Helm chart version: 1.15.1", "Helm chart version: *.*.*", ""),
        (
            "Image versions cilium registry/cilium/cilium:v1.15.1@sha256:…: 3",
            "Image versions cilium *: 2",
            "",
        ),
        ("cilium-operator registry/cilium/operator-generic:v1.15.1@sha256:…: 1", "cilium-operator *: 1", ""),
    ],
    more: &["clustermesh-apiserver", "hubble-relay", "cilium-envoy"],
};

impl Screen {
    /// Every line of theirs has its own of ours, in their order or by an explanation; and ours has no others but those named.
    pub(super) fn compare(&self, ours: &str, report: &mut Report) {
        let ours: Vec<String> = ours.lines().map(words).filter(|line| !line.is_empty()).collect();
        for (there, pattern, why) in self.lines {
            let title = there.split(':').next().unwrap_or(there);
            let found = match *pattern {
                "" => !ours.iter().any(|line| line.starts_with(title)),
                pattern => ours.iter().any(|line| fits(line, pattern)),
            };
            let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
            report.check(self.name, &format!("{there}{why}"), "yes", yes(found));
        }
        let known = |line: &&String| {
            self.lines.iter().any(|(_, pattern, _)| fits(line, pattern))
                || self.more.iter().any(|pattern| fits(line, pattern))
        };
        let unknown: Vec<&str> = ours.iter().filter(|line| !known(line)).map(String::as_str).collect();
        report.check(self.name, "lines that nobody explained", "", &unknown.join(" | "));
        report.flush();
    }
}

/// One blank between words.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a line is as a pattern says, in which `*` stands for anything.
fn fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_hold_lines_to_their_words() {
        assert!(fits("Cilium: Ok 1.0", "Cilium: Ok *") && fits("- a: Ok", "- *: Ok") && fits("x", "x"));
        assert!(
            !fits("Cilium: Warning", "Cilium: Ok *") && !fits("- a: Ok no", "- *: Ok") && !fits("xy", "x")
        );
        assert!(fits("IPAM: IPv4: 6/254 from 10.0.1.0/24,", "IPAM: IPv4: */254 from 10.0.*.0/24*"));
    }
}
