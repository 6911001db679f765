use std::collections::BTreeMap;

use ipam::PodAllocator;
use policy::{Direction, Packet};
use serde_json::json;
use types::{LabelFilter, NumericIdentity};

use super::*;
use crate::model::{Change, Keyed};
use crate::settings::Settings;
use crate::state::Input;
use crate::{kube, model};

const HOST_DEVICE: u32 = 3;

fn state(journal: Journal) -> State {
    let settings = Settings { host_firewall: HOST_DEVICE, ipv4: true, ..Settings::default() };
    let filter = LabelFilter::new([]).expect("the default filter");
    let cidrs = ["10.0.0.0/24".parse().expect("a prefix")];
    let ipam = PodAllocator::new(cidrs, &["10.0.0.1".parse().expect("an address")]).expect("a pool");
    let mut state = State::new(settings, filter, ipam);
    state.restore_host(journal, labels("blue"));
    state
}

fn labels(colour: &str) -> BTreeMap<String, String> {
    [("colour".to_owned(), colour.to_owned())].into()
}

/// Nothing but these policies.
fn list(state: &mut State, policies: &[PolicyObject]) {
    let of = |kind: PolicyKind| if kind == PolicyKind::Ccnp { policies.to_vec() } else { Vec::new() };
    for kind in [PolicyKind::Cnp, PolicyKind::Ccnp, PolicyKind::Knp, PolicyKind::Cluster, PolicyKind::File] {
        state.apply(Input::Policies(kind, Change::Reset(of(kind))), 0);
    }
    for input in [
        Input::Pods(Change::Reset(Vec::new())),
        Input::Namespaces(Change::Reset(Vec::new())),
        Input::Nodes(Change::Reset(Vec::<model::Node>::new())),
        Input::Endpoints(Change::Reset(Vec::new())),
        Input::Identities(Change::Reset(Vec::new())),
        Input::ApiServers(Vec::new()),
        Input::CidrGroups(Change::Reset(Vec::new())),
        Input::Services(Change::Reset(Vec::new())),
        Input::AddressLists(Change::Reset(Vec::new())),
    ] {
        state.apply(input, 0);
    }
}

/// A policy that opens one port of blue nodes, and no other.
fn opens(generation: i64, port: u16) -> PolicyObject {
    let policy: kube_api::CiliumClusterwideNetworkPolicy = serde_json::from_value(json!({
        "metadata": { "name": "nodes", "uid": "u", "generation": generation },
        "spec": {
            "nodeSelector": { "matchLabels": { "colour": "blue" } },
            "ingress": [{
                "fromEntities": ["all"],
                "toPorts": [{ "ports": [{ "port": port.to_string(), "protocol": "TCP" }] }],
            }],
        },
    }))
    .expect("a policy");
    kube::cilium_policy(&policy).expect("rules")
}

fn apply(state: &mut State, object: PolicyObject) {
    state.apply(Input::Policies(PolicyKind::Ccnp, Change::Apply(object)), 0);
}

/// Settles and writes; gives the trial under way.
fn written(state: &mut State) -> Option<u64> {
    let revision = state.settle(0).revision;
    assert_eq!(state.host_trial(), None, "not before it is written");
    state.realized(revision);
    state.host_trial()
}

fn is_open(state: &State, port: u16) -> bool {
    let subject = state.host_subject().expect("the node");
    let packet = Packet {
        direction: Direction::Ingress,
        peer: NumericIdentity(abi::identity::WORLD),
        block: NumericIdentity::UNKNOWN,
        protocol: 6,
        port,
    };
    state.engine().explain(subject, &packet).outcome.passes()
}

fn rolled_back(state: &State) -> Option<String> {
    state.conditions().get(&opens(0, 0).origin).expect("a condition").rolled_back.clone()
}

#[test]
fn what_reaches_the_api_server_stays() {
    let mut state = state(Journal::default());
    list(&mut state, &[]);
    assert_eq!(written(&mut state), None, "nothing to try");
    assert!(is_open(&state, 22));
    apply(&mut state, opens(1, 6443));
    let trial = written(&mut state).expect("a trial");
    assert!(is_open(&state, 6443) && !is_open(&state, 22), "it is in force while it is tried");
    let row = state.pod_rows().get(&HOST_DEVICE).expect("the node's row").facts;
    assert_eq!((row.identity, row.endpoint), (identity::HOST, u16::MAX));
    state.host_confirm(trial);
    assert_eq!((state.host_trial(), rolled_back(&state)), (None, None));
    let journal = state.take_host_journal().expect("news");
    assert!(!journal.trying && journal.policies[0].good.as_ref().expect("good").0 == 1);
    assert_eq!(state.take_host_journal(), None, "told once");
}

