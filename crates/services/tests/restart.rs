//! A new agent over the tables of the last one.

mod common;

use abi::service::WILDCARD_V4;
use abi::{Backend, Frontend, FrontendKey, MemberKey, Range, SourceRangeKey};
use axoneme_services::{Algorithm, ObjectName, Settings};
use common::{Harness, SECOND};

const WEB: &str = "
    service default/web 10.96.0.1 kind=LoadBalancer lb=192.0.2.1 ranges=203.0.113.0/24 etp=Local
      port http 80/TCP node=30080
      port https 443/TCP node=30443
    slice default/web-1 of=web
      port http 8080/TCP
      port https 8443/TCP
      endpoint 10.0.0.1 on=here
      endpoint 10.0.0.2 on=here
      endpoint 10.0.0.3 on=there";

const DNS: &str = "
    service kube-system/dns 10.96.0.10
      port dns 53/UDP
    slice kube-system/dns-1 of=dns
      port dns 53/UDP
      endpoint 10.0.0.8
      endpoint 10.0.0.9
    pod default/p 10.0.0.1
      hostport 8080/TCP to=80";

fn settings() -> Settings {
    Settings { algorithm: Algorithm::Maglev, maglev_seed: 11, ..Settings::new("here") }
}

/// An agent that has run for a while, so that numbers and slots are no longer in order.
fn run_for_a_while() -> Harness {
    let mut harness = Harness::new(settings());
    harness.run(DNS);
    let other = WEB.replace("web", "other").replace("10.0.0.", "10.0.9.").replace("node=30", "node=31");
    harness.run(&other.replace("10.96.0.1", "10.96.0.7").replace("192.0.2.1", "192.0.2.7"));
    harness.run(WEB);
    harness.run("remove service default/other\nremove slice default/other-1\nsettle");
    harness
}

/// A restart with these objects.
fn restart(mut harness: Harness, settings: Settings, script: &str) -> (Harness, usize) {
    harness.restart(settings);
    let before = harness.kernel.writes;
    harness.run(script);
    let writes = harness.kernel.writes - before;
    (harness, writes)
}

#[test]
fn nothing_changed_nothing_written() {
    let before = run_for_a_while();
    let text = before.kernel.text();
    let (after, writes) = restart(before, settings(), &format!("{WEB}\n{DNS}"));
    assert_eq!(writes, 0);
    assert_eq!(after.kernel.text(), text);
}

/// What was adopted is as good as what was written: slots are given back, numbers too.
#[test]
fn life_goes_on() {
    let (mut harness, _) = restart(run_for_a_while(), settings(), &format!("{WEB}\n{DNS}"));
    let (backends, maglev) = (harness.kernel.backends.len(), harness.kernel.maglev.len());
    for i in 1..50 {
        harness.run(&format!("{WEB}\n endpoint 10.0.1.{i} on=here"));
    }
    // The last set, and the one before that rests.
    assert!(harness.kernel.backends.len() <= backends + 16, "{}", harness.kernel.backends.len());
    assert!(harness.kernel.maglev.len() <= maglev + 2);
    harness.run(
        "remove service default/web\nremove service kube-system/dns\nremove pod default/p\nsettle\nsettle",
    );
    assert_eq!(harness.kernel.text(), "");
    assert_eq!(harness.kernel.maglev.len(), 0);
}

#[test]
fn numbers_stay_where_objects_changed() {
    let before = run_for_a_while();
    let changed = WEB.replace("endpoint 10.0.0.2 on=here", "endpoint 10.0.0.4 on=here");
    let (after, _) = restart(before.clone_kernel(), settings(), &format!("{changed}\n{DNS}"));
    let numbers = |harness: &Harness| -> Vec<(FrontendKey, u32)> {
        harness.kernel.frontends.iter().map(|(key, frontend)| (*key, frontend.service)).collect()
    };
    assert_eq!(numbers(&after), numbers(&before));
    let mut fresh = Harness::new(settings());
    fresh.run(&format!("{changed}\n{DNS}"));
    assert_eq!(after.kernel.meaning(), fresh.kernel.meaning());
}

#[test]
fn what_nobody_wants_goes() {
    let (mut after, _) = restart(run_for_a_while(), settings(), DNS);
    let mut fresh = Harness::new(settings());
    fresh.run(DNS);
    assert_eq!(after.kernel.meaning(), fresh.kernel.meaning());
    after.settle();
    assert_eq!(after.kernel.maglev.len(), 0);
    let (none, _) = restart(after, settings(), "");
    assert_eq!(none.kernel.text(), "");
}

/// A number that a port had is not given to another in its absence.
#[test]
fn new_ports_get_new_numbers() {
    let before = run_for_a_while();
    let most = before
        .kernel
        .frontends
        .values()
        .map(|frontend| frontend.service)
        .filter(|n| *n < 1000)
        .max()
        .unwrap();
    let (after, _) = restart(before, settings(), "service default/new 10.96.0.50\n port x 80/TCP");
    let numbers: Vec<u32> = after.kernel.frontends.values().map(|frontend| frontend.service).collect();
    assert!(numbers.iter().all(|number| *number > most), "{numbers:?}");
}

#[test]
fn another_seed_makes_other_tables() {
    let before = run_for_a_while();
    let tables = before.kernel.maglev.clone();
    let other = Settings { maglev_seed: 12, ..settings() };
    let (mut after, _) = restart(before, other.clone(), &format!("{WEB}\n{DNS}"));
    after.settle();
    assert_eq!(after.kernel.maglev.len(), 2);
    assert!(
        after.kernel.maglev.keys().all(|slot| !tables.contains_key(slot)),
        "the old ones are named until replaced"
    );
    assert_ne!(after.kernel.maglev.values().next(), tables.values().next());
    let (_, writes) = restart(after, other, &format!("{WEB}\n{DNS}"));
    assert_eq!(writes, 0);
}

