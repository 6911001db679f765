use super::*;
use crate::cli::{Cli, Command};
use clap::Parser;
use flow::AgentNews;

fn printed(arguments: &[&str], events: &[AgentNews]) -> String {
    let cli = Cli::try_parse_from(["hubble", "observe", "agent-events"].iter().chain(arguments)).unwrap();
    let Command::Observe(options) = cli.command else { panic!("observe was asked for") };
    let mut printer = Printer::new(&options).unwrap();
    let mut out = Vec::new();
    for what in events {
        let time = 1_136_214_245_120_000_000;
        let response = GetAgentEventsResponse {
            agent_event: Some(flow::AgentEvent { time, what: what.clone() }.into()),
            node_name: "default/n1".into(),
            time: Some(Timestamp::from_unix_nanos(time)),
        };
        printer.agent(&response, &mut out).unwrap();
    }
    table::write(&mut out, &printer.rows).unwrap();
    String::from_utf8(out).unwrap()
}

fn events() -> [AgentNews; 2] {
    let labels = vec!["k8s:app=web\u{1b}[31m".to_owned()];
    [
        AgentNews::Policy { deleted: false, labels, revision: 7, rules: 2 },
        AgentNews::Endpoint {
            deleted: true,
            id: 9,
            namespace: "shop".into(),
            pod: "web".into(),
            labels: vec![],
        },
    ]
}

#[test]
fn agent_events_read_as_hubble_prints_them() {
    assert_eq!(
        printed(&[], &events()),
        "Jan  2 15:04:05.120: POLICY_UPDATED (labels: [k8s:app=web^[[31m], revision: 7, count: 2)\n\
         Jan  2 15:04:05.120: ENDPOINT_DELETED (id: 9, namespace: shop, pod name: web)\n"
    );
    assert_eq!(
        printed(&["-o", "dict", "--print-node-name"], &events()[1..]),
        "  TIMESTAMP: Jan  2 15:04:05.120\n       NODE: default/n1\n       TYPE: ENDPOINT_DELETED\n\
         \u{20}   DETAILS: id: 9, namespace: shop, pod name: web\n"
    );
    assert!(
        printed(&["-o", "table"], &events())
            .starts_with("TIMESTAMP             TYPE               DETAILS\n")
    );
    assert!(!printed(&["-o", "json"], &events()).contains('\u{1b}'));
    let started = [AgentNews::Started(1_136_214_245_120_000_000)];
    assert!(printed(&[], &started).ends_with("AGENT_STARTED (start time: Jan  2 15:04:05.120)\n"));
}
