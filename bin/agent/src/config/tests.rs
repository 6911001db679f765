use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
    let mut options = Options::default();
    options.set("k8s-node-name", "n1");
    for (name, value) in pairs {
        options.set(name, value);
    }
    Config::parse(&options)
}

pub(super) fn refusal(pairs: &[(&str, &str)]) -> String {
    format!("{:#}", parse(pairs).expect_err("must be refused"))
}

#[test]
fn defaults_are_a_tunnel_with_ipv4() {
    let config = parse(&[]).expect("defaults");
    assert_eq!(config.routing, Routing::Tunnel { port: 8472 });
    assert!(
        config.ipv4 && !config.ipv6 && config.masquerade_v4 && !config.masquerade_v6 && !config.dual_stack()
    );
    assert_eq!(config.ipam, IpamMode::ClusterPool);
}

#[test]
fn native_routing_with_masquerade_needs_a_cidr() {
    let text = refusal(&[("routing-mode", "native")]);
    assert_eq!(
        text,
        "native routing cidr must be configured with option ipv4-native-routing-cidr in combination with masquerade and \
         routingMode=native (--enable-ipv4-masquerade=true --routing-mode=native --ipam=cluster-pool --enable-ipv4=true): set \
         ipv4NativeRoutingCIDR to the range in which pods keep their own address, or enableIPv4Masquerade=false."
    );
    assert!(parse(&[("routing-mode", "native"), ("ipv4-native-routing-cidr", "10.0.0.0/8")]).is_ok());
    assert!(parse(&[("routing-mode", "native"), ("enable-ipv4-masquerade", "false")]).is_ok());
}

#[test]
fn the_ip_masq_agent_excepts_from_what_there_is() {
    let on = ("enable-ip-masq-agent", "true");
    assert_eq!(parse(&[]).expect("defaults").ip_masq_agent, None);
    let path = parse(&[on]).expect("valid").ip_masq_agent.expect("on");
    assert_eq!(path.as_os_str(), "/etc/config/ip-masq-agent");
    // Its list says what is inside, as the CIDR would.
    assert!(parse(&[on, ("routing-mode", "native")]).is_ok());
    let text = refusal(&[on, ("enable-ipv4-masquerade", "false")]);
    assert!(text.contains("ipMasqAgent.enabled=true cannot be used without masquerading"), "{text}");
    let text = refusal(&[on, ("ip-masq-agent-config-path", "here")]);
    assert!(text.contains("--ip-masq-agent-config-path=here is no absolute path"), "{text}");
}

#[test]
fn what_flows_say_and_where_they_stay_is_as_told() {
    let hubble = |pairs: &[(&str, &str)]| parse(pairs).expect("valid").hubble.expect("on");
    let defaults = hubble(&[]);
    assert_eq!((defaults.history, defaults.redaction, defaults.drop_events), (None, None, None));
    let redaction =
        hubble(&[("hubble-redact-enabled", "true"), ("hubble-redact-http-headers-deny", "Cookie,X")]);
    let redaction = redaction.redaction.expect("on");
    assert!(redaction.user_info && !redaction.url_query);
    let hidden = ["cookie", "x"].map(str::to_owned).into();
    assert_eq!(redaction.headers, flow::redact::Headers::These(hidden));
    let kept =
        hubble(&[("hubble-history-path", "/var/run/cilium/flows"), ("hubble-history-max-size-mb", "2")]);
    assert_eq!(kept.history, Some(("/var/run/cilium/flows".into(), 2 << 20)));
    let told = hubble(&[("hubble-drop-events", "true")]).drop_events.expect("on");
    assert_eq!((told.interval.as_secs(), told.reasons.contains(&133), told.reasons.len()), (120, true, 2));
}

