//! YAML in, rules out: `testdata/convert/*.yaml`. A line `#> ` is a rule that is expected, `#! ` the error.

use std::fmt::Write as _;

use policy::{PortRule, Protocol};
use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::*;

fn convert(document: &Value) -> Result<Vec<Rule>, String> {
    fn rules<T: ToRules + serde::de::DeserializeOwned>(document: &Value) -> Result<Vec<Rule>, String> {
        // By way of JSON, as from the API server: YAML's numbers and keys are laxer.
        let object: T = serde_json::from_value(serde_json::to_value(document).unwrap()).unwrap();
        object.to_rules().map_err(|error| crate::error::chain(&error))
    }
    match document["kind"].as_str().expect("a kind") {
        "CiliumNetworkPolicy" => rules::<CiliumNetworkPolicy>(document),
        "CiliumClusterwideNetworkPolicy" => rules::<CiliumClusterwideNetworkPolicy>(document),
        "NetworkPolicy" => rules::<NetworkPolicy>(document),
        "ClusterNetworkPolicy" => rules::<ClusterNetworkPolicy>(document),
        other => panic!("kind {other}"),
    }
}

fn protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::Any => "ANY".to_owned(),
        Protocol::TCP => "TCP".to_owned(),
        Protocol::UDP => "UDP".to_owned(),
        Protocol::SCTP => "SCTP".to_owned(),
        Protocol::Number(number) => number.to_string(),
    }
}

fn port(port: &PortRule) -> String {
    match port {
        PortRule::Protocol(Protocol::Any) => "any".to_owned(),
        PortRule::Protocol(one) => protocol(*one),
        PortRule::Ports { protocol: one, first, last } if first == last => {
            format!("{}/{first}", protocol(*one))
        }
        PortRule::Ports { protocol: one, first, last } => format!("{}/{first}-{last}", protocol(*one)),
        PortRule::Named { protocol: one, name } => format!("{}/{name}", protocol(*one)),
        PortRule::Icmp(kind) => format!("icmp/{kind}"),
        PortRule::Icmpv6(kind) => format!("icmpv6/{kind}"),
    }
}

fn show(rule: &Rule) -> String {
    let subject = match &rule.subject {
        Subject::Endpoints(selector) => selector.to_string(),
        Subject::Nodes(selector) => format!("nodes {selector}"),
    };
    let mut text = format!("{subject} {} ", rule.direction);
    if rule.peers.is_empty() && rule.ports.is_empty() {
        assert!(rule.default_deny, "a rule that says nothing");
        return text + "closed";
    }
    assert!(!rule.peers.is_empty() && !rule.ports.is_empty(), "a rule that fits nothing: {rule:?}");
    let way = if rule.direction == Direction::Ingress { "from" } else { "to" };
    let peers: Vec<_> = rule.peers.iter().map(ToString::to_string).collect();
    let ports: Vec<_> = rule.ports.iter().map(port).collect();
    write!(text, "{} {way} {} on {}", rule.verdict, peers.join("; "), ports.join(",")).unwrap();
    if rule.tier != policy::Tier::Normal {
        write!(text, " ({} {})", rule.tier, rule.priority).unwrap();
    }
    if let Some(log) = &rule.log {
        write!(text, " (logs {log:?})").unwrap();
    }
    text + if rule.default_deny { " +default-deny" } else { "" }
}

fn check(file: &str, text: &str) {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    let texts: Vec<&str> = text.split("\n---\n").collect();
    let documents: Vec<Value> = documents.map(|one| Value::deserialize(one).unwrap()).collect();
    assert_eq!(documents.len(), texts.len(), "{file}");
    let mut wrong = String::new();
    for (index, (document, text)) in documents.iter().zip(texts).enumerate() {
        let expected: Vec<&str> =
            text.lines().filter(|line| line.starts_with("#> ") || line.starts_with("#! ")).collect();
        assert!(!expected.is_empty(), "{file}: document {index} expects nothing");
        let found = match convert(document) {
            Ok(rules) => rules.iter().map(|rule| format!("#> {}", show(rule))).collect(),
            Err(error) => vec![format!("#! {error}")],
        };
        if found != expected {
            writeln!(
                wrong,
                "{file}: document {index}, expected:\n{}\nfound:\n{}\n",
                expected.join("\n"),
                found.join("\n")
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

macro_rules! files {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let file = concat!(stringify!($name), ".yaml");
            check(file, include_str!(concat!("../../testdata/convert/", stringify!($name), ".yaml")));
        }
    )*};
}
files!(guide, reach, empty, peers, ports, kubernetes, cluster);

#[test]
fn every_file_is_checked() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/convert");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 7);
}

#[test]
fn entities_are_those_of_the_engine() {
    for name in crate::entity::NAMES {
        assert_eq!(policy::Entity::by_name(name).map(policy::Entity::name), Some(name));
    }
    assert_eq!(policy::Entity::ALL.len(), crate::entity::NAMES.len());
}

#[test]
fn rules_of_a_policy_carry_its_origin() {
    let mut policy = CiliumNetworkPolicy::default();
    policy.metadata.name = Some("p".to_owned());
    policy.metadata.namespace = Some("n".to_owned());
    policy.metadata.uid = Some("u".to_owned());
    let origin = policy.origin();
    assert_eq!(
        (origin.kind, &*origin.namespace, &*origin.name, &*origin.uid),
        (PolicyKind::Cnp, "n", "p", "u")
    );
}

#[test]
fn what_is_not_supported_yet_survives_a_round_trip() {
    let text = include_str!("../../testdata/convert/guide.yaml");
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap());
    for document in documents.filter(|document| document["kind"] == "CiliumNetworkPolicy") {
        let spec = serde_json::to_value(&document["spec"]).unwrap();
        let rule: crate::rule::Rule = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(rule).unwrap(), spec);
    }
}

/// Absent, empty and unknown are told apart, and stay so when written back.
#[test]
fn empty_lists_stay_empty_lists() {
    let spec = serde_json::json!({
        "endpointSelector": {},
        "ingress": [{ "fromGroups": [], "toPorts": [] }, {}],
        "egress": [],
        "later": { "x": 1 },
    });
    let rule: crate::rule::Rule = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(rule.ingress_deny, None);
    assert_eq!(serde_json::to_value(rule).unwrap(), spec);
}
