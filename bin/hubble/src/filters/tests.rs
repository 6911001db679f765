use crate::cli::{Cli, Command};
use crate::request::request;
use clap::Parser;
use hubble_pb::observer::GetFlowsRequest;
use std::time::{Duration, UNIX_EPOCH};

fn parse(arguments: &str) -> anyhow::Result<GetFlowsRequest> {
    let cli = Cli::try_parse_from(["hubble", "observe"].into_iter().chain(arguments.split_whitespace()))?;
    let Command::Observe(options) = cli.command else { panic!("observe was asked for") };
    request(&options, UNIX_EPOCH + Duration::from_secs(1000))
}

/// The filters of a command line, as JSON: what to show, what not to.
fn check(arguments: &str, allow: &[&str], deny: &[&str]) {
    let request = parse(arguments).unwrap_or_else(|error| panic!("{arguments}: {error:#}"));
    let json = |list: &[hubble_pb::flow::FlowFilter]| -> Vec<String> {
        list.iter().map(|filter| serde_json::to_string(filter).unwrap()).collect()
    };
    assert_eq!(json(&request.whitelist), allow, "{arguments}");
    assert_eq!(json(&request.blacklist), deny, "{arguments}");
}

#[test]
fn one_end_or_either() {
    check("", &[], &[]);
    check("--from-pod shop/web", &[r#"{"source_pod":["shop/web"]}"#], &[]);
    check("--pod web", &[r#"{"source_pod":["web"]}"#, r#"{"destination_pod":["web"]}"#], &[]);
    check("--to-port 80 --to-port 443", &[r#"{"destination_port":["80","443"]}"#], &[]);
    check(
        "--ip 10.0.0.1 --verdict dropped",
        &[
            r#"{"source_ip":["10.0.0.1"],"verdict":["DROPPED"]}"#,
            r#"{"destination_ip":["10.0.0.1"],"verdict":["DROPPED"]}"#,
        ],
        &[],
    );
    check(
        "--from-identity world --to-identity 4711",
        &[r#"{"source_identity":[2],"destination_identity":[4711]}"#],
        &[],
    );
    check(
        "--from-workload deployment/web",
        &[r#"{"source_workload":[{"name":"web","kind":"Deployment"}]}"#],
        &[],
    );
}

#[test]
fn namespaces_go_to_pods() {
    check("-n shop", &[r#"{"source_pod":["shop/"]}"#, r#"{"destination_pod":["shop/"]}"#], &[]);
    check(
        "-n shop --pod web",
        &[r#"{"source_pod":["shop/web"]}"#, r#"{"destination_pod":["shop/web"]}"#],
        &[],
    );
    check("-A", &[r#"{"source_pod":["/"]}"#, r#"{"destination_pod":["/"]}"#], &[]);
    check("--from-namespace a --from-namespace b", &[r#"{"source_pod":["a/","b/"]}"#], &[]);
    check("--to-namespace a --to-pod x --to-pod b/y", &[r#"{"destination_pod":["a/x","b/y"]}"#], &[]);
    check("--to-namespace a --to-service x", &[r#"{"destination_service":["a/x"]}"#], &[]);
}

#[test]
fn not_turns_only_the_next_filter_around() {
    check(
        "--not --from-namespace kube-system --verdict DROPPED",
        &[r#"{"verdict":["DROPPED"]}"#],
        &[r#"{"source_pod":["kube-system/"]}"#],
    );
    check(
        "--verdict DROPPED --not -t drop",
        &[r#"{"verdict":["DROPPED"]}"#],
        &[r#"{"event_type":[{"type":1}]}"#],
    );
    check("--not --protocol UDP --not --ipv6", &[], &[r#"{"protocol":["udp"],"ip_version":["IPv6"]}"#]);
}

#[test]
fn about_the_flow() {
    check(
        "-t trace:to-endpoint -t 5 --tcp-flags SYN,ack --traffic-direction Ingress --drop-reason-desc policy_denied",
        &[concat!(
            r#"{"traffic_direction":["INGRESS"],"drop_reason_desc":["POLICY_DENIED"],"#,
            r#""event_type":[{"type":4,"match_sub_type":true},{"type":5}],"tcp_flags":[{"SYN":true,"ACK":true}]}"#
        )],
        &[],
    );
    check(
        "--node-name n1 -4 --unencrypted",
        &[r#"{"node_name":["n1"],"ip_version":["IPv4"],"encrypted":[false]}"#],
        &[],
    );
    check(r#"--denylist {"uuid":["x"]}{"uuid":["y"]}"#, &[], &[r#"{"uuid":["x"]}"#, r#"{"uuid":["y"]}"#]);
}

#[test]
fn how_many() {
    let counts = |arguments: &str| {
        let request = parse(arguments).unwrap();
        (request.number, request.first, request.follow)
    };
    assert_eq!(counts(""), (20, false, false));
    assert_eq!(counts("flows --last 5"), (5, false, false));
    assert_eq!(counts("--first 5"), (5, true, false));
    assert_eq!(counts("--all"), (u64::MAX, false, false));
    assert_eq!(counts("-f"), (0, false, true));
    assert_eq!(counts("-f --last 3"), (3, false, true));
    assert_eq!(counts("--since 5m"), (0, false, false));
    assert_eq!(parse("--since 5m").unwrap().since.unwrap().seconds, 700);
    assert!(parse("-f --until 1s").unwrap().until.is_none());
}

#[test]
fn mistakes_are_named() {
    for (arguments, text) in [
        ("--not --not --pod x", "--not"),
        ("--pod x --not", "--not"),
        ("--pod x --from-pod y", "cannot be combined with --pod"),
        ("--verdict maybe", "--verdict maybe"),
        ("--from-identity nobody", "--from-identity nobody"),
        ("--type drops", "--type drops"),
        ("--tcp-flags syn,foo", "\"foo\""),
        ("--traffic-direction up", "ingress or egress"),
        ("--since yesterday", "--since"),
        ("--allowlist {", "--allowlist"),
        ("--first 1 --last 1", "--first"),
        ("--first 1 -f", "--first"),
    ] {
        let error = format!("{:#}", parse(arguments).expect_err(arguments));
        assert!(error.contains(text), "{arguments}: {error}");
    }
}