#[test]
fn contradictions_and_nonsense_are_refused_with_their_names() {
    for (pairs, part) in [
        (vec![("hubble-history-path", "here")], "--hubble-history-path=here is no absolute path"),
        (
            vec![("hubble-history-path", "/x"), ("hubble-history-max-size-mb", "0")],
            "--hubble-history-max-size-mb=0 is outside 1..1048576",
        ),
        (vec![("hubble-drop-events", "true"), ("hubble-drop-events-interval", "2")], "is no duration"),
        (
            vec![("hubble-drop-events", "true"), ("hubble-drop-events-reasons", "mood")],
            "mood is no drop reason",
        ),
        (
            vec![
                ("hubble-redact-enabled", "true"),
                ("hubble-redact-http-headers-allow", "a"),
                ("hubble-redact-http-headers-deny", "b"),
            ],
            "cannot be used with --hubble-redact-http-headers-deny",
        ),
        (vec![("prometheus-serve-addr", ":9962"), ("metrics", "cilium_version")], "begins with neither"),
        (
            vec![("auto-direct-node-routes", "true")],
            "autoDirectNodeRoutes=true cannot be used with routingMode=tunnel",
        ),
        (vec![("enable-ipv4", "false")], "ipv4.enabled and ipv6.enabled are both false"),
        (vec![("enable-ipv4", "maybe")], "--enable-ipv4=maybe"),
        (vec![("mtu", "12")], "--mtu=12"),
        (vec![("tunnel-port", "99999")], "--tunnel-port=99999"),
        (vec![("ipam", "eni")], "--ipam=eni"),
        (vec![("enable-policy", "sometimes")], "--enable-policy=sometimes"),
        (vec![("policy-cidr-match-mode", "nodes,world")], "--policy-cidr-match-mode=world"),
        (vec![("ipv4-native-routing-cidr", "10.0.0.0")], "--ipv4-native-routing-cidr=10.0.0.0"),
        (vec![("hubble-listen-address", "here")], "--hubble-listen-address=here"),
        (vec![("hubble-listen-address", ":4244")], "needs --hubble-tls-cert-file"),
        (
            vec![("hubble-listen-address", ":4244"), ("hubble-tls-cert-file", "/c")],
            "needs --hubble-tls-key-file",
        ),
        (vec![("hubble-metrics-server", ":9965"), ("hubble-metrics", "tcp drops")], "\"drops\" is unknown"),
        (vec![("k8s-node-name", "")], "K8S_NODE_NAME"),
    ] {
        let text = refusal(&pairs);
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
}

#[test]
fn flags_win_over_environment_and_folder() {
    let folder = std::env::temp_dir().join(format!("axoneme-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("scratch folder");
    for (name, value) in
        [("enable-ipv6", "true\n"), ("tunnel-port", "1"), ("mtu", "1400"), ("no-such-key", "1")]
    {
        std::fs::write(folder.join(name), value).expect("scratch file");
    }
    let args = ["cilium-agent", "--tunnel-port", "3", "--debug", "--config-dir"].map(OsString::from);
    let args = args.into_iter().chain([folder.clone().into_os_string()]);
    let environment = [
        ("CILIUM_TUNNEL_PORT", "2"),
        ("CILIUM_MTU", "1500"),
        ("K8S_NODE_NAME", "n7"),
        ("CILIUM_SERVICE_HOST", "x"),
    ];
    let options = gather(args, environment.map(|(k, v)| (k.to_owned(), v.to_owned()))).expect("gathered");
    let _ = std::fs::remove_dir_all(&folder);

    let config = Config::parse(&options).expect("valid");
    assert_eq!(config.routing, Routing::Tunnel { port: 3 });
    assert_eq!((config.mtu, config.ipv6, config.debug), (Some(1500), true, true));
    assert_eq!(config.node_name, "n7");
    assert_eq!(options.unknown(), ["no-such-key"]);
}

#[test]
fn a_port_alone_listens_everywhere() {
    let config = parse(&[("hubble-listen-address", ":4244"), ("hubble-disable-tls", "true")]).expect("valid");
    let listen = config.hubble.and_then(|h| h.listen).expect("listens");
    assert_eq!(listen.to_string(), "[::]:4244");
    assert!(parse(&[("enable-hubble", "false")]).expect("valid").hubble.is_none());
}

/// Options with the load balancer on, and more.
fn replaced<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("kube-proxy-replacement", "true")], pairs].concat()
}

fn balancing(pairs: &[(&str, &str)]) -> Balancing {
    parse(&replaced(pairs)).expect("valid").balancing
}

