//! Random rules, identities and packets over a small universe, in which things meet often.
#![allow(dead_code, reason = "each test binary uses its part of this")]

use axoneme_policy::*;
use proptest::prelude::*;
use proptest::sample::select;
use types::{IpNet, Labels, NumericIdentity, PolicyKind, PolicyOrigin, Reserved, Selector, Source};

pub(crate) mod naive;

/// A whole situation.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) options: Options,
    pub(crate) policies: Vec<Vec<Rule>>,
    pub(crate) subject: SubjectInfo,
    pub(crate) packets: Vec<Packet>,
}

pub(crate) const PREFIXES: &[&str] =
    &["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.168.0.0/16", "fd00::/8", "fd00:1::/32"];
const WHOLE: &[&str] = &["0.0.0.0/0", "::/0"];
pub(crate) const PORTS: &[u16] = &[0, 8, 53, 79, 80, 81, 83, 84, 443, 8000, 8080, 8191, 32768, 65535];
const PROTOCOLS: &[u8] = &[1, 6, 17, 47, 58, 132];

pub(crate) fn origin(number: usize) -> PolicyOrigin {
    PolicyOrigin {
        kind: PolicyKind::Cnp,
        namespace: "ns".into(),
        name: format!("policy-{number}"),
        uid: String::new(),
    }
}

pub(crate) fn labels(texts: &[&str]) -> Labels {
    Labels::parse(texts.iter().copied()).unwrap()
}

/// All identities of the universe, the reserved ones included.
pub(crate) fn identities(families: Families) -> Vec<(NumericIdentity, IdentityInfo)> {
    let mut all: Vec<_> = Reserved::ALL.iter().map(|r| (r.id, IdentityInfo::of(r.labels()))).collect();
    for (i, net) in PREFIXES.iter().enumerate() {
        let net: IpNet = net.parse().unwrap();
        let world = match (families, net.addr().is_ipv4()) {
            (Families::Dual, true) => "world-ipv4",
            (Families::Dual, false) => "world-ipv6",
            _ => "world",
        };
        all.push((NumericIdentity(0x0100_0001 + i as u32), IdentityInfo::of(Labels::of_cidr(&net, world))));
    }
    all.extend((0..8).map(|i| (NumericIdentity(256 + i), pod(i))));
    all
}

/// One of eight pods: two namespaces, two clusters, some with named ports.
pub(crate) fn pod(i: u32) -> IdentityInfo {
    let namespace = format!("k8s:io.kubernetes.pod.namespace={}", ["a", "b"][i as usize % 2]);
    let app = format!("k8s:app={}", ["x", "y", "z"][i as usize % 3]);
    let cluster = format!("k8s:io.cilium.k8s.policy.cluster={}", if i < 6 { "here" } else { "there" });
    let mut texts = vec![namespace.as_str(), &app, &cluster];
    if i % 4 == 3 {
        texts.push("k8s:host");
    }
    let ports = [("http", 6, 80), ("http", 6, 8080), ("dns", 17, 53)];
    let named_ports =
        ports[..i as usize % 4].iter().fold(NamedPorts::new(), |mut named, (name, proto, port)| {
            named.entry((*name).into()).or_default().insert((*proto, *port));
            named
        });
    IdentityInfo { labels: labels(&texts), named_ports }
}

pub(crate) fn selector() -> impl Strategy<Value = Selector> {
    let requirement = prop_oneof![
        4 => select(vec![("k8s:app", "In", vec!["x"]), ("any:app", "In", vec!["y", "z"])]),
        3 => select(vec![("io.kubernetes.pod.namespace", "In", vec!["a"]), ("io.kubernetes.pod.namespace", "Exists", vec![])]),
        2 => select(vec![("app", "NotIn", vec!["x"]), ("app", "DoesNotExist", vec![]), ("reserved:init", "DoesNotExist", vec![])]),
        1 => select(vec![("reserved:host", "Exists", vec![]), ("any:host", "Exists", vec![]), ("reserved:world", "Exists", vec![])]),
    ];
    proptest::collection::vec(requirement, 0..3)
        .prop_map(|expressions| Selector::new([], expressions, &Source::K8s).unwrap())
}

fn peer() -> impl Strategy<Value = Peer> {
    let nets = || select([PREFIXES, WHOLE].concat());
    let entities: Vec<Entity> = Entity::ALL.iter().map(|(entity, _)| *entity).collect();
    prop_oneof![
        2 => Just(Peer::All),
        4 => selector().prop_map(Peer::Endpoints),
        1 => selector().prop_map(Peer::Nodes),
        3 => select(entities).prop_map(Peer::Entity),
        5 => (nets(), proptest::collection::vec(nets(), 0..3), owner()).prop_map(|(prefix, except, owner)| Peer::Cidr {
            prefix: prefix.parse().unwrap(),
            except: except.into_iter().map(|net| net.parse().unwrap()).collect(),
            owner,
        }),
    ]
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![2 => Just(Owner::Outside), 1 => Just(Owner::OutsideOrNode), 1 => Just(Owner::OutsideOrPod), 3 => Just(Owner::Anyone)]
}

