//! `hubble observe` against a real server, in this process.

use crate::cli::{Cli, Command};
use clap::Parser;
use flow::*;
use observer::{Config, Observer};
use std::sync::Arc;

/// A denied connection attempt, and the answer to one that was let through.
fn flows() -> [Flow; 2] {
    let pod = |name: &str| {
        Some(Arc::new(Pod {
            cluster: "default".into(),
            namespace: "shop".into(),
            name: name.into(),
            workloads: vec![],
        }))
    };
    let end = |identity, pod| End { identity, pod, ..End::default() };
    let policy =
        |name: &str| Policy { kind: "CiliumNetworkPolicy".into(), name: name.into(), ..Policy::default() };
    let denied = Flow {
        time: 1_136_214_245_120_000_000,
        verdict: Verdict::Dropped,
        drop_reason: 133,
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 80, flags: Some(TcpFlags(2)) }),
        source: end(4711, pod("web\u{1b}[31m")),
        destination: end(4712, pod("db")),
        event_type: EVENT_POLICY_VERDICT,
        direction: Direction::Ingress,
        policy_match: 0,
        ingress_denied_by: Arc::new([policy("db-only-from-api")]),
        node_name: "default/n1".into(),
        ..Flow::default()
    };
    let answer = Flow {
        time: 1_136_214_246_000_000_000,
        verdict: Verdict::Forwarded,
        drop_reason: 0,
        l4: Some(L4::Tcp { source: 80, destination: 40_000, flags: Some(TcpFlags(0x12)) }),
        source: denied.destination.clone(),
        destination: End { identity: 2, ..End::default() },
        event_type: EVENT_TRACE,
        event_subtype: Point::ToStack.subtype(),
        is_reply: Some(true),
        ..denied.clone()
    };
    [denied, answer]
}

/// What becomes of the address of a service at a socket of a pod.
fn at_a_socket() -> [Flow; 2] {
    let [flow, _] = flows();
    let side = |socket_point, verdict, destination: &str, port, end: End| Flow {
        verdict,
        drop_reason: 0,
        kind: FlowKind::Sock,
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 0, destination: port, flags: None }),
        destination: end,
        event_type: EVENT_TRACE_SOCK,
        event_subtype: socket_point,
        direction: Direction::Unknown,
        ingress_denied_by: Arc::default(),
        rare: Some(Arc::new(Rare { socket_point, socket_cookie: 77, cgroup: 4242, ..Rare::default() })),
        ..flow.clone()
    };
    let service = Some(Arc::new(Service { name: "db".into(), namespace: "shop".into() }));
    let (service, pod) = (End { identity: 2, service, ..End::default() }, flow.destination.clone());
    [side(1, Verdict::Traced, "10.96.0.10", 80, service), side(2, Verdict::Translated, "10.0.0.2", 8080, pod)]
}

async fn hubble(arguments: &[&str]) -> anyhow::Result<String> {
    hubble_of(&flows(), arguments).await
}

async fn hubble_of(flows: &[Flow], arguments: &[&str]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("hubble.sock");
    let listener = tokio::net::UnixListener::bind(&path)?;
    let observer =
        Observer::new(Config { node_name: "default/n1".into(), version: "v1".into(), capacity: 7 });
    observer.extend(flows.iter().cloned());
    observer.lost(LostSource::KernelRing, 7, Some(1));
    let serving = tokio::spawn(async move { observer.serve_unix(listener, std::future::pending()).await });
    let server = format!("unix://{}", path.display());
    let cli = Cli::try_parse_from(["hubble", "--server", &server].iter().chain(arguments))?;
    let mut out = Vec::new();
    match cli.command {
        Command::Observe(options) => crate::observe::run(&options, &cli.server, cli.debug, &mut out).await?,
        Command::Status(options) => crate::status::run(&options, &cli.server, &mut out).await?,
        other => panic!("{other:?} is not tested here"),
    }
    serving.abort();
    Ok(String::from_utf8(out)?)
}

