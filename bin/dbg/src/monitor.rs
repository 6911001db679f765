//! `monitor`.

use crate::bpf::policy_name;
use crate::cli::MonitorArgs;
use anyhow::Result;
use api::Client;
use api::monitor::{Event, Query};
use std::io::Write;
use std::process::ExitCode;

/// Runs until it is interrupted or the agent goes away, which is an error.
pub(crate) fn run(client: &Client, args: &MonitorArgs) -> Result<ExitCode> {
    let query = Query {
        kinds: args.kinds.clone(),
        from: args.from.clone(),
        to: args.to.clone(),
        related_to: args.related_to.clone(),
    };
    let json = args.json || args.output.is_some();
    let events = client.stream::<Event>(&query.path())?;
    let mut out = std::io::stdout().lock();
    if !json {
        writeln!(out, "Press Ctrl-C to quit")?;
        out.flush()?;
    }
    for event in events {
        let event = event?;
        if json {
            serde_json::to_writer(&mut out, &event)?;
            writeln!(out)?;
        } else {
            if args.verbose {
                write!(out, "{} ", event.time)?;
            }
            writeln!(out, "{}", line(&event))?;
        }
        // Each line is for somebody who waits for it.
        out.flush()?;
    }
    anyhow::bail!("the agent closed the stream: is it restarting?")
}

/// An event in one line, in the words of Cilium's monitor.
fn line(event: &Event) -> String {
    let Event { source_identity: from, destination_identity: to, summary, reason, .. } = event;
    match event.kind.as_str() {
        "drop" => format!(
            "xx drop ({reason}) flow 0x0 to endpoint {}, ifindex {}, identity {}->{}: {summary}{}",
            event.destination_endpoint,
            interface(event),
            identity(*from),
            identity(*to),
            by(event)
        ),
        "trace" => format!(
            "{} flow 0x0 , identity {}->{} state {} ifindex {} orig-ip 0.0.0.0: {summary}",
            direction(event),
            identity(*from),
            identity(*to),
            event.state,
            interface(event)
        ),
        "policy-verdict" => verdict_line(event),
        "trace-sock" => format!(
            "[{}] cgroup_id: {} sock_cookie: {}, {summary}",
            event.point, event.cgroup_id, event.socket_cookie
        ),
        "lost" => format!("CPU 00: Lost {} events", event.lost),
        other => format!("{other}: {summary}"),
    }
}

fn verdict_line(event: &Event) -> String {
    let (local, peer) = if event.direction == "egress" {
        (event.source_endpoint, event.destination_identity)
    } else {
        (event.destination_endpoint, event.source_identity)
    };
    let Event { direction, action, matched, summary, .. } = event;
    let peer = identity(peer);
    format!(
        "Policy verdict log: flow 0x0 local EP ID {local}, remote ID {peer}, {direction}, action {action}, \
         auth: disabled, match {matched}, {summary}{}",
        by(event)
    )
}

/// The policies behind a verdict or drop, where they are known.
fn by(event: &Event) -> String {
    let names: Vec<String> = event.policies.iter().map(policy_name).collect();
    if names.is_empty() { String::new() } else { format!(", by {}", names.join(", ")) }
}

fn interface(event: &Event) -> String {
    if event.interface.is_empty() { event.ifindex.to_string() } else { event.interface.clone() }
}

/// An arrow and where the packet goes, or where it comes from.
fn direction(event: &Event) -> String {
    match event.point.as_str() {
        "to-endpoint" => format!("-> endpoint {}", event.destination_endpoint),
        "from-endpoint" => format!("<- endpoint {}", event.source_endpoint),
        point => match point.split_once('-') {
            Some(("to", place)) => format!("-> {place}"),
            Some(("from", place)) => format!("<- {place}"),
            _ => point.to_owned(),
        },
    }
}

/// Reserved identities have names.
fn identity(number: u32) -> String {
    let name = match number {
        0 => "unknown",
        1 => "host",
        2 => "world",
        3 => "unmanaged",
        4 => "health",
        5 => "init",
        6 => "remote-node",
        7 => "kube-apiserver",
        8 => "ingress",
        9 => "world-ipv4",
        10 => "world-ipv6",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(event: serde_json::Value, expected: &str) {
        let event: Event = serde_json::from_value(event).expect("event");
        assert_eq!(line(&event), expected);
    }

    #[test]
    fn lines() {
        let packet = "10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN";
        check(
            json!({ "type": "drop", "reason": "Policy denied", "destinationEndpoint": 78, "ifindex": 9,
                "sourceIdentity": 12345, "destinationIdentity": 2, "summary": packet,
                "policies": [{ "kind": "NetworkPolicy", "namespace": "default", "name": "deny" }] }),
            "xx drop (Policy denied) flow 0x0 to endpoint 78, ifindex 9, identity 12345->world: \
             10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN, by NetworkPolicy default/deny",
        );
        check(
            json!({ "type": "trace", "point": "to-endpoint", "destinationEndpoint": 78, "state": "new",
                "interface": "lxc1", "sourceIdentity": 1, "destinationIdentity": 12345, "summary": packet }),
            "-> endpoint 78 flow 0x0 , identity host->12345 state new ifindex lxc1 orig-ip 0.0.0.0: \
             10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN",
        );
        check(
            json!({ "type": "trace", "point": "from-network", "state": "reply", "ifindex": 2, "summary": packet }),
            "<- network flow 0x0 , identity unknown->unknown state reply ifindex 2 orig-ip 0.0.0.0: \
             10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN",
        );
        check(
            json!({ "type": "policy-verdict", "direction": "ingress", "destinationEndpoint": 78, "sourceIdentity": 6,
                "action": "allow", "matched": "L3-L4", "summary": packet }),
            "Policy verdict log: flow 0x0 local EP ID 78, remote ID remote-node, ingress, action allow, \
             auth: disabled, match L3-L4, 10.0.0.1:4000 -> 10.0.0.2:80 tcp SYN",
        );
        check(
            json!({ "type": "trace-sock", "point": "post-xlate-fwd", "cgroupId": 7, "socketCookie": 9,
                "summary": "10.0.0.1 -> 10.0.0.2:80 TCP" }),
            "[post-xlate-fwd] cgroup_id: 7 sock_cookie: 9, 10.0.0.1 -> 10.0.0.2:80 TCP",
        );
        check(json!({ "type": "lost", "lost": 12 }), "CPU 00: Lost 12 events");
    }
}
