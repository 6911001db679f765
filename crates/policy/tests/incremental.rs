//! Changes one by one lead where starting afresh leads, and the updates handed out say exactly how to get there.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod common;

use axoneme_policy::*;
use common::{PREFIXES, identities, options, origin, pod, policies, rule, subject};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use types::{NumericIdentity, PolicyOrigin};

#[derive(Clone, Debug)]
enum Op {
    Policies(Vec<(usize, Option<Vec<Rule>>)>),
    Identities(Vec<(usize, Option<u32>)>),
    Subject(SubjectId, Option<SubjectInfo>),
}

fn op() -> impl Strategy<Value = Op> {
    let policy = (0_usize..4, proptest::option::weighted(0.8, proptest::collection::vec(rule(), 0..4)));
    // Some identity gets the labels and ports of some pod, keeps its own, or goes.
    let identity = (0_usize..25, proptest::option::weighted(0.8, 0_u32..10));
    prop_oneof![
        3 => proptest::collection::vec(policy, 1..3).prop_map(Op::Policies),
        4 => proptest::collection::vec(identity, 1..5).prop_map(Op::Identities),
        3 => (0_u64..4, proptest::option::weighted(0.8, subject())).prop_map(|(id, info)| Op::Subject(id, info)),
    ]
}

/// What an agent makes of the updates.
#[derive(Default)]
struct Agent {
    tables: BTreeMap<TableId, PolicyTable>,
    subjects: BTreeMap<SubjectId, TableId>,
    prefixes: BTreeSet<types::IpNet>,
}

impl Agent {
    fn apply(&mut self, update: Update) {
        for (id, change) in update.tables {
            match change {
                TableChange::Created(table) => {
                    assert!(self.tables.insert(id, (*table).clone()).is_none(), "made twice");
                }
                TableChange::Edited(delta) => {
                    assert!(!delta.is_empty(), "an edit that edits nothing");
                    self.tables.get_mut(&id).expect("an edit of a known table").apply(&delta);
                }
                TableChange::Removed => {
                    self.tables.remove(&id).expect("a removal of a known table");
                }
            }
        }
        for (id, table) in update.subjects {
            match table {
                Some(table) => {
                    assert_ne!(self.subjects.insert(id, table), Some(table), "a move to the same table")
                }
                None => assert!(self.subjects.remove(&id).is_some()),
            }
        }
        for net in update.prefixes_added {
            assert!(self.prefixes.insert(net));
        }
        for net in update.prefixes_removed {
            assert!(self.prefixes.remove(&net));
        }
    }
}

/// Everything that was said, without its history.
#[derive(Clone, Debug)]
struct World {
    options: Options,
    policies: BTreeMap<PolicyOrigin, Vec<Rule>>,
    identities: BTreeMap<NumericIdentity, Option<IdentityInfo>>,
    subjects: BTreeMap<SubjectId, SubjectInfo>,
}

impl World {
    fn tell(&mut self, engine: &mut Engine, op: &Op) -> Update {
        match op {
            Op::Policies(changes) => {
                let changes: BTreeMap<_, _> =
                    changes.iter().map(|(n, rules)| (origin(*n), rules.clone())).collect();
                for (origin, rules) in &changes {
                    match rules {
                        Some(rules) => self.policies.insert(origin.clone(), rules.clone()),
                        None => self.policies.remove(origin),
                    };
                }
                engine.set_policies(changes)
            }
            Op::Identities(changes) => {
                let all = identities(self.options.families);
                let change = |(n, labels): &(usize, Option<u32>)| {
                    let (id, own) = all[*n].clone();
                    (id, labels.map(|i| if i < 8 { pod(i) } else { own }))
                };
                let changes: BTreeMap<_, _> = changes.iter().map(change).collect();
                self.identities.extend(changes.clone());
                engine.set_identities(changes)
            }
            Op::Subject(id, info) => {
                match info {
                    Some(info) => self.subjects.insert(*id, info.clone()),
                    None => self.subjects.remove(id),
                };
                engine.set_subject(*id, info.clone())
            }
        }
    }

