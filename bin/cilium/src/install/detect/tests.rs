use super::*;
use crate::cli::ReleaseArgs;
use clap::{Args, FromArgMatches};

fn user(args: &[&str]) -> Values {
    let command = ReleaseArgs::augment_args(clap::Command::new("install"));
    let matches = command.get_matches_from([&["install"], args].concat());
    Values::read(&ReleaseArgs::from_arg_matches(&matches).expect("arguments")).expect("values")
}

fn facts() -> Facts {
    Facts {
        cluster: Some("kubernetes".to_owned()),
        server: address("https://10.12.12.5:6443"),
        node_addresses: vec!["172.31.0.11".parse().expect("an address")],
        pod_cidrs: vec![Vec::new()],
        ..Facts::default()
    }
}

/// The lines of the article on 1.15, behind that of the version.
#[test]
fn the_screens_of_the_article() {
    let with = Facts { kube_proxy: true, ..facts() };
    let decided = decide(&with, &user(&[]));
    assert_eq!(
        decided.lines,
        ["🔮 Auto-detected cluster name: kubernetes", "🔮 Auto-detected kube-proxy has been installed"]
    );
    assert_eq!(decided.values, json!({ "cluster": { "name": "kubernetes" } }));
    let decided = decide(&facts(), &user(&[]));
    assert_eq!(
        decided.lines,
        [
            "🔮 Auto-detected cluster name: kubernetes",
            "🔮 Auto-detected kube-proxy has not been installed",
            "ℹ️  Cilium will fully replace all functionalities of kube-proxy"
        ]
    );
    assert_eq!(
        decided.values,
        json!({ "cluster": { "name": "kubernetes" }, "kubeProxyReplacement": "true",
            "k8sServiceHost": "10.12.12.5", "k8sServicePort": 6443 })
    );
}

#[test]
fn the_user_s_word_counts() {
    let decided = decide(&facts(), &user(&["--set", "cluster.name=eu,kubeProxyReplacement=false"]));
    assert_eq!(
        decided.lines,
        ["ℹ️  Using cluster name \"eu\"", "🔮 Auto-detected kube-proxy has not been installed"]
    );
    assert_eq!(decided.values, json!({}));
}

#[test]
fn pods_get_addresses_that_nobody_has() {
    let mut seen = Facts { kube_proxy: true, cluster: None, ..facts() };
    seen.node_addresses.push("10.0.3.4".parse().expect("an address"));
    assert_eq!(
        decide(&seen, &user(&[])).values,
        json!({ "ipam": { "operator": { "clusterPoolIPv4PodCIDRList": ["192.168.0.0/16"] } } }),
        "172.16.0.0/12 is taken, too"
    );
    seen.pod_cidrs = vec![vec!["10.244.0.0/24".to_owned()], vec!["10.244.1.0/24".to_owned()]];
    let decided = decide(&seen, &user(&[]));
    assert_eq!(decided.values, json!({ "ipam": { "mode": "kubernetes" } }));
    assert_eq!(decided.lines[0], "🔮 Auto-detected pod CIDRs of nodes: 10.244.0.0/24, 10.244.1.0/24");
    seen.pod_cidrs.push(Vec::new());
    assert_eq!(decide(&seen, &user(&["--set", "ipam.mode=cluster-pool"])).values, json!({}));
}

#[test]
fn other_networks_are_named() {
    let calico = ("Calico", "kube-system/calico-node".to_owned());
    let seen = Facts { networks: vec![calico], ..facts() };
    let told = decide(&seen, &user(&[])).lines.join("\n");
    assert!(told.contains("Found Calico (kube-system/calico-node)"), "{told}");
    let told = decide(&seen, &user(&["--set", "cni.chainingMode=generic-veth"])).lines.join("\n");
    assert!(!told.contains("Calico"), "{told}");
}

/// Seed 000 without its steps: what runs goes on running, and Cilium comes behind it.
#[test]
fn flannel_is_chained_behind() {
    let flannel = ("Flannel", "kube-flannel/kube-flannel-ds".to_owned());
    let cidrs = vec![vec!["10.244.0.0/24".to_owned()]];
    let seen =
        Facts { networks: vec![flannel], pod_cidrs: cidrs, kube_proxy: true, cluster: None, ..facts() };
    let decided = decide(&seen, &user(&[]));
    assert_eq!(
        decided.lines,
        [
            "🔮 Auto-detected Flannel: kube-flannel/kube-flannel-ds",
            "ℹ️  Cilium will be chained behind Flannel (cni.chainingMode=flannel, routingMode=native, enableIPv4Masquerade=false, \
             enableIPv6Masquerade=false): --set cni.chainingMode=none takes new pods over from it instead",
            "🔮 Auto-detected kube-proxy has been installed",
        ]
    );
    let chained = json!({ "cni": { "chainingMode": "flannel" }, "routingMode": "native", "enableIPv4Masquerade": false,
        "enableIPv6Masquerade": false });
    assert_eq!(decided.values, chained, "and not ipam.mode=kubernetes: the CIDRs are Flannel's");

    let of_nodes = json!({ "ipam": { "mode": "kubernetes" } });
    for (set, values) in [
        ("cni.chainingMode=none", &of_nodes),
        ("routingMode=tunnel", &of_nodes),
        ("ipam.mode=kubernetes", &json!({})),
    ] {
        let decided = decide(&seen, &user(&["--set", set]));
        assert_eq!(&decided.values, values, "{set}");
        let told = decided.lines.join("\n");
        assert!(told.contains("Found Flannel") && told.contains("cni.chainingMode=flannel"), "{set}: {told}");
    }
    let theirs = decide(&seen, &user(&["--set", "cni.chainingMode=generic-veth,cni.customConf=true"]));
    assert_eq!(theirs.values, json!({}), "the pod CIDRs are Flannel's here, too");
    let both = [seen.networks.clone(), vec![("Calico", "kube-system/calico-node".to_owned())]].concat();
    let told = decide(&Facts { networks: both, ..seen }, &user(&[])).lines.join("\n");
    assert!(told.contains("Found Flannel") && told.contains("Found Calico"), "{told}");
}

#[test]
fn names_and_addresses_fit() {
    assert_eq!(
        cluster_name("basic_Cluster.us-east-1.eksctl.io.and-more"),
        "basic-cluster-us-east-1-eksctl-i"
    );
    assert_eq!(cluster_name("arn:aws:eks/"), "arn-aws-eks");
    assert_eq!(address("https://127.0.0.1:40123"), None);
    assert_eq!(address("https://[::1]:6443"), None);
    assert_eq!(address("https://[fd00::1]:6443/x"), Some(("fd00::1".to_owned(), 6443)));
    assert_eq!(address("https://api.example.org"), Some(("api.example.org".to_owned(), 443)));
    let slice = json!({ "metadata": { "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "endpoints": [{ "addresses": ["172.18.0.3"] }], "ports": [{ "port": 6443 }] });
    assert_eq!(of_slices(&[slice]), Some(("172.18.0.3".to_owned(), 6443)));
}

#[test]
fn nodes_tell_what_they_are() {
    let node = json!({ "spec": { "providerID": "kind://docker/x/y", "podCIDRs": ["10.244.0.0/24"] },
        "status": { "addresses": [{ "type": "Hostname", "address": "n1" }, { "type": "InternalIP", "address": "10.1.2.3" }] } });
    let seen = of_nodes(&[node]);
    assert_eq!(
        (seen.flavour, seen.pod_cidrs, seen.node_addresses.len()),
        (Some("kind"), vec![vec!["10.244.0.0/24".to_owned()]], 1)
    );
}
