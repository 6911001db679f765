//! The plugin as a runtime sees it, against a fake agent and the real kernel. Nodes and pods are namespaces without a
//! name: they go with the test, also when it panics. Needs root.

mod support;

use netlink::{NetNs, Netlink, VethEnd};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Node, Pod, allocation, config, eventually, lines, outcome, path_of, well_behaved};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("literal address")
}

fn code(result: Result<Value, Value>) -> u64 {
    let error = result.expect_err("it should have failed");
    error["code"].as_u64().unwrap_or_else(|| panic!("no code in {error}"))
}

/// The configuration of a CHECK or DEL: that of the ADD and its result.
fn after(version: &str, result: &Value) -> String {
    let mut config = config(version);
    config["prevResult"] = result.clone();
    config.to_string()
}

#[test]
fn every_version_of_the_specification() {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let (node, pod) = (Node::with_agent(), Pod::new());
        let result =
            node.call("ADD", &pod, &config(version).to_string()).unwrap_or_else(|e| panic!("{version}: {e}"));
        assert_eq!(result["cniVersion"], version);
        if version < "0.3.0" {
            assert_eq!(result["ip4"]["ip"], "10.1.0.5/32");
            assert_eq!(result["ip6"]["gateway"], "fd00:1::1");
        } else {
            assert_eq!(result["interfaces"][1]["name"], "eth0");
            assert_eq!(result["interfaces"][1]["sandbox"], pod.path());
            assert_eq!(result["interfaces"][0]["name"].as_str(), node.links().first().map(String::as_str));
            assert_eq!(result["ips"][0]["address"], "10.1.0.5/32");
            assert_eq!(result["ips"][1], {
                let mut ip = json!({ "address": "fd00:1::5/128", "gateway": "fd00:1::1", "interface": 1 });
                if version < "1.0.0" {
                    ip["version"] = "6".into();
                }
                ip
            });
            assert_eq!(result["routes"][3]["dst"], "::/0");
            assert_eq!(result["routes"][3]["mtu"].as_u64(), (version >= "1.1.0").then_some(1450));
            assert_eq!(result["interfaces"][0]["mtu"].as_u64(), (version >= "1.1.0").then_some(1500));
        }
        let check = node.call("CHECK", &pod, &after(version, &result));
        if version < "0.4.0" {
            assert_eq!(code(check), 1, "{version} has no CHECK");
        } else {
            assert_eq!(code(check), 3, "this agent knows no pod");
        }
        if version < "1.1.0" {
            assert_eq!(
                code(node.call("STATUS", &pod, &config(version).to_string())),
                1,
                "{version} has no STATUS"
            );
        }
        for _ in 0..2 {
            assert_eq!(node.call("DEL", &pod, &after(version, &result)), Ok(Value::Null));
        }
        assert_eq!(node.links(), Vec::<String>::new());
        assert_eq!(pod.netlink().find_link("eth0").expect("look"), None);
    }
}

