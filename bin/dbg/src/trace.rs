//! `policy trace`.

use crate::bpf::{policy_name, protocol};
use crate::cli::{Cli, TraceArgs};
use crate::output::render;
use anyhow::{Context, Result, bail};
use api::policy::{Decision, Party, Trace, TraceEnd, TraceRequest};
use api::{Client, paths};
use clap::CommandFactory;
use clap::error::ErrorKind;
use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

/// The identity of an agent's own node.
const HOST: u32 = 1;

/// Exits with 1 if the packet would be denied.
pub(crate) fn run(client: &Client, args: &TraceArgs) -> Result<ExitCode> {
    let (source, destination, dport) = match args.packet.as_slice() {
        [from, to, port] => (short(from)?, short(to)?, port),
        _ => {
            let (source, destination) = parties(args)?;
            (source, destination, &args.dport)
        }
    };
    let (protocol, port) = parse_dport(dport)?;
    let request = TraceRequest {
        source,
        destination,
        protocol,
        port,
        source_port: args.sport,
        ipv6: args.ipv6,
        existing: args.existing,
    };
    let trace: Trace = client.post(paths::POLICY_TRACE, &request)?;
    crate::print(&render(args.format.output.as_ref(), &trace, |trace| words(&request, trace))?)?;
    Ok(if trace.verdict == "DENIED" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The two ends as the options name them.
fn parties(args: &TraceArgs) -> Result<(Party, Party)> {
    let (from, to) = (&args.source, &args.destination);
    let source = party(
        from.src_endpoint,
        from.src_k8s_pod.as_deref(),
        from.src_ip,
        from.src_identity,
        &from.src_labels,
    )?
    .unwrap_or_else(|| misused("nobody sends: write FROM TO PORT, or one of the --src options"));
    let destination =
        party(to.dst_endpoint, to.dst_k8s_pod.as_deref(), to.dst_ip, to.dst_identity, &to.dst_labels)?
            .unwrap_or_else(|| {
                misused("nobody is addressed: write FROM TO PORT, or one of the --dst options")
            });
    Ok((source, destination))
}

/// Ends as clap does where something is missing.
fn misused(text: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, text).exit()
}

/// `default/web-0` or `default:web-0`, `10.0.0.1`, `77`, `host`.
fn short(text: &str) -> Result<Party> {
    if matches!(text, "host" | "reserved:host") {
        return Ok(Party::Identity(HOST));
    }
    if let Ok(id) = text.parse() {
        return Ok(Party::Endpoint(id));
    }
    if let Ok(address) = text.parse() {
        return Ok(Party::Address(address));
    }
    let (namespace, name) = text.split_once('/').or_else(|| text.split_once(':')).with_context(|| {
        format!("`{text}` names no end: write NAMESPACE/NAME, an address, the number of an endpoint, or host")
    })?;
    Ok(Party::Pod { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// clap has seen to it that at most one is given.
fn party(
    endpoint: Option<u16>,
    pod: Option<&str>,
    ip: Option<IpAddr>,
    identity: Option<u32>,
    labels: &[String],
) -> Result<Option<Party>> {
    if let Some(pod) = pod {
        let (namespace, name) = pod
            .split_once(':')
            .or_else(|| pod.split_once('/'))
            .with_context(|| format!("`{pod}` names no pod: write NAMESPACE:NAME"))?;
        return Ok(Some(Party::Pod { namespace: namespace.to_owned(), name: name.to_owned() }));
    }
    let others = [endpoint.map(Party::Endpoint), ip.map(Party::Address), identity.map(Party::Identity)];
    let labels = (!labels.is_empty()).then(|| Party::Labels(labels.to_vec()));
    Ok(others.into_iter().flatten().next().or(labels))
}

/// `80`, `80/tcp`, `8/icmp`, `0/any`: number of the protocol and port. A port without a protocol is TCP's.
fn parse_dport(text: &str) -> Result<(u8, u16)> {
    let (port, name) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().with_context(|| format!("`{port}` is no port: write 80/tcp"))?;
    let protocol = match name.to_ascii_lowercase().as_str() {
        "any" => 0,
        "icmp" | "icmpv4" => 1,
        "tcp" => 6,
        "udp" => 17,
        "icmpv6" => 58,
        "sctp" => 132,
        _ => bail!("`{name}` is no protocol: write tcp, udp, sctp, icmp, icmpv6 or any"),
    };
    Ok((protocol, port))
}

fn words(request: &TraceRequest, trace: &Trace) -> String {
    // What stands for "any" is told by the agent.
    let traced = if trace.protocol == 0 { request.protocol } else { trace.protocol };
    let mut text = format!(
        "Tracing From: [{}] => To: [{}] Ports: [{}/{}]\n\n",
        party_words(&request.source),
        party_words(&request.destination),
        request.port,
        protocol(request.protocol)
    );
    let _ = writeln!(text, "From: {}", end_words(&trace.source, traced));
    let _ = writeln!(text, "To:   {}", end_words(&trace.destination, traced));
    text.push('\n');
    for step in &trace.steps {
        let _ = writeln!(text, "* {step}");
    }
    if !trace.steps.is_empty() {
        text.push('\n');
    }
    for decision in &trace.decisions {
        text.push_str(&decision_words(decision));
    }
    if !trace.elsewhere.is_empty() {
        let _ = writeln!(text, "Only this node's half was decided: {}", trace.elsewhere);
    }
    if !trace.decisions.is_empty() || !trace.elsewhere.is_empty() {
        text.push('\n');
    }
    let _ = write!(text, "Final verdict: {}", trace.verdict);
    if !trace.reason.is_empty() {
        let _ = write!(text, " ({})", trace.reason);
    }
    text.push('\n');
    text
}

/// `10.0.1.5:80/TCP, identity 1002 [k8s:app=web] (endpoint 78 of this node)`.
fn end_words(end: &TraceEnd, number: u8) -> String {
    let address = match (end.port, end.address.contains(':')) {
        (0, _) => end.address.clone(),
        (port, true) => format!("[{}]:{port}/{}", end.address, protocol(number)),
        (port, false) => format!("{}:{port}/{}", end.address, protocol(number)),
    };
    let mut text = format!("{address}, identity {}", end.identity);
    if !end.labels.is_empty() {
        let _ = write!(text, " [{}]", end.labels.join(" "));
    }
    if !end.found.is_empty() {
        let _ = write!(text, " ({})", end.found);
    }
    text
}

fn decision_words(decision: &Decision) -> String {
    let Decision { direction, endpoint, verdict, matched, cookie, policies } = decision;
    let title = if direction == "egress" { "Egress" } else { "Ingress" };
    let mut text = format!("{title} policy of endpoint {endpoint}: {verdict}");
    if !matched.is_empty() {
        let _ = write!(text, ", match {matched}");
    }
    if *cookie != 0 {
        let _ = write!(text, ", cookie {cookie}");
    }
    text.push('\n');
    for policy in policies {
        let _ = writeln!(text, "  by {}", policy_name(policy));
    }
    text
}

fn party_words(party: &Party) -> String {
    match party {
        Party::Endpoint(id) => format!("endpoint {id}"),
        Party::Pod { namespace, name } => format!("pod {namespace}/{name}"),
        Party::Address(ip) => ip.to_string(),
        Party::Identity(identity) => format!("identity {identity}"),
        Party::Labels(labels) => labels.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_and_parties() {
        assert_eq!(parse_dport("80/tcp").expect("good"), (6, 80));
        assert_eq!(parse_dport("53/UDP").expect("good"), (17, 53));
        assert_eq!(parse_dport("80").expect("good"), (6, 80));
        assert_eq!(parse_dport("8/icmp").expect("good"), (1, 8));
        for bad in ["tcp", "80/http", "70000/tcp", "/tcp"] {
            assert!(parse_dport(bad).is_err(), "{bad} was understood");
        }
        let pod = Party::Pod { namespace: "default".into(), name: "web-0".into() };
        assert_eq!(party(None, Some("default:web-0"), None, None, &[]).expect("pod"), Some(pod.clone()));
        assert_eq!(party(None, None, None, Some(2), &[]).expect("identity"), Some(Party::Identity(2)));
        assert_eq!(party(None, None, None, None, &[]).expect("nothing"), None);
        assert_eq!(short("default/web-0").expect("pod"), pod);
        assert_eq!(short("77").expect("endpoint"), Party::Endpoint(77));
        assert!(matches!(short("fd00::1"), Ok(Party::Address(_))));
        assert!(short("web-0").is_err());
        for host in ["host", "reserved:host"] {
            assert_eq!(short(host).expect("this node"), Party::Identity(1));
        }
        assert!(party(None, Some("web-0"), None, None, &[]).is_err());
    }

    fn request(source: Party, destination: Party, port: u16) -> TraceRequest {
        let (source_port, ipv6, existing) = (0, false, false);
        TraceRequest { source, destination, protocol: 6, port, source_port, ipv6, existing }
    }

    #[test]
    fn a_denied_packet_names_the_policy() {
        let trace: Trace = serde_json::from_value(json!({
            "source": { "address": "10.244.1.10", "port": 30000, "identity": 1001, "endpoint": 77,
                "labels": ["k8s:app=client", "k8s:io.kubernetes.pod.namespace=default"],
                "found": "endpoint 77 of this node" },
            "destination": { "address": "10.244.1.11", "port": 80, "identity": 1002, "endpoint": 78,
                "labels": ["k8s:app=web"], "found": "endpoint 78 of this node" },
            "protocol": 6,
            "steps": ["pod_egress on lxc1", "dropped: Policy denied"],
            "verdict": "DENIED", "reason": "Policy denied",
            "decisions": [
                { "direction": "egress", "endpoint": 77, "verdict": "NOT ENFORCED" },
                { "direction": "ingress", "endpoint": 78, "verdict": "DENIED", "matched": "none", "cookie": 7,
                  "policies": [{ "kind": "CiliumNetworkPolicy", "namespace": "default", "name": "web" }] } ] }))
        .expect("trace");
        let web = Party::Pod { namespace: "default".into(), name: "web-0".into() };
        let expected = "\
Tracing From: [endpoint 77] => To: [pod default/web-0] Ports: [80/TCP]

From: 10.244.1.10:30000/TCP, identity 1001 [k8s:app=client k8s:io.kubernetes.pod.namespace=default] (endpoint 77 of this node)
To:   10.244.1.11:80/TCP, identity 1002 [k8s:app=web] (endpoint 78 of this node)

* pod_egress on lxc1
* dropped: Policy denied

Egress policy of endpoint 77: NOT ENFORCED
Ingress policy of endpoint 78: DENIED, match none, cookie 7
  by CiliumNetworkPolicy default/web

Final verdict: DENIED (Policy denied)
";
        assert_eq!(words(&request(Party::Endpoint(77), web, 80), &trace), expected);
    }

    #[test]
    fn a_packet_to_another_node_is_half_decided() {
        let trace: Trace = serde_json::from_value(json!({
            "source": { "address": "fd00::a", "port": 30000, "identity": 1001, "endpoint": 77,
                "labels": ["k8s:app=client"], "found": "endpoint 77 of this node" },
            "destination": { "address": "fd00:2::20", "identity": 1003, "port": 443,
                "found": "ipcache entry fd00:2::20, behind node 172.31.0.12" },
            "protocol": 6,
            "steps": ["pod_egress on lxc1, first packet of a new connection", "out of eth0 to fd00:31::12"],
            "verdict": "ALLOWED",
            "decisions": [{ "direction": "egress", "endpoint": 77, "verdict": "ALLOWED", "matched": "L3-L4", "cookie": 9,
                "policies": [{ "kind": "CiliumClusterwideNetworkPolicy", "name": "all" }] }],
            "elsewhere": "the ingress policy of fd00:2::20 on its own node (172.31.0.12) has yet to be asked" }))
        .expect("trace");
        let to = Party::Address("fd00:2::20".parse().expect("literal address"));
        let expected = "\
Tracing From: [endpoint 77] => To: [fd00:2::20] Ports: [443/TCP]

From: [fd00::a]:30000/TCP, identity 1001 [k8s:app=client] (endpoint 77 of this node)
To:   [fd00:2::20]:443/TCP, identity 1003 (ipcache entry fd00:2::20, behind node 172.31.0.12)

* pod_egress on lxc1, first packet of a new connection
* out of eth0 to fd00:31::12

Egress policy of endpoint 77: ALLOWED, match L3-L4, cookie 9
  by CiliumClusterwideNetworkPolicy all
Only this node's half was decided: the ingress policy of fd00:2::20 on its own node (172.31.0.12) has yet to be asked

Final verdict: ALLOWED
";
        assert_eq!(words(&request(Party::Endpoint(77), to, 443), &trace), expected);
    }
}
