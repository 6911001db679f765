use super::*;
use flow::{Direction, End, Ip, L4, L7, L7Kind, L7Record, Pod, Rare, TcpFlags, Verdict, Workload};
use std::sync::Arc;
use types::Labels;

fn pod(name: &str) -> End {
    let workloads = vec![Workload { name: "web".into(), kind: "Deployment".into() }];
    let pod = Pod { cluster: "default".into(), namespace: "shop".into(), name: name.into(), workloads };
    End {
        identity: 4711,
        labels: Labels::parse(["k8s:app=web"]).unwrap(),
        pod: Some(Arc::new(pod)),
        ..End::default()
    }
}

fn dropped() -> Flow {
    Flow {
        verdict: Verdict::Dropped,
        drop_reason: 133,
        event_type: flow::EVENT_DROP,
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "192.0.2.1".parse().unwrap(),
            source_xlated: None,
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 443, flags: Some(TcpFlags(2)) }),
        source: pod("web-7c9f-abcde"),
        destination: End {
            identity: 2,
            labels: Labels::parse(["reserved:world"]).unwrap(),
            names: Arc::new(["api.example.org".to_owned()]),
            ..End::default()
        },
        direction: Direction::Egress,
        ..Flow::default()
    }
}

fn forwarded() -> Flow {
    Flow {
        verdict: Verdict::Forwarded,
        drop_reason: 0,
        event_type: flow::EVENT_TRACE,
        is_reply: Some(false),
        ..dropped()
    }
}

fn http(kind: L7Kind, code: u32) -> Flow {
    let record = L7Record::Http {
        code,
        method: "GET".into(),
        url: "http://h/".into(),
        protocol: "HTTP/1.1".into(),
        headers: vec![],
    };
    Flow {
        event_type: flow::EVENT_ACCESS_LOG,
        l7: Some(Arc::new(L7 { kind, latency: 30_000_000, record })),
        rare: Some(Arc::new(Rare { trace_id: "t1".into(), ..Rare::default() })),
        ..forwarded()
    }
}

fn dns(is_reply: bool) -> Flow {
    let record = L7Record::Dns {
        query: "a.b.".into(),
        ips: if is_reply { vec!["192.0.2.1".into()] } else { vec![] },
        ttl: 1,
        cnames: vec![],
        observed_by: "proxy".into(),
        rcode: 0,
        qtypes: vec!["A".into()],
        rrtypes: if is_reply { vec!["A".into()] } else { vec![] },
    };
    let l7 = L7 { kind: L7Kind::Request, latency: 0, record };
    Flow {
        event_type: flow::EVENT_ACCESS_LOG,
        l7: Some(Arc::new(l7)),
        is_reply: Some(is_reply),
        ..forwarded()
    }
}

