//! Single rules and what they mean, written out.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use axoneme_policy::*;
use std::collections::BTreeSet;
use types::{IpNet, Labels, NumericIdentity, PolicyKind, PolicyOrigin, Selector, Source};

const WEB: NumericIdentity = NumericIdentity(300);
const DB: NumericIdentity = NumericIdentity(301);
const INNER: NumericIdentity = NumericIdentity(0x0100_0001);
const OUTER: NumericIdentity = NumericIdentity(0x0100_0002);

fn labels(texts: &[&str]) -> Labels {
    Labels::parse(texts.iter().copied()).unwrap()
}

fn selector(pairs: &[(&str, &str)]) -> Selector {
    let none: [(&str, &str, Vec<&str>); 0] = [];
    Selector::new(pairs.iter().copied(), none, &Source::K8s).unwrap()
}

fn everyone() -> Subject {
    Subject::Endpoints(Selector::everything())
}

fn origin(name: &str) -> PolicyOrigin {
    PolicyOrigin { kind: PolicyKind::Cnp, namespace: "shop".into(), name: name.into(), uid: String::new() }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// An engine with two pods, of which WEB is the subject, and two prefixes, one within the other.
fn engine(options: Options, policies: &[(&str, Vec<Rule>)]) -> Engine {
    let mut engine = Engine::new(options);
    let identities = [
        (WEB, labels(&["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"])),
        (DB, labels(&["k8s:app=db", "k8s:io.kubernetes.pod.namespace=shop"])),
        (OUTER, Labels::of_cidr(&net("10.0.0.0/8"), "world")),
        (INNER, Labels::of_cidr(&net("10.1.0.0/16"), "world")),
    ];
    engine.set_identities(
        identities.into_iter().map(|(id, labels)| (id, Some(IdentityInfo::of(labels)))).collect(),
    );
    for (name, rules) in policies {
        engine.apply(origin(name), rules.clone());
    }
    let web = labels(&["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"]);
    engine.set_subject(1, Some(SubjectInfo { labels: web, ..SubjectInfo::default() }));
    engine
}

fn table(engine: &Engine) -> std::sync::Arc<PolicyTable> {
    engine.table(engine.table_of(1).unwrap()).unwrap()
}

fn to_pod(engine: &Engine, peer: NumericIdentity, port: u16) -> Option<Hit> {
    table(engine).lookup(peer, NumericIdentity::UNKNOWN, Direction::Ingress, 6, port)
}

fn passes(hit: Option<Hit>) -> bool {
    hit.is_some_and(|hit| !hit.denies())
}

fn ingress(peers: Vec<Peer>, ports: Vec<PortRule>) -> Rule {
    Rule { peers, ports, ..Rule::allow(everyone(), Direction::Ingress) }
}

#[test]
fn without_rules_everything_passes_unenforced() {
    let engine = engine(Options::default(), &[]);
    let table = table(&engine);
    assert!(!table.enforced_ingress && !table.enforced_egress);
    assert_eq!(table.entries.len(), 2, "one entry a direction: {table:?}");
    let hit = to_pod(&engine, DB, 80).unwrap();
    assert_eq!((hit.matched, hit.entry.flags), (Matched::All, abi::tables::POLICY_UNENFORCED));
}

#[test]
fn a_rule_closes_its_direction_and_its_cookie_says_so() {
    let rule =
        ingress(vec![Peer::Endpoints(selector(&[("app", "db")]))], vec![PortRule::port(Protocol::TCP, 80)]);
    let engine = engine(Options::default(), &[("closing", vec![rule])]);
    let table = table(&engine);
    assert!(table.enforced_ingress && !table.enforced_egress);
    assert_eq!(to_pod(&engine, DB, 80).unwrap().matched, Matched::L3L4);
    assert!(
        passes(table.lookup(DB, NumericIdentity::UNKNOWN, Direction::Egress, 6, 80)),
        "egress stays open"
    );
    // No entry: the drop is a default deny (133), not a denylist hit (181), and still has a name.
    assert_eq!(to_pod(&engine, DB, 81), None);
    assert_eq!(to_pod(&engine, WEB, 80), None);
    let named = engine.cookie(table.deny_cookie_ingress).unwrap();
    assert_eq!(
        named.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["CiliumNetworkPolicy shop/closing rule 0"]
    );
    assert_eq!(table.deny_cookie_egress, 0);
    // Entries: db on 80, the host, and the open egress.
    assert_eq!(table.entries.len(), 3, "{table:?}");
}

#[test]
fn the_node_reaches_its_pods_unless_told_otherwise() {
    let nothing = ingress(vec![], vec![]);
    let host = NumericIdentity::HOST;
    let open = engine(Options::default(), &[("p", vec![nothing.clone()])]);
    assert!(passes(to_pod(&open, host, 80)) && !passes(to_pod(&open, DB, 80)));
    let strict = Options { allow_localhost: false, ..Options::default() };
    assert!(!passes(to_pod(&engine(strict, &[("p", vec![nothing.clone()])]), host, 80)));
    let deny = Rule { verdict: Verdict::Deny, peers: vec![Peer::Entity(Entity::Host)], ..nothing };
    let deny = Rule { ports: vec![PortRule::ANY], ..deny };
    assert!(!passes(to_pod(&engine(Options::default(), &[("p", vec![deny])]), host, 80)));
}

#[test]
fn enforcement_modes() {
    let rule = ingress(vec![], vec![]);
    let mode = |mode| Options { mode, ..Options::default() };
    assert!(passes(to_pod(&engine(mode(EnforcementMode::Never), &[("p", vec![rule])]), DB, 80)));
    let always = engine(mode(EnforcementMode::Always), &[]);
    assert!(!passes(to_pod(&always, DB, 80)));
    let table = table(&always);
    assert!(table.enforced_ingress && table.enforced_egress);
    let named = always.cookie(table.deny_cookie_egress).unwrap();
    assert_eq!(named[0].origin.name, "policy-enforcement-always");
}

#[test]
fn deny_beats_allow_however_narrow() {
    let allow = ingress(
        vec![Peer::Cidr { prefix: net("10.1.0.0/16"), except: BTreeSet::new(), owner: Owner::Outside }],
        vec![PortRule::port(Protocol::TCP, 80)],
    );
    let deny = Rule {
        verdict: Verdict::Deny,
        peers: vec![Peer::Cidr { prefix: net("10.0.0.0/8"), except: BTreeSet::new(), owner: Owner::Outside }],
        ports: vec![PortRule::ANY],
        ..allow.clone()
    };
    let engine = engine(Options::default(), &[("allow", vec![allow]), ("deny", vec![deny])]);
    // CVE-2024-47825: the narrow allow must not survive below the wide deny.
    assert!(to_pod(&engine, INNER, 80).unwrap().denies());
    assert!(to_pod(&engine, INNER, 81).unwrap().denies());
    let table = table(&engine);
    assert_eq!(
        table.entries.keys().filter(|key| key.identity == INNER).count(),
        1,
        "covered entries are left out"
    );
}

#[test]
fn an_allow_for_all_does_not_open_what_is_denied() {
    let all = ingress(vec![Peer::Entity(Entity::All)], vec![PortRule::port(Protocol::TCP, 80)]);
    let deny = Rule {
        verdict: Verdict::Deny,
        peers: vec![Peer::Endpoints(selector(&[("app", "db")]))],
        ports: vec![PortRule::ANY],
        ..all.clone()
    };
    let engine = engine(Options::default(), &[("p", vec![all, deny])]);
    assert!(to_pod(&engine, DB, 80).unwrap().denies());
    assert_eq!(to_pod(&engine, WEB, 80).unwrap().matched, Matched::L4Only);
}

#[test]
fn what_is_denied_to_all_needs_no_entry_for_each() {
    let mail = || vec![PortRule::port(Protocol::TCP, 25)];
    let deny = Rule { verdict: Verdict::Deny, ..ingress(vec![Peer::All], mail()) };
    let db = ingress(vec![Peer::Endpoints(selector(&[("app", "db")]))], mail());
    let engine = engine(Options::default(), &[("p", vec![deny, db])]);
    assert!(to_pod(&engine, DB, 25).unwrap().denies());
    assert!(!table(&engine).entries.keys().any(|key| key.identity == DB));
}

#[test]
fn exceptions_are_carved_out() {
    let rule = ingress(
        vec![Peer::Cidr {
            prefix: net("10.0.0.0/8"),
            except: [net("10.1.0.0/16")].into(),
            owner: Owner::Outside,
        }],
        vec![PortRule::ANY],
    );
    let engine = engine(Options::default(), &[("p", vec![rule])]);
    assert!(passes(to_pod(&engine, OUTER, 80)) && !passes(to_pod(&engine, INNER, 80)));
    assert_eq!(engine.prefixes_in_use(), [net("10.0.0.0/8"), net("10.1.0.0/16")].into());
}

#[test]
fn a_prefix_matches_neither_pods_nor_nodes() {
    // CVE-2026-56743: a peer that is only an ipBlock must not become "everyone in the namespace".
    let whole = || Peer::Cidr { prefix: net("0.0.0.0/0"), except: BTreeSet::new(), owner: Owner::Outside };
    let engine = engine(Options::default(), &[("p", vec![ingress(vec![whole()], vec![PortRule::ANY])])]);
    for inside in
        [WEB, DB, NumericIdentity::REMOTE_NODE, NumericIdentity::KUBE_APISERVER, NumericIdentity::INIT]
    {
        assert!(!passes(to_pod(&engine, inside, 80)), "{inside}");
    }
    for outside in [INNER, OUTER, NumericIdentity::WORLD] {
        assert!(passes(to_pod(&engine, outside, 80)), "{outside}");
    }
    assert!(engine.prefixes_in_use().is_empty(), "the whole world needs no identity of its own");
}

#[test]
fn the_world_of_the_other_family_is_another_world() {
    let v6 = || {
        vec![ingress(
            vec![Peer::Cidr { prefix: net("::/0"), except: BTreeSet::new(), owner: Owner::Outside }],
            vec![PortRule::ANY],
        )]
    };
    let single = engine(Options::default(), &[("p", v6())]);
    assert!(!passes(to_pod(&single, NumericIdentity::WORLD, 80)));
    let dual = engine(Options { families: Families::Dual, ..Options::default() }, &[("p", v6())]);
    assert!(passes(to_pod(&dual, NumericIdentity::WORLD_IPV6, 80)));
    assert!(!passes(to_pod(&dual, NumericIdentity::WORLD_IPV4, 80)));
}

#[test]
fn what_a_selector_leaves_open_is_not_the_world() {
    // CVE-2023-41333 and its like: negative requirements hold for everything that has no labels.
    let open =
        Selector::new([], [("reserved:init", "DoesNotExist", Vec::<&str>::new())], &Source::K8s).unwrap();
    let engine =
        engine(Options::default(), &[("p", vec![ingress(vec![Peer::Endpoints(open)], vec![PortRule::ANY])])]);
    assert!(passes(to_pod(&engine, DB, 80)));
    for outside in [NumericIdentity::WORLD, OUTER, NumericIdentity::REMOTE_NODE, NumericIdentity::INIT] {
        assert!(!passes(to_pod(&engine, outside, 80)), "{outside}");
    }
}

#[test]
fn node_rules_do_not_admit_pods_with_the_same_labels() {
    let named = selector(&[("app", "db")]);
    let node = Rule { subject: Subject::Nodes(Selector::everything()), ..ingress(vec![], vec![]) };
    let from_nodes = ingress(vec![Peer::Nodes(named)], vec![PortRule::ANY]);
    let engine = engine(Options::default(), &[("host", vec![node]), ("p", vec![from_nodes])]);
    assert!(!passes(to_pod(&engine, DB, 80)));
    assert_eq!(
        engine.cookie(table(&engine).deny_cookie_ingress).unwrap().len(),
        1,
        "the node rule selects no pod"
    );
}

#[test]
fn named_ports_on_egress_are_those_of_the_peer() {
    let rule = Rule {
        direction: Direction::Egress,
        ports: vec![PortRule::Named { protocol: Protocol::TCP, name: "http".into() }],
        ..ingress(vec![Peer::All], vec![])
    };
    let mut engine = engine(Options::default(), &[("p", vec![rule])]);
    let egress = |engine: &Engine, peer, port| {
        passes(table(engine).lookup(peer, NumericIdentity::UNKNOWN, Direction::Egress, 6, port))
    };
    assert!(!egress(&engine, DB, 8080));
    let mut info = IdentityInfo::of(engine.labels_of(DB).unwrap().clone());
    info.named_ports.insert("http".into(), [(6, 8080)].into());
    let update = engine.set_identities([(DB, Some(info))].into());
    assert_eq!(update.tables.len(), 1);
    assert!(egress(&engine, DB, 8080) && !egress(&engine, WEB, 8080) && !egress(&engine, DB, 80));
}

#[test]
fn pass_hands_over_to_the_next_tier() {
    let admin = |verdict, priority, peers| Rule {
        tier: Tier::Admin,
        priority,
        verdict,
        default_deny: false,
        ..ingress(peers, vec![PortRule::ANY])
    };
    let db = || vec![Peer::Endpoints(selector(&[("app", "db")]))];
    let rules = vec![
        admin(Verdict::Pass, 1, db()),
        admin(Verdict::Deny, 2, vec![Peer::All]),
        Rule { default_deny: false, ..ingress(vec![Peer::All], vec![PortRule::port(Protocol::TCP, 80)]) },
        Rule { tier: Tier::Baseline, ..admin(Verdict::Deny, 0, db()) },
    ];
    let engine = engine(Options::default(), &[("p", rules)]);
    assert!(passes(to_pod(&engine, DB, 80)), "passed by admins, allowed by users");
    assert!(
        to_pod(&engine, DB, 81).unwrap().denies(),
        "passed by admins, unknown to users, denied by the baseline"
    );
    assert!(to_pod(&engine, WEB, 80).unwrap().denies(), "denied by admins");
}

#[test]
fn a_cookie_carries_what_its_rules_log() {
    let with =
        |text: &str| Rule { log: Some(text.to_owned()), ..ingress(vec![Peer::All], vec![PortRule::ANY]) };
    let logs = |engine: &Engine| -> Vec<Option<String>> {
        let hit = to_pod(engine, DB, 80).unwrap();
        let rules = engine.cookie(hit.entry.cookie).unwrap().iter();
        rules.map(|rule| rule.log.as_deref().map(str::to_owned)).collect()
    };
    let mut engine = engine(Options::default(), &[("p", vec![with("one")])]);
    assert_eq!(logs(&engine), [Some("one".to_owned())]);
    engine.apply(origin("p"), vec![with("two")]);
    assert_eq!(logs(&engine), [Some("two".to_owned())], "the text in force");
}

#[test]
fn a_dry_run_drops_nothing_and_tells() {
    let rule = Rule {
        audit: true,
        ..ingress(vec![Peer::Endpoints(selector(&[("app", "db")]))], vec![PortRule::ANY])
    };
    let engine = engine(Options::default(), &[("trial", vec![rule.clone()])]);
    let would_drop = to_pod(&engine, WEB, 80).unwrap();
    assert!(would_drop.audited() && !would_drop.denies());
    assert_eq!(engine.cookie(would_drop.entry.cookie).unwrap()[0].origin.name, "trial");
    assert!(!to_pod(&engine, DB, 80).unwrap().audited());
    assert!(!table(&engine).enforced_ingress);
    // Beside a policy in force, a dry run opens nothing.
    let closing = ingress(vec![], vec![]);
    let both = self::engine(Options::default(), &[("closing", vec![closing]), ("trial", vec![rule])]);
    assert!(!passes(to_pod(&both, DB, 80)));
}

#[test]
fn redirects_carry_their_port_and_rank() {
    let to = |port, priority| Rule {
        redirect: Some(Redirect { port, priority }),
        ..ingress(vec![Peer::All], vec![PortRule::port(Protocol::TCP, 80)])
    };
    let engine = engine(Options::default(), &[("dns", vec![to(1000, 121)]), ("http", vec![to(2000, 101)])]);
    let hit = to_pod(&engine, DB, 80).unwrap();
    assert_eq!(u16::from_be(hit.entry.proxy_port), 2000);
    assert_eq!(hit.entry.precedence & 0xff, 154, "255 less the listener's priority");
}

#[test]
fn nothing_changes_for_tables_that_a_change_does_not_concern() {
    let rule = ingress(vec![Peer::Endpoints(selector(&[("app", "db")]))], vec![PortRule::ANY]);
    let mut engine = engine(Options::default(), &[("p", vec![rule.clone()])]);
    let other = Rule { subject: Subject::Endpoints(selector(&[("app", "other")])), ..rule.clone() };
    let update = engine.apply(origin("other"), vec![other]);
    assert!(update.is_empty() && update.revision == 2, "{update:?}");
    let unseen = IdentityInfo::of(labels(&["k8s:app=unseen"]));
    assert!(engine.set_identities([(NumericIdentity(400), Some(unseen))].into()).is_empty());
    let seen = IdentityInfo::of(labels(&["k8s:app=db", "k8s:io.kubernetes.pod.namespace=else"]));
    let update = engine.set_identities([(NumericIdentity(401), Some(seen))].into());
    let [TableChange::Edited(delta)] = &update.tables.into_values().collect::<Vec<_>>()[..] else {
        panic!("one table is edited in place");
    };
    assert_eq!((delta.upserts.len(), delta.deletes.len()), (1, 0));
    assert!(engine.apply(origin("p"), vec![rule]).is_empty(), "the same again");
    assert_eq!(engine.revision(), 2);
}

#[test]
fn explanations_read_well() {
    let allow =
        ingress(vec![Peer::Endpoints(selector(&[("app", "db")]))], vec![PortRule::port(Protocol::TCP, 80)]);
    let deny = Rule { verdict: Verdict::Deny, ports: vec![PortRule::ANY], ..allow.clone() };
    let engine = engine(Options::default(), &[("a", vec![allow.clone()]), ("b", vec![deny, allow])]);
    let subject = SubjectInfo { labels: labels(&["k8s:app=web"]), ..SubjectInfo::default() };
    let packet = |peer| Packet {
        direction: Direction::Ingress,
        peer,
        block: NumericIdentity::UNKNOWN,
        protocol: 6,
        port: 80,
    };
    assert_eq!(
        engine.explain(&subject, &packet(DB)).to_string(),
        "ingress of [k8s:app=web], peer 301 [k8s:app=db,k8s:io.kubernetes.pod.namespace=shop], protocol 6 port 80\n\
         \x20 deny: CiliumNetworkPolicy shop/b rule 0 (tier normal, priority 0)\n\
         \x20 allow: CiliumNetworkPolicy shop/a rule 0 (tier normal, priority 0)\n\
         \x20 allow: CiliumNetworkPolicy shop/b rule 1 (tier normal, priority 0)\n\
         \x20 3 of 3 rules of this direction match\n\
         denied by a deny rule, by CiliumNetworkPolicy shop/b rule 0"
    );
    let told = engine.explain(&subject, &packet(WEB));
    assert_eq!(told.outcome, Outcome::DefaultDenied);
    assert!(told.to_string().ends_with(
        "denied: no rule allows it, by CiliumNetworkPolicy shop/a rule 0, CiliumNetworkPolicy shop/b rule 0"
    ));
}

#[test]
fn reserved_numbers_are_those_of_the_datapath() {
    use abi::identity as kernel;
    let pairs = [
        (NumericIdentity::UNKNOWN, kernel::UNKNOWN),
        (NumericIdentity::HOST, kernel::HOST),
        (NumericIdentity::WORLD, kernel::WORLD),
        (NumericIdentity::UNMANAGED, kernel::UNMANAGED),
        (NumericIdentity::HEALTH, kernel::HEALTH),
        (NumericIdentity::INIT, kernel::INIT),
        (NumericIdentity::REMOTE_NODE, kernel::REMOTE_NODE),
        (NumericIdentity::KUBE_APISERVER, kernel::KUBE_APISERVER),
        (NumericIdentity::INGRESS, kernel::INGRESS),
        (NumericIdentity::WORLD_IPV4, kernel::WORLD_IPV4),
        (NumericIdentity::WORLD_IPV6, kernel::WORLD_IPV6),
    ];
    assert!(pairs.iter().all(|(ours, theirs)| ours.get() == *theirs));
    assert_eq!(NumericIdentity::LOCAL, kernel::LOCAL_MIN..=kernel::LOCAL_MAX);
    assert_eq!(NumericIdentity::CLUSTER, kernel::CLUSTER_MIN..=kernel::CLUSTER_MAX);
}
