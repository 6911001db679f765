//! Flows in, map and rows out.

use super::map::News;
use super::*;
use crate::hub::Seen;
use flow::{EVENT_TRACE, End, Flow, Ip, L4, Pod, Policy, Verdict};
use std::sync::Arc;
use types::Labels;

/// A pod's end.
pub(crate) fn pod(namespace: &str, name: &str, identity: u32) -> End {
    let labels = [format!("k8s:app={name}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
    let workload = flow::Workload { name: name.to_owned(), kind: "Deployment".to_owned() };
    let pod = Pod {
        namespace: namespace.to_owned(),
        name: format!("{name}-5d4f8c7b9-x2x7k"),
        workloads: vec![workload],
        ..Pod::default()
    };
    End {
        endpoint: identity,
        identity,
        labels: Labels::parse(labels.iter().map(String::as_str)).expect("labels"),
        pod: Some(Arc::new(pod)),
        ..End::default()
    }
}

/// A packet of a connection to port 80.
pub(crate) fn flow(from: End, to: End, verdict: Verdict) -> Flow {
    let ip = |text: &str| text.parse().expect("literal address");
    Flow {
        verdict,
        ip: Some(Ip {
            source: ip("10.0.0.1"),
            destination: ip("10.0.0.2"),
            source_xlated: None,
            encrypted: false,
        }),
        l4: Some(L4::Tcp { source: 40_000, destination: 80, flags: None }),
        is_reply: Some(false),
        event_type: EVENT_TRACE,
        source: from,
        destination: to,
        ..Flow::default()
    }
}

fn world() -> End {
    End { identity: 2, labels: Labels::parse(["reserved:world"]).expect("a label"), ..End::default() }
}

fn names(news: &News) -> Vec<String> {
    news.nodes.iter().map(|node| node.id.clone()).collect()
}

#[test]
fn a_question_and_its_answer_are_one_edge() {
    let mut map = Map::new(Grouping::Workload);
    let there = flow(pod("shop", "web", 1001), pod("shop", "db", 1002), Verdict::Forwarded);
    let mut back = flow(pod("shop", "db", 1002), pod("shop", "web", 1001), Verdict::Forwarded);
    (back.is_reply, back.l4) = (Some(true), Some(L4::Tcp { source: 80, destination: 40_000, flags: None }));
    map.add(&there, true);
    map.add(&back, true);
    let news = map.news(false);
    assert_eq!(names(&news), ["Deployment/shop/db", "Deployment/shop/web"]);
    assert_eq!(news.edges.len(), 1);
    assert_eq!(
        (news.edges[0].from.as_str(), news.edges[0].ports["80/TCP"].forwarded),
        ("Deployment/shop/web", 2)
    );
}

#[test]
fn news_are_told_at_once_and_counters_once_a_second() {
    let mut map = Map::new(Grouping::Workload);
    let good = flow(pod("shop", "web", 1001), pod("shop", "db", 1002), Verdict::Forwarded);
    let mut bad = Flow { verdict: Verdict::Dropped, direction: flow::Direction::Ingress, ..good.clone() };
    let policy = Policy {
        kind: "CiliumNetworkPolicy".into(),
        namespace: "shop".into(),
        name: "db".into(),
        ..Policy::default()
    };
    bad.ingress_denied_by = Arc::new([policy]);
    map.add(&good, true);
    assert_eq!(map.news(false).edges.len(), 1);
    map.add(&good, true);
    assert!(map.news(false).is_empty(), "only a counter moved");
    map.add(&bad, true);
    let news = map.news(false);
    assert_eq!(news.edges[0].ports["80/TCP"].dropped, 1);
    assert_eq!(news.edges[0].policies.iter().collect::<Vec<_>>(), ["CiliumNetworkPolicy shop/db"]);
    map.second();
    let port = map.news(true).edges[0].ports["80/TCP"].clone();
    assert!((port.rate - 1.2).abs() < 0.01 && (port.dropped_rate - 0.4).abs() < 0.01, "{port:?}");
}

#[test]
fn silence_is_forgotten() {
    let mut map = Map::new(Grouping::Workload);
    map.add(&flow(pod("a", "x", 1), pod("a", "y", 2), Verdict::Forwarded), true);
    map.add(&flow(pod("a", "x", 1), pod("a", "z", 3), Verdict::Forwarded), true);
    map.news(true);
    for second in 0..=300 {
        if second == 200 {
            map.add(&flow(pod("a", "x", 1), pod("a", "z", 3), Verdict::Forwarded), false);
        }
        map.second();
    }
    let news = map.news(true);
    assert_eq!((news.gone.nodes, news.gone.edges.len()), (vec!["Deployment/a/y".to_owned()], 1));
}

#[test]
fn a_map_has_room_for_so_much() {
    let mut map = Map::new(Grouping::Workload);
    for number in 0..20_000_u32 {
        let name = format!("w{}", number % 5000);
        let mut flow = flow(pod("a", &name, 5000 + number), pod("a", "y", 2), Verdict::Forwarded);
        flow.l4 = Some(L4::Udp { source: 1, destination: (number % 60_000) as u16 });
        map.add(&flow, true);
    }
    let news = map.news(true);
    assert!(news.nodes.len() <= 160 && news.edges.len() <= 481, "{} {}", news.nodes.len(), news.edges.len());
    assert!(news.edges.iter().all(|edge| edge.ports.len() <= 13));
    let all: u64 = news.edges.iter().flat_map(|edge| edge.ports.values()).map(|port| port.forwarded).sum();
    assert_eq!(all, 20_000, "who has no place of his own is counted among the others");
    assert!(news.nodes.iter().any(|node| node.id == "others"));
}

#[test]
fn ends_are_grouped() {
    let node = |end: &End, grouping| Node::of(end, "10.1.1.1".parse().ok(), grouping);
    let web = pod("shop", "web", 1001);
    assert_eq!(node(&web, Grouping::Namespace).id, "Namespace//shop");
    assert_eq!(node(&web, Grouping::Identity).id, "Identity/1001");
    assert_eq!(node(&web, Grouping::Identity).name, "app=web");
    assert_eq!(node(&world(), Grouping::Workload).name, "world");
    let named = End { names: Arc::new(["example.org.".to_owned()]), ..world() };
    assert_eq!(
        (node(&named, Grouping::Workload).name.as_str(), node(&named, Grouping::Namespace).kind.as_str()),
        ("example.org", "Name")
    );
    assert_eq!(node(&End::default(), Grouping::Workload).name, "10.1.1.1");
}

#[test]
fn filters() {
    let mut denied = flow(pod("shop", "web", 1001), pod("data", "db", 1002), Verdict::Dropped);
    denied.direction = flow::Direction::Ingress;
    let fits = |text: &str| Filter::parse(text).expect("a filter").fits(&denied);
    for yes in [
        "",
        "verdict:dropped",
        "v:audit,dropped",
        "ns:shop",
        "ns:data",
        "from:web",
        "to:db",
        "to:data/db",
        "pod:web-5d4f8c7b9",
        "port:80",
        "proto:tcp",
        "ip:10.0.0.0/8",
        "from-ip:10.0.0.1",
        "label:app=web",
        "to-label:k8s:app=db",
        "id:1001",
        "-verdict:forwarded",
        "dir:ingress",
        "reply:false",
        "web",
        "10.0.0.2",
        "WEB",
        "-reply:true from-ns:shop to-ns:data",
    ] {
        assert!(fits(yes), "{yes}");
    }
    for no in [
        "verdict:forwarded",
        "from:db",
        "ns:sho",
        "from-ns:data",
        "port:81",
        "proto:udp",
        "-web",
        "label:app",
        "id:7",
    ] {
        assert_eq!(fits(no), no == "label:app", "{no}");
    }
    for (bad, cure) in [
        ("verdict:maybe", "forwarded"),
        ("port:http", "number"),
        ("ip:10", "address"),
        ("reply:x", "true"),
        ("ns:", "follow"),
    ] {
        let error = Filter::parse(bad).expect_err("no filter");
        assert!(error.contains(cure), "{error}");
    }
    assert!(Filter::parse(&"x ".repeat(40)).is_err());
    assert!(Filter::parse("::1").is_ok_and(|filter| !filter.fits(&denied)));
}

#[test]
fn rows() {
    let mut flow = flow(pod("shop", "web", 1001), world(), Verdict::Forwarded);
    flow.time = 1_700_000_000_123_456_789;
    let row = Row::of(&Seen { id: 7, flow });
    assert_eq!((row.id, row.time, row.port.as_str()), (7, 1_700_000_000_123.456, "80/TCP"));
    assert_eq!(row.source.name, "web-5d4f8c7b9-x2x7k");
    assert_eq!((row.destination.name.as_str(), row.destination.address.as_str()), ("world", "10.0.0.2:80"));
}
