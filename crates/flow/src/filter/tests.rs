use super::*;
use std::sync::Arc;
use types::Labels;

fn sample() -> Flow {
    let pod = |name: &str, kind: &str| {
        let workloads = vec![Workload { name: "web".into(), kind: kind.into() }];
        Some(Arc::new(Pod { cluster: "east".into(), namespace: "shop".into(), name: name.into(), workloads }))
    };
    Flow {
        uuid: "u1".into(),
        verdict: Verdict::Dropped,
        drop_reason: 133,
        ip: Some(Ip {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.1.2".parse().unwrap(),
            source_xlated: Some("192.0.2.9".parse().unwrap()),
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 8080, flags: Some(TcpFlags(0x12)) }),
        source: End {
            identity: 4711,
            labels: Labels::parse(["k8s:app=web", "k8s:tier=front"]).unwrap(),
            pod: pod("web-1", "Deployment"),
            ..End::default()
        },
        destination: End {
            identity: 2,
            labels: Labels::parse(["reserved:world"]).unwrap(),
            names: Arc::new(["api.Example.org".to_owned()]),
            service: Some(Arc::new(Service { name: "api".into(), namespace: "shop".into() })),
            ..End::default()
        },
        node_name: "east/node-1".into(),
        node_labels: Arc::new(["zone=a".to_owned()]),
        event_type: EVENT_DROP,
        event_subtype: 133,
        direction: Direction::Egress,
        is_reply: Some(false),
        interface: Some(Interface { index: 3, name: "lxc1".into() }),
        ..Flow::default()
    }
}

fn source(filter: EndFilter) -> Filter {
    Filter { source: filter, ..Filter::default() }
}

fn destination(filter: EndFilter) -> Filter {
    Filter { destination: filter, ..Filter::default() }
}

fn list<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> Vec<T> {
    text.split(' ').map(|text| text.parse().unwrap()).collect()
}

#[track_caller]
fn check(filter: Filter, expected: bool) {
    assert_eq!(filter.matches(&sample()), expected, "{filter:?}");
}

#[test]
fn ends() {
    check(Filter::default(), true);
    check(source(EndFilter { addresses: list("10.0.0.0/24 fd00::/8"), ..Default::default() }), true);
    check(destination(EndFilter { addresses: list("10.0.0.0/24"), ..Default::default() }), false);
    check(source(EndFilter { identities: vec![1, 4711], ..Default::default() }), true);
    check(destination(EndFilter { identities: vec![4711], ..Default::default() }), false);
    check(destination(EndFilter { ports: list("80 8000-9000"), ..Default::default() }), true);
    check(source(EndFilter { ports: list("8080"), ..Default::default() }), false);
    check(destination(EndFilter { names: list("*.example.org"), ..Default::default() }), true);
    check(destination(EndFilter { services: list("shop/a"), ..Default::default() }), true);
    check(source(EndFilter { services: list("shop/a"), ..Default::default() }), false);
    check(source(EndFilter { clusters: list("ea*"), ..Default::default() }), true);
    let workload = |name: &str, kind: &str| Workload { name: name.into(), kind: kind.into() };
    check(source(EndFilter { workloads: vec![workload("web", "")], ..Default::default() }), true);
    check(source(EndFilter { workloads: vec![workload("web", "DaemonSet")], ..Default::default() }), false);
}

#[test]
fn pods_by_namespace_and_beginning() {
    for (pattern, expected) in [
        ("shop/web", true),
        ("shop/", true),
        ("/web-1", true),
        ("/", true),
        ("web", false),
        ("shop/db", false),
        ("sho/", false),
    ] {
        check(source(EndFilter { pods: list(pattern), ..Default::default() }), expected);
    }
    check(destination(EndFilter { pods: list("/"), ..Default::default() }), false);
    assert!("".parse::<PodPattern>().is_err());
}

#[test]
fn labels_as_kubectl_takes_them() {
    for (text, expected) in [
        ("app=web", true),
        ("k8s:app==web", true),
        ("reserved:app=web", false),
        ("app=web,tier!=db", true),
        ("app in (api, web), tier", true),
        ("app notin (web)", false),
        ("!old", true),
        ("!app", false),
        ("inside", false),
        ("app=", false),
        ("", true),
    ] {
        let labels = vec![parse_selector(text).unwrap()];
        check(source(EndFilter { labels, ..Default::default() }), expected);
    }
    let labels = vec![parse_selector("reserved:world").unwrap()];
    check(destination(EndFilter { labels, ..Default::default() }), true);
    for text in ["a in (b", "a in b", "=a", "a,,b", "a,", "a b", "a=(b)", "a=b c"] {
        assert!(parse_selector(text).is_err(), "{text}");
    }
}

