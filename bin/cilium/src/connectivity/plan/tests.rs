use super::*;

fn place(node: &str, addresses: &[&str]) -> Place {
    let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    Place { node: node.to_owned(), addresses }
}

/// A plan for a dual-stack cluster of so many nodes.
fn plan(nodes: usize, settings: &[(&str, &str)], wanted: &[&str]) -> Plan {
    let mut places: BTreeMap<String, Place> = [
        ("echo-a", place("n1", &["10.0.0.1", "fd00::1"])),
        ("client-a", place("n1", &["10.0.0.2", "fd00::2"])),
        ("client2-a", place("n1", &["10.0.0.3", "fd00::3"])),
        ("host-a", place("n1", &["172.31.0.11"])),
    ]
    .map(|(name, place)| (name.to_owned(), place))
    .into();
    if nodes > 1 {
        places.insert("echo-b".to_owned(), place("n2", &["10.0.1.1", "fd00::101"]));
        places.insert("client-b".to_owned(), place("n2", &["10.0.1.2", "fd00::102"]));
    }
    let ip = |text: &str| text.parse().expect("an address");
    let services: BTreeMap<_, _> = [
        ("echo-a".to_owned(), (vec![ip("10.96.0.7")], None)),
        ("echo-b".to_owned(), (vec![ip("10.96.0.8")], Some(32000))),
        ("echo-b-headless".to_owned(), (vec![], None)),
    ]
    .into();
    let node_addresses: BTreeMap<_, _> =
        [("n1".to_owned(), vec![ip("172.31.0.11")]), ("n2".to_owned(), vec![ip("172.31.0.12")])].into();
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let facts = Facts {
        namespace: "ns",
        places: &places,
        services: &services,
        node_addresses: &node_addresses,
        settings: &settings,
        dns: false,
        external: &[ip("1.1.1.1")],
        external_port: 80,
    };
    let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
    Plan::new(&facts, &Wanted::new(&wanted).expect("expressions"))
}

const ON: [(&str, &str); 2] = [("enable-hubble", "true"), ("enable-local-redirect-policy", "true")];

fn scenarios(plan: &Plan) -> Vec<String> {
    let tests = plan.tests.iter().filter(|test| test.skip.is_none());
    let all = tests.flat_map(|test| test.scenarios.iter().map(move |one| (test, one)));
    all.filter(|(_, one)| one.skip.is_none())
        .map(|(test, one)| format!("{}/{}", test.name, one.name))
        .collect()
}

/// Each check of the article's connectivity check has a scenario of its name; what is left out says why.
#[test]
fn every_check_of_the_article_is_there() {
    let plan = plan(2, &ON, &[]);
    let all: Vec<&Scenario> = plan.tests.iter().flat_map(|test| &test.scenarios).collect();
    for name in [
        "pod-to-a",
        "pod-to-a-allowed-cnp",
        "pod-to-a-external-1111",
        "pod-to-a-l3-denied-cnp",
        "pod-to-b-intra-node",
        "pod-to-b-multi-node-clusterip",
        "pod-to-b-multi-node-headless",
        "host-to-b-multi-node-clusterip",
        "host-to-b-multi-node-headless",
        "pod-to-external-fqdn-allow-google-cnp",
    ] {
        let scenario = all.iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(
            scenario.skip.is_some() == scenario.actions.is_empty(),
            "{name}: actions or a reason: {scenario:?}"
        );
    }
    assert_eq!(plan.tests.iter().map(|test| test.name).collect::<Vec<_>>(), names().collect::<Vec<_>>());
}

#[test]
fn ways_are_tried_over_each_family() {
    let plan = plan(2, &ON, &[]);
    let first = &plan.tests[0].scenarios[0];
    assert_eq!(first.actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>(), ["ipv4", "ipv6"]);
    assert_eq!(first.actions[1].what, What::Tcp("[fd00::1]:80".parse().expect("an address"), false));
    let port = plan.tests[0]
        .scenarios
        .iter()
        .find(|one| one.name == "pod-to-b-multi-node-nodeport")
        .expect("node port");
    assert_eq!(
        port.actions.iter().map(|action| action.name.as_str()).collect::<Vec<_>>(),
        ["n1-ipv4", "n2-ipv4"]
    );
}

#[test]
fn what_a_cluster_lacks_is_left_out_with_a_reason() {
    let alone = plan(1, &[("enable-k8s-networkpolicy", "false")], &[]);
    let reason = |name: &str| {
        alone
            .tests
            .iter()
            .flat_map(|test| &test.scenarios)
            .find(|one| one.name == name)
            .and_then(|one| one.skip.clone())
    };
    assert_eq!(reason("pod-to-b-multi-node").as_deref(), Some("there is one node only"));
    assert_eq!(reason("drops-are-seen").as_deref(), Some("hubble.enabled is false"));
    let skipped: Vec<&str> =
        alone.tests.iter().filter(|test| test.skip.is_some()).map(|test| test.name).collect();
    assert_eq!(skipped, ["client-egress-to-fqdns", "network-policy", "local-redirect-policy"]);
    assert!(scenarios(&alone).contains(&"no-policies/pod-to-a".to_owned()));
}

#[test]
fn tests_are_chosen_by_expressions() {
    assert_eq!(
        scenarios(&plan(2, &ON, &["^echo-ingress-l4$"])),
        ["echo-ingress-l4/pod-to-a-open-port", "echo-ingress-l4/pod-to-a-closed-port"]
    );
    assert_eq!(scenarios(&plan(2, &ON, &["no-policies/pod-to-a$"])), ["no-policies/pod-to-a"]);
    let without = scenarios(&plan(2, &ON, &["!no-policies", "!echo"]));
    assert!(
        !without.is_empty()
            && !without.iter().any(|name| name.contains("echo-ingress") || name.contains("no-policies"))
    );
    assert!(Wanted::new(&["(".to_owned()]).is_err());
}

/// Policies that nobody could tell from no policy at all would make a test that cannot fail.
#[test]
fn every_test_with_policies_has_something_denied() {
    for test in plan(2, &ON, &[])
        .tests
        .iter()
        .filter(|test| !test.policies.is_empty() && test.name != "local-redirect-policy")
    {
        let mut actions = test.scenarios.iter().flat_map(|one| &one.actions);
        assert!(actions.any(|action| !action.allowed), "{}", test.name);
    }
}