/// The samples of a metric after some flows.
fn samples(metric: &str, flows: &[Flow]) -> Vec<String> {
    let mut metrics = Metrics::parse([metric]).unwrap();
    flows.iter().for_each(|flow| metrics.observe(flow, 1));
    let text = metrics.write(Format::Prometheus);
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[track_caller]
fn check(metric: &str, flows: &[Flow], expected: &[&str]) {
    assert_eq!(samples(metric, flows), expected, "{metric}");
}

#[test]
fn metrics_have_cilium_s_names_and_labels() {
    check(
        "drop:sourceContext=pod;destinationContext=pod|dns",
        &[dropped(), dropped(), forwarded()],
        &[
            r#"hubble_drop_total{source="shop/web-7c9f-abcde",destination="api.example.org",reason="POLICY_DENIED",protocol="TCP"} 2"#,
        ],
    );
    check(
        "flow",
        &[dropped(), forwarded(), http(L7Kind::Request, 0)],
        &[
            r#"hubble_flows_processed_total{protocol="HTTP",type="L7",subtype="HTTP",verdict="FORWARDED"} 1"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="Drop",subtype="",verdict="DROPPED"} 1"#,
            r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"} 1"#,
        ],
    );
    check(
        "flows-to-world:port;syn-only;labelsContext=source_namespace,destination_ip",
        &[forwarded(), Flow { is_reply: Some(true), ..forwarded() }, Flow { drop_reason: 132, ..dropped() }],
        &[
            r#"hubble_flows_to_world_total{protocol="TCP",verdict="FORWARDED",port="443",source_namespace="shop",destination_ip="192.0.2.1"} 1"#,
        ],
    );
    check("tcp", &[forwarded(), dropped()], &[r#"hubble_tcp_flags_total{flag="SYN",family="IPv4"} 1"#]);
    check(
        "port-distribution",
        &[forwarded(), Flow { is_reply: None, ..forwarded() }],
        &[r#"hubble_port_distribution_total{protocol="TCP",port="443"} 1"#],
    );
    let ping = Flow { l4: Some(L4::Icmp4 { kind: 8, code: 0 }), ..forwarded() };
    check("icmp", &[ping, forwarded()], &[r#"hubble_icmp_total{family="IPv4",type="EchoRequest"} 1"#]);
    let verdict = Flow { event_type: flow::EVENT_POLICY_VERDICT, policy_match: 2, ..dropped() };
    let of_host = Flow { source: End { identity: 1, ..End::default() }, ..verdict.clone() };
    check(
        "policy",
        &[verdict, of_host, http(L7Kind::Request, 0)],
        &[
            r#"hubble_policy_verdicts_total{direction="egress",match="l3-l4",action="dropped"} 1"#,
            r#"hubble_policy_verdicts_total{direction="egress",match="l7/http",action="forwarded"} 1"#,
        ],
    );
}

#[test]
fn metrics_of_layer_7() {
    check(
        "dns:query;ignoreAAAA;destinationContext=pod-short",
        &[dns(false), dns(true)],
        &[
            r#"hubble_dns_queries_total{destination="",rcode="",qtypes="A",ips_returned="0",query="a.b."} 1"#,
            r#"hubble_dns_responses_total{destination="",rcode="No Error",qtypes="A",ips_returned="1",query="a.b."} 1"#,
            r#"hubble_dns_response_types_total{destination="",type="A",qtypes="A",query="a.b."} 1"#,
        ],
    );
    let first =
        samples("http:sourceContext=workload-name", &[http(L7Kind::Request, 0), http(L7Kind::Response, 404)]);
    assert_eq!(
        first[0],
        r#"hubble_http_requests_total{source="web",method="GET",protocol="HTTP/1.1",reporter="client"} 1"#
    );
    assert_eq!(
        first.last().unwrap(),
        r#"hubble_http_responses_total{source="web",method="GET",protocol="HTTP/1.1",status="404",reporter="client"} 1"#
    );
    assert!(first.contains(
        &r#"hubble_http_request_duration_seconds_bucket{source="web",method="GET",reporter="client",le="0.05"} 1"#
            .to_owned()
    ));
    let second = samples("httpV2:sourceContext=app;destinationContext=app", &[http(L7Kind::Response, 200)]);
    assert_eq!(
        second[0],
        r#"hubble_http_requests_total{source="",destination="web",method="GET",protocol="HTTP/1.1",status="200",reporter="client"} 1"#,
        "the ends of the question"
    );
}

#[test]
fn contexts_differ_by_direction() {
    let metric = "drop:sourceContext=namespace;sourceEgressContext=pod-short;sourceIngressContext=ip";
    let ingress = Flow { direction: Direction::Ingress, ..dropped() };
    let unknown = Flow { direction: Direction::Unknown, ..dropped() };
    let source = |flow: Flow| samples(metric, &[flow])[0].split('"').nth(1).unwrap().to_owned();
    assert_eq!(
        (source(dropped()), source(ingress), source(unknown)),
        ("shop/web".into(), "10.0.0.1".into(), "shop".into())
    );
    let world = samples("drop:destinationContext=reserved-identity", &[dropped()]);
    assert!(world[0].contains(r#"destination="reserved:world""#), "{world:?}");
}

#[test]
fn nonsense_is_refused_with_its_name() {
    for (metric, part) in [
        ("drops", "\"drops\" is unknown"),
        ("drop:sourceContxt=pod", "no option \"sourceContxt\""),
        ("drop:query", "no option \"query\""),
        ("drop:sourceContext=pods", "sourceContext=pods"),
        ("drop:labelsContext=source_pod,x", "x is no context"),
    ] {
        let error = Metrics::parse([metric]).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(matches!(Metrics::parse(["http", "httpV2"]), Err(OptionError::Twice { .. })));
}

#[test]
fn many_short_lived_pods_do_not_fill_the_memory() {
    let mut metrics = Metrics::parse(["drop:sourceContext=pod"]).unwrap();
    let lines = |metrics: &Metrics| {
        let text = metrics.write(Format::Prometheus);
        text.lines().filter(|line| line.starts_with("hubble_drop_total")).count()
    };
    let count = LIMIT + 500;
    (0..count).for_each(|n| metrics.observe(&Flow { source: pod(&format!("p{n}")), ..dropped() }, 1));
    assert_eq!(lines(&metrics), LIMIT);
    let refused = r#"hubble_metrics_refused_total{metric="hubble_drop_total"} 500"#;
    assert!(metrics.write(Format::Prometheus).contains(refused));
    metrics.observe(&Flow { source: pod("p0"), ..dropped() }, LIFETIME);
    metrics.expire(LIFETIME + 1);
    assert_eq!(lines(&metrics), 1, "only what is still counted in stays");
}

#[test]
fn names_cannot_break_out_of_their_label() {
    let hostile = pod("a\"} 1\nevil{x=\"\\\0");
    let text = samples("drop:sourceContext=pod-name", &[Flow { source: hostile, ..dropped() }]);
    assert_eq!(text.len(), 1);
    assert!(
        text[0].starts_with("hubble_drop_total{source=\"a\\\"} 1\\nevil{x=\\\"\\\\\u{fffd}\","),
        "{text:?}"
    );
    let long = pod(&"é".repeat(10_000));
    assert!(samples("drop:sourceContext=pod-name", &[Flow { source: long, ..dropped() }])[0].len() < 700);
}

#[test]
fn open_metrics_has_exemplars_and_an_end() {
    let mut metrics = Metrics::parse(["httpV2:exemplars=true"]).unwrap();
    metrics.observe(&http(L7Kind::Response, 200), 1);
    metrics.lost(LostSource::KernelRing, 7, 1);
    let text = metrics.write(Format::OpenMetrics);
    assert!(text.contains("# TYPE hubble_http_requests counter\n"), "{text}");
    assert!(text.contains(r#"reporter="client"} 1 # {traceID="t1"} 1"#), "{text}");
    assert!(text.contains(r#"le="0.05"} 1 # {traceID="t1"} 0.03"#), "{text}");
    assert!(text.contains(r#"le="1.0"} 1"#) && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains(r#"hubble_lost_events_total{source="perf_event_ring_buffer"} 7"#));
    assert!(!metrics.write(Format::Prometheus).contains("traceID"));
}

#[test]
fn an_hour_of_ten_thousand_short_lived_pods_is_bounded_and_ends() {
    // Every metric with the widest labels there are; a pod lives for a second and talks three times.
    let wide = "labelsContext=source_pod,source_ip,destination_pod,destination_ip,traffic_direction";
    let list = ["drop", "flow", "tcp", "policy", "port-distribution", "flows-to-world:port", "icmp"];
    let list = list.map(|name| format!("{name}{}{wide}", if name.contains(':') { ';' } else { ':' }));
    let mut metrics = Metrics::parse(list.iter().map(String::as_str)).unwrap();
    let second = 1_000_000_000;
    let mut most = 0;
    for n in 0..10_000_u64 {
        let now = n * 360 * second / 1000;
        for flow in [dropped(), forwarded(), Flow { event_type: flow::EVENT_POLICY_VERDICT, ..forwarded() }] {
            metrics.observe(&Flow { source: pod(&format!("job-{n}")), ..flow }, now);
        }
        if n % 1000 == 999 {
            metrics.expire(now);
            let series = metrics.write(Format::Prometheus).lines().filter(|l| !l.starts_with('#')).count();
            most = most.max(series);
        }
    }
    // A series lives for ten minutes after its pod: 1,667 pods, each in nine series at most.
    assert!(most < 1_768 * 9, "{most} series");
    metrics.expire(3_600 * second + LIFETIME);
    let left = metrics.write(Format::Prometheus);
    assert_eq!(left.lines().find(|l| !l.starts_with('#')), None, "all that is left");
}
