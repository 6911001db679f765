//! A literal reader of the API's text. It reads the objects as they are written, one packet at a time, and shares nothing
//! with the conversion and the engine.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::written::{Labels, OTHER_NODE, OWN_NODE, Packet, Pod, World, node_labels};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody drops it.
    Passes,
    /// The sender's policy drops it.
    DroppedAtEgress,
    /// The receiver's policy drops it.
    DroppedAtIngress,
}

/// Who has an address.
struct End<'a> {
    address: IpAddr,
    pod: Option<&'a Pod>,
}

/// A question to one side.
struct Question<'a> {
    world: &'a World,
    subject: &'a Pod,
    peer: End<'a>,
    /// Whose ports have names.
    receiver: Option<&'a Pod>,
    egress: bool,
    protocol: u8,
    port: u16,
}

/// Both sides, as far as they are pods of this node.
pub fn judge(world: &World, packet: &Packet) -> Outcome {
    let pod = |address| world.pods.iter().find(|pod| pod.address == address);
    let (from, to) = (pod(packet.from), pod(packet.to));
    let ask = |subject, peer: Option<_>, address, egress| Question {
        world,
        subject,
        peer: End { address, pod: peer },
        receiver: to,
        egress,
        protocol: packet.protocol,
        port: packet.port,
    };
    if let Some(subject) = from.filter(|pod| pod.here)
        && !ask(subject, to, packet.to, true).passes()
    {
        return Outcome::DroppedAtEgress;
    }
    if let Some(subject) = to.filter(|pod| pod.here)
        && !ask(subject, from, packet.from, false).passes()
    {
        return Outcome::DroppedAtIngress;
    }
    Outcome::Passes
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn own_labels(object: &Value) -> Labels {
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
}

fn selects(selector: &Value, labels: &Labels) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten();
    equal.clone().all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str())
        && list(&selector["matchExpressions"]).iter().all(|one| {
            let value = labels.get(text(&one["key"]));
            let among = || value.is_some_and(|value| list(&one["values"]).iter().any(|v| text(v) == value));
            match text(&one["operator"]) {
                "In" => among(),
                "NotIn" => !among(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("operator {other}"),
            }
        })
}