#[test]
fn services_stay_with_kube_proxy_unless_told() {
    assert!(parse(&[]).expect("defaults").replacement().is_none());
    let on = balancing(&[("enable-ipv6", "true")]);
    assert_eq!(on.socket, SocketLb::All);
    assert!(on.bind_protection && on.health_check_node_port && on.healthz.is_none());
    assert_eq!((on.proxy_name.as_str(), on.map_max, on.cleanup), ("", None, false));
    assert_eq!(on.cgroup_root.as_os_str(), "/run/cilium/cgroupv2");
    let settings = on.settings;
    assert_eq!((&*settings.node, settings.zone, settings.v4, settings.v6), ("n1", None, true, true));
    assert_eq!(settings.node_port_range, 30_000..=32_767);
    assert_eq!(settings.algorithm, Algorithm::Random);
    assert_eq!((settings.forwarding, settings.no_backend), (ForwardingMode::Snat, NoBackend::Reject));
    assert!(!settings.external_cluster_ip && !settings.source_ranges_all_types && !settings.topology);
    assert_eq!(settings.backend_slots, abi::maps::size::BACKENDS);
}

#[test]
fn beside_kube_proxy_pods_reach_cluster_ips_and_nothing_else_is_ours() {
    // Options of the replacement mean nothing, be they good or bad.
    let beside =
        parse(&[("bpf-lb-mode", "dsr"), ("node-port-range", "none"), ("cleanup-kube-proxy", "true")]);
    let beside = beside.expect("valid").balancing;
    assert!(!beside.replaces && !beside.bind_protection && !beside.health_check_node_port && !beside.cleanup);
    assert_eq!((beside.socket, beside.healthz), (SocketLb::Off, None));
    let settings = beside.settings;
    assert!(settings.only_cluster_ips && settings.external_cluster_ip && settings.v4 && !settings.v6);
    assert_eq!(&*settings.node, "n1");
}

#[test]
fn options_of_the_load_balancer_arrive() {
    let on = balancing(&[
        ("bpf-lb-algorithm", "maglev"),
        ("bpf-lb-external-clusterip", "true"),
        ("bpf-lb-source-range-all-types", "true"),
        ("service-no-backend-response", "drop"),
        ("enable-service-topology", "true"),
        ("node-port-range", "20000,20010"),
        ("node-port-bind-protection", "false"),
        ("bpf-lb-map-max", "2048"),
        ("bpf-lb-maglev-table-size", "65521"),
        ("enable-local-redirect-policy", "true"),
        ("lrp-address-matcher-cidrs", "169.254.0.0/16, fd00::1/64"),
        ("kube-proxy-replacement-healthz-bind-address", ":10256"),
        ("enable-health-check-nodeport", "false"),
        ("k8s-service-proxy-name", "blue"),
        ("cgroup-root", "/sys/fs/cgroup"),
    ]);
    assert!(!on.bind_protection && !on.health_check_node_port);
    assert_eq!(on.healthz.map(|a| a.to_string()).as_deref(), Some("[::]:10256"));
    assert_eq!((on.proxy_name.as_str(), on.map_max), ("blue", Some(2048)));
    assert_eq!(on.cgroup_root.as_os_str(), "/sys/fs/cgroup");
    let settings = on.settings;
    assert_eq!((settings.algorithm, settings.no_backend), (Algorithm::Maglev, NoBackend::Drop));
    assert!(settings.external_cluster_ip && settings.source_ranges_all_types && settings.topology);
    assert_eq!(settings.node_port_range, 20_000..=20_010);
    assert_eq!((settings.backend_slots, settings.maglev_slots), (2048, 2048));
    assert_eq!((settings.maglev_size, balancing(&[]).settings.maglev_size), (65_521, 16_381));
    assert!(on.redirects && !balancing(&[]).redirects);
    let cidrs: Vec<String> = settings.redirect_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["169.254.0.0/16", "fd00::/64"]);
    assert!(balancing(&[]).table_sizes().next().is_none());
    let sizes: std::collections::BTreeMap<_, _> =
        balancing(&[("bpf-lb-map-max", "2048")]).table_sizes().collect();
    assert_eq!((sizes.len(), sizes[abi::maps::BACKENDS], sizes[abi::maps::MAGLEV]), (6, 2048, 2048));
}

