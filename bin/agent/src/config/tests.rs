use super::*;

fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
    let mut options = Options::default();
    options.set("k8s-node-name", "n1");
    for (name, value) in pairs {
        options.set(name, value);
    }
    Config::parse(&options)
}

fn refusal(pairs: &[(&str, &str)]) -> String {
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
        "native routing cidr must be configured with option --ipv4-native-routing-cidr in combination with \
         --enable-ipv4-masquerade=true --routing-mode=native --ipam=cluster-pool --enable-ipv4=true"
    );
    assert!(parse(&[("routing-mode", "native"), ("ipv4-native-routing-cidr", "10.0.0.0/8")]).is_ok());
    assert!(parse(&[("routing-mode", "native"), ("enable-ipv4-masquerade", "false")]).is_ok());
}

#[test]
fn contradictions_and_nonsense_are_refused_with_their_names() {
    for (pairs, part) in [
        (vec![("auto-direct-node-routes", "true")], "--auto-direct-node-routes cannot be used"),
        (vec![("enable-ipv4", "false")], "neither --enable-ipv4 nor --enable-ipv6"),
        (vec![("enable-ipv4", "maybe")], "--enable-ipv4=maybe"),
        (vec![("mtu", "12")], "--mtu=12"),
        (vec![("tunnel-port", "99999")], "--tunnel-port=99999"),
        (vec![("ipam", "eni")], "--ipam=eni"),
        (vec![("enable-policy", "sometimes")], "--enable-policy=sometimes"),
        (vec![("ipv4-native-routing-cidr", "10.0.0.0")], "--ipv4-native-routing-cidr=10.0.0.0"),
        (vec![("hubble-listen-address", "here")], "--hubble-listen-address=here"),
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
    let config = parse(&[("hubble-listen-address", ":4244")]).expect("valid");
    let listen = config.hubble.and_then(|h| h.listen).expect("listens");
    assert_eq!(listen.to_string(), "[::]:4244");
    assert!(parse(&[("enable-hubble", "false")]).expect("valid").hubble.is_none());
}

use std::ffi::OsString;