    /// An engine that is told the same in another order.
    fn afresh(&self) -> Engine {
        let mut engine = Engine::new(self.options.clone());
        for (id, info) in &self.subjects {
            engine.set_subject(*id, Some(info.clone()));
        }
        engine.set_policies(
            self.policies.iter().rev().map(|(o, rules)| (o.clone(), Some(rules.clone()))).collect(),
        );
        engine.set_identities(self.identities.clone());
        engine
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn changes_lead_where_starting_afresh_leads(
        options in options(),
        before in policies(),
        ops in proptest::collection::vec(op(), 1..16),
    ) {
        let mut world = World {
            options: options.clone(),
            policies: BTreeMap::new(),
            identities: BTreeMap::new(),
            subjects: BTreeMap::new(),
        };
        let mut engine = Engine::new(options.clone());
        let mut agent = Agent::default();
        let policies = before.into_iter().enumerate().map(|(n, rules)| (n, Some(rules))).collect();
        let everyone = (0..25).map(|n| (n, Some(9))).collect();
        let start = [Op::Policies(policies), Op::Identities(everyone)];
        for op in start.iter().chain(&ops) {
            agent.apply(world.tell(&mut engine, op));
        }
        compare(&engine, &agent, &world)?;
        // Saying it again changes nothing.
        if let Some(op) = ops.last() {
            let again = world.tell(&mut engine, op);
            prop_assert!(again.is_empty(), "{again:?}");
        }
    }
}

fn compare(engine: &Engine, agent: &Agent, world: &World) -> Result<(), TestCaseError> {
    let afresh = world.afresh();
    prop_assert_eq!(agent.subjects.keys().collect::<Vec<_>>(), world.subjects.keys().collect::<Vec<_>>());
    let used: BTreeSet<TableId> = agent.subjects.values().copied().collect();
    prop_assert_eq!(&used, &agent.tables.keys().copied().collect(), "tables that nobody uses");
    for (id, info) in &world.subjects {
        let table = engine.table_of(*id).unwrap();
        prop_assert_eq!(Some(&table), agent.subjects.get(id));
        let image = engine.table(table).unwrap();
        prop_assert_eq!(&*image, &agent.tables[&table], "what was handed out is not what is");
        let expected = afresh.table(afresh.table_of(*id).unwrap()).unwrap();
        prop_assert_eq!(&image, &expected, "subject {:?}", info);
        for entry in image.entries.values().filter(|entry| entry.cookie != 0) {
            prop_assert_eq!(engine.cookie(entry.cookie), afresh.cookie(entry.cookie));
        }
    }
    prop_assert_eq!(&agent.prefixes, &engine.prefixes_in_use());
    prop_assert_eq!(&agent.prefixes, &afresh.prefixes_in_use());
    prop_assert!(agent.prefixes.iter().all(|net| PREFIXES.contains(&net.to_string().as_str())));
    let members = |engine: &Engine| -> BTreeMap<Peer, BTreeSet<NumericIdentity>> {
        engine.selectors().map(|(peer, _, members)| (peer.clone(), members.clone())).collect()
    };
    prop_assert_eq!(members(engine), members(&afresh));
    Ok(())
}

proptest! {
    #[test]
    fn equal_pods_share_a_table(policies in policies(), i in 0_u32..8, app in select(vec!["x", "y"])) {
        let mut engine = common::engine(&Options::default(), &policies);
        let IdentityInfo { labels, named_ports } = pod(i);
        let info = SubjectInfo { labels, named_ports, audit: false };
        engine.set_subject(1, Some(info.clone()));
        let second = engine.set_subject(2, Some(info));
        prop_assert!(second.tables.is_empty(), "a second equal pod makes no table");
        prop_assert_eq!(engine.table_of(1), engine.table_of(2));
        // Labels that no rule reads make no difference either.
        let other = engine.set_subject(3, Some(SubjectInfo {
            labels: common::labels(&[&format!("k8s:app={app}"), "k8s:unread=1"]),
            ..SubjectInfo::default()
        }));
        let same = engine.set_subject(4, Some(SubjectInfo {
            labels: common::labels(&[&format!("k8s:app={app}"), "k8s:unread=2"]),
            ..SubjectInfo::default()
        }));
        prop_assert!(same.tables.is_empty(), "{other:?} {same:?}");
    }
}