#[test]
fn sockets_are_translated_as_told() {
    let sock = ("bpf-lb-sock", "true");
    let no_sock = ("bpf-lb-sock", "false");
    let host_only = ("bpf-lb-sock-hostns-only", "true");
    for (pairs, expected) in [
        (vec![], SocketLb::All),
        (vec![sock], SocketLb::All),
        (vec![no_sock], SocketLb::Off),
        (vec![host_only], SocketLb::Host),
        (vec![sock, host_only], SocketLb::Host),
    ] {
        assert_eq!(balancing(&pairs).socket, expected, "{pairs:?}");
    }
    assert!(parse(&[no_sock]).expect("valid").replacement().is_none());
    let text = refusal(&[sock]);
    assert!(text.contains("--bpf-lb-sock=true cannot be used with --kube-proxy-replacement=false"), "{text}");
    let text = refusal(&replaced(&[no_sock, host_only]));
    assert!(
        text.contains("--bpf-lb-sock-hostns-only=true cannot be used with --bpf-lb-sock=false"),
        "{text}"
    );
}

#[test]
fn the_whole_seed_counts() {
    let seed = |text| balancing(&[("bpf-lb-maglev-hash-seed", text)]).settings.maglev_seed;
    let seeds = ["JLfvgnHc2kaSUFaI", "KLfvgnHc2kaSUFaI", "JLfvgnHc2kaSUFaJ", "JLfvgnHc2kaTUFaI"].map(seed);
    let distinct: std::collections::BTreeSet<u64> = seeds.into_iter().collect();
    assert_eq!(distinct.len(), 4);
    assert_eq!(seeds[0], balancing(&[]).settings.maglev_seed);
}

#[test]
fn options_that_the_load_balancer_cannot_follow_are_refused() {
    for (pair, part) in [
        (("kube-proxy-replacement", "strict"), "--kube-proxy-replacement=strict is neither true nor false"),
        (("bpf-lb-sock", "maybe"), "--bpf-lb-sock=maybe"),
        (("bpf-lb-algorithm", "least"), "--bpf-lb-algorithm=least is unknown: use random or maglev"),
        (("bpf-lb-mode", "dsr"), "loadBalancer.mode=dsr cannot be used with routingMode=tunnel"),
        (("bpf-lb-mode", "hybrid"), "loadBalancer.mode=hybrid cannot be used with routingMode=tunnel"),
        (("bpf-lb-mode", "nat"), "--bpf-lb-mode=nat is unknown"),
        (
            ("bpf-lb-maglev-table-size", "65520"),
            "--bpf-lb-maglev-table-size=65520 is no size of a table: use one of 251,",
        ),
        (
            ("lrp-address-matcher-cidrs", "169.254.0.0"),
            "--lrp-address-matcher-cidrs: 169.254.0.0 is no prefix",
        ),
        (("bpf-lb-maglev-hash-seed", "?"), "--bpf-lb-maglev-hash-seed=? is not base64 of 12 bytes"),
        (("bpf-lb-maglev-hash-seed", "AAAA"), "--bpf-lb-maglev-hash-seed=AAAA is not base64 of 12 bytes"),
        (("service-no-backend-response", "ignore"), "use reject or drop"),
        (("node-port-range", "30000"), "--node-port-range=30000 is no range of ports"),
        (("node-port-range", "32767,30000"), "--node-port-range=32767,30000 is no range"),
        (("node-port-range", "0,10"), "--node-port-range=0,10 is no range"),
        (("node-port-range", "30000,70000"), "--node-port-range=30000,70000 is no range"),
        (("bpf-lb-map-max", "7"), "--bpf-lb-map-max=7 is outside 1024..16777216"),
        (
            ("kube-proxy-replacement-healthz-bind-address", "here"),
            "healthz-bind-address=here is not an address",
        ),
        (("k8s-service-proxy-name", "a b"), "--k8s-service-proxy-name=a b cannot be the value of a label"),
        (("cgroup-root", ""), "--cgroup-root= is no absolute path"),
    ] {
        let text = refusal(&replaced(&[pair]));
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
}

use std::ffi::OsString;

use services::{Algorithm, ForwardingMode, NoBackend};