#[test]
fn another_algorithm() {
    let random = Settings { algorithm: Algorithm::Random, ..settings() };
    let (mut after, writes) = restart(run_for_a_while(), random, &format!("{WEB}\n{DNS}"));
    // Only the frontends: four of the load balancer and NodePorts.
    assert_eq!(writes, 4);
    after.settle();
    assert_eq!(after.kernel.maglev.len(), 0);
}

/// A table that is not ours to keep is not kept either while there is no room for the backends that are wanted.
#[test]
fn another_seed_and_no_room() {
    let small = |maglev_seed| Settings { backend_slots: 3, maglev_seed, ..settings() };
    let script = "
        service default/web 10.96.0.1 kind=NodePort expose=NodePort
          port http 80/TCP node=30080
        slice default/web-1 of=web
          port http 8080/TCP
          endpoint 10.0.0.1
          endpoint 10.0.0.2";
    let mut harness = Harness::new(small(1));
    harness.run(script);
    let row = |backends: &str, maglev: &str| format!("in={backends} out={maglev}{backends}");
    assert!(harness.kernel.text().contains(&row("10.0.0.1:8080,10.0.0.2:8080", "maglev:")));
    harness.kernel.is_short = true;
    let (mut after, _) = restart(harness, small(2), &script.replace("10.0.0.2", "10.0.0.3"));
    assert!(after.kernel.text().contains(&row("10.0.0.1:8080,10.0.0.2:8080", "")), "{}", after.kernel.text());
    assert_eq!(after.balancer.problems().len(), 1);
    after.settle();
    assert_eq!(after.kernel.maglev.len(), 0);
    after.run("remove slice default/web-1\nsettle");
    after.run(script);
    assert!(after.kernel.text().contains(&row("10.0.0.1:8080,10.0.0.2:8080", "maglev:")));
}

/// An agent that was killed in the middle of an update leaves any prefix of its writes.
#[test]
fn killed_while_writing() {
    let changed =
        WEB.replace("endpoint 10.0.0.2 on=here", "endpoint 10.0.0.4 on=here").replace(":443", ":444");
    let mut fresh = Harness::new(settings());
    fresh.run(&format!("{changed}\n{DNS}"));
    let mut next = run_for_a_while();
    let kernel = next.kernel.clone();
    next.kernel = kernel.clone();
    next.run(&changed);
    // What the update wrote, as differences of the tables.
    for cut in 0..8 {
        let mut harness = Harness { kernel: kernel.clone(), ..run_for_a_while() };
        harness.now += 10 * SECOND;
        harness.kernel.backends.extend(&next.kernel.backends);
        harness.kernel.maglev.extend(next.kernel.maglev.clone());
        if cut > 0 {
            harness.kernel.members.extend(&next.kernel.members);
        }
        harness.kernel.frontends.extend(next.kernel.frontends.iter().take(cut));
        let (after, _) = restart(harness, settings(), &format!("{changed}\n{DNS}"));
        assert_eq!(after.kernel.meaning(), fresh.kernel.meaning(), "cut after {cut} frontends");
    }
}

/// Tables that no agent of ours wrote: nothing panics, nothing named is overwritten, and the outcome is right.
#[test]
fn damaged_tables() {
    let mut fresh = Harness::new(settings());
    fresh.run(&format!("{WEB}\n{DNS}"));
    let range = |start, count, maglev| Range { start, count, maglev };
    let ranges = [
        range(0, 3, 0),
        range(1, 3, 1),
        range(2, 1, 1),
        range(1, 3, 2),
        range(u32::MAX, 2, 3),
        range(u32::MAX - 1, 1, u32::MAX),
        range(abi::maps::size::BACKENDS - 1, 9, 7),
        range(abi::maps::size::BACKENDS + 1, 9, 8),
        range(40, 0, 9),
    ];
    let mut harness = Harness::new(settings());
    for (i, external) in (0u16..).zip(ranges) {
        for internal in ranges {
            let key = FrontendKey {
                addr: WILDCARD_V4,
                port: i * 100 + internal.count as u16,
                protocol: 6,
                _pad: 0,
            };
            let frontend =
                Frontend { service: internal.start, flags: u32::from(i), external, internal, affinity: 1 };
            harness.kernel.frontends.insert(key, frontend);
        }
    }
    let odd = FrontendKey { addr: WILDCARD_V4, port: 0, protocol: 0, _pad: 0 };
    harness.kernel.frontends.insert(odd, Frontend::default());
    let odd = FrontendKey { addr: WILDCARD_V4, port: 0, protocol: 99, _pad: 0 };
    harness.kernel.frontends.insert(odd, Frontend::default());
    harness.kernel.backends.extend((0..3).map(|slot| (slot, Backend::default())));
    harness.kernel.maglev.insert(0, vec![9; 5]);
    harness.kernel.members.insert(MemberKey::default(), 77);
    harness.kernel.source_ranges.insert(SourceRangeKey::default(), 77);
    let (mut after, _) = restart(harness, settings(), &format!("{WEB}\n{DNS}"));
    assert_eq!(after.kernel.meaning(), fresh.kernel.meaning());
    after.settle();
    after.run("remove service default/web");
    assert_eq!(
        after.balancer.name_of("10.96.0.10".parse().unwrap(), 53),
        Some(&ObjectName::new("kube-system", "dns"))
    );
}
