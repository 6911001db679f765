//! What is written in the cluster: pods, and policies as JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::random::Random;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// A pod; of this node, or of another.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Where it is.
    pub namespace: &'static str,
    /// Its name, which no other pod has.
    pub name: String,
    /// Its own labels.
    pub labels: Labels,
    /// Names of ports, with protocol number and port.
    pub ports: Vec<(&'static str, u8, u16)>,
    /// Its address.
    pub address: IpAddr,
    /// It runs on this node.
    pub here: bool,
}

/// Everything.
pub struct World {
    /// Labels of namespaces.
    pub namespaces: BTreeMap<&'static str, Labels>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All policies, as they are written.
    pub policies: Vec<Value>,
    /// What policies name: CiliumCIDRGroups, Services, EndpointSlices.
    pub named: Vec<Value>,
    /// Blocks mean nodes' addresses, pods' addresses.
    pub cidr_match: (bool, bool),
}

/// The first packet of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The sender.
    pub from: IpAddr,
    /// The receiver.
    pub to: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// For ICMP the type.
    pub port: u16,
}

/// The address of this node. The kernel tests' node has it, too.
pub const OWN_NODE: &str = "172.31.0.11";
/// The address of the other node, of which the kernel tests' node is a neighbour.
pub const OTHER_NODE: &str = "172.31.0.12";
const OUTSIDE: &[&str] = &["203.0.113.5", "203.0.113.77", "198.51.100.9", "192.168.7.7"];
const BLOCKS: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.0/30",
    "10.0.0.3/32",
    "10.0.1.0/24",
    "10.0.1.5/32",
    "172.31.0.0/16",
    "172.31.0.12/32",
    "203.0.113.0/24",
    "203.0.113.64/26",
    "203.0.113.77/32",
];
const PORTS: &[u16] = &[53, 80, 81, 443, 8080];

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Pods, policies, and what these name.
pub fn world(random: &mut Random) -> World {
    let namespaces: BTreeMap<&'static str, Labels> =
        [("a", labels(&[("team", "x")])), ("b", labels(&[("team", "y")])), ("c", labels(&[]))].into();
    let mut pods = Vec::new();
    for i in 0..7_u8 {
        let mut own = labels(&[("app", random.pick(&["web", "db", "job"]))]);
        if random.one_in(2) {
            own.insert("tier".to_owned(), random.pick(&["front", "back"]).to_owned());
        }
        let named = [("http", 6, 80), ("alt", 6, 8080), ("dns", 17, 53)];
        let ports = named.into_iter().filter(|_| random.one_in(2)).collect();
        let here = i < 5;
        let address = if here { [10, 0, 0, 2 + i] } else { [10, 0, 1, i] }.into();
        let namespace = random.pick(&["a", "b", "c"]);
        pods.push(Pod { namespace, name: format!("p{i}"), labels: own, ports, address, here });
    }
    let mut policies = Vec::new();
    for number in 0..1 + random.below(5) {
        policies.push(policy(random, number));
    }
    let cidr_match = if random.one_in(2) { (false, false) } else { (random.one_in(2), random.one_in(2)) };
    World { namespaces, pods, policies, named: named(random), cidr_match }
}

/// The labels of a node.
pub fn node_labels(name: &str) -> Labels {
    labels(&[("zone", if name == "n1" { "here" } else { "there" })])
}

/// Groups, and services with and without a selector. Policies name some that are not there.
fn named(random: &mut Random) -> Vec<Value> {
    let mut named = Vec::new();
    for name in ["g1", "g2"] {
        let blocks = random.some(0, 3, |random| random.pick(BLOCKS));
        let metadata = json!({ "name": name, "labels": { "kind": random.pick(&["good", "bad"]) } });
        let spec = json!({ "externalCIDRs": blocks });
        named.push(json!({ "kind": "CiliumCIDRGroup", "metadata": metadata, "spec": spec }));
    }
    for name in ["s1", "s2"] {
        let namespace = random.pick(&["a", "b", "c"]);
        let metadata = json!({
            "name": name, "namespace": namespace, "labels": { "kind": random.pick(&["good", "bad"]) },
        });
        let spec = match random.one_in(2) {
            true => json!({ "selector": { "app": random.pick(&["web", "db", "job"]) } }),
            false => json!({}),
        };
        named.push(json!({ "kind": "Service", "metadata": metadata, "spec": spec }));
        let addresses = [OUTSIDE, &["10.0.0.3", "10.0.1.5", OTHER_NODE]].concat();
        named.push(json!({
            "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": format!("{name}-1"), "namespace": namespace, "labels": { "kubernetes.io/service-name": name },
            },
            "endpoints": random.some(0, 2, |random| json!({ "addresses": [random.pick(&addresses)] })),
        }));
    }
    named
}

