//! What a change writes, and what it leaves alone.

mod common;

use axoneme_services::{Endpoint, ObjectName, Problem, REST_NS, Settings, Shortage, Slice, SlicePort};
use common::{Harness, SECOND};

const WEB: &str = "
    service default/web 10.96.0.1 kind=NodePort
      port http 80/TCP node=30080
    slice default/web-1 of=web
      port http 8080/TCP
      endpoint 10.0.0.1
      endpoint 10.0.0.2";

fn harness(script: &str) -> Harness {
    let mut harness = Harness::new(Settings::new("here"));
    harness.run(script);
    harness
}

/// How many rows a script writes, and that nothing is left to write then.
fn writes(harness: &mut Harness, script: &str) -> usize {
    let before = harness.kernel.writes;
    harness.run(script);
    let writes = harness.kernel.writes - before;
    let update = harness.settle();
    assert!(update.is_empty(), "{update:?}");
    writes
}

#[test]
fn the_same_again_writes_nothing() {
    let mut harness = harness(WEB);
    // Two slots, two members, two frontends that share one range, one dead end.
    assert_eq!(harness.kernel.writes, 7);
    assert_eq!(writes(&mut harness, WEB), 0);
}

#[test]
fn slices_may_come_first() {
    let (service, slice) = WEB.split_at(WEB.find("slice").unwrap());
    let mut late = harness(slice);
    assert_eq!(late.kernel.text(), "");
    late.run(service);
    assert_eq!(late.kernel.text(), harness(WEB).kernel.text());
}

#[test]
fn a_changed_set_gets_a_new_range() {
    let mut harness = harness(WEB);
    let before = harness.balancer.tables();
    let more = format!("{WEB}\n endpoint 10.0.0.3");
    // Three slots, one member, two frontends.
    assert_eq!(writes(&mut harness, &more), 6);
    let after = harness.balancer.tables();
    assert_eq!((before.backends.len(), after.backends.len()), (2, 3));
    assert!(before.backends.keys().all(|slot| !after.backends.contains_key(slot)));
}

/// A set that comes back soon is still there.
#[test]
fn a_set_that_comes_back_is_not_written_again() {
    let mut harness = harness(WEB);
    let before = harness.balancer.tables();
    harness.run(&format!("{WEB}\n endpoint 10.0.0.3"));
    harness.now -= 2 * SECOND;
    // One member, two frontends.
    assert_eq!(writes(&mut harness, WEB), 3);
    assert_eq!(harness.balancer.tables(), before);
}

#[test]
fn equal_sets_share_a_range() {
    let mut harness = harness(WEB);
    let copies: String = (2..100)
        .map(|i| WEB.replace("web", &format!("web{i}")).replace("0.1 ", &format!("0.{i} ")))
        .collect();
    harness.run(&copies.replace("30080", "0"));
    assert_eq!(harness.kernel.backends.len(), 2);
    assert_eq!(harness.kernel.frontends.len(), 2 * 99 + 1);
}

#[test]
fn services_go() {
    let mut harness = harness(WEB);
    harness.run("remove service default/web");
    assert_eq!(harness.kernel.text(), "");
    harness.run("remove slice default/web-1\nremove service default/web\nremove slice default/web-1");
    harness.run(WEB);
    harness.run("remove slice default/web-1");
    harness.expect(
        "10.96.0.1:80/TCP ClusterIP #2 in=refuse
         10.96.0.1 other ports closed
         0.0.0.0:30080/TCP NodePort #2 in=refuse out=refuse",
    );
}

#[test]
fn lists_replace_what_is_not_in_them() {
    let mut all = harness(&format!("{WEB}\npod default/p 10.0.0.9\n hostport 8080/TCP to=80"));
    all.balancer.reset_services([]);
    all.balancer.reset_slices([]);
    all.balancer.reset_pod_ports([]);
    all.settle();
    assert_eq!(all.kernel.text(), "");
}