#[tokio::test]
async fn compact() {
    let text =
        hubble(&["observe", "--print-policy-names", "--print-node-name", "--first", "2"]).await.unwrap();
    assert_eq!(
        text,
        "Jan  2 15:04:05.120 [default/n1]: shop/web^[[31m:40000 (ID:4711) <> shop/db:80 (ID:4712) \
         policy-verdict:none INGRESS DENIED BY db-only-from-api (CiliumNetworkPolicy) (TCP Flags: SYN)\n\
         Jan  2 15:04:06.000 [default/n1]: 10.0.0.2:40000 (world) <- shop/db:80 (ID:4712) to-stack FORWARDED \
         (TCP Flags: SYN, ACK)\n"
    );
}

#[tokio::test]
async fn translations_at_sockets() {
    let flows = at_a_socket();
    let ask = async |arguments: &[&str]| hubble_of(&flows, arguments).await.unwrap();
    let compact = ask(&["observe", "--type", "trace-sock", "--first", "2"]).await;
    assert_eq!(
        compact,
        "Jan  2 15:04:05.120: shop/web^[[31m (ID:4711) <> shop/db:80 (world) pre-xlate-fwd TRACED (TCP)\n\
         Jan  2 15:04:05.120: shop/web^[[31m (ID:4711) <> shop/db:8080 (ID:4712) post-xlate-fwd TRANSLATED (TCP)\n"
    );
    let dict = ask(&["observe", "-o", "dict", "--verdict", "TRANSLATED", "--first", "1"]).await;
    assert_eq!(
        dict,
        "  TIMESTAMP: Jan  2 15:04:05.120\n     SOURCE: shop/web^[[31m\nDESTINATION: shop/db:8080\n       TYPE: post-xlate-fwd\n    \
         VERDICT: TRANSLATED\n    SUMMARY: TCP\n"
    );
    let json = ask(&["observe", "-o", "json", "--verdict", "TRACED", "--first", "1"]).await;
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    let flow = &line["flow"];
    assert_eq!((&flow["Type"], &flow["event_type"]["type"]), (&"SOCK".into(), &7.into()));
    assert_eq!(flow["sock_xlate_point"], "SOCK_XLATE_POINT_PRE_DIRECTION_FWD");
    assert_eq!((&flow["socket_cookie"], &flow["cgroup_id"]), (&"77".into(), &"4242".into()));
    assert_eq!((&flow["destination_service"]["name"], &flow["is_reply"]), (&"db".into(), &().into()));
}

#[tokio::test]
async fn other_formats() {
    let dict = hubble(&["observe", "-o", "dict", "--verdict", "DROPPED"]).await.unwrap();
    assert!(
        dict.starts_with("  TIMESTAMP: Jan  2 15:04:05.120\n     SOURCE: shop/web^[[31m:40000\n"),
        "{dict}"
    );
    assert!(dict.contains("\n------------\n  TIMESTAMP: "), "the loss is a record of its own: {dict}");
    assert!(dict.contains("       TYPE: EVENTS LOST\n"), "{dict}");
    let table = hubble(&["observe", "-o", "tab"]).await.unwrap();
    assert!(table.starts_with("TIMESTAMP             SOURCE "), "{table}");
    assert_eq!(table.lines().count(), 4);
    let json = hubble(&["observe", "-o", "json", "--first", "1", "--ip", "10.0.0.1"]).await.unwrap();
    let line: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(line["flow"]["drop_reason_desc"], "POLICY_DENIED");
    assert_eq!(line["flow"]["l4"]["TCP"]["flags"]["SYN"], true);
    assert_eq!(
        (&line["node_name"], &line["time"]),
        (&"default/n1".into(), &"2006-01-02T15:04:05.120Z".into())
    );
}

#[tokio::test]
async fn status_and_errors() {
    let text = hubble(&["status"]).await.unwrap();
    assert!(text.starts_with("Healthcheck (via unix:///"), "{text}");
    assert!(text.contains("): Ok\nCurrent/Max Flows: 3/7 (42.86%)\nFlows/s: "), "{text}");
    assert!(text.ends_with("Connected Nodes: 1/1\n"), "{text}");
    let error = hubble(&["observe", "--label", "a in ("]).await.unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains("source_label"), "{error}");
    let error = hubble(&["observe", "-f", "-o", "table"]).await.unwrap_err().to_string();
    assert!(error.contains("--follow"), "{error}");
    let gone = Cli::parse_from(["hubble", "status", "--server", "unix:///nowhere/hubble.sock"]).server;
    let error = crate::connect::connect(&gone).await.unwrap_err().to_string();
    assert!(error.contains("is a Hubble server or relay there"), "{error}");
}