fn policy(random: &mut Random, number: usize) -> Value {
    let namespace = random.pick(&["a", "a", "b"]);
    let metadata =
        json!({ "name": format!("policy{number}"), "namespace": namespace, "uid": format!("u{number}") });
    match random.below(3) {
        0 => json!({ "kind": "NetworkPolicy", "metadata": metadata, "spec": kubernetes(random) }),
        1 => json!({ "kind": "CiliumNetworkPolicy", "metadata": metadata, "spec": cilium(random) }),
        _ => {
            let metadata = json!({ "name": format!("policy{number}"), "uid": format!("u{number}") });
            json!({ "kind": "ClusterNetworkPolicy", "metadata": metadata, "spec": cluster(random, number) })
        }
    }
}

fn selector(random: &mut Random) -> Value {
    let app = random.pick(&["web", "db", "job"]);
    match random.below(6) {
        0 | 1 => json!({}),
        2 | 3 => json!({ "matchLabels": { "app": app } }),
        4 => {
            json!({ "matchExpressions": [{ "key": "tier", "operator": random.pick(&["Exists", "DoesNotExist"]) }] })
        }
        _ => json!({ "matchExpressions": [
            { "key": "app", "operator": random.pick(&["In", "NotIn"]), "values": [app, "db"] },
        ] }),
    }
}

fn teams(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({}),
        1 => json!({ "matchExpressions": [{ "key": "team", "operator": "Exists" }] }),
        _ => json!({ "matchLabels": { "team": random.pick(&["x", "y"]) } }),
    }
}

/// Nodes.
fn zones(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({}),
        1 => json!({ "matchExpressions": [{ "key": "zone", "operator": "NotIn", "values": ["here"] }] }),
        _ => json!({ "matchLabels": { "zone": random.pick(&["here", "there"]) } }),
    }
}

/// A block, and some blocks that lie inside.
fn block(random: &mut Random) -> (String, Vec<String>) {
    let cidr = random.pick(BLOCKS);
    let outer: ipnet::IpNet = cidr.parse().expect("a literal prefix");
    let inside = |net: &&&str| {
        let net: ipnet::IpNet = net.parse().expect("a literal prefix");
        net != outer && outer.contains(&net)
    };
    let inside: Vec<&&str> = BLOCKS.iter().filter(inside).collect();
    let except = match inside.is_empty() {
        true => Vec::new(),
        false => random.some(0, 2, |random| (*random.pick(&inside)).to_owned()),
    };
    (cidr.to_owned(), except)
}