#[test]
fn a_slice_may_change_its_service() {
    let mut harness = harness(&format!("{WEB}\nservice default/other 10.96.0.2\n port http 80/TCP"));
    harness.run(
        "slice default/web-1 of=other
           port http 8080/TCP
           endpoint 10.0.0.1",
    );
    harness.expect(
        "10.96.0.1:80/TCP ClusterIP #2 in=refuse
         10.96.0.1 other ports closed
         0.0.0.0:30080/TCP NodePort #2 in=refuse out=refuse
         10.96.0.2:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.2 other ports closed
         member #1 10.0.0.1:8080/TCP active",
    );
}

/// A port keeps its number while its addresses and number change; another name is another port.
#[test]
fn numbers_follow_port_names() {
    let mut harness = harness(WEB);
    harness.run(&WEB.replace("80/TCP node=30080", "81/TCP node=30081").replace("10.96.0.1", "10.96.0.7"));
    harness.expect(
        "10.96.0.7:81/TCP ClusterIP #1 in=10.0.0.1:8080,10.0.0.2:8080
         10.96.0.7 other ports closed
         0.0.0.0:30081/TCP NodePort #1 in=10.0.0.1:8080,10.0.0.2:8080 out=10.0.0.1:8080,10.0.0.2:8080
         member #1 10.0.0.1:8080/TCP active
         member #1 10.0.0.2:8080/TCP active",
    );
    harness.run(&WEB.replace("http", "web"));
    assert!(harness.kernel.members.keys().all(|key| key.service == 2));
}

/// Numbers come back, but late: old connections and bound clients know them for a while.
#[test]
fn numbers_are_used_again() {
    let mut harness = harness("");
    let mut numbers = Vec::new();
    for _ in 0..2500 {
        harness.run("service default/web 10.96.0.1\n port http 80/TCP");
        numbers.extend(harness.balancer.services().iter().map(|view| view.number));
        harness.run("remove service default/web");
    }
    let most = numbers.iter().max().unwrap();
    assert!((1000..1100).contains(most), "{most}");
    for window in numbers.windows(1000) {
        assert!(!window[1..].contains(&window[0]));
    }
}

#[test]
fn the_dead_end_goes_with_the_last_port() {
    let mut harness = harness(
        "service default/a 10.96.0.1 ext=198.51.100.1
           port x 80/TCP
           port y 81/UDP
         service default/b 10.96.0.2 ext=198.51.100.1
           port z 82/TCP",
    );
    harness.run("remove service default/a");
    harness.expect(
        "10.96.0.2:82/TCP ClusterIP #3 in=refuse
         10.96.0.2 other ports closed
         198.51.100.1:82/TCP ExternalIPs #3 in=refuse out=refuse
         198.51.100.1 other ports closed",
    );
    harness.run("remove service default/b");
    harness.expect("");
}

#[test]
fn the_older_claim_wins() {
    let young = "
        service default/a 10.96.0.1 ext=198.51.100.1 created=20
          port x 80/TCP
        slice default/a-1 of=a
          port x 8080/TCP
          endpoint 10.0.0.1";
    let old = "
        service default/b 10.96.0.2 ext=198.51.100.1 created=10
          port y 80/TCP
        slice default/b-1 of=b
          port y 8080/TCP
          endpoint 10.0.0.2";
    let rows = |a: u32, b: u32| {
        format!(
            "10.96.0.1:80/TCP ClusterIP #{a} in=10.0.0.1:8080
             10.96.0.1 other ports closed
             10.96.0.2:80/TCP ClusterIP #{b} in=10.0.0.2:8080
             10.96.0.2 other ports closed
             198.51.100.1:80/TCP ExternalIPs #{b} in=10.0.0.2:8080 out=10.0.0.2:8080
             198.51.100.1 other ports closed
             member #{a} 10.0.0.1:8080/TCP active
             member #{b} 10.0.0.2:8080/TCP active"
        )
    };
    let together = harness(&format!("{young}\n{old}"));
    together.expect(&rows(2, 1));
    let problems = together.balancer.problems();
    assert_eq!(
        problems.iter().map(|problem| problem.to_string()).collect::<Vec<_>>(),
        [
            "service default/a is not served at 198.51.100.1:80/TCP: service default/b, which is older, has that address \
          and port; give one of them another"
        ]
    );
    // The order of arrival does not matter.
    let mut late = harness(young);
    late.run(old);
    late.expect(&rows(1, 2));
    // The winner goes, and another comes.
    late.run("remove service default/b");
    late.expect(
        "10.96.0.1:80/TCP ClusterIP #1 in=10.0.0.1:8080
         10.96.0.1 other ports closed
         198.51.100.1:80/TCP ExternalIPs #1 in=10.0.0.1:8080 out=10.0.0.1:8080
         198.51.100.1 other ports closed
         member #1 10.0.0.1:8080/TCP active",
    );
    assert_eq!(late.balancer.problems(), []);
    // The same name, another object.
    late.run(&young.replace("created=20", "created=5"));
    late.run(old);
    assert_eq!(late.balancer.problems().len(), 1);
    assert!(late.kernel.text().contains("198.51.100.1:80/TCP ExternalIPs #1"));
    // Of one age: by name.
    let mut same = harness(&old.replace("created=10", ""));
    same.run(&young.replace("created=20", ""));
    assert!(same.kernel.text().contains("198.51.100.1:80/TCP ExternalIPs #2 in=10.0.0.1:8080"));
}