impl Question<'_> {
    fn passes(&self) -> bool {
        self.tier("Admin").or_else(|| self.normal()).or_else(|| self.tier("Baseline")).unwrap_or(true)
    }

    fn policies(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.world.policies.iter().filter(move |policy| policy["kind"] == kind)
    }

    fn namespace(&self, pod: &Pod) -> &Labels {
        &self.world.namespaces[pod.namespace]
    }

    fn direction(&self) -> &'static str {
        if self.egress { "egress" } else { "ingress" }
    }

    fn in_block(&self, cidr: &Value) -> bool {
        text(cidr).parse::<IpNet>().expect("a prefix").contains(&self.peer.address)
    }

    fn is_node(&self) -> bool {
        [OWN_NODE, OTHER_NODE].contains(&self.peer.address.to_string().as_str())
    }

    fn is_own_node(&self) -> bool {
        self.peer.address.to_string() == OWN_NODE
    }

    fn has_name(&self, name: &str, protocols: &[u8]) -> bool {
        // A pod's own names are its own; those of others are known by their labels.
        let alike = |pod: &&Pod| {
            self.receiver.is_some_and(|to| (to.namespace, &to.labels) == (pod.namespace, &pod.labels))
        };
        let ports: Vec<_> = match self.egress {
            true => self.world.pods.iter().filter(alike).flat_map(|pod| &pod.ports).collect(),
            false => self.subject.ports.iter().collect(),
        };
        protocols.contains(&self.protocol)
            && ports
                .into_iter()
                .any(|(own, protocol, port)| *own == name && (*protocol, *port) == (self.protocol, self.port))
    }

    // ClusterNetworkPolicy: by priority, then by place; the first rule that matches counts.
    fn tier(&self, tier: &str) -> Option<bool> {
        let mut policies: Vec<&Value> =
            self.policies("ClusterNetworkPolicy").filter(|policy| policy["spec"]["tier"] == tier).collect();
        policies.sort_by_key(|policy| policy["spec"]["priority"].as_u64());
        let selected = policies.into_iter().filter(|p| self.is_meant(&p["spec"]["subject"], self.subject));
        let mut rules = selected.flat_map(|policy| list(&policy["spec"][self.direction()]));
        let rule = rules.find(|rule| {
            let peers = list(&rule[if self.egress { "to" } else { "from" }]);
            let protocols = rule.get("protocols").map(list);
            peers.iter().any(|peer| self.is_cluster_peer(peer))
                && protocols.is_none_or(|list| list.iter().any(|one| self.is_cluster_port(one)))
        })?;
        match text(&rule["action"]) {
            "Accept" => Some(true),
            "Deny" => Some(false),
            _ => None,
        }
    }

    fn is_meant(&self, written: &Value, pod: &Pod) -> bool {
        match (written.get("namespaces"), written.get("pods")) {
            (Some(namespaces), _) => selects(namespaces, self.namespace(pod)),
            (_, Some(pods)) => {
                selects(&pods["namespaceSelector"], self.namespace(pod))
                    && selects(&pods["podSelector"], &pod.labels)
            }
            _ => false,
        }
    }

    fn is_cluster_peer(&self, peer: &Value) -> bool {
        if let Some(networks) = peer.get("networks") {
            return list(networks).iter().any(|cidr| self.in_block(cidr));
        }
        if let Some(nodes) = peer.get("nodes") {
            return self.is_selected_node(nodes);
        }
        self.peer.pod.is_some_and(|pod| self.is_meant(peer, pod))
    }

    fn is_cluster_port(&self, written: &Value) -> bool {
        if let Some(name) = written.get("destinationNamedPort") {
            return self.has_name(text(name), &[6, 17, 132]);
        }
        [("tcp", 6), ("udp", 17), ("sctp", 132)].into_iter().any(|(name, protocol)| {
            let Some(ports) = written.get(name) else { return false };
            let port = &ports["destinationPort"];
            let fits = match (port["number"].as_u64(), port.get("range")) {
                (Some(number), _) => number == u64::from(self.port),
                (None, Some(range)) => {
                    (range["start"].as_u64()..=range["end"].as_u64()).contains(&Some(u64::from(self.port)))
                }
                (None, None) => true,
            };
            protocol == self.protocol && fits
        })
    }

    // Everything between the tiers: denials first, then allowances; what is closed and not allowed is dropped.
    fn normal(&self) -> Option<bool> {
        let (mut closed, mut allowed) = (false, false);
        for policy in self.policies("NetworkPolicy") {
            let spec = &policy["spec"];
            let kind = if self.egress { "Egress" } else { "Ingress" };
            let about = list(&spec["policyTypes"]).iter().any(|one| one == kind);
            if !about || !self.rules_subject(policy, &spec["podSelector"]) {
                continue;
            }
            closed = true;
            allowed |= list(&spec[self.direction()]).iter().any(|rule| self.kubernetes(rule, policy));
        }
        for policy in self.policies("CiliumNetworkPolicy") {
            let spec = &policy["spec"];
            if !self.rules_subject(policy, &spec["endpointSelector"]) {
                continue;
            }
            let allows = list(&spec[self.direction()]);
            let denies = list(&spec[format!("{}Deny", self.direction())]);
            let wanted = spec["enableDefaultDeny"][self.direction()].as_bool();
            closed |= wanted.unwrap_or(!allows.is_empty() || !denies.is_empty());
            if denies.iter().any(|rule| self.cilium(rule, policy)) {
                return Some(false);
            }
            allowed |= allows.iter().any(|rule| self.cilium(rule, policy));
        }
        // "Traffic to and from the node where a Pod is running is always allowed": Cilium lets the node in.
        match allowed || !self.egress && self.is_own_node() && self.reaches_end(closed) {
            true => Some(true),
            false => closed.then_some(false),
        }
    }

    /// The node's own access stands at the end of the normal tier, whatever comes behind.
    fn reaches_end(&self, closed: bool) -> bool {
        closed || self.policies("ClusterNetworkPolicy").any(|policy| policy["spec"]["tier"] == "Baseline")
    }

    fn rules_subject(&self, policy: &Value, selector: &Value) -> bool {
        policy["metadata"]["namespace"] == self.subject.namespace && selects(selector, &self.subject.labels)
    }

    fn kubernetes(&self, rule: &Value, policy: &Value) -> bool {
        let peers = list(&rule[if self.egress { "to" } else { "from" }]);
        let ports = list(&rule["ports"]);
        let peer_fits = |peer: &Value| {
            if let Some(block) = peer.get("ipBlock") {
                let excepted = list(&block["except"]).iter().any(|cidr| self.in_block(cidr));
                return self.in_block(&block["cidr"]) && !excepted;
            }
            let Some(pod) = self.peer.pod else { return false };
            let namespace = match peer.get("namespaceSelector") {
                Some(selector) => selects(selector, self.namespace(pod)),
                None => policy["metadata"]["namespace"] == pod.namespace,
            };
            namespace && peer.get("podSelector").is_none_or(|selector| selects(selector, &pod.labels))
        };
        let port_fits = |port: &Value| {
            let protocol = match port["protocol"].as_str() {
                None | Some("TCP") => 6,
                Some("UDP") => 17,
                _ => 132,
            };
            if let Some(name) = port["port"].as_str() {
                return self.has_name(name, &[protocol]);
            }
            let first = port["port"].as_u64();
            let last = port["endPort"].as_u64().or(first);
            let inside = first.is_none() || (first..=last).contains(&Some(u64::from(self.port)));
            protocol == self.protocol && inside
        };
        (peers.is_empty() || peers.iter().any(peer_fits)) && (ports.is_empty() || ports.iter().any(port_fits))
    }

    fn cilium(&self, rule: &Value, policy: &Value) -> bool {
        let way = if self.egress { "to" } else { "from" };
        let field = |name: &str| rule.get(format!("{way}{name}"));
        // A rule that says nothing of peers and nothing of ports matches nothing.
        if rule.as_object().is_some_and(serde_json::Map::is_empty) {
            return false;
        }
        let outside = self.peer.pod.is_none() && !self.is_node();
        let (nodes, pods) = self.world.cidr_match;
        let by_address = outside || nodes && self.is_node() || pods && self.peer.pod.is_some();
        let peers = [
            field("Endpoints").map(|all| list(all).iter().any(|one| self.is_endpoint(one, policy))),
            field("Entities").map(|all| list(all).iter().any(|one| self.is_entity(text(one), outside))),
            field("Nodes").map(|all| list(all).iter().any(|one| self.is_selected_node(one))),
            field("Services").map(|all| list(all).iter().any(|one| self.is_backend(one, by_address))),
            field("CIDR").map(|all| by_address && list(all).iter().any(|cidr| self.in_block(cidr))),
            field("CIDRSet").map(|all| {
                by_address
                    && list(all).iter().any(|set| {
                        self.in_set(set) && !list(&set["except"]).iter().any(|cidr| self.in_block(cidr))
                    })
            }),
        ];
        let ports = [
            rule.get("toPorts").map(|all| {
                list(all).iter().flat_map(|one| list(&one["ports"])).any(|port| self.is_cilium_port(port))
            }),
            rule.get("icmps").map(|all| {
                let fields = list(all).iter().flat_map(|one| list(&one["fields"]));
                let mut types = fields.map(|field| field["type"].as_u64());
                self.protocol == 1 && types.any(|kind| kind == Some(u64::from(self.port)))
            }),
        ];
        peers.into_iter().chain(ports).flatten().all(|fits| fits)
    }

    /// A block by itself, or those of groups.
    fn in_set(&self, set: &Value) -> bool {
        if let Some(cidr) = set.get("cidr") {
            return self.in_block(cidr);
        }
        let groups = self.named("CiliumCIDRGroup").filter(|group| match set.get("cidrGroupRef") {
            Some(name) => group["metadata"]["name"] == *name,
            None => selects(&set["cidrGroupSelector"], &own_labels(group)),
        });
        let mut blocks = groups.flat_map(|group| list(&group["spec"]["externalCIDRs"]));
        blocks.any(|cidr| self.in_block(cidr))
    }

    fn named(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.world.named.iter().filter(move |object| object["kind"] == kind)
    }

    /// A pod that a service selects, or an address listed for one that selects none.
    fn is_backend(&self, written: &Value, by_address: bool) -> bool {
        let (wanted, by_name) = match written.get("k8sService") {
            Some(wanted) => (wanted, true),
            None => (&written["k8sServiceSelector"], false),
        };
        let namespace = text(&wanted["namespace"]);
        let meant = self.named("Service").filter(|service| {
            let metadata = &service["metadata"];
            (namespace.is_empty() || metadata["namespace"] == namespace)
                && match by_name {
                    true => metadata["name"] == wanted["serviceName"],
                    false => selects(&wanted["selector"], &own_labels(service)),
                }
        });
        meant.into_iter().any(|service| {
            let metadata = &service["metadata"];
            let Some(selector) = service["spec"].get("selector") else {
                let slices = self.named("EndpointSlice").filter(|slice| {
                    slice["metadata"]["namespace"] == metadata["namespace"]
                        && slice["metadata"]["labels"]["kubernetes.io/service-name"] == metadata["name"]
                });
                let endpoints = slices.flat_map(|slice| list(&slice["endpoints"]));
                let mut addresses = endpoints.flat_map(|endpoint| list(&endpoint["addresses"]));
                let own = self.peer.address.to_string();
                return by_address && addresses.any(|address| *address == own);
            };
            self.peer.pod.is_some_and(|pod| {
                metadata["namespace"] == pod.namespace
                    && selects(&serde_json::json!({ "matchLabels": selector }), &pod.labels)
            })
        })
    }

    fn is_selected_node(&self, selector: &Value) -> bool {
        let name = if self.is_own_node() { "n1" } else { "n2" };
        self.is_node() && selects(selector, &node_labels(name))
    }

    fn is_endpoint(&self, selector: &Value, policy: &Value) -> bool {
        let Some(pod) = self.peer.pod else { return false };
        let mut labels = pod.labels.clone();
        labels.insert("io.kubernetes.pod.namespace".to_owned(), pod.namespace.to_owned());
        for (key, value) in self.namespace(pod) {
            labels.insert(format!("io.cilium.k8s.namespace.labels.{key}"), value.clone());
        }
        let speaks_of_namespaces = selector.to_string().contains("namespace");
        let own = policy["metadata"]["namespace"] == pod.namespace;
        selects(selector, &labels) && (speaks_of_namespaces || own)
    }

    fn is_entity(&self, name: &str, outside: bool) -> bool {
        match name {
            "all" => true,
            "world" => outside,
            "cluster" => !outside,
            "host" => self.is_own_node(),
            "remote-node" => self.is_node() && !self.is_own_node(),
            _ => false,
        }
    }

    fn is_cilium_port(&self, written: &Value) -> bool {
        let protocols: &[u8] = match text(&written["protocol"]) {
            "TCP" => &[6],
            "UDP" => &[17],
            "SCTP" => &[132],
            "VRRP" => return self.protocol == 112,
            "IGMP" => return self.protocol == 2,
            _ => &[6, 17, 132],
        };
        let port = text(&written["port"]);
        let Ok(first) = port.parse::<u16>() else { return self.has_name(port, protocols) };
        if first == 0 {
            // Every port: with ANY also what has no ports.
            return protocols.len() == 3 || protocols.contains(&self.protocol);
        }
        let last = written["endPort"].as_u64().unwrap_or(u64::from(first));
        protocols.contains(&self.protocol) && (u64::from(first)..=last).contains(&u64::from(self.port))
    }
}
