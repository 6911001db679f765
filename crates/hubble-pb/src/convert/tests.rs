use crate::flow as pb;
use flow::filter::PortRange;
use flow::*;
use std::error::Error;
use std::sync::Arc;
use types::Labels;

/// A flow with every field set that goes over the wire.
fn full() -> Flow {
    let pod = |name: &str| {
        Some(Arc::new(Pod {
            cluster: "default".into(),
            namespace: "shop".into(),
            name: name.into(),
            workloads: vec![Workload { name: "web".into(), kind: "Deployment".into() }],
        }))
    };
    let end = |id, name: &str| End {
        endpoint: id,
        identity: 4000 + id,
        labels: Labels::parse(["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"]).unwrap(),
        pod: pod(name),
        names: Arc::new([format!("{name}.example")]),
        service: Some(Arc::new(Service { name: "svc".into(), namespace: "shop".into() })),
    };
    let policy = |name: &str| Policy {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "shop".into(),
        name: name.into(),
        labels: vec!["k8s:x=y".into()],
        revision: u64::MAX,
    };
    Flow {
        time: 1_136_214_245_120_000_001,
        uuid: "u".into(),
        emitter: Some(Arc::new(Emitter { name: "Axoneme".into(), version: "1".into() })),
        verdict: Verdict::Dropped,
        drop_reason: 133,
        ethernet: Some(Ethernet { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 0xab] }),
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            source_xlated: Some("192.0.2.1".parse().unwrap()),
            encrypted: true,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 80, flags: Some(TcpFlags(0x102)) }),
        tunnel: Some(Tunnel {
            protocol: TunnelProtocol::Vxlan,
            ip: Ip {
                source: "fd00::1".parse().unwrap(),
                destination: "fd00::2".parse().unwrap(),
                source_xlated: None,
                encrypted: false,
            },
            l4: L4::Udp { source: 1, destination: 8472 },
            vni: 4711,
        }),
        l7: None,
        source: end(1, "a"),
        destination: end(2, "b"),
        kind: FlowKind::L3L4,
        node_name: "default/n1".into(),
        node_labels: Arc::new(["zone=a".to_owned()]),
        event_type: EVENT_DROP,
        event_subtype: 133,
        direction: Direction::Ingress,
        policy_match: 2,
        point: Some(Point::ToEndpoint),
        reason: Some(Reason::Related),
        is_reply: Some(false),
        interface: Some(Interface { index: 7, name: "lxc1".into() }),
        proxy_port: 9,
        egress_allowed_by: Arc::new([policy("ea")]),
        ingress_allowed_by: Arc::new([policy("ia")]),
        egress_denied_by: Arc::new([policy("ed")]),
        ingress_denied_by: Arc::new([policy("id"), policy("id2")]),
        policy_log: Arc::new(["log".to_owned()]),
        given_summary: Some("TCP Flags: SYN, NS".into()),
        rare: None,
    }
}

#[test]
fn flows_survive_the_wire() {
    let mut flow = full();
    let wire: pb::Flow = flow.clone().into();
    assert_eq!(Flow::try_from(wire).unwrap(), flow);
    for l4 in [
        L4::Udp { source: 1, destination: 2 },
        L4::Sctp { source: 1, destination: 2 },
        L4::Icmp4 { kind: 3, code: 4 },
        L4::Icmp6 { kind: 135, code: 0 },
        L4::Vrrp { kind: 1, id: 2, priority: 3 },
        L4::Igmp { kind: 0x16, group: "224.0.0.1".parse().unwrap() },
    ] {
        flow.l4 = Some(l4);
        assert_eq!(Flow::try_from(pb::Flow::from(flow.clone())).unwrap(), flow);
    }
    flow.rare = Some(Arc::new(Rare {
        trace_id: "4bf92f3577b34da6".into(),
        ip_trace_id: 7,
        ip_option: 136,
        socket_point: 3,
        socket_cookie: 11,
        cgroup: 12,
        capture_point: 4,
        auth: 1,
    }));
    flow.l7 = Some(Arc::new(L7 {
        kind: L7Kind::Response,
        latency: 5,
        record: L7Record::Http {
            code: 200,
            method: "GET".into(),
            url: "http://h/".into(),
            protocol: "HTTP/2".into(),
            headers: vec![("k".into(), "v".into())],
        },
    }));
    assert_eq!(Flow::try_from(pb::Flow::from(flow.clone())).unwrap(), flow);
}

