//! What things cost with 10,000 rules. Asserts what must not depend on their number; times are printed, never asserted.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use axoneme_policy::*;
use std::time::{Duration, Instant};
use types::{Labels, NumericIdentity, PolicyKind, PolicyOrigin, Selector, Source};

const RULES: u32 = 10_000;

fn selector(pairs: &[(&str, &str)]) -> Selector {
    let none: [(&str, &str, Vec<&str>); 0] = [];
    Selector::new(pairs.iter().copied(), none, &Source::K8s).unwrap()
}

fn pod(app: &str, namespace: &str) -> Labels {
    Labels::parse(
        [format!("k8s:app={app}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")]
            .iter()
            .map(String::as_str),
    )
    .unwrap()
}

/// 10,000 policies; each lets one application reach the same pod at one port. Half share a namespace and differ by
/// application, half share an application and differ by namespace.
fn engine() -> (Engine, Duration) {
    let mut engine = Engine::new(Options::default());
    engine.set_subject(1, Some(SubjectInfo { labels: pod("server", "shop"), ..SubjectInfo::default() }));
    let subject = Subject::Endpoints(selector(&[("app", "server")]));
    let policies = (0..RULES).map(|i| {
        let name = format!("n{i}");
        let peer = match i % 2 {
            0 => selector(&[("app", &name), ("io.kubernetes.pod.namespace", "shop")]),
            _ => selector(&[("app", "client"), ("io.kubernetes.pod.namespace", &name)]),
        };
        let rule = Rule {
            peers: vec![Peer::Endpoints(peer)],
            ports: vec![PortRule::port(Protocol::TCP, 1 + i as u16)],
            ..Rule::allow(subject.clone(), Direction::Ingress)
        };
        let origin =
            PolicyOrigin { kind: PolicyKind::Cnp, namespace: "shop".into(), name, uid: String::new() };
        (origin, Some(vec![rule]))
    });
    let policies = policies.collect();
    let start = Instant::now();
    engine.set_policies(policies);
    (engine, start.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[test]
fn an_identity_costs_what_it_matches() {
    let (mut engine, loading) = engine();
    let mut adding = Vec::new();
    let mut removing = Vec::new();
    for i in 0..500 {
        let id = NumericIdentity(1000 + i);
        let labels = match i % 2 {
            0 => pod(&format!("n{i}"), "shop"),
            _ => pod("client", &format!("n{i}")),
        };
        let start = Instant::now();
        let update = engine.set_identities([(id, Some(IdentityInfo::of(labels)))].into());
        adding.push(start.elapsed());
        let [TableChange::Edited(delta)] = &update.tables.values().collect::<Vec<_>>()[..] else {
            panic!("one table is edited: {update:?}");
        };
        assert_eq!(
            (delta.upserts.len(), delta.deletes.len()),
            (1, 0),
            "one rule matches, one entry is written"
        );
    }
    for i in 0..500 {
        let start = Instant::now();
        let update = engine.set_identities([(NumericIdentity(1000 + i), None)].into());
        removing.push(start.elapsed());
        assert_eq!(update.tables.len(), 1);
    }
    let (adding, removing) = (median(adding), median(removing));
    println!(
        "{RULES} rules loaded in {loading:?}; identity added in {adding:?}, removed in {removing:?} (medians)"
    );
}

#[test]
fn identities_that_no_rule_names_touch_nothing() {
    let (mut engine, _) = engine();
    let start = Instant::now();
    for i in 0..1000 {
        let info = IdentityInfo::of(pod("nobody", &format!("other{i}")));
        assert!(engine.set_identities([(NumericIdentity(1000 + i), Some(info))].into()).is_empty());
    }
    println!("identity that matches none of {RULES} rules: {:?}", start.elapsed() / 1000);
}

#[test]
fn one_policy_among_many_changes_one_table() {
    let (mut engine, _) = engine();
    for i in 0..100 {
        let labels = pod(&format!("pod{i}"), "else");
        engine.set_subject(10 + i, Some(SubjectInfo { labels, ..SubjectInfo::default() }));
    }
    let rule = Rule::allow(Subject::Endpoints(selector(&[("app", "pod7")])), Direction::Ingress);
    let origin = PolicyOrigin::builtin("late");
    let start = Instant::now();
    let update = engine.apply(origin, vec![rule]);
    println!("policy for one of 101 pods, beside {RULES} others: {:?}", start.elapsed());
    assert_eq!(update.subjects.keys().copied().collect::<Vec<_>>(), [17]);
    assert!(matches!(&update.tables.values().collect::<Vec<_>>()[..], [TableChange::Created(_)]));
    let start = Instant::now();
    let own = Rule::allow(Subject::Endpoints(selector(&[("app", "server")])), Direction::Ingress);
    let update = engine.apply(PolicyOrigin::builtin("later"), vec![own]);
    println!("policy for the pod that all {RULES} select: {:?}", start.elapsed());
    assert_eq!(update.subjects.len(), 1);
}

/// 1,000 rules about prefixes, and three addresses in each prefix, which have identities of their own.
fn blocks() -> Engine {
    let mut engine = Engine::new(Options::default());
    let subject = Subject::Endpoints(selector(&[("app", "client")]));
    let net = |i: u32, last: u32, len: u8| -> types::IpNet {
        format!("10.{}.{}.{last}/{len}", i / 250, i % 250).parse().unwrap()
    };
    let rule = |i| Rule {
        peers: vec![Peer::Cidr { prefix: net(i, 0, 24), except: Default::default(), owner: Owner::Outside }],
        ports: vec![PortRule::ANY],
        ..Rule::allow(subject.clone(), Direction::Egress)
    };
    engine.apply(PolicyOrigin::builtin("blocks"), (0..1000).map(rule).collect());
    let identity = |i: u32| {
        let net = net(i / 3, 10 + i % 3, 32);
        (NumericIdentity(0x0100_0001 + i), Some(IdentityInfo::of(Labels::of_cidr(&net, "world"))))
    };
    engine.set_identities((0..3000).map(identity).collect());
    engine
}

#[test]
fn a_thousand_blocks_and_three_thousand_identities() {
    let mut engine = blocks();
    let mut times = Vec::new();
    for round in 0..201 {
        let subject = SubjectInfo { labels: pod("client", "shop"), ..SubjectInfo::default() };
        let start = Instant::now();
        let update = engine.set_subject(round, Some(subject));
        times.push(start.elapsed());
        let [TableChange::Created(table)] = &update.tables.values().collect::<Vec<_>>()[..] else {
            panic!("one table is made: {update:?}");
        };
        assert_eq!(table.entries.len(), 3001, "one entry an identity, and one for the open direction");
        engine.set_subject(round, None);
    }
    println!("1,000 rules about prefixes x 3,000 identities, from nothing: {:?}", median(times));
}

#[test]
fn a_pod_that_no_rule_selects() {
    let (mut engine, _) = engine();
    let mut times = Vec::new();
    for i in 0..500 {
        let info = SubjectInfo { labels: pod("nobody", &format!("other{i}")), ..SubjectInfo::default() };
        let start = Instant::now();
        let update = engine.set_subject(100 + i, Some(info));
        times.push(start.elapsed());
        assert!(update.tables.len() <= usize::from(i == 0), "they share one table");
    }
    println!("pod that none of {RULES} rules selects: {:?}", median(times));
}
