//! `policy trace`.

use crate::bpf::{policy_name, protocol};
use crate::cli::TraceArgs;
use crate::output::render;
use anyhow::{Context, Result, bail};
use api::policy::{Decision, Party, Trace, TraceRequest};
use api::{Client, paths};
use std::fmt::Write;
use std::net::IpAddr;
use std::process::ExitCode;

/// Exits with 1 if the packet would be denied.
pub(crate) fn run(client: &Client, args: &TraceArgs) -> Result<ExitCode> {
    let (from, to) = (&args.source, &args.destination);
    let (protocol, port) = parse_dport(&args.dport)?;
    let request = TraceRequest {
        source: party(
            from.src_endpoint,
            from.src_k8s_pod.as_deref(),
            from.src_ip,
            from.src_identity,
            &from.src_labels,
        )?,
        destination: party(
            to.dst_endpoint,
            to.dst_k8s_pod.as_deref(),
            to.dst_ip,
            to.dst_identity,
            &to.dst_labels,
        )?,
        protocol,
        port,
    };
    let trace: Trace = client.post(paths::POLICY_TRACE, &request)?;
    crate::print(&render(args.format.output.as_ref(), &trace, |trace| words(&request, trace))?)?;
    Ok(if trace.verdict == "DENIED" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// clap has seen to it that exactly one is given.
fn party(
    endpoint: Option<u16>,
    pod: Option<&str>,
    ip: Option<IpAddr>,
    identity: Option<u32>,
    labels: &[String],
) -> Result<Party> {
    if let Some(pod) = pod {
        let (namespace, name) = pod
            .split_once(':')
            .or_else(|| pod.split_once('/'))
            .with_context(|| format!("`{pod}` names no pod: write NAMESPACE:NAME"))?;
        return Ok(Party::Pod { namespace: namespace.to_owned(), name: name.to_owned() });
    }
    let others = [endpoint.map(Party::Endpoint), ip.map(Party::Address), identity.map(Party::Identity)];
    Ok(others.into_iter().flatten().next().unwrap_or_else(|| Party::Labels(labels.to_vec())))
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
    let mut text = format!(
        "Tracing From: [{}] => To: [{}] Ports: [{}/{}]\n\n",
        party_words(&request.source),
        party_words(&request.destination),
        request.port,
        protocol(request.protocol)
    );
    for step in &trace.steps {
        let _ = writeln!(text, "  {step}");
    }
    if !trace.steps.is_empty() {
        text.push('\n');
    }
    for decision in &trace.decisions {
        text.push_str(&decision_words(decision));
    }
    let _ = write!(text, "Final verdict: {}", trace.verdict);
    if !trace.reason.is_empty() {
        let _ = write!(text, " ({})", trace.reason);
    }
    text.push('\n');
    text
}

fn decision_words(decision: &Decision) -> String {
    let Decision { direction, endpoint, verdict, matched, cookie, policies } = decision;
    let capital: String =
        direction.chars().take(1).map(|c| c.to_ascii_uppercase()).chain(direction.chars().skip(1)).collect();
    if *endpoint == 0 {
        return format!("{capital}: not on this node\n");
    }
    let mut text = format!("{capital} of endpoint {endpoint}: {verdict}");
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
        assert_eq!(party(None, Some("default:web-0"), None, None, &[]).expect("pod"), pod);
        assert_eq!(party(None, None, None, Some(2), &[]).expect("identity"), Party::Identity(2));
        assert!(party(None, Some("web-0"), None, None, &[]).is_err());
    }

    #[test]
    fn a_denied_packet_names_the_policy() {
        let trace: Trace = serde_json::from_value(json!({
            "steps": ["pod_egress: source checked", "pod_egress: policy denied"],
            "verdict": "DENIED", "reason": "Policy denied",
            "decisions": [
                { "direction": "egress", "endpoint": 77, "verdict": "NOT ENFORCED" },
                { "direction": "ingress", "endpoint": 78, "verdict": "DENIED", "matched": "none", "cookie": 7,
                  "policies": [{ "kind": "CiliumNetworkPolicy", "namespace": "default", "name": "web" }] } ] }))
        .expect("trace");
        let request = TraceRequest {
            source: Party::Endpoint(77),
            destination: Party::Pod { namespace: "default".into(), name: "web-0".into() },
            protocol: 6,
            port: 80,
        };
        let expected = "\
Tracing From: [endpoint 77] => To: [pod default/web-0] Ports: [80/TCP]

  pod_egress: source checked
  pod_egress: policy denied

Egress of endpoint 77: NOT ENFORCED
Ingress of endpoint 78: DENIED, match none, cookie 7
  by CiliumNetworkPolicy default/web
Final verdict: DENIED (Policy denied)
";
        assert_eq!(words(&request, &trace), expected);
    }
}