#[test]
fn what_does_not_is_rolled_back_until_it_is_changed() {
    let mut state = state(Journal::default());
    list(&mut state, &[opens(1, 6443)]);
    let first = written(&mut state).expect("a trial");
    state.host_confirm(first);
    apply(&mut state, opens(2, 80));
    let second = written(&mut state).expect("another");
    let journal = state.take_host_journal().expect("news");
    assert!(journal.trying && journal.policies[0].tried == Some(2), "known as tried before it is written");
    state.host_roll_back(first, "cut it off", 0);
    assert!(is_open(&state, 80), "another trial's end means nothing");

    let blamed = state.host_roll_back(second, "cut it off", 0);
    assert_eq!(blamed, [opens(0, 0).origin]);
    assert!(is_open(&state, 6443) && !is_open(&state, 80), "the good version is back");
    let why = rolled_back(&state).expect("it says so");
    assert_eq!(why, "generation 2 cut it off; until it is changed, generation 1 is in force on this node");
    assert_eq!(written(&mut state), None, "and that is no trial");
    apply(&mut state, opens(2, 80));
    assert_eq!(written(&mut state), None, "the same again changes nothing");
    assert!(is_open(&state, 6443));

    apply(&mut state, opens(3, 22));
    let third = written(&mut state).expect("a corrected version is tried");
    assert!(is_open(&state, 22) && rolled_back(&state).is_none());
    state.host_confirm(third);
}

#[test]
fn without_a_good_version_the_node_is_open() {
    let mut state = state(Journal::default());
    list(&mut state, &[opens(1, 80)]);
    let trial = written(&mut state).expect("a trial");
    state.host_roll_back(trial, "cut it off", 0);
    assert!(is_open(&state, 22));
    assert!(rolled_back(&state).expect("it says so").ends_with("it does not rule this node"));
}

#[test]
fn both_outlive_the_agent() {
    let mut before = state(Journal::default());
    list(&mut before, &[opens(1, 6443)]);
    let trial = written(&mut before).expect("a trial");
    before.host_confirm(trial);
    apply(&mut before, opens(2, 80));
    let trial = written(&mut before).expect("a trial");
    let mut interrupted = before.take_host_journal().expect("news");
    before.host_roll_back(trial, "cut it off", 0);
    let journal = before.take_host_journal().expect("news");

    let mut after = state(journal);
    list(&mut after, &[opens(2, 80)]);
    assert_eq!(written(&mut after), None);
    assert!(is_open(&after, 6443) && rolled_back(&after).is_some());

    // The agent ended in the middle, and the next one had to open the node.
    interrupted.refuse_tried("cut it off");
    let mut after = state(interrupted);
    list(&mut after, &[opens(2, 80)]);
    assert_eq!(written(&mut after), None);
    assert!(is_open(&after, 6443));
}

#[test]
fn a_policy_that_is_missed_stays() {
    let mut state = state(Journal::default());
    list(&mut state, &[opens(1, 6443)]);
    let trial = written(&mut state).expect("a trial");
    state.host_confirm(trial);
    let key = opens(1, 0).key();
    state.apply(Input::Policies(PolicyKind::Ccnp, Change::Delete(key)), 0);
    let trial = written(&mut state).expect("going without is a change, too");
    assert!(is_open(&state, 22));
    state.host_roll_back(trial, "cut it off", 0);
    assert!(!is_open(&state, 22) && is_open(&state, 6443));
    let problems = state.settle(0).problems;
    assert!(problems.iter().any(|p| p.contains("stays in force")), "{problems:?}");
}

#[test]
fn only_policies_for_this_node_count_and_its_labels_are_followed() {
    let mut state = state(Journal::default());
    list(&mut state, &[]);
    written(&mut state);
    state.apply(Input::NodeLabels(labels("green")), 0);
    apply(&mut state, opens(1, 6443));
    assert_eq!(written(&mut state), None);
    assert!(is_open(&state, 22), "it is about other nodes");
    state.apply(Input::NodeLabels(labels("blue")), 0);
    assert!(written(&mut state).is_some(), "it is about this one now");
    assert!(!is_open(&state, 22));
}

#[test]
fn a_policy_that_comes_before_the_labels_of_the_node_holds_with_them() {
    // CVE-2024-42488: at the start, labels late, the policy was taken for one about other nodes, and stayed so.
    for late in [false, true] {
        let mut state = state(Journal::default());
        state.apply(Input::NodeLabels(BTreeMap::new()), 0);
        list(&mut state, &[opens(1, 6443)]);
        if late {
            written(&mut state);
            assert!(is_open(&state, 22), "nothing tells yet that it is about this node");
        }
        state.apply(Input::NodeLabels(labels("blue")), 0);
        assert!(written(&mut state).is_some(), "late: {late}");
        assert!(!is_open(&state, 22) && is_open(&state, 6443), "late: {late}");
    }
}

#[test]
fn pods_are_tried_by_nobody() {
    let mut state = state(Journal::default());
    list(&mut state, &[]);
    written(&mut state);
    let mut object = opens(1, 80);
    for rule in &mut object.rules {
        let Subject::Nodes(selector) = rule.subject.clone() else { continue };
        rule.subject = Subject::Endpoints(selector);
    }
    apply(&mut state, object);
    assert_eq!(written(&mut state), None);
    assert!(is_open(&state, 22));
}
