//! The plugin behind another one: a bridge with a pod on it, as Flannel's plugin leaves it.

#[expect(dead_code, reason = "shared with tests that look at more")]
mod support;

use netlink::{LinkChange, Netlink, VethEnd, sysctl};
use serde_json::{Value, json};
use std::process::Command;
use support::{Node, Pod, config, well_behaved};

const GATEWAY: &str = "10.244.1.1";

/// What the plugin before makes: a bridge, and a pod on it.
fn connected(node: &Node, pod: &Pod) {
    node.namespace
        .run(|| {
            let made =
                Command::new("ip").args(["link", "add", "cni0", "type", "bridge"]).status().expect("ip");
            assert!(made.success(), "this test needs a kernel with bridges");
            let mut netlink = Netlink::open().expect("a socket");
            let end = |name| VethEnd { name, mac: None, mtu: 1450 };
            netlink.create_veth(&end("veth0a1b2c3d"), &end("eth0"), Some(&pod.namespace)).expect("a pair");
            let joined = Command::new("ip").args(["link", "set", "veth0a1b2c3d", "master", "cni0"]).status();
            assert!(joined.expect("ip").success());
        })
        .expect("enter");
    let mut inside = pod.netlink();
    let link = inside.link("eth0").expect("eth0").index;
    inside.change_link(link, &LinkChange { up: Some(true), ..LinkChange::default() }).expect("up");
    inside.set_address(link, "10.244.1.7/24".parse().expect("literal")).expect("address");
}

/// The configuration for the plugin at the end of the chain, with the result of those before.
fn behind(pod: &Pod) -> Value {
    let mut config = config("0.3.1");
    config["name"] = "generic-veth".into();
    config["prevResult"] = json!({
        "cniVersion": "0.3.1",
        "interfaces": [{ "name": "cni0" }, { "name": "veth0a1b2c3d" }, { "name": "eth0", "sandbox": pod.path() }],
        "ips": [{ "version": "4", "address": "10.244.1.7/24", "gateway": GATEWAY, "interface": 2 }],
        "routes": [{ "dst": "0.0.0.0/0", "gw": GATEWAY }], "dns": {},
    });
    config
}

/// What an agent answers that takes the other plugin's addresses.
fn agent(request: &str, body: &Value) -> support::Answer {
    let mut answer = well_behaved(request, body)?;
    if request == "POST /v1/cni/allocate" {
        answer.1["ipv4"] = body["foreign"]["ipv4"].clone();
        answer.1["ipv6"] = Value::Null;
        answer.1["host_ifname"] = body["foreign"]["host_ifname"].clone();
    }
    Some(answer)
}

#[test]
fn the_other_plugins_pod_is_taken_over() {
    let (node, pod) = (Node::new(), Pod::new());
    node.serve(agent);
    connected(&node, &pod);
    let config = behind(&pod);
    let result = node.call("ADD", &pod, &config.to_string()).expect("ADD");
    assert_eq!(result, config["prevResult"], "the result is the other's");

    let (_, allocate) = node.asked("POST /v1/cni/allocate").remove(0);
    let foreign = json!({ "host_ifname": "veth0a1b2c3d", "ipv4": "10.244.1.7", "ipv6": null });
    assert_eq!(allocate["foreign"], foreign);
    let (_, attach) = node.asked("POST /v1/cni/attach").remove(0);
    let host =
        Netlink::open_in(&node.namespace).and_then(|mut n| n.link("veth0a1b2c3d")).expect("host's end");
    assert_eq!(attach["host_ifindex"], host.index);
    assert_eq!((host.master, host.up), (None, true), "no way past the policy");
    let of_bridge = |keys: &[&str]| node.namespace.run(|| sysctl::get(keys)).expect("enter").expect("read");
    assert_eq!(of_bridge(&["net", "ipv4", "conf", "cni0", "proxy_arp"]), "1");
    assert_eq!(of_bridge(&["net", "ipv4", "neigh", "cni0", "proxy_delay"]), "0");
    let mut inside = pod.netlink();
    let eth0 = inside.link("eth0").expect("eth0").index;
    let neighbours = inside.neighbours(Some(eth0)).expect("neighbours");
    let gateway =
        neighbours.iter().find(|n| n.ip.to_string() == GATEWAY).expect("the gateway is a neighbour");
    assert_eq!((gateway.mac, gateway.permanent), (host.mac, true));

    // The link is the other plugin's to take away; its version of DEL gets no result.
    let mut config = config;
    config["prevResult"].take();
    for _ in 0..2 {
        assert_eq!(node.call("DEL", &pod, &config.to_string()), Ok(Value::Null));
    }
    assert_eq!(node.links(), ["cni0", "veth0a1b2c3d"]);
    assert_eq!(node.asked("DELETE /v1/cni/").len(), 2);
}

#[test]
fn what_cannot_be_taken_over_is_told() {
    let (node, pod) = (Node::new(), Pod::new());
    node.serve(agent);
    let message = |config: &Value| {
        let error = node.call("ADD", &pod, &config.to_string()).expect_err("it cannot work");
        format!(
            "{} {}",
            error["msg"].as_str().unwrap_or_default(),
            error["details"].as_str().unwrap_or_default()
        )
    };
    let nobody = message(&behind(&pod));
    assert!(nobody.contains("made no interface eth0 in the pod"), "{nobody}");
    let mut first = behind(&pod);
    first["prevResult"].take();
    let alone = message(&first);
    assert!(alone.contains("no plugin ran before this one") && alone.contains("cni.configMap"), "{alone}");
    pod.namespace
        .run(|| {
            let made =
                Command::new("ip").args(["link", "add", "eth0", "type", "bridge"]).status().expect("ip");
            assert!(made.success());
        })
        .expect("enter");
    let bridge = message(&behind(&pod));
    assert!(
        bridge.contains("eth0 of the pod (bridge) is no veth pair") && bridge.contains("flannel"),
        "{bridge}"
    );
    assert!(node.asked("POST").is_empty(), "the agent was never asked");
}