#[test]
fn an_empty_message_is_an_empty_flow() {
    let flow = Flow::try_from(pb::Flow::default()).unwrap();
    assert_eq!(flow, Flow { kind: FlowKind::Unknown, ..Flow::default() });
}

#[test]
fn json_is_as_hubble_prints_it() {
    let json = serde_json::to_string(&pb::Flow::from(full())).unwrap();
    assert_eq!(json, include_str!("flow.json").trim_end());
    let read: pb::Flow = serde_json::from_str(&json).unwrap();
    assert_eq!(read, pb::Flow::from(full()));
}

#[test]
fn every_drop_reason_of_the_datapath_has_its_name_on_the_wire() {
    for reason in abi::DropReason::ALL {
        let wire = pb::DropReason::try_from(*reason as i32).unwrap();
        assert_eq!(wire.as_str_name(), reason.api_name());
    }
    for verdict in Verdict::ALL {
        assert_eq!(pb::Verdict::try_from(verdict.number()).unwrap().as_str_name(), verdict.text());
    }
    for source in LostSource::ALL {
        assert_eq!(pb::LostEventSource::try_from(source.number()).unwrap().as_str_name(), source.text());
    }
    for point in Point::ALL {
        let name = pb::TraceObservationPoint::try_from(point.number()).unwrap().as_str_name();
        assert_eq!(name.to_lowercase().replace('_', "-"), point.text());
    }
}

#[test]
fn broken_messages_name_the_field() {
    let ip = |source: &str| pb::Flow {
        ip: Some(pb::Ip { source: source.into(), destination: "10.0.0.1".into(), ..Default::default() }),
        ..Default::default()
    };
    assert!(Flow::try_from(ip("10.0.0")).unwrap_err().to_string().contains("IP.source"));
    let port = pb::Flow { proxy_port: 65_536, ..Default::default() };
    assert!(Flow::try_from(port).unwrap_err().to_string().contains("proxy_port"));
    let mac = pb::Flow {
        ethernet: Some(pb::Ethernet { source: "02:00:00:00:00".into(), destination: String::new() }),
        ..Default::default()
    };
    assert!(Flow::try_from(mac).unwrap_err().to_string().contains("ethernet.source"));
}

#[test]
fn filters_are_read() {
    let filter = Filter::try_from(pb::FlowFilter {
        source_ip: vec!["10.0.0.1".into(), "fd00::/8".into()],
        destination_port: vec!["80".into(), "8000-9000".into()],
        verdict: vec![2],
        drop_reason_desc: vec![133],
        event_type: vec![pb::EventTypeFilter { r#type: 4, match_sub_type: true, sub_type: 0 }],
        ..Default::default()
    })
    .unwrap();
    assert_eq!(filter.source.addresses, ["10.0.0.1/32".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    assert_eq!(filter.destination.ports[1], PortRange { first: 8000, last: 9000 });
    assert_eq!((&filter.verdicts[..], &filter.drop_reasons[..]), (&[Verdict::Dropped][..], &[133][..]));
    assert_eq!(filter.events, [(4, Some(0))]);
}

#[test]
fn bad_filters_name_the_field() {
    let cases: [(pb::FlowFilter, &str); 7] = [
        (pb::FlowFilter { source_ip: vec!["10.0.0".into()], ..Default::default() }, "source_ip"),
        (
            pb::FlowFilter { destination_ip: vec!["10.0.0.0/33".into()], ..Default::default() },
            "destination_ip",
        ),
        (pb::FlowFilter { destination_port: vec!["http".into()], ..Default::default() }, "destination_port"),
        (pb::FlowFilter { source_label: vec!["a in (".into()], ..Default::default() }, "source_label"),
        (pb::FlowFilter { protocol: vec!["tcpp".into()], ..Default::default() }, "protocol"),
        (pb::FlowFilter { verdict: vec![99], ..Default::default() }, "verdict"),
        (pb::FlowFilter { http_path: vec!["(".into()], ..Default::default() }, "http_path"),
    ];
    for (filter, field) in cases {
        let error = Filter::try_from(filter).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
    let label = pb::FlowFilter { source_label: vec!["a in (".into()], ..Default::default() };
    assert!(Filter::try_from(label).unwrap_err().source().is_some());
}