#[test]
fn about_the_flow() {
    let yes = [
        Filter { uuids: vec!["u1".into()], ..Default::default() },
        Filter { verdicts: vec![Verdict::Audit, Verdict::Dropped], ..Default::default() },
        Filter { drop_reasons: vec![133], ..Default::default() },
        Filter { directions: vec![Direction::Egress], ..Default::default() },
        Filter { events: vec![(EVENT_DROP, None)], ..Default::default() },
        Filter { events: vec![(EVENT_DROP, Some(133))], ..Default::default() },
        Filter { events: vec![(0, None)], ..Default::default() },
        Filter { protocols: list("udp TCP"), ..Default::default() },
        Filter { replies: vec![false], ..Default::default() },
        Filter { tcp_flags: vec![TcpFlags(0x02)], ..Default::default() },
        Filter { ip_versions: vec![4], ..Default::default() },
        Filter { encrypted: vec![false], ..Default::default() },
        Filter { interfaces: vec![Interface { index: 0, name: "lxc1".into() }], ..Default::default() },
        Filter { source_xlated: list("192.0.2.0/24"), ..Default::default() },
        Filter { nodes: list("node-*"), ..Default::default() },
        Filter { nodes: list("east/"), ..Default::default() },
        Filter { nodes: list("*/node-1"), ..Default::default() },
        Filter { node_labels: vec![parse_selector("zone=a").unwrap()], ..Default::default() },
    ];
    yes.into_iter().for_each(|filter| check(filter, true));
    let no = [
        Filter { uuids: vec!["u".into()], ..Default::default() },
        Filter { drop_reasons: vec![0], ..Default::default() },
        Filter {
            events: vec![(EVENT_DROP, Some(0)), (EVENT_TRACE, None), (0, Some(1))],
            ..Default::default()
        },
        Filter { traces: vec!["t1".into()], ..Default::default() },
        Filter { ip_traces: vec![0], ..Default::default() },
        Filter { encrypted: vec![true], ..Default::default() },
        Filter { protocols: list("icmp http"), ..Default::default() },
        Filter { replies: vec![true], ..Default::default() },
        Filter { tcp_flags: vec![TcpFlags(0x03)], ..Default::default() },
        Filter { ip_versions: vec![6, 0], ..Default::default() },
        Filter { interfaces: vec![Interface { index: 4, name: "".into() }], ..Default::default() },
        Filter { nodes: list("west/ node"), ..Default::default() },
        Filter { node_labels: vec![parse_selector("zone=b").unwrap()], ..Default::default() },
    ];
    no.into_iter().for_each(|filter| check(filter, false));
}

#[test]
fn what_nobody_knows_of_a_flow() {
    let fits = |filter: Filter, flow: &Flow| filter.matches(flow);
    let replies = |reply| Filter { replies: vec![reply], ..Default::default() };
    let unknown = Flow { verdict: Verdict::Forwarded, ..Flow::default() };
    assert!(!fits(replies(true), &unknown) && !fits(replies(false), &unknown));
    let dropped = Flow { verdict: Verdict::Dropped, ..Flow::default() };
    assert!(!fits(replies(true), &dropped) && fits(replies(false), &dropped));
    assert!(
        fits(Filter { encrypted: vec![false], ..Default::default() }, &unknown),
        "no IP, so not encrypted"
    );
    let reasons = Filter { drop_reasons: vec![0], ..Default::default() };
    assert!(fits(reasons.clone(), &dropped) && !fits(reasons, &unknown));
    assert!(!fits(Filter { nodes: list("*"), ..Default::default() }, &unknown), "no node name");
}

fn http(code: u32) -> Flow {
    let record = L7Record::Http {
        code,
        method: "GET".into(),
        url: "http://shop/items/7?all=1".into(),
        protocol: "HTTP/1.1".into(),
        headers: vec![("Host".into(), "shop".into()), ("X-Id".into(), "1".into())],
    };
    let rare = Rare { trace_id: "t1".into(), ip_trace_id: 9, ..Rare::default() };
    let l7 = L7 { kind: L7Kind::Response, latency: 1, record };
    Flow { l7: Some(Arc::new(l7)), rare: Some(Arc::new(rare)), ..Flow::default() }
}