#[test]
fn a_host_port_yields_to_an_older_node_port() {
    let mut harness = harness(&format!("{WEB}\npod default/p 10.0.0.9 created=7\n hostport 30080/TCP to=80"));
    assert!(harness.kernel.text().contains("0.0.0.0:30080/TCP NodePort #1"));
    assert!(matches!(&harness.balancer.problems()[..], [Problem::Conflict { .. }]));
    harness.run("remove service default/web");
    harness.expect(
        "0.0.0.0:30080/TCP HostPort #2 in=10.0.0.9:80 out=10.0.0.9:80
         member #2 10.0.0.9:80/TCP active",
    );
}

#[test]
fn node_ports_out_of_range_are_reported() {
    let harness = harness(&WEB.replace("30080", "80"));
    let service = ObjectName::new("default", "web");
    let problem = Problem::NodePortOutOfRange { service, port: 80, first: 30_000, last: 32_767 };
    assert_eq!(harness.balancer.problems(), [problem]);
}

fn small(slots: u32) -> Harness {
    let mut settings = Settings::new("here");
    settings.backend_slots = slots;
    Harness::new(settings)
}

#[test]
fn without_slots_a_service_keeps_what_it_has() {
    let mut harness = small(4);
    harness.kernel.is_short = true;
    harness.run(WEB);
    let ours =
        |harness: &Harness| harness.kernel.meaning().frontends.values().last().unwrap().internal.0.len();
    assert_eq!(ours(&harness), 2);
    harness.run(
        &format!("{WEB}\n endpoint 10.0.0.3")
            .replace("default/web 10.96.0.1", "default/web 10.96.0.1 affinity=9"),
    );
    assert_eq!(ours(&harness), 2, "three more slots are not there");
    assert!(harness.kernel.text().contains("affinity=9"), "all but the backends is up to date");
    assert_eq!(harness.kernel.members.len(), 3);
    let shortages: Vec<_> = harness.balancer.problems();
    assert!(
        matches!(
            &shortages[..],
            [Problem::Full { shortage: Shortage::Backends(3), .. }, Problem::Full { .. }]
        ),
        "{shortages:?}"
    );
    assert_eq!(harness.balancer.due(), None, "nothing will be free of itself");
    // It is tried again as soon as there is room.
    harness.run("service default/web 10.96.0.1\n port http 80/TCP");
    assert_eq!(ours(&harness), 2);
    harness.run("service default/web 10.96.0.1 itp=Local\n port http 80/TCP");
    assert_eq!(harness.balancer.due(), None);
    harness.run("service default/web 10.96.0.1\n port http 80/TCP");
    assert_eq!(ours(&harness), 3);
    assert_eq!(harness.balancer.problems(), []);
}

