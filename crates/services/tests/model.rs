//! Whatever happened, the tables say what the objects say now.

mod common;

use std::collections::BTreeSet;

use abi::service::{MEMBER_ACTIVE, MEMBER_DRAINING};
use axoneme_services::{Balancer, Settings};
use common::generate::{self, Event};
use common::naive::{self, Cluster};
use common::{Harness, Kernel, SECOND};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// The kernel in memory judges each write by itself: no slot or table that a frontend names, or named a second ago,
    /// is written to; frontends lead to what is there.
    #[test]
    fn tables_follow_the_objects(
        settings in generate::settings(),
        events in prop::collection::vec(generate::event(), 1..60),
    ) {
        let mut run = Run::new(settings.clone());
        for event in events {
            run.event(event);
        }
        run.event(Event::Settle(0, true));
        let seen = run.harness.kernel.meaning();
        prop_assert_eq!(&seen.frontends, &naive::frontends(&run.cluster, &run.settings()), "the text says");

        let mut fresh = Run::new(settings);
        fresh.feed(&run.cluster);
        fresh.event(Event::Settle(0, true));
        let wanted = fresh.harness.kernel.meaning();
        prop_assert_eq!(&seen, &wanted, "a fresh balancer says");
        prop_assert_eq!(run.harness.balancer.problems(), fresh.harness.balancer.problems());
        members_are_of_frontends(&run.harness);

        // A restart over it writes nothing, but for ports that have no frontend by which to know their number.
        let writes = run.harness.kernel.writes;
        run.event(Event::Restart);
        if run.harness.balancer.problems().is_empty() {
            prop_assert_eq!(run.harness.kernel.writes, writes);
        }
        prop_assert_eq!(&run.harness.kernel.meaning(), &seen);
    }

    /// With too few slots, frontends are behind, but never astray.
    #[test]
    fn few_slots(
        settings in generate::settings(),
        slots in 1u32..12,
        tables in 0u32..3,
        events in prop::collection::vec(generate::event(), 1..60),
    ) {
        let mut run = Run::new(Settings { backend_slots: slots, maglev_slots: tables, ..settings });
        run.harness.kernel.is_short = true;
        for event in events {
            run.event(event);
        }
        run.event(Event::Settle(3000, true));
        run.event(Event::Settle(3000, true));
        let seen = run.harness.kernel.meaning();
        let wanted = naive::frontends(&run.cluster, &run.settings());
        prop_assert!(seen.frontends.keys().eq(wanted.keys()));
        let behind: BTreeSet<_> = run.harness.balancer.problems().iter().filter_map(|problem| match problem {
            axoneme_services::Problem::Full { key, .. } => Some(*key),
            _ => None,
        }).collect();
        for (key, row) in &seen.frontends {
            let wanted = &wanted[key];
            prop_assert_eq!((row.flags, row.affinity), (wanted.flags, wanted.affinity));
            if !behind.contains(key) {
                prop_assert_eq!(row, wanted);
            }
        }
    }
}

/// Each backend of a frontend is a member of its service, and each member is one of an endpoint of it.
fn members_are_of_frontends(harness: &Harness) {
    let kernel = &harness.kernel;
    let mut chosen = BTreeSet::new();
    for (key, row) in &kernel.frontends {
        for range in [row.external, row.internal] {
            chosen.extend(
                kernel.resolve(&range).0.into_iter().map(|b| (row.service, key.protocol, b.addr, b.port)),
            );
        }
    }
    for (key, state) in &kernel.members {
        let is_chosen = chosen.contains(&(key.service, key.protocol, key.addr, key.port));
        let is_served = kernel.frontends.values().any(|row| row.service == key.service);
        match *state {
            MEMBER_ACTIVE => assert!(is_chosen || !is_served || is_contested(harness), "{key:?}"),
            MEMBER_DRAINING => assert!(!is_chosen, "{key:?}"),
            other => panic!("no such state: {other}"),
        }
    }
}

/// Some frontend of some service is another's.
fn is_contested(harness: &Harness) -> bool {
    !harness.balancer.problems().is_empty()
}

struct Run {
    base: Settings,
    cluster: Cluster,
    harness: Harness,
}

impl Run {
    fn new(base: Settings) -> Self {
        Self { harness: Harness::new(base.clone()), base, cluster: Cluster::default() }
    }

    /// The settings as they are now.
    fn settings(&self) -> Settings {
        Settings { zone: self.cluster.zone.clone(), ..self.base.clone() }
    }

    fn event(&mut self, event: Event) {
        let balancer = &mut self.harness.balancer;
        match event {
            Event::Service(service) => {
                balancer.set_service(service.clone());
                self.cluster.services.insert(service.name.clone(), service);
            }
            Event::ServiceGone(name) => {
                balancer.remove_service(&name);
                self.cluster.services.remove(&name);
            }
            Event::Slice(slice) => {
                balancer.set_slice(slice.clone());
                self.cluster.slices.insert(slice.name.clone(), slice);
            }
            Event::SliceGone(name) => {
                balancer.remove_slice(&name);
                self.cluster.slices.remove(&name);
            }
            Event::Pod(pod) => {
                balancer.set_pod_ports(pod.clone());
                self.cluster.pods.insert(pod.name.clone(), pod);
            }
            Event::PodGone(name) => {
                balancer.remove_pod_ports(&name);
                self.cluster.pods.remove(&name);
            }
            Event::Zone(zone) => {
                balancer.set_zone(zone.clone());
                self.cluster.zone = zone;
            }
            Event::Nodes(nodes) => {
                balancer.set_node_addresses(nodes.clone());
                self.cluster.nodes = nodes.into_iter().collect();
            }
            Event::Settle(ms, done) => self.settle(ms, done),
            Event::Restart => self.restart(),
        }
    }

    fn settle(&mut self, ms: u64, done: bool) {
        let Harness { balancer, kernel, now } = &mut self.harness;
        *now += ms * SECOND / 1000;
        let update = balancer.settle(*now);
        kernel.apply(&update, *now);
        kernel.assert_equals(&balancer.tables());
        assert!(balancer.settle(*now).is_empty(), "settled twice");
        if done {
            balancer.realized(update.revision, *now);
        }
    }

    /// Starting takes more than a second; what rests then is forgotten, and tables that rest with it.
    fn restart(&mut self) {
        self.harness.now += 2 * SECOND;
        let settings = self.settings();
        self.harness.restart(settings);
        let named: BTreeSet<u32> = named_tables(&self.harness.kernel);
        self.harness.kernel.maglev.retain(|slot, _| named.contains(slot));
        let cluster = self.cluster.clone();
        self.feed(&cluster);
        self.settle(0, true);
    }

    /// All lists at once.
    fn feed(&mut self, cluster: &Cluster) {
        let balancer: &mut Balancer = &mut self.harness.balancer;
        balancer.set_zone(cluster.zone.clone());
        balancer.set_node_addresses(cluster.nodes.iter().copied());
        balancer.reset_pod_ports(cluster.pods.values().cloned());
        balancer.reset_slices(cluster.slices.values().cloned());
        balancer.reset_services(cluster.services.values().cloned());
        self.cluster = cluster.clone();
    }
}

fn named_tables(kernel: &Kernel) -> BTreeSet<u32> {
    let ranges = kernel.frontends.values().flat_map(|row| [row.external, row.internal]);
    ranges.filter_map(|range| range.maglev.checked_sub(1)).collect()
}
