//! `policy explain`.

use crate::bpf::{policy_name, protocol};
use crate::cli::ExplainArgs;
use crate::output::render;
use anyhow::{Context, Result, ensure};
use api::policy::{ExplainedSide, Explanation, PolicyRef, RuleRef, TraceEnd};
use api::{Client, paths};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

pub(crate) fn run(client: &Client, args: &ExplainArgs) -> Result<String> {
    let flows = read(&args.flow)?;
    let mut told = Vec::new();
    for (line, flow) in &flows {
        let explanation: Explanation =
            client.post(paths::POLICY_EXPLAIN, flow).with_context(|| format!("flow in line {line}"))?;
        told.push(explanation);
    }
    let words =
        |all: &[Explanation]| all.iter().map(|one| words(one, args.verbose)).collect::<Vec<_>>().join("\n");
    let format = args.format.output.as_ref();
    match told.as_slice() {
        [one] => render(format, one, |one| words(std::slice::from_ref(one))),
        all => render(format, &all, |all| words(all)),
    }
}

/// The flows of a file, each with the number of its last line. One may also be spread over many lines.
fn read(path: &Path) -> Result<Vec<(usize, Value)>> {
    let name = path.display();
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).context("cannot read flows from standard input")?
    } else {
        std::fs::read_to_string(path).with_context(|| format!("cannot read {name} (--flow)"))?
    };
    let mut flows = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    while let Some(value) = stream.next() {
        let value =
            value.with_context(|| format!("{name} holds something that is no JSON: give one flow a line"))?;
        let line = text[..stream.byte_offset()].lines().count();
        // What nodes and losses are told by is no flow.
        let other = ["node_status", "lost_events"].iter().any(|kind| value.get(kind).is_some());
        if !other {
            flows.push((line, value));
        }
    }
    ensure!(!flows.is_empty(), "{name} holds no flow: write one with `hubble observe -o json --last 1`");
    Ok(flows)
}

fn words(told: &Explanation, verbose: bool) -> String {
    let recorded = &told.recorded;
    let mut text = format!(
        "{} → {} {}, recorded as {}",
        end(&told.source, told.protocol),
        end(&told.destination, told.protocol),
        protocol(told.protocol),
        recorded.verdict
    );
    if !recorded.reason.is_empty() {
        let _ = write!(text, " ({})", recorded.reason);
    }
    text.push('\n');
    for (said, policies) in [("allowed", &recorded.allowed_by), ("denied", &recorded.denied_by)] {
        if !policies.is_empty() {
            let _ = writeln!(text, "  {said} then by {}", list(policies, policy_name));
        }
    }
    for side in &told.sides {
        text.push_str(&side_words(side, verbose));
    }
    if !told.elsewhere.is_empty() {
        let _ = writeln!(text, "Not told here: {}", told.elsewhere);
    }
    text
}

fn side_words(side: &ExplainedSide, verbose: bool) -> String {
    let title = if side.direction == "egress" { "Egress" } else { "Ingress" };
    let mut text = format!("{title} policy of {} (endpoint {}): {}\n", side.pod, side.endpoint, side.text);
    let _ = writeln!(text, "  peer: identity {} [{}]", side.peer, side.peer_labels.join(" "));
    for rule in &side.because {
        let _ = writeln!(text, "  by {}", rule_name(rule));
    }
    let fits = |peer: bool, port: bool| match (peer, port) {
        (true, true) => "matches",
        (true, false) => "the peer matches, the port does not",
        (false, true) => "the port matches, the peer does not",
        (false, false) => "neither peer nor port match",
    };
    let shown = side.rules.iter().filter(|step| verbose || step.peer_matches || step.port_matches);
    for step in shown {
        let dry = if step.audit { ", audit" } else { "" };
        let tier = match (step.tier.as_str(), step.priority) {
            ("normal", 0) => String::new(),
            (tier, priority) => format!(", tier {tier}, priority {priority}"),
        };
        let how = fits(step.peer_matches, step.port_matches);
        let _ = writeln!(text, "  rule {} {}: {how}{tier}{dry}", step.verdict, rule_name(&step.rule));
    }
    text
}