/// Backends of one service are no stopgap for another that takes over its address.
#[test]
fn a_stopgap_is_never_anothers() {
    let mut harness = small(3);
    harness.run(&format!("{WEB}\nservice default/heir 10.96.0.1 created=9\n port y 80/TCP"));
    harness.run(
        "slice default/heir-1 of=heir
           port y 8080/TCP
           endpoint 10.0.0.7
           endpoint 10.0.0.8
         settle
         remove service default/web",
    );
    let heir = |backends: &str| {
        format!(
            "10.96.0.1:80/TCP ClusterIP #2 in={backends}
             10.96.0.1 other ports closed
             member #2 10.0.0.7:8080/TCP active
             member #2 10.0.0.8:8080/TCP active"
        )
    };
    harness.expect(&heir("refuse"));
    assert_eq!(harness.balancer.problems().len(), 1);
    assert_eq!(harness.balancer.due(), Some(harness.now - 2 * SECOND + REST_NS));
    harness.settle();
    harness.expect(&heir("10.0.0.7:8080,10.0.0.8:8080"));
    assert_eq!((harness.balancer.problems().len(), harness.balancer.due()), (0, None));
}

/// Slots rest from the moment that the kernel is known to be rid of them, not from the moment of deciding it.
#[test]
fn slots_wait_for_the_kernel() {
    let Harness { mut balancer, mut kernel, mut now } = {
        let mut harness = small(4);
        harness.run(WEB);
        harness
    };
    balancer.remove_slice(&ObjectName::new("default", "web-1"));
    let let_go = balancer.settle(now);
    kernel.apply(&let_go, now);
    let endpoint = Endpoint {
        addresses: ["10.0.1.1", "10.0.1.2", "10.0.1.3"].map(|ip| ip.parse().unwrap()).into(),
        ready: true,
        ..Default::default()
    };
    let port = SlicePort { name: "http".into(), port: 8080, ..Default::default() };
    balancer.set_slice(Slice {
        name: ObjectName::new("default", "web-2"),
        service: "web".into(),
        ports: vec![port],
        endpoints: vec![endpoint],
    });
    // The kernel is written slowly: meanwhile nothing is free.
    let mut last = 0;
    for _ in 0..3 {
        now += 10 * SECOND;
        balancer.realized(let_go.revision - 1, now);
        let update = balancer.settle(now);
        assert_eq!((update.backends.len(), balancer.due()), (0, None));
        kernel.apply(&update, now);
        last = update.revision;
    }
    balancer.realized(last, now);
    assert_eq!(balancer.due(), Some(now + REST_NS));
    assert!(balancer.settle(now + REST_NS - 1).is_empty());
    let update = balancer.settle(now + REST_NS);
    assert_eq!(update.backends.len(), 3);
    kernel.apply(&update, now + REST_NS);
    kernel.assert_equals(&balancer.tables());
}

#[test]
fn without_tables_choice_is_random() {
    let mut settings = Settings::new("here");
    settings.maglev_slots = 1;
    let mut harness = Harness::new(settings);
    let maglev = WEB.replace("kind=NodePort", "kind=NodePort algorithm=maglev");
    let second = maglev.replace("web", "two").replace("0.1", "0.9").replace("30080", "30081");
    harness.run(&format!("{maglev}\n{second}"));
    let chosen = |harness: &Harness| {
        let meaning = harness.kernel.meaning();
        meaning
            .frontends
            .values()
            .map(|row| (row.external.0.len(), row.external.1))
            .filter(|(n, _)| *n > 0)
            .collect::<Vec<_>>()
    };
    assert_eq!(chosen(&harness), [(2, true), (2, false)]);
    assert!(matches!(&harness.balancer.problems()[..], [Problem::Full { shortage: Shortage::Tables, .. }]));
    harness.run("remove service default/web\nsettle\nsettle");
    assert_eq!(chosen(&harness), [(2, true)]);
    assert_eq!(harness.balancer.problems(), []);
}

/// Tables go after a rest, so that their memory does.
#[test]
fn tables_are_freed() {
    let mut harness = harness(&WEB.replace("kind=NodePort", "kind=NodePort algorithm=maglev"));
    assert_eq!(harness.kernel.maglev.len(), 1);
    harness.run(WEB);
    assert_eq!(harness.kernel.maglev.len(), 1);
    harness.settle();
    assert_eq!(harness.kernel.maglev.len(), 0);
    assert_eq!(harness.balancer.tables().backends.len(), 2, "the range stays");
}
