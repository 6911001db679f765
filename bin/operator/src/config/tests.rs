use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
    let mut options = Options::default();
    options.set("cluster-pool-ipv4-cidr", "10.0.0.0/8");
    options.set("operator-api-serve-addr", "127.0.0.1:0");
    for (name, value) in pairs {
        options.set(name, value);
    }
    Config::parse(&options)
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    format!("{:#}", parse(pairs).expect_err("must be refused"))
}

#[test]
fn defaults_are_one_ipv4_pool_and_all_duties() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.plan.pools.len(), 1);
    assert_eq!(config.plan.identity_gc.unwrap().timeout, Duration::from_secs(1800));
    assert_eq!(config.plan.endpoint_gc, Some(Duration::from_secs(300)));
    assert_eq!(config.plan.restarts.unwrap().interval, Duration::from_secs(15));
    assert!(config.register_crds && config.plan.readiness.remove_taint && !config.plan.readiness.set_taint);
}

#[test]
fn zero_switches_a_duty_off() {
    let config = parse(&[
        ("identity-gc-interval", "0s"),
        ("cilium-endpoint-gc-interval", "0"),
        ("nodes-gc-interval", "0s"),
        ("unmanaged-pod-watcher-interval", "0"),
        ("ipam", "kubernetes"),
    ])
    .unwrap()
    .plan;
    assert!(config.identity_gc.is_none() && config.endpoint_gc.is_none() && config.node_gc.is_none());
    assert!(config.restarts.is_none() && config.pools.is_empty());
    assert!(parse(&[("disable-endpoint-crd", "true")]).unwrap().plan.identity_gc.is_none());
}

#[test]
fn pools_of_both_families() {
    let config = parse(&[
        ("enable-ipv6", "true"),
        ("cluster-pool-ipv4-cidr", "10.1.0.0/16 10.2.0.0/16,10.3.0.0/16"),
        ("cluster-pool-ipv6-cidr", "fd00::/104"),
        ("cluster-pool-ipv6-mask-size", "120"),
    ])
    .unwrap();
    assert_eq!(config.plan.pools[0].total(), 3 * 256);
    assert_eq!((config.plan.pools[1].family(), config.plan.pools[1].total()), (Family::V6, 65_536));
}

#[test]
fn contradictions_and_nonsense_are_refused_with_their_names() {
    for (pairs, part) in [
        (vec![("cluster-pool-ipv4-cidr", "")], "--cluster-pool-ipv4-cidr"),
        (vec![("cluster-pool-ipv4-cidr", "10.0.0.0")], "10.0.0.0 is no CIDR"),
        (vec![("cluster-pool-ipv4-cidr", "fd00::/64")], "fd00::/64 is not IPv4"),
        (vec![("cluster-pool-ipv4-cidr", "10.0.0.0/8 10.1.0.0/16")], "overlap"),
        (vec![("cluster-pool-ipv4-mask-size", "7")], "from /8 to /30"),
        (vec![("cluster-pool-ipv4-mask-size", "300")], "--cluster-pool-ipv4-mask-size=300"),
        (vec![("enable-ipv4", "false")], "neither --enable-ipv4 nor --enable-ipv6"),
        (vec![("enable-ipv4", "maybe")], "--enable-ipv4=maybe"),
        (vec![("ipam", "eni")], "--ipam=eni"),
        (vec![("identity-gc-interval", "soon")], "--identity-gc-interval=soon"),
        (vec![("pod-restart-selector", "a b")], "--pod-restart-selector=a b"),
        (vec![("leader-election-renew-deadline", "20s")], "retry-period < renew-deadline < lease-duration"),
        (vec![("operator-api-serve-addr", "9234")], "--operator-api-serve-addr=9234"),
        (
            vec![("set-cilium-node-taints", "true"), ("remove-cilium-node-taints", "false")],
            "set both or none",
        ),
    ] {
        let text = refusal(&pairs);
        assert!(text.contains(part), "{text:?} does not name {part:?}");
    }
}

#[test]
fn flags_win_over_environment_and_folder() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("enable-ipv6", "false\n"),
        ("ipam", "kubernetes"),
        ("nodes-gc-interval", "1s"),
        ("routing-mode", "native"),
    ] {
        std::fs::write(folder.path().join(name), value).unwrap();
    }
    let args = [
        "cilium-operator".into(),
        "--nodes-gc-interval=3s".into(),
        "--config-dir".into(),
        folder.path().into(),
    ];
    let environment =
        [("CILIUM_NODES_GC_INTERVAL", "2s"), ("CILIUM_K8S_NAMESPACE", "net"), ("CILIUM_OTHER", "x")];
    let options = gather(args, environment.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let config = Config::parse(&options).unwrap();
    assert_eq!(config.plan.node_gc, Some(Duration::from_secs(3)));
    assert!(config.plan.pools.is_empty());
    assert_eq!((config.namespace.as_str(), config.plan.readiness.namespace.as_str()), ("net", "net"));
    assert!(gather(["x", "--no-such-flag"].map(OsString::from), []).is_err());
    let missing = gather(["x", "--config-dir=/no/such/folder"].map(OsString::from), []).unwrap_err();
    assert!(format!("{missing:#}").contains("/no/such/folder"));
}

use std::ffi::OsString;