#[test]
fn the_pod_is_as_the_agent_wanted_it() {
    let (node, pod) = (Node::new(), Pod::new());
    node.serve(|request, body| {
        let mut answer = well_behaved(request, body)?;
        if request == "POST /v1/cni/allocate" {
            answer.1["mac"] = "02:00:00:00:00:05".into();
            answer.1["host_mac"] = "02:00:00:00:00:06".into();
        }
        Some(answer)
    });
    let result = node.call("ADD", &pod, &config("1.1.0").to_string()).expect("ADD");
    assert_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:05");
    let (_, allocate) = node.asked("POST /v1/cni/allocate").remove(0);
    assert_eq!(
        (&allocate["namespace"], &allocate["pod_name"], &allocate["pod_uid"]),
        (&json!("default"), &json!("web-0"), &json!("u-1"))
    );
    let (_, attach) = node.asked("POST /v1/cni/attach").remove(0);
    let host_name = &node.links()[0];
    let outer = Netlink::open_in(&node.namespace).and_then(|mut n| n.link(host_name)).expect("outer");
    assert_eq!(
        (attach["endpoint_id"].as_u64(), attach["host_ifindex"].as_u64()),
        (Some(77), Some(outer.index.into()))
    );
    assert_eq!(
        (&attach["mac"], &attach["host_mac"]),
        (&json!("02:00:00:00:00:05"), &json!("02:00:00:00:00:06"))
    );
    assert!(outer.up && outer.mtu == 1500);

    let mut inside = pod.netlink();
    let link = inside.link("eth0").expect("inner");
    assert!(link.up && inside.link("lo").expect("lo").up);
    let addresses = inside.addresses(Some(link.index)).expect("addresses");
    for wanted in ["10.1.0.5/32", "fd00:1::5/128"] {
        assert!(addresses.iter().any(|a| a.net.to_string() == wanted), "{wanted} is not in {addresses:?}");
    }
    let routes = inside.owned_routes().expect("routes");
    let defaults: Vec<_> = routes.iter().filter(|r| r.is_default()).map(|r| (r.gateway, r.mtu)).collect();
    assert!(
        defaults.contains(&(Some(ip("10.1.0.1")), Some(1450)))
            && defaults.contains(&(Some(ip("fd00:1::1")), Some(1450))),
        "{defaults:?}"
    );
    for gateway in ["10.1.0.1", "fd00:1::1"] {
        let way = inside.lookup(ip(gateway)).expect("look up").expect("reachable");
        assert_eq!((way.link, way.gateway), (link.index, None));
        let neighbours = inside.neighbours(Some(link.index)).expect("neighbours");
        let neighbour = neighbours.iter().find(|n| n.ip == ip(gateway)).expect("the gateway is a neighbour");
        assert_eq!((neighbour.mac, neighbour.permanent), (Some([2, 0, 0, 0, 0, 6]), true));
    }
    // Nothing waits for duplicate address detection, the link-local address neither.
    pod.namespace
        .run(|| std::net::UdpSocket::bind((ip("fd00:1::5"), 0)).expect("usable at once"))
        .expect("enter");
    let filter =
        node.namespace.run(|| netlink::sysctl::get(&["net", "ipv4", "conf", host_name, "rp_filter"]));
    assert_eq!(filter.expect("enter").expect("read"), "0");
}

