use super::*;
use std::sync::Arc;
use types::Labels;

fn end(identity: u32, name: Option<&str>) -> End {
    let pod = |name: &str| {
        Arc::new(Pod {
            cluster: "default".into(),
            namespace: "shop".into(),
            name: name.into(),
            workloads: vec![],
        })
    };
    End { identity, pod: name.map(pod), labels: Labels::none(), ..End::default() }
}

/// `shop/web` to 192.0.2.1, seen on its way to the stack.
fn sample() -> Flow {
    Flow {
        time: 1_136_214_245_120_000_000,
        verdict: Verdict::Forwarded,
        ethernet: Some(Ethernet { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] }),
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 80, flags: Some(TcpFlags(2)) }),
        source: end(4711, Some("web-1")),
        destination: end(2, None),
        node_name: "default/n1".into(),
        event_type: EVENT_TRACE,
        event_subtype: 3,
        direction: Direction::Egress,
        is_reply: Some(false),
        ..Flow::default()
    }
}

#[track_caller]
fn line(flow: &Flow, expected: &str) {
    let options = Options { policy_names: true, ..Options::default() };
    assert_eq!(compact(flow, &options), format!("Jan  2 15:04:05.120: {expected}"));
}

#[test]
fn lines_as_hubble_prints_them() {
    let flow = sample();
    line(&flow, "shop/web-1:40000 (ID:4711) -> 192.0.2.1:80 (world) to-stack FORWARDED (TCP Flags: SYN)");
    let reply = Flow { is_reply: Some(true), ..flow.clone() };
    line(&reply, "192.0.2.1:80 (world) <- shop/web-1:40000 (ID:4711) to-stack FORWARDED (TCP Flags: SYN)");
    let dropped = Flow {
        verdict: Verdict::Dropped,
        event_type: EVENT_DROP,
        event_subtype: 181,
        is_reply: None,
        ..flow.clone()
    };
    line(
        &dropped,
        "shop/web-1:40000 (ID:4711) <> 192.0.2.1:80 (world) Policy denied by denylist DROPPED (TCP Flags: SYN)",
    );
    let icmp = Flow {
        l4: Some(L4::Icmp6 { kind: 128, code: 0 }),
        ip: Some(Ip {
            source: "fd00::1".parse().unwrap(),
            destination: "fd00::2".parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        source: end(0, None),
        destination: end(1, None),
        ..flow.clone()
    };
    line(&icmp, "fd00::1 (unknown) -> fd00::2 (host) to-stack FORWARDED (ICMPv6 EchoRequest)");
    let udp = Flow { l4: Some(L4::Udp { source: 1, destination: 2 }), ..icmp };
    line(&udp, "[fd00::1]:1 (unknown) -> [fd00::2]:2 (host) to-stack FORWARDED (UDP)");
    let arp =
        Flow { ip: None, l4: None, is_reply: None, source: end(0, None), destination: end(0, None), ..flow };
    line(&arp, "02:00:00:00:00:01 (unknown) <> 02:00:00:00:00:02 (unknown) to-stack FORWARDED ()");
}

#[test]
fn verdicts_name_policies() {
    let policy =
        |name: &str, kind: &str| Policy { name: name.into(), kind: kind.into(), ..Policy::default() };
    let flow = Flow {
        event_type: EVENT_POLICY_VERDICT,
        policy_match: 2,
        egress_allowed_by: Arc::new([
            policy("a", "CiliumNetworkPolicy"),
            policy("nameless", ""),
            policy("b", "NetworkPolicy"),
        ]),
        ..sample()
    };
    let ends = "shop/web-1:40000 (ID:4711) -> 192.0.2.1:80 (world)";
    let by = "BY a (CiliumNetworkPolicy), b (NetworkPolicy)";
    line(&flow, &format!("{ends} policy-verdict:L3-L4 EGRESS ALLOWED {by} (TCP Flags: SYN)"));
    let plain = compact(&flow, &Options::default());
    assert!(plain.contains("EGRESS ALLOWED (TCP"), "only if asked: {plain}");
    let denied =
        Flow { verdict: Verdict::Dropped, policy_match: 0, direction: Direction::Ingress, ..flow.clone() };
    line(&denied, &format!("{ends} policy-verdict:none INGRESS DENIED (TCP Flags: SYN)"));
    let audited = Flow {
        verdict: Verdict::Audit,
        policy_match: 9,
        egress_denied_by: Arc::new([policy("c", "K")]),
        ..flow
    };
    line(&audited, &format!("{ends} policy-verdict:9 EGRESS AUDITED BY c (K) (TCP Flags: SYN)"));
}

#[test]
fn other_names_of_an_address() {
    let mut flow = sample();
    flow.destination.names = Arc::new(["a.org".to_owned(), "b.org".to_owned()]);
    line(&flow, "shop/web-1:40000 (ID:4711) -> a.org,b.org:80 (world) to-stack FORWARDED (TCP Flags: SYN)");
    flow.destination.service = Some(Arc::new(Service { name: "api".into(), namespace: "shop".into() }));
    line(&flow, "shop/web-1:40000 (ID:4711) -> shop/api:80 (world) to-stack FORWARDED (TCP Flags: SYN)");
    let numeric = Options { translate: false, ..Options::default() };
    assert!(compact(&flow, &numeric).contains("10.0.0.1:40000 (ID:4711) -> 192.0.2.1:80 (world)"));
}

#[test]
fn other_forms() {
    let options = Options { node_name: true, ..Options::default() };
    assert_eq!(
        dict(&sample(), &options),
        "  TIMESTAMP: Jan  2 15:04:05.120\n       NODE: default/n1\n     SOURCE: shop/web-1:40000\n\
         DESTINATION: 192.0.2.1:80\n       TYPE: to-stack\n    VERDICT: FORWARDED\n    SUMMARY: TCP Flags: SYN\n"
    );
    assert_eq!(columns(&sample(), &options).len(), heads(&options).len());
    assert_eq!(columns(&sample(), &Options::default()).len(), heads(&Options::default()).len());
    let lost = LostEvents { source: LostSource::FlowRing, count: 7, cpu: None, first: 0, last: 0 };
    let at = sample().time;
    assert_eq!(
        lost_compact(&lost, at, &options),
        "Jan  2 15:04:05.120 EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 7"
    );
    assert_eq!(lost_columns(&lost, at, "", &options).len(), heads(&options).len());
    assert!(lost_dict(&lost, at, "", &options).contains("       NODE: -\n     SOURCE: HUBBLE_RING_BUFFER\n"));
}

#[test]
fn messages_of_layer_7() {
    let l7 = |kind, record| Flow {
        l7: Some(Arc::new(L7 { kind, latency: 0, record })),
        event_type: EVENT_ACCESS_LOG,
        ..sample()
    };
    let http = L7Record::Http {
        code: 0,
        method: "GET".into(),
        url: "http://h/".into(),
        protocol: "HTTP/1.1".into(),
        headers: vec![],
    };
    assert_eq!(type_text(&l7(L7Kind::Request, http)), "http-request");
    let dns = L7Record::Dns {
        query: "a.".into(),
        ips: vec![],
        ttl: 0,
        cnames: vec![],
        observed_by: "proxy".into(),
        rcode: 0,
        qtypes: vec!["A".into()],
        rrtypes: vec![],
    };
    let flow = l7(L7Kind::Response, dns);
    assert_eq!(type_text(&flow), "dns-response proxy");
}

/// CVE-2025-48056: no text from outside may steer the terminal.
#[test]
fn nothing_from_outside_steers_the_terminal() {
    let evil = "\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}\u{8}";
    let mut flow = sample();
    let pod = Pod { cluster: evil.into(), namespace: evil.into(), name: evil.into(), workloads: vec![] };
    flow.source.pod = Some(Arc::new(pod));
    flow.destination.names = Arc::new([evil.to_owned()]);
    flow.node_name = evil.into();
    flow.given_summary = Some(evil.into());
    flow.event_type = EVENT_POLICY_VERDICT;
    flow.egress_allowed_by = Arc::new([Policy { kind: evil.into(), name: evil.into(), ..Policy::default() }]);
    let dns = L7Record::Dns {
        query: evil.into(),
        ips: vec![],
        ttl: 0,
        cnames: vec![],
        observed_by: evil.into(),
        rcode: 0,
        qtypes: vec![evil.into()],
        rrtypes: vec![],
    };
    let with_l7 = Flow {
        l7: Some(Arc::new(L7 { kind: L7Kind::Response, latency: 0, record: dns })),
        given_summary: None,
        ..flow.clone()
    };
    for flow in [flow, with_l7] {
        let options = Options { node_name: true, policy_names: true, ..Options::default() };
        let mut texts = columns(&flow, &options);
        texts.push(compact(&flow, &options));
        texts.extend(dict(&flow, &options).lines().map(str::to_owned));
        for text in texts {
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        }
    }
    assert_eq!(clean("a\u{1b}[31mb"), "a^[[31mb");
    assert_eq!(clean("a\r\nb"), "a\\r\\nb");
    assert!(matches!(clean("grün/☃"), Cow::Borrowed(_)));
}

#[test]
fn colours_only_when_asked() {
    let options = Options { colours: true, ..Options::default() };
    let text = compact(&sample(), &options);
    let port = "\u{1b}[33m40000\u{1b}[0m";
    assert!(text.contains(&format!("\u{1b}[36mshop/web-1:{port}\u{1b}[0m")), "{text:?}");
    assert!(text.contains("\u{1b}[35m(ID:4711)\u{1b}[0m"), "{text:?}");
    assert!(text.contains("\u{1b}[32mFORWARDED\u{1b}[0m"));
    assert!(columns(&sample(), &options).iter().all(|cell| !cell.contains('\u{1b}')));
}

#[test]
fn numbers_have_names() {
    assert_eq!(drop_text(133), "Policy denied");
    assert_eq!((drop_text(99), drop_text(-1)), ("99".to_owned(), "-1".to_owned()));
    let names: Vec<_> = (0..8).map(|n| match_text(n).into_owned()).collect();
    assert_eq!(names, ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only", "7"]);
}

/// Everything that others name, under hostile names.
fn hostile(name: &str) -> Flow {
    let pod = |workload: &str| {
        Some(Arc::new(Pod {
            cluster: name.to_owned(),
            namespace: name.to_owned(),
            name: name.to_owned(),
            workloads: vec![Workload { name: workload.to_owned(), kind: name.to_owned() }],
        }))
    };
    let policies = || {
        Arc::from([Policy {
            kind: name.into(),
            namespace: name.into(),
            name: name.into(),
            ..Policy::default()
        }])
    };
    let names: Arc<[String]> = Arc::from([name.to_owned()]);
    let record = L7Record::Http {
        code: 200,
        method: name.into(),
        url: name.into(),
        protocol: name.into(),
        headers: vec![(name.into(), name.into())],
    };
    Flow {
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        source: End { pod: pod(name), ..End::default() },
        destination: End {
            names,
            service: Some(Arc::new(Service { name: name.into(), namespace: name.into() })),
            ..End::default()
        },
        node_name: name.into(),
        interface: Some(Interface { index: 1, name: name.into() }),
        event_type: EVENT_ACCESS_LOG,
        l7: Some(Arc::new(L7 { kind: L7Kind::Response, latency: 1, record })),
        egress_denied_by: policies(),
        ingress_allowed_by: policies(),
        rare: Some(Arc::new(Rare { trace_id: name.into(), ..Rare::default() })),
        ..Flow::default()
    }
}

/// Prints a flow in all text formats and looks for what steers a terminal.
fn inert(flow: &Flow) {
    let options = Options { node_name: true, policy_names: true, ..Options::default() };
    let dict = dict(flow, &options);
    let mut lines: Vec<String> = dict.lines().map(str::to_owned).collect();
    assert!(lines.len() <= 12, "a name adds lines: {dict:?}");
    lines.push(compact(flow, &options));
    lines.extend(columns(flow, &options));
    for line in lines {
        let bad = line.chars().find(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(bad, None, "{line:?}");
    }
}

#[test]
fn hostile_names_are_inert_in_every_format() {
    for name in ["a\nb\r\nc", "\u{1b}[2J\u{1b}]0;owned\u{7}", "\u{9b}31m", "a\u{202e}b", "\0", "\u{2028}x"] {
        inert(&hostile(name));
    }
    // As long as a label may be in any protocol, and longer than any that Kubernetes lets in.
    inert(&hostile(&"\u{1b}[31mé".repeat(65_536 / 7)));
}

proptest::proptest! {
    #[test]
    fn no_name_steers_a_terminal(name in "(\\PC|[\u{0}-\u{9f}]|[\u{200b}-\u{206f}]){0,60}") {
        inert(&hostile(&name));
    }
}
