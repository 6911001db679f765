//! YAML in, the load balancer's model out: `testdata/services/*.yaml`. A line `#> ` is what is read, `#! ` a complaint;
//! `#> nothing` says that the object means nothing.

use std::fmt::{Debug, Write as _};

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_yaml_ng::Value;
use services::{LocalPod, Redirect, RedirectFrom, RedirectPort};

use super::*;

/// By way of JSON, as from the API server: YAML's numbers and keys are laxer.
fn parse<T: DeserializeOwned>(document: &Value) -> T {
    serde_json::from_value(serde_json::to_value(document).unwrap()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Those of the node.
fn node_labels() -> BTreeMap<String, String> {
    labels(&[("service.cilium.io/node", "beefy"), ("zone", "a"), ("cores", "8"), ("old", "")])
}

/// What an object says, without what is as by default.
#[derive(Default)]
struct Words(Vec<String>);

impl Words {
    fn list<T>(&mut self, name: &str, items: &[T], show: impl Fn(&T) -> String) {
        if !items.is_empty() {
            self.0.push(format!("{name}={}", items.iter().map(show).collect::<Vec<_>>().join(",")));
        }
    }

    fn some<T: Debug>(&mut self, name: &str, value: Option<T>) {
        self.0.extend(value.map(|value| format!("{name}={value:?}")));
    }

    fn not_default<T: Debug + Default + PartialEq>(&mut self, name: &str, value: T) {
        self.some(name, Some(value).filter(|value| *value != T::default()));
    }

    fn flag(&mut self, name: &str, set: bool) {
        self.0.extend(set.then(|| name.to_owned()));
    }

    fn text(self) -> String {
        self.0.join(" ")
    }
}

fn show_service(service: &Service) -> String {
    let mut words = Words(vec![format!("{} {:?}", service.name, service.kind)]);
    words.not_default("created", service.created);
    words.list("cluster", &service.cluster_ips, ToString::to_string);
    words.list("external", &service.external_ips, ToString::to_string);
    words.list("lb", &service.load_balancer_ips, |lb| match lb.mode {
        IpMode::Vip => lb.ip.to_string(),
        IpMode::Proxy => format!("{}(proxy)", lb.ip),
    });
    words.list("ports", &service.ports, |port| {
        let node_port = Some(port.node_port).filter(|port| *port != 0);
        format!(
            "{}:{}/{}{}",
            port.name,
            port.protocol,
            port.port,
            node_port.map(|p| format!("+{p}")).unwrap_or_default()
        )
    });
    words.not_default("external-policy", service.external_traffic_policy);
    words.not_default("internal-policy", service.internal_traffic_policy);
    words.some("affinity", service.session_affinity);
    words.list("ranges", &service.source_ranges, ToString::to_string);
    words.flag("deny", service.source_ranges_deny);
    words.not_default("health", service.health_check_node_port);
    words.some("algorithm", service.algorithm);
    words.some("forwarding", service.forwarding);
    if let Some(types) = service.exposed_types {
        let types = [types.cluster_ip, types.node_port, types.load_balancer].map(u8::from);
        words.some("types", Some(types));
    }
    words.flag("not-here", !service.nodes.admits(&node_labels()));
    words.flag("of-other", service.proxied_by_other);
    words.text()
}

fn show_slice(slice: &Slice) -> String {
    let mut words = Words(vec![format!("{} of {}", slice.name, slice.service)]);
    words.list("ports", &slice.ports, |port| format!("{}:{}/{}", port.name, port.protocol, port.port));
    for endpoint in &slice.endpoints {
        words.list("|", &endpoint.addresses, ToString::to_string);
        words.flag("ready", endpoint.ready);
        words.flag("serving", endpoint.serving);
        words.flag("terminating", endpoint.terminating);
        words.some("node", endpoint.node.as_ref());
        words.some("zone", endpoint.zone.as_ref());
        words.list("for-zones", &endpoint.zone_hints, ToString::to_string);
        words.list("for-nodes", &endpoint.node_hints, ToString::to_string);
    }
    words.text()
}

fn show_pod(pod: &PodPorts) -> String {
    let mut words = Words(vec![pod.name.to_string()]);
    words.not_default("created", pod.created);
    words.list("at", &pod.addresses, ToString::to_string);
    words.list("ports", &pod.ports, |port| {
        let ip = port.host_ip.map(|ip| format!("{ip}:")).unwrap_or_default();
        format!("{ip}{}/{}->{}", port.protocol, port.host_port, port.pod_port)
    });
    words.text()
}

fn show_redirect(policy: &Redirect) -> String {
    let port = |port: &RedirectPort| format!("{}:{}/{}", port.name, port.protocol, port.port);
    let mut words = Words(vec![policy.name.to_string()]);
    words.not_default("created", policy.created);
    let (RedirectFrom::Address { ports, .. } | RedirectFrom::Service { ports, .. }) = &policy.from;
    match &policy.from {
        RedirectFrom::Address { ip, .. } => words.some("address", Some(ip)),
        RedirectFrom::Service { name, .. } => words.some("service", Some(name)),
    }
    words.list("ports", ports, port);
    for (key, value) in policy.selector.match_labels() {
        words.0.push(format!("{key}={value}"));
    }
    words.list("to", &policy.to_ports, port);
    words.flag("spares-backends", policy.spares_backends);
    words.text()
}

fn show_local_pod(pod: &LocalPod) -> String {
    let mut words = Words(vec![pod.name.to_string()]);
    words.list("at", &pod.addresses, ToString::to_string);
    words.list("labels", &pod.labels.iter().map(ToString::to_string).collect::<Vec<_>>(), Clone::clone);
    words.list("ports", &pod.ports, |(port, protocol)| format!("{protocol}/{port}"));
    words.flag("ready", pod.ready);
    words.flag("host", pod.host_network);
    words.text()
}

fn read(document: &Value) -> Vec<String> {
    let or_nothing = |text: Option<String>| vec![format!("#> {}", text.as_deref().unwrap_or("nothing"))];
    match document["kind"].as_str().expect("a kind") {
        "Service" => {
            let (service, complaints) = service(&parse(document), "");
            let mut found = vec![format!("#> {}", show_service(&service))];
            found.extend(complaints.iter().map(|text| format!("#! {text}")));
            found
        }
        "EndpointSlice" => or_nothing(slice(&parse(document)).as_ref().map(show_slice)),
        "Pod" => or_nothing(pod_ports(&parse(document)).as_ref().map(show_pod)),
        "CiliumLocalRedirectPolicy" => match redirect(&parse(document)) {
            Ok(policy) => vec![format!("#> {}", show_redirect(&policy))],
            Err(error) => vec![format!("#! {}", crate::error::chain(&error))],
        },
        "LocalPod" => {
            let mut pod = document.clone();
            pod["kind"] = "Pod".into();
            or_nothing(local_pod(&parse(&pod)).as_ref().map(show_local_pod))
        }
        other => panic!("kind {other}"),
    }
}

fn check(file: &str, text: &str) {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let texts: Vec<&str> = text.split("\n---\n").collect();
    let documents: Vec<Value> = documents.map(|one| Value::deserialize(one).unwrap()).collect();
    assert_eq!(documents.len(), texts.len(), "{file}");
    let mut wrong = String::new();
    for (document, text) in documents.iter().zip(texts) {
        let lines = text.lines().filter(|line| line.starts_with("#> ") || line.starts_with("#! "));
        let expected: Vec<&str> = lines.collect();
        let found = read(document);
        if found != expected {
            writeln!(wrong, "{text}\nfound:\n{}\n", found.join("\n")).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{file}:\n{wrong}");
}

#[test]
fn services() {
    check("services.yaml", include_str!("../../testdata/services/services.yaml"));
}

#[test]
fn annotations() {
    check("annotations.yaml", include_str!("../../testdata/services/annotations.yaml"));
}

#[test]
fn slices() {
    check("slices.yaml", include_str!("../../testdata/services/slices.yaml"));
}

#[test]
fn pods() {
    check("pods.yaml", include_str!("../../testdata/services/pods.yaml"));
}

#[test]
fn redirects() {
    check("redirects.yaml", include_str!("../../testdata/services/redirects.yaml"));
}

#[test]
fn services_of_another_proxy_are_left_alone() {
    for (ours, label, is_ours) in [
        ("", None, true),
        ("", Some("blue"), false),
        ("", Some(""), false),
        ("blue", None, false),
        ("blue", Some("blue"), true),
        ("blue", Some("green"), false),
    ] {
        let labels: Vec<_> = label.map(|value| (PROXY_NAME, value)).into_iter().collect();
        let object = core::Service {
            metadata: ObjectMeta { labels: Some(self::labels(&labels)), ..ObjectMeta::default() },
            ..core::Service::default()
        };
        assert_eq!(!service(&object, ours).0.proxied_by_other, is_ours, "{ours:?} {label:?}");
    }
}

#[test]
fn zones() {
    assert_eq!(zone(&labels(&[(ZONE, "eu-1a")])).as_deref(), Some("eu-1a"));
    assert_eq!(zone(&labels(&[(ZONE, "")])), None);
    assert_eq!(zone(&BTreeMap::new()), None);
}