#[test]
fn messages_of_layer_7() {
    let l7 = |l7: L7Filter| Filter { l7, ..Default::default() };
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let yes = [
        L7Filter { statuses: list("500 4+"), ..Default::default() },
        L7Filter { methods: vec!["post".into(), "get".into()], ..Default::default() },
        L7Filter { paths: list(r"^/items/\d+$"), ..Default::default() },
        L7Filter { urls: list("shop.*all=1"), ..Default::default() },
        L7Filter { headers: header("X-Id", "1"), ..Default::default() },
    ];
    for filter in yes {
        assert!(l7(filter.clone()).matches(&http(404)), "{filter:?}");
        assert!(!l7(filter).matches(&sample()), "no HTTP");
    }
    let no = [
        L7Filter { statuses: list("5+ 403"), ..Default::default() },
        L7Filter { methods: vec!["PUT".into()], ..Default::default() },
        L7Filter { paths: list("all"), ..Default::default() },
        L7Filter { urls: list("^shop"), ..Default::default() },
        L7Filter { headers: header("x-id", "1"), ..Default::default() },
        L7Filter { statuses: list("404"), methods: vec!["PUT".into()], ..Default::default() },
        L7Filter { dns_queries: list(".*"), ..Default::default() },
    ];
    no.into_iter().for_each(|filter| assert!(!l7(filter.clone()).matches(&http(404)), "{filter:?}"));
    assert!(!l7(L7Filter { statuses: list("1+"), ..Default::default() }).matches(&http(0)), "a request");
    assert!(Filter { traces: vec!["t1".into()], ip_traces: vec![9], ..Default::default() }.matches(&http(0)));
}

#[test]
fn dns_queries() {
    let record = L7Record::Dns {
        query: "db.shop.svc.cluster.local.".into(),
        ips: vec![],
        ttl: 0,
        cnames: vec![],
        observed_by: "proxy".into(),
        rcode: 0,
        qtypes: vec!["A".into()],
        rrtypes: vec![],
    };
    let flow =
        Flow { l7: Some(Arc::new(L7 { kind: L7Kind::Request, latency: 0, record })), ..Flow::default() };
    let fits = |text: &str| {
        let l7 = L7Filter { dns_queries: list(text), ..Default::default() };
        Filter { l7, ..Default::default() }.matches(&flow)
    };
    assert!(fits(r"^db\.") && fits("nothing local.$"));
    assert!(!fits("^shop") && !fits("DB"));
    assert!("(".parse::<TextPattern>().is_err() && "(a{999}){999}".parse::<TextPattern>().is_err());
}

#[test]
fn all_lists_must_fit_and_denied_wins() {
    let dropped = Filter { verdicts: vec![Verdict::Dropped], ..Default::default() };
    let other = Filter { uuids: vec!["other".into()], ..dropped.clone() };
    check(other.clone(), false);
    let matches = |allow: Vec<Filter>, deny: Vec<Filter>| Filters { allow, deny }.matches(&sample());
    assert!(matches(vec![], vec![]));
    assert!(matches(vec![other.clone(), dropped.clone()], vec![other.clone()]));
    assert!(!matches(vec![other], vec![]));
    assert!(!matches(vec![dropped.clone()], vec![dropped]));
}

#[test]
fn patterns() {
    let name = |pattern: &str, name: &str| pattern.parse::<NamePattern>().unwrap().matches(name);
    assert!(name("a*c*e", "abcde") && name("*", "") && name("a.b.", "A.B") && name("**a", "a"));
    assert!(!name("a*c", "abcd") && !name("a", "ab") && !name("*.org", "org"));
    assert!(
        name(&"a*".repeat(50), &"a".repeat(60)) && !name(&format!("{}b", "a*".repeat(50)), &"a".repeat(200))
    );
    assert!("a b".parse::<NamePattern>().is_err() && "".parse::<NamePattern>().is_err());
    for port in ["", "x", "65536", "9-8", "1-2-3"] {
        assert!(port.parse::<PortRange>().is_err(), "{port}");
    }
}