#[test]
fn one_family_alone() {
    for (gone, kept) in [("ipv6", "10.1.0.5/32"), ("ipv4", "fd00:1::5/128")] {
        let (node, pod) = (Node::new(), Pod::new());
        node.serve(move |request, body| {
            let mut answer = well_behaved(request, body)?;
            if request == "POST /v1/cni/allocate" {
                answer.1[gone] = Value::Null;
                answer.1[format!("gateway_{gone}")] = Value::Null;
            }
            Some(answer)
        });
        let result = node.call("ADD", &pod, &config("1.0.0").to_string()).expect("ADD");
        assert_eq!(result["ips"].as_array().map(Vec::len), Some(1));
        assert_eq!(result["ips"][0]["address"], kept);
        assert_eq!(result["routes"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn bad_calls_are_told_what_is_wrong() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let good = config("1.1.0").to_string();
    for (text, expected) in [
        ("", 6),
        ("{", 6),
        ("null", 6),
        ("{\"name\":\"x\",\"cniVersion\":\"3.0.0\"}", 1),
        ("{\"cniVersion\":\"1.0.0\"}", 7),
    ] {
        assert_eq!(code(node.call("ADD", &pod, text)), expected, "{text}");
    }
    let huge = format!("{{\"name\":\"x\",\"padding\":\"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(code(node.call("ADD", &pod, &huge)), 6);
    assert_eq!(code(node.call("FROB", &pod, &good)), 4);
    let with = |name: &str, value: &str| {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_cilium-cni"));
        plugin.env_clear().env("CNI_COMMAND", "ADD").env("CNI_CONTAINERID", "c1").env("CNI_IFNAME", "eth0");
        plugin
            .env("CNI_NETNS", pod.path())
            .env("CILIUM_SOCK", node.folder.join("cilium.sock"))
            .env(name, value);
        outcome(node.run_env(&mut plugin, &good)).expect_err(value)
    };
    for (name, value) in [
        ("CNI_IFNAME", "with space"),
        ("CNI_IFNAME", "sixteen-letters-"),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", ""),
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_CONTAINERID", ""),
        ("CNI_NETNS", ""),
        ("CNI_ARGS", "K8S_POD_NAME"),
    ] {
        let error = with(name, value);
        assert_eq!(error["code"], 4, "{name}={value}: {error}");
        assert!(error["msg"].as_str().is_some_and(|m| m.contains(name)), "{error} does not name {name}");
        assert_eq!(error["cniVersion"], "1.1.0");
    }
    assert_eq!(with("CNI_NETNS", "/nonexistent")["code"], 3);
    assert_eq!(with("CNI_NETNS", &path_of(&node.namespace))["code"], 4, "the node's own namespace");
    assert_eq!(node.asked("").len(), 0, "none of these may reach the agent");
}

#[test]
fn versions_are_told() {
    let (node, pod) = (Node::new(), Pod::new());
    let all = json!(["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (stdin, version) in
        [("{\"cniVersion\":\"0.4.0\"}", "0.4.0"), ("{\"cniVersion\":\"7.0.0\"}", "7.0.0"), ("", "1.1.0")]
    {
        let answer = node.call("VERSION", &pod, stdin).expect("VERSION");
        assert_eq!(answer, json!({ "cniVersion": version, "supportedVersions": all }));
    }
    assert_eq!(code(node.call("VERSION", &pod, "{")), 6);
}

#[test]
fn without_the_agent() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let good = config("1.1.0").to_string();
    assert_eq!(node.call("STATUS", &pod, &good), Ok(Value::Null));
    node.call("ADD", &pod, &good).expect("ADD");
    node.stop_agent();
    assert_eq!(code(node.call("STATUS", &pod, &good)), 50);
    for _ in 0..2 {
        assert_eq!(node.call("DEL", &pod, &good), Ok(Value::Null), "DEL needs no agent");
    }
    assert_eq!(node.links(), Vec::<String>::new(), "the devices go at once");
    let queue = node.queue();
    assert_eq!(queue.len(), 1, "the same release twice is one file");
    let release = queue[0].1.clone().expect("a release");
    assert_eq!((release.container_id, release.ifname), (pod.container_id.clone(), "eth0".to_owned()));
    let started = Instant::now();
    assert_eq!(code(node.call("ADD", &pod, &good)), 11, "try again later");
    assert!(started.elapsed() >= Duration::from_secs(9), "it gave up after {:?}", started.elapsed());
    assert_eq!(node.links(), Vec::<String>::new());
    // Back again: told directly, and the note is taken back.
    node.serve(well_behaved);
    let before = node.asked("DELETE").len();
    node.call("DEL", &pod, &good).expect("DEL");
    assert_eq!(node.asked("DELETE").len(), before + 1);
}

#[test]
fn an_agent_that_starts_late_is_waited_for() {
    let (node, pod) = (Node::new(), Pod::new());
    node.serve(|_, _| Some((503, json!({ "message": "starting", "cure": "wait" }))));
    let started = Instant::now();
    let child = node.start("ADD", &pod, &config("1.0.0").to_string());
    std::thread::sleep(Duration::from_millis(300));
    node.stop_agent();
    std::thread::sleep(Duration::from_millis(300));
    node.serve(well_behaved);
    outcome(child).expect("ADD");
    assert!(started.elapsed() < Duration::from_secs(5), "it came late: {:?}", started.elapsed());
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    for refused in ["POST /v1/cni/allocate", "POST /v1/cni/attach"] {
        let (node, pod) = (Node::new(), Pod::new());
        node.serve(move |request, body| {
            if request == refused {
                return Some((
                    507,
                    json!({ "message": "pool default is exhausted", "cure": "add a CIDR to the pool" }),
                ));
            }
            well_behaved(request, body)
        });
        let error = node.call("ADD", &pod, &config("1.1.0").to_string()).expect_err("refused");
        assert_eq!(error["code"], 100);
        let message = error["msg"].as_str().expect("msg");
        assert!(message.contains("pool default is exhausted (add a CIDR to the pool)"), "{message}");
        assert_eq!(node.links(), Vec::<String>::new());
        assert_eq!(pod.netlink().find_link("eth0").expect("look"), None);
        let released = node.asked("DELETE /v1/cni/").len();
        assert_eq!(
            released,
            usize::from(refused.ends_with("attach")),
            "addresses go back if they were given"
        );
    }
}

#[test]
fn a_failure_inside_the_pod_leaves_nothing_behind() {
    let (node, pod) = (Node::new(), Pod::new());
    node.serve(|request, body| {
        let mut answer = well_behaved(request, body)?;
        if request == "POST /v1/cni/allocate" {
            // No route to it can be made: not an address of a host.
            answer.1["gateway_ipv6"] = "ff02::1".into();
        }
        Some(answer)
    });
    let error = node.call("ADD", &pod, &config("1.1.0").to_string()).expect_err("no such gateway");
    assert_eq!(error["code"], 5, "{error}");
    assert!(error["msg"].as_str().is_some_and(|m| m.contains("ff02::1")), "{error}");
    assert_eq!(node.links(), Vec::<String>::new());
    assert_eq!(node.asked("DELETE /v1/cni/").len(), 1);
}

#[test]
fn an_interrupted_add_is_no_obstacle() {
    let (node, pod) = (Node::new(), Pod::new());
    let good = config("1.1.0").to_string();
    node.serve(
        |request, body| if request == "POST /v1/cni/attach" { None } else { well_behaved(request, body) },
    );
    let mut child = node.start("ADD", &pod, &good);
    eventually("the plugin waits for the agent", || !node.asked("POST /v1/cni/attach").is_empty());
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(node.links().len(), 1, "nobody could clean up");
    node.serve(well_behaved);
    node.call("ADD", &pod, &good).expect("the next ADD makes the pair anew");
    assert_eq!(node.links().len(), 1);
    node.call("ADD", &pod, &good).expect("and one more");
    assert_eq!(node.call("DEL", &pod, &good), Ok(Value::Null));
    assert_eq!(node.links(), Vec::<String>::new());
}

#[test]
fn a_foreign_interface_is_left_alone() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let mut inside = pod.netlink();
    let (a, b) =
        (VethEnd { name: "eth0", ..VethEnd::default() }, VethEnd { name: "other", ..VethEnd::default() });
    inside.create_veth(&a, &b, None).expect("a pair of somebody else");
    let error = node.call("ADD", &pod, &config("1.1.0").to_string()).expect_err("eth0 is taken");
    assert_eq!(error["code"], 5, "{error}");
    assert!(error["details"].as_str().is_some_and(|d| d.contains("exists")), "{error}");
    assert!(inside.find_link("eth0").expect("look").is_some());
    assert_eq!(node.links(), Vec::<String>::new());
}

#[test]
fn del_works_on_what_is_left() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let good = config("1.1.0").to_string();
    let result = node.call("ADD", &pod, &good).expect("ADD");
    let del = |netns: &str, config: &str| {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_cilium-cni"));
        plugin
            .env_clear()
            .env("CNI_COMMAND", "DEL")
            .env("CNI_CONTAINERID", &pod.container_id)
            .env("CNI_IFNAME", "eth0");
        plugin.env("CNI_NETNS", netns).env("CILIUM_SOCK", node.folder.join("cilium.sock"));
        outcome(node.run_env(&mut plugin, config))
    };
    assert_eq!(del(&path_of(&node.namespace), &good), Ok(Value::Null), "never in the node's own namespace");
    assert_eq!(node.links().len(), 1);
    // The path is gone, a process still holds the namespace: the result of the ADD names the outer end.
    assert_eq!(del("/nonexistent", &after("1.1.0", &result)), Ok(Value::Null));
    assert_eq!(node.links(), Vec::<String>::new());
    assert_eq!(del("", &good), Ok(Value::Null));
    // What is left of a namespace after an unmount: an ordinary file.
    let file = node.folder.join("netns");
    std::fs::write(&file, b"").expect("write");
    assert_eq!(del(&file.to_string_lossy(), &good), Ok(Value::Null));
    assert_eq!(node.asked("DELETE /v1/cni/").len(), 4);
}

#[test]
fn check_finds_what_is_out_of_order() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let result = node.call("ADD", &pod, &config("1.1.0").to_string()).expect("ADD");
    let index =
        Netlink::open_in(&node.namespace).and_then(|mut n| n.link(&node.links()[0])).expect("outer").index;
    node.serve(move |request, body| {
        if request == "POST /v1/cni/check" {
            let known =
                json!({ "endpoint_id": 77, "ipv4": "10.1.0.5", "ipv6": "fd00:1::5", "host_ifindex": index });
            return Some((200, known));
        }
        well_behaved(request, body)
    });
    let with_result = after("1.1.0", &result);
    assert_eq!(node.call("CHECK", &pod, &with_result), Ok(Value::Null));
    assert_eq!(code(node.call("CHECK", &pod, &config("1.1.0").to_string())), 7, "no prevResult");
    let mut inside = pod.netlink();
    let link = inside.link("eth0").expect("inner").index;
    let message = || node.call("CHECK", &pod, &with_result).expect_err("out of order")["msg"].to_string();

    let default = inside.default_route(true).expect("routes").expect("default");
    inside.delete_route(&default).expect("delete");
    assert!(message().contains("route to ::/0"), "{}", message());
    inside.replace_route(&default).expect("restore");
    inside.delete_neighbour(link, ip("10.1.0.1")).expect("delete");
    assert!(message().contains("10.1.0.1 is not a permanent neighbour"), "{}", message());
    inside.delete_address(link, "fd00:1::5/128".parse().expect("prefix")).expect("delete");
    assert!(message().contains("address fd00:1::5 is missing"), "{}", message());
    inside.delete_link("eth0").expect("delete");
    assert!(message().contains("eth0 is missing"), "{}", message());
}

#[test]
fn garbage_is_collected() {
    let (node, kept, gone) = (Node::with_agent(), Pod::new(), Pod::new());
    let good = config("1.1.0").to_string();
    for pod in [&kept, &gone] {
        node.call("ADD", pod, &good).expect("ADD");
    }
    let endpoint = |pod: &Pod| {
        let device = &allocation(&json!({ "container_id": pod.container_id }))["host_ifname"];
        json!({ "id": 1, "status": { "networking": { "interface-name": device },
            "external-identifiers": { "cni-attachment-id": format!("{}:eth0", pod.container_id) } } })
    };
    let endpoints = json!([endpoint(&kept), endpoint(&gone), { "id": 2, "status": { "networking": { "interface-name": "cilium_host" } } }]);
    node.serve(move |request, body| match request {
        "GET /v1/endpoint" => Some((200, endpoints.clone())),
        _ => well_behaved(request, body),
    });
    assert_eq!(code(node.call("GC", &kept, &good)), 7, "no list of what is valid");
    let mut list = config("1.1.0");
    list["cni.dev/valid-attachments"] = json!([{ "containerID": kept.container_id, "ifname": "eth0" }]);
    assert_eq!(node.call("GC", &kept, &list.to_string()), Ok(Value::Null));
    assert_eq!(node.links().len(), 1);
    assert!(kept.netlink().find_link("eth0").expect("look").is_some());
    let released = node.asked("DELETE");
    assert_eq!(released.len(), 1);
    assert_eq!(released[0].0, format!("DELETE /v1/cni/{}/eth0", gone.container_id));
    assert_eq!(code(node.call("GC", &kept, &config("1.0.0").to_string())), 1, "1.0.0 has no GC");
}

#[test]
fn many_at_once() {
    let node = Node::with_agent();
    let pods: Vec<Pod> = (0..24).map(|_| Pod::new()).collect();
    let good = config("1.1.0").to_string();
    let children: Vec<_> = pods.iter().map(|pod| node.start("ADD", pod, &good)).collect();
    for child in children {
        outcome(child).expect("ADD");
    }
    assert_eq!(node.links().len(), pods.len());
    let children: Vec<_> = pods.iter().map(|pod| node.start("DEL", pod, &good)).collect();
    for child in children {
        outcome(child).expect("DEL");
    }
    assert_eq!(node.links(), Vec::<String>::new());
}

#[test]
fn the_log_tells_what_happened() {
    let (node, pod) = (Node::with_agent(), Pod::new());
    let file = node.folder.join("cni.log");
    let mut config = config("1.1.0");
    config["log-file"] = file.to_string_lossy().into();
    node.call("ADD", &pod, &config.to_string()).expect("ADD");
    assert_eq!(lines(&file).len(), 0, "nothing went wrong");
    config["enable-debug"] = true.into();
    node.call("DEL", &pod, &config.to_string()).expect("DEL");
    node.stop_agent();
    node.call("STATUS", &pod, &config.to_string()).expect_err("no agent");
    let log = lines(&file);
    assert_eq!((&log[0]["command"], &log[0]["level"]), (&json!("DEL"), &json!("debug")));
    assert_eq!((&log[1]["command"], &log[1]["level"]), (&json!("STATUS"), &json!("error")));
    assert_eq!(log[0]["containerID"], pod.container_id.as_str());
}

#[test]
fn namespaces_are_told_apart() {
    // The harness itself: a path to an anonymous namespace opens the namespace and no other.
    let pod = Pod::new();
    assert_eq!(NetNs::open(pod.path()).and_then(|n| n.id()).expect("id"), pod.namespace.id().expect("id"));
}