fn port_rule() -> impl Strategy<Value = PortRule> {
    let with_ports = select(vec![Protocol::Any, Protocol::TCP, Protocol::UDP, Protocol::SCTP]);
    prop_oneof![
        2 => Just(PortRule::ANY),
        1 => select(PROTOCOLS).prop_map(|number| PortRule::Protocol(Protocol::Number(number))),
        5 => (with_ports.clone(), select(PORTS), select(PORTS)).prop_map(|(protocol, a, b)| PortRule::Ports {
            protocol,
            first: a.min(b),
            last: a.max(b),
        }),
        3 => (with_ports.clone(), select(PORTS)).prop_map(|(protocol, port)| PortRule::port(protocol, port)),
        2 => (with_ports, select(vec!["http", "dns", "none"]))
            .prop_map(|(protocol, name)| PortRule::Named { protocol, name: name.into() }),
        1 => select(vec![PortRule::Icmp(8), PortRule::Icmp(0), PortRule::Icmpv6(0)]),
    ]
}

pub(crate) fn rule() -> impl Strategy<Value = Rule> {
    let subject = prop_oneof![
        6 => Just(Subject::Endpoints(Selector::everything())),
        2 => selector().prop_map(Subject::Endpoints),
        1 => selector().prop_map(Subject::Nodes),
    ];
    let verdict = prop_oneof![6 => Just(Verdict::Allow), 3 => Just(Verdict::Deny), 1 => Just(Verdict::Pass)];
    let tier = prop_oneof![1 => Just(Tier::Admin), 5 => Just(Tier::Normal), 1 => Just(Tier::Baseline)];
    let redirect = proptest::option::weighted(
        0.2,
        (select(vec![0_u8, 1, 101, 126]), 10_000_u16..10_003)
            .prop_map(|(priority, port)| Redirect { port, priority }),
    );
    let what = (verdict, tier, select(vec![0_u32, 0, 0, 5, Rule::MAX_PRIORITY]), redirect);
    let whom = (
        subject,
        select(vec![Direction::Ingress, Direction::Egress]),
        proptest::collection::vec(peer(), 0..3),
        proptest::collection::vec(port_rule(), 0..3),
    );
    (whom, what, proptest::bool::weighted(0.7), proptest::bool::weighted(0.1)).prop_map(
        |((subject, direction, peers, ports), (verdict, tier, priority, redirect), default_deny, audit)| {
            Rule {
                subject,
                direction,
                peers,
                ports,
                verdict,
                tier,
                priority,
                default_deny,
                redirect,
                audit,
                log: None,
            }
        },
    )
}

/// Policies of one kind: half of them without what makes tables layered, so that both ways are tried as often.
pub(crate) fn policies() -> impl Strategy<Value = Vec<Vec<Rule>>> {
    let anything = proptest::collection::vec(proptest::collection::vec(rule(), 0..4), 0..5);
    (anything, any::<bool>()).prop_map(|(mut policies, plain)| {
        for rule in policies.iter_mut().flatten().filter(|_| plain) {
            rule.audit = false;
            if rule.verdict == Verdict::Pass {
                rule.verdict = Verdict::Deny;
            }
        }
        policies
    })
}

pub(crate) fn subject() -> impl Strategy<Value = SubjectInfo> {
    (0_u32..8, proptest::bool::weighted(0.05)).prop_map(|(i, audit)| {
        let IdentityInfo { labels, named_ports } = pod(i);
        SubjectInfo { labels, named_ports, audit }
    })
}

pub(crate) fn options() -> impl Strategy<Value = Options> {
    let mode = prop_oneof![
        8 => Just(EnforcementMode::Default),
        1 => Just(EnforcementMode::Always),
        1 => Just(EnforcementMode::Never),
    ];
    (mode, any::<bool>(), select(vec![Families::V4, Families::V6, Families::Dual])).prop_map(
        |(mode, allow_localhost, families)| Options {
            mode,
            allow_localhost,
            families,
            cluster: "here".into(),
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let mut ids: Vec<u32> = identities(Families::V4).iter().map(|(id, _)| id.get()).collect();
    ids.push(9999);
    let peer = select(ids.clone()).prop_map(NumericIdentity);
    // Any prefix, or the world of a family.
    let blocks =
        ids.into_iter().map(NumericIdentity).filter(|id| id.is_local() || [2, 9, 10].contains(&id.get()));
    let block = select(blocks.collect::<Vec<_>>());
    (select(vec![Direction::Ingress, Direction::Egress]), peer, block, select(PROTOCOLS), select(PORTS))
        .prop_map(|(direction, peer, block, protocol, port)| {
            let block = if peer.is_local() { NumericIdentity::UNKNOWN } else { block };
            Packet { direction, peer, block, protocol, port }
        })
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    (options(), policies(), subject(), proptest::collection::vec(packet(), 40))
        .prop_map(|(options, policies, subject, packets)| Case { options, policies, subject, packets })
}

/// An engine that knows the universe.
pub(crate) fn engine(options: &Options, policies: &[Vec<Rule>]) -> Engine {
    let mut engine = Engine::new(options.clone());
    let all = identities(options.families).into_iter().map(|(id, info)| (id, Some(info)));
    engine.set_identities(all.collect());
    for (number, rules) in policies.iter().enumerate() {
        engine.apply(origin(number), rules.clone());
    }
    engine
}