fn end(end: &TraceEnd, protocol: u8) -> String {
    let port = match (end.port, protocol) {
        (0, _) => String::new(),
        (kind, 1 | 58) => format!(" type {kind}"),
        (port, _) => format!(":{port}"),
    };
    let address = match end.address.contains(':') && port.starts_with(':') {
        true => format!("[{}]", end.address),
        false => end.address.clone(),
    };
    match end.found.as_str() {
        "" => format!("{address}{port}"),
        pod => format!("{pod} ({address}{port})"),
    }
}

/// `CiliumNetworkPolicy default/web spec.ingress[0]`.
fn rule_name(rule: &RuleRef) -> String {
    let RuleRef { kind, namespace, name, place } = rule;
    let policy = PolicyRef { kind: kind.clone(), namespace: namespace.clone(), name: name.clone() };
    let mut text = policy_name(&policy);
    if !place.is_empty() {
        let _ = write!(text, " {place}");
    }
    text
}

fn list<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    items.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_default_deny_names_who_closed_the_direction() {
        let told: Explanation = serde_json::from_value(json!({
            "source": { "address": "10.0.0.1", "found": "shop/client" },
            "destination": { "address": "10.0.0.2", "port": 81, "found": "shop/web" },
            "protocol": 6,
            "recorded": { "verdict": "DROPPED", "reason": "Policy denied",
                "deniedBy": [{ "kind": "CiliumNetworkPolicy", "namespace": "shop", "name": "web" }] },
            "sides": [{
                "direction": "ingress", "endpoint": 78, "pod": "shop/web", "peer": 1001, "peerLabels": ["k8s:app=client"],
                "verdict": "DENIED", "text": "denied: no rule allows it",
                "because": [{ "kind": "CiliumNetworkPolicy", "namespace": "shop", "name": "web", "place": "spec.ingress[0]" }],
                "rules": [
                    { "rule": { "kind": "CiliumNetworkPolicy", "namespace": "shop", "name": "web", "place": "spec.ingress[0]" },
                      "verdict": "allow", "tier": "normal", "peerMatches": true },
                    { "rule": { "kind": "ClusterNetworkPolicy", "name": "all" },
                      "verdict": "deny", "tier": "admin", "priority": 7, "audit": true } ] }],
            "elsewhere": "the egress policy of shop/client is known to the agent of its node" }))
        .expect("explanation");
        let expected = "\
shop/client (10.0.0.1) → shop/web (10.0.0.2:81) TCP, recorded as DROPPED (Policy denied)
  denied then by CiliumNetworkPolicy shop/web
Ingress policy of shop/web (endpoint 78): denied: no rule allows it
  peer: identity 1001 [k8s:app=client]
  by CiliumNetworkPolicy shop/web spec.ingress[0]
  rule allow CiliumNetworkPolicy shop/web spec.ingress[0]: the peer matches, the port does not
";
        let rest = "Not told here: the egress policy of shop/client is known to the agent of its node\n";
        assert_eq!(words(&told, false), format!("{expected}{rest}"));
        let more = "  rule deny ClusterNetworkPolicy all: neither peer nor port match, tier admin, priority 7, audit\n";
        assert_eq!(words(&told, true), format!("{expected}{more}{rest}"));
    }

    #[test]
    fn flows_are_read_with_and_without_lines_of_their_own() {
        let path = std::env::temp_dir().join(format!("explain-{}.json", std::process::id()));
        std::fs::write(&path, "{\"flow\":{}}\n{\"node_status\":{}}\n{\n\"flow\":{}}\n").expect("written");
        let lines: Vec<usize> = read(&path).expect("flows").into_iter().map(|(line, _)| line).collect();
        std::fs::write(&path, "{\"flow\":").expect("written");
        let bad = read(&path).unwrap_err().to_string();
        std::fs::write(&path, "").expect("written");
        let none = read(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(lines, [1, 4]);
        assert!(bad.contains("no JSON") && none.contains("hubble observe"), "{bad}; {none}");
    }
}