fn kubernetes(random: &mut Random) -> Value {
    let peer = |random: &mut Random| match random.below(5) {
        0 => json!({ "podSelector": selector(random) }),
        1 => json!({ "namespaceSelector": teams(random) }),
        2 => json!({ "namespaceSelector": teams(random), "podSelector": selector(random) }),
        _ => {
            let (cidr, except) = block(random);
            json!({ "ipBlock": { "cidr": cidr, "except": except } })
        }
    };
    let port = |random: &mut Random| match random.below(5) {
        0 => json!({ "protocol": random.pick(&["TCP", "UDP", "SCTP"]) }),
        1 => {
            json!({ "port": random.pick(&["http", "alt", "dns"]), "protocol": random.pick(&["TCP", "UDP"]) })
        }
        2 => json!({ "port": 80, "endPort": random.pick(&[80, 81, 500]) }),
        _ => json!({ "port": random.pick(PORTS), "protocol": random.pick(&["TCP", "UDP"]) }),
    };
    let rules = |random: &mut Random, peers: &str| -> Vec<Value> {
        random.some(0, 2, |random| {
            let mut rule = json!({});
            if !random.one_in(4) {
                rule[peers] = json!(random.some(0, 2, peer));
            }
            if random.one_in(2) {
                rule["ports"] = json!(random.some(0, 2, port));
            }
            rule
        })
    };
    let mut spec = json!({ "podSelector": selector(random) });
    spec["policyTypes"] = random.pick(&[json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    spec["ingress"] = json!(rules(random, "from"));
    spec["egress"] = json!(rules(random, "to"));
    spec
}

fn cilium(random: &mut Random) -> Value {
    let ports = |random: &mut Random| -> Value {
        json!([{ "ports": random.some(1, 2, |random| {
            let protocol = random.pick(&["TCP", "UDP", "SCTP", "ANY"]);
            match random.below(6) {
                5 => json!({ "protocol": random.pick(&["VRRP", "IGMP"]) }),
                0 => json!({ "port": "0", "protocol": protocol }),
                1 => json!({ "port": random.pick(&["http", "alt", "dns"]), "protocol": protocol }),
                2 => json!({ "port": "80", "endPort": random.pick(&[81, 500]), "protocol": protocol }),
                _ => json!({ "port": random.pick(PORTS).to_string(), "protocol": protocol }),
            }
        }) }])
    };
    let rule = |random: &mut Random, way: &str| -> Value {
        let mut rule = json!({});
        match random.below(10) {
            0 => {}
            6 => {
                let group = match random.one_in(3) {
                    true => {
                        json!({ "cidrGroupSelector": { "matchLabels": { "kind": random.pick(&["good", "bad"]) } } })
                    }
                    false => json!({ "cidrGroupRef": random.pick(&["g1", "g2", "g3"]) }),
                };
                let mut set = group;
                set["except"] = json!(random.some(0, 1, |random| random.pick(BLOCKS)));
                rule[format!("{way}CIDRSet")] = json!([set]);
            }
            7 if way == "to" => {
                let services = random.some(0, 2, |random| {
                    let namespace = random.pick(&["a", "b", ""]);
                    match random.one_in(2) {
                        true => json!({ "k8sService": { "serviceName": random.pick(&["s1", "s2", "s3"]), "namespace": namespace } }),
                        false => json!({ "k8sServiceSelector": {
                            "selector": { "matchLabels": { "kind": random.pick(&["good", "bad"]) } }, "namespace": namespace,
                        } }),
                    }
                });
                rule["toServices"] = json!(services);
            }
            8 => {
                rule[format!("{way}Nodes")] = json!(random.some(0, 2, zones));
            }
            1 => {
                let entities = random.some(1, 2, |random| {
                    random.pick(&["all", "world", "cluster", "host", "remote-node", "none"])
                });
                rule[format!("{way}Entities")] = json!(entities);
            }
            2 => rule[format!("{way}CIDR")] = json!(random.some(1, 2, |random| random.pick(BLOCKS))),
            3 => {
                let (cidr, except) = block(random);
                rule[format!("{way}CIDRSet")] = json!([{ "cidr": cidr, "except": except }]);
            }
            _ => {
                let peers = random.some(0, 2, |random| match random.below(4) {
                    0 => json!({ "matchLabels": { "io.kubernetes.pod.namespace": random.pick(&["a", "b", "c"]) } }),
                    1 => json!({ "matchLabels": { "io.cilium.k8s.namespace.labels.team": random.pick(&["x", "y"]) } }),
                    _ => selector(random),
                });
                rule[format!("{way}Endpoints")] = json!(peers);
            }
        }
        match random.below(6) {
            0 => rule["icmps"] = json!([{ "fields": [{ "type": random.pick(&[0, 8]) }] }]),
            1 | 2 => rule["toPorts"] = ports(random),
            _ => {}
        }
        rule
    };
    let mut spec = json!({ "endpointSelector": selector(random) });
    let lists = [("ingress", "from"), ("ingressDeny", "from"), ("egress", "to"), ("egressDeny", "to")];
    for (list, way) in lists {
        if random.one_in(if list.ends_with("Deny") { 4 } else { 2 }) {
            spec[list] = json!(random.some(0, 2, |random| rule(random, way)));
        }
    }
    if lists.iter().all(|(list, _)| spec.get(list).is_none()) {
        spec["ingress"] = json!([rule(random, "from")]);
    }
    if random.one_in(4) {
        spec["enableDefaultDeny"] = json!({ random.pick(&["ingress", "egress"]): random.one_in(2) });
    }
    spec
}

fn cluster(random: &mut Random, number: usize) -> Value {
    let pods =
        |random: &mut Random| json!({ "namespaceSelector": teams(random), "podSelector": selector(random) });
    let peer = |random: &mut Random, egress: bool| match random.below(if egress { 6 } else { 3 }) {
        0 => json!({ "namespaces": teams(random) }),
        1 | 2 => json!({ "pods": pods(random) }),
        3 => json!({ "nodes": zones(random) }),
        _ => json!({ "networks": random.some(1, 2, |random| random.pick(BLOCKS)) }),
    };
    let protocol = |random: &mut Random| {
        let of = random.pick(&["tcp", "udp", "sctp"]);
        match random.below(4) {
            0 => json!({ of: {} }),
            1 => {
                json!({ of: { "destinationPort": { "range": { "start": 80, "end": random.pick(&[81, 500]) } } } })
            }
            2 => json!({ "destinationNamedPort": random.pick(&["http", "dns"]) }),
            _ => json!({ of: { "destinationPort": { "number": random.pick(PORTS) } } }),
        }
    };
    let rules = |random: &mut Random, list: &str, egress: bool| -> Vec<Value> {
        random.some(0, 3, |random| {
            let action = random.pick(&["Accept", "Deny", "Deny", "Pass"]);
            let mut rule =
                json!({ "action": action, list: random.some(1, 2, |random| peer(random, egress)) });
            if random.one_in(2) {
                rule["protocols"] = json!(random.some(1, 2, protocol));
            }
            rule
        })
    };
    json!({
        "tier": random.pick(&["Admin", "Baseline"]),
        // Equal priorities may be read in either order.
        "priority": 7 * number + random.below(7),
        "subject": if random.one_in(2) { json!({ "namespaces": teams(random) }) } else { json!({ "pods": pods(random) }) },
        "ingress": rules(random, "from", false),
        "egress": rules(random, "to", true),
    })
}

impl World {
    /// A packet from or to a pod of this node.
    pub fn packet(&self, random: &mut Random) -> Packet {
        let here: Vec<IpAddr> = self.pods.iter().filter(|pod| pod.here).map(|pod| pod.address).collect();
        let outside = [OUTSIDE, &[OWN_NODE, OTHER_NODE]].concat();
        let far = outside.iter().map(|text| text.parse().expect("a literal address"));
        let others: Vec<IpAddr> = self.pods.iter().map(|pod| pod.address).chain(far).collect();
        let own = random.pick(&here);
        let others: Vec<IpAddr> = others.into_iter().filter(|other| *other != own).collect();
        let other = random.pick(&others);
        let (from, to) = if random.one_in(2) { (own, other) } else { (other, own) };
        let protocol = random.pick(&[6, 6, 6, 6, 17, 17, 17, 132, 1, 1, 2, 112]);
        let port = if protocol == 1 { random.pick(&[8, 13]) } else { random.pick(PORTS) };
        Packet { from, to, protocol, port }
    }

    /// The objects that come one by one: pods of other nodes, namespaces' labels, policies.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        for (name, labels) in &self.namespaces {
            events.push(json!({ "kind": "Namespace", "metadata": { "name": name, "labels": labels } }));
        }
        for (place, pod) in self.pods.iter().enumerate() {
            if pod.here {
                events.push(pod.object());
            } else {
                events.extend(self.remote(pod, place));
            }
        }
        events.extend(self.named.iter().cloned());
        events.extend(self.policies.iter().cloned());
        events
    }

    /// What another node tells about its pod.
    fn remote(&self, pod: &Pod, place: usize) -> [Value; 2] {
        let mut labels: Labels =
            pod.labels.iter().map(|(key, value)| (format!("k8s:{key}"), value.clone())).collect();
        labels.insert("k8s:io.kubernetes.pod.namespace".to_owned(), pod.namespace.to_owned());
        labels.insert("k8s:io.cilium.k8s.policy.cluster".to_owned(), "lab".to_owned());
        for (key, value) in &self.namespaces[pod.namespace] {
            labels.insert(format!("k8s:io.cilium.k8s.namespace.labels.{key}"), value.clone());
        }
        // Equal labels have one number, which is lower than any that this node would make.
        let alike = |other: &Pod| other.namespace == pod.namespace && other.labels == pod.labels;
        let number = 256 + self.pods.iter().position(alike).unwrap_or(place);
        let protocol = |protocol: u8| if protocol == 17 { "UDP" } else { "TCP" };
        let ports = pod
            .ports
            .iter()
            .map(|(name, number, port)| json!({ "name": name, "port": port, "protocol": protocol(*number) }));
        let ports: Vec<Value> = ports.collect();
        [
            json!({ "kind": "CiliumIdentity", "metadata": { "name": number.to_string() }, "security-labels": labels }),
            json!({
                "kind": "CiliumEndpoint",
                "metadata": { "name": pod.name, "namespace": pod.namespace },
                "status": {
                    "identity": { "id": number },
                    "networking": { "addressing": [{ "ipv4": pod.address.to_string() }], "node": OTHER_NODE },
                    "named-ports": ports,
                },
            }),
        ]
    }

    /// Everything, to be read by people.
    pub fn text(&self) -> String {
        let pods = self.pods.iter().map(|pod| format!("{pod:?}\n"));
        let policies = self.policies.iter().map(|policy| format!("{policy}\n"));
        let named = self.named.iter().map(|object| format!("{object}\n"));
        let mode = format!("blocks mean nodes, pods: {:?}\n", self.cidr_match);
        pods.chain(policies).chain(named).chain([mode]).collect()
    }
}

impl Pod {
    fn object(&self) -> Value {
        let protocol = |protocol: u8| if protocol == 17 { "UDP" } else { "TCP" };
        let ports = self.ports.iter().map(|(name, number, port)| {
            json!({ "name": name, "containerPort": port, "protocol": protocol(*number) })
        });
        let ports: Vec<Value> = ports.collect();
        json!({
            "kind": "Pod",
            "metadata": { "name": self.name, "namespace": self.namespace, "uid": self.name, "labels": self.labels },
            "spec": { "containers": [{ "name": "c", "ports": ports }] },
        })
    }
}
