use k8s_openapi::api::core::v1::Taint;

use super::*;
use crate::world::{EndpointFacts, IdentityFacts};

fn identity(number: u32, mark: Option<&str>) -> (Key, IdentityFacts) {
    let facts =
        IdentityFacts { version: version(number), number: Some(number), mark: mark.map(str::to_owned) };
    (key(&number.to_string()), facts)
}

fn endpoint(pod: &str, identity: i64) -> (Key, EndpointFacts) {
    let facts =
        EndpointFacts { version: version(1), identity: Some(identity), pod_uid: Some(format!("uid-{pod}")) };
    (Key::new("default", pod), facts)
}

fn pod(name: &str, node: &str) -> (Key, PodFacts) {
    let facts = PodFacts {
        uid: format!("uid-{name}"),
        node: Some(node.to_owned()),
        labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
        controller: Some("replicaset".to_owned()),
        running: true,
        ready: true,
        started: Some(at(0)),
        ..PodFacts::default()
    };
    (Key::new("default", name), facts)
}

fn taint(key: &str) -> Taint {
    Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

/// No pools and no readiness, so that a test sees one duty alone.
fn only(pairs: &[(&str, &str)]) -> Planner {
    let mut all = vec![
        ("ipam", "kubernetes"),
        ("identity-gc-interval", "0"),
        ("cilium-endpoint-gc-interval", "0"),
        ("nodes-gc-interval", "0"),
        ("unmanaged-pod-watcher-interval", "0"),
        ("remove-cilium-node-taints", "false"),
        ("set-cilium-is-up-condition", "false"),
    ];
    all.extend_from_slice(pairs);
    planner(&all)
}

#[test]
fn an_unused_identity_is_marked_and_deleted_after_the_timeout() {
    let mut planner = only(&[("identity-gc-interval", "60s"), ("identity-heartbeat-timeout", "10m")]);
    let mut world = world(&[]);
    world.endpoints = Table::of([endpoint("web", 256)]);
    world.identities = Table::of([identity(256, None), identity(257, None)]);
    let marked = planner.plan(&world, at(0));
    let mark = at(0).to_string();
    assert_eq!(
        marked,
        [Action::MarkIdentity { name: "257".into(), version: version(257), mark: mark.clone() }]
    );
    assert_eq!(planner.plan(&world, at(59)), [], "not due");
    world.identities = Table::of([identity(256, None), identity(257, Some(&mark))]);
    assert_eq!(planner.plan(&world, at(61)), [], "not unused for long enough");
    assert_eq!(
        planner.plan(&world, at(601)),
        [Action::DeleteIdentity { name: "257".into(), version: version(257) }]
    );
}

#[test]
fn a_mark_goes_when_the_identity_is_used_again_and_starts_anew_when_it_says_nothing() {
    let mut planner = only(&[("identity-gc-interval", "60s"), ("identity-heartbeat-timeout", "0s")]);
    let mut world = world(&[]);
    world.endpoints = Table::of([endpoint("web", 256)]);
    world.identities =
        Table::of([identity(256, Some("2026-01-01T00:00:00Z")), identity(257, Some("yesterday"))]);
    assert_eq!(
        texts(&planner.plan(&world, at(0))),
        ["unmark CiliumIdentity 256", "mark CiliumIdentity 257 as unused"]
    );
}

#[test]
fn an_identity_with_a_name_that_is_no_number_is_unused() {
    let mut planner = only(&[("identity-gc-interval", "60s")]);
    let mut world = world(&[]);
    world.identities = Table::of([(key("web"), IdentityFacts::default())]);
    assert_eq!(texts(&planner.plan(&world, at(0))), ["mark CiliumIdentity web as unused"]);
}

#[test]
fn an_endpoint_without_its_pod_is_deleted_at_the_second_look() {
    let mut planner = only(&[("cilium-endpoint-gc-interval", "60s")]);
    let mut world = world(&[]);
    world.endpoints = Table::of(["here", "gone", "done", "again"].map(|name| endpoint(name, 256)));
    let mut done = pod("done", "a");
    done.1.finished = true;
    let mut again = pod("again", "a");
    again.1.uid = "another".to_owned();
    world.pods = Table::of([pod("here", "a"), done, again]);
    assert_eq!(planner.plan(&world, at(0)), []);
    let mut late = endpoint("late", 256);
    late.1.version.uid = "late".to_owned();
    world.endpoints.facts_mut().insert(late.0, late.1);
    assert_eq!(
        texts(&planner.plan(&world, at(60))),
        ["again", "done", "gone"].map(|name| format!("delete CiliumEndpoint default/{name} without a pod"))
    );
}

#[test]
fn a_cilium_node_without_a_node_is_deleted_at_the_second_look() {
    let mut planner = only(&[("nodes-gc-interval", "60s")]);
    let mut world = world(&["a", "b"]);
    world.nodes.facts_mut().remove(&key("b"));
    assert_eq!(planner.plan(&world, at(0)), []);
    assert_eq!(texts(&planner.plan(&world, at(60))), ["delete CiliumNode b without a Node"]);
    world.nodes.facts_mut().insert(key("b"), NodeFacts::default());
    assert_eq!(planner.plan(&world, at(120)), []);
    world.nodes.facts_mut().remove(&key("b"));
    assert_eq!(planner.plan(&world, at(180)), [], "suspicion does not outlast the node's return");
}

#[test]
fn a_node_is_up_when_its_agent_is_ready() {
    let mut planner = only(&[
        ("remove-cilium-node-taints", "true"),
        ("set-cilium-node-taints", "true"),
        ("set-cilium-is-up-condition", "true"),
    ]);
    let mut world = world(&["bare", "down", "up"]);
    let ours = taint("node.cilium.io/agent-not-ready");
    for (_, node) in world.nodes.facts_mut().iter_mut() {
        node.taints = vec![taint("other")];
    }
    let up = world.nodes.facts_mut().get_mut(&key("up")).unwrap();
    up.taints.push(ours.clone());
    up.network_unavailable = Some(("True".to_owned(), "NoRouteCreated".to_owned()));
    world.pods = Table::of([agent("up", true), agent("down", false)]);
    let wanted = planner.plan(&world, at(0));
    assert_eq!(
        wanted,
        [
            Action::AddTaint {
                node: "down".into(),
                version: Version::default(),
                taints: vec![taint("other"), ours]
            },
            Action::NetworkIsUp { node: "up".into() },
            Action::RemoveTaint {
                node: "up".into(),
                version: Version::default(),
                taints: vec![taint("other")]
            },
        ]
    );

    let up = world.nodes.facts_mut().get_mut(&key("up")).unwrap();
    up.taints.pop();
    up.network_unavailable = Some(("False".to_owned(), "CiliumIsUp".to_owned()));
    world
        .nodes
        .facts_mut()
        .get_mut(&key("down"))
        .unwrap()
        .taints
        .push(taint("node.cilium.io/agent-not-ready"));
    assert_eq!(planner.plan(&world, at(1)), [], "all as it should be");
}

#[test]
fn during_an_update_the_ready_agent_of_a_node_counts() {
    let mut planner = only(&[("remove-cilium-node-taints", "true"), ("set-cilium-node-taints", "true")]);
    let mut world = world(&["a"]);
    let (new_key, new) = (Key::new("kube-system", "cilium-new"), agent("a", false).1);
    world.pods = Table::of([agent("a", true), (new_key.clone(), new.clone())]);
    assert_eq!(planner.plan(&world, at(0)), []);
    let mut old = agent("a", true);
    old.1.deleting = true;
    world.pods = Table::of([old, (new_key, new)]);
    assert_eq!(texts(&planner.plan(&world, at(1))), ["taint Node a: its agent is not ready"]);
    let mut elsewhere = agent("a", true);
    elsewhere.0.namespace = "other".to_owned();
    world.pods = Table::of([elsewhere]);
    assert_eq!(planner.plan(&world, at(2)), [], "a pod of another namespace is no agent");
}

#[test]
fn pods_from_before_the_agent_are_restarted_one_at_a_time() {
    let mut planner = only(&[("unmanaged-pod-watcher-interval", "15s")]);
    let mut world = world(&["a", "b"]);
    let mut first = pod("dns-1", "a");
    first.1.started = Some(at(10));
    let mut second = pod("dns-2", "a");
    second.1.started = Some(at(5));
    world.pods = Table::of([first, second, agent("a", false), agent("b", true)]);
    assert_eq!(planner.plan(&world, at(20)), [], "too young, and the agent is not ready");
    assert_eq!(planner.plan(&world, at(50)), [], "the agent is not ready");
    world.pods.facts_mut().extend([agent("a", true)]);
    assert_eq!(
        planner.plan(&world, at(65)),
        [Action::RestartPod { key: Key::new("default", "dns-2"), uid: "uid-dns-2".into() }]
    );
    world.pods.facts_mut().remove(&Key::new("default", "dns-2"));
    let mut third = pod("dns-3", "a");
    third.1.started = Some(at(70));
    world.pods.facts_mut().extend([third]);
    world.endpoints = Table::of([endpoint("dns-3", 256)]);
    assert_eq!(
        texts(&planner.plan(&world, at(80))),
        ["restart pod default/dns-1, which started before the agent"]
    );
}

#[test]
fn only_pods_that_can_be_helped_are_restarted() {
    type Spoil = fn(&mut PodFacts);
    let spoilers: [(&str, Spoil); 7] = [
        ("of another kind", |pod| pod.labels.clear()),
        ("on the node's network", |pod| pod.host_network = true),
        ("being deleted", |pod| pod.deleting = true),
        ("not running", |pod| pod.running = false),
        ("without a controller", |pod| pod.controller = None),
        ("young", |pod| pod.started = Some(at(90))),
        ("on a node without an agent", |pod| pod.node = Some("b".to_owned())),
    ];
    for (what, spoil) in spoilers {
        let mut world = world(&["a", "b"]);
        let (key, mut facts) = pod("dns", "a");
        world.pods = Table::of([agent("a", true), (key.clone(), facts.clone())]);
        let restart = only(&[("unmanaged-pod-watcher-interval", "15s")]).plan(&world, at(100));
        assert_eq!(restart.len(), 1, "otherwise it is restarted");
        spoil(&mut facts);
        world.pods.facts_mut().insert(key, facts);
        let none = only(&[("unmanaged-pod-watcher-interval", "15s")]).plan(&world, at(100));
        assert_eq!(none, [], "{what}");
    }
}

#[test]
fn restarts_that_do_not_help_go_on_slowly() {
    let mut planner = only(&[("unmanaged-pod-watcher-interval", "15s")]);
    let mut world = world(&["a"]);
    let mut restarts = Vec::new();
    for second in (60..1060).step_by(5) {
        // Whatever is restarted comes back at once, as unmanaged as before.
        let mut two = [pod("dns-1", "a"), pod("dns-2", "a")];
        two.iter_mut().for_each(|(_, pod)| pod.started = Some(at(second - 40)));
        world.pods = Table::of(two.into_iter().chain([agent("a", true)]));
        restarts.extend(planner.plan(&world, at(second)).iter().map(|_| second));
    }
    assert_eq!(restarts, [60, 75, 360, 375, 660, 675, 960, 975]);
}
