//! Who may reach whom: a picture of policies, from the tables that they come to.

use crate::diff::{Change, compare, peer_names};
use crate::inventory::Inventory;
use crate::rulebook::{Enforcement, World};
use crate::workload::Workload;
use policy::{EnforcementMode, PolicyTable, Rule, Subject, SubjectInfo};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{Label, PolicyOrigin};

/// What a workload may do under the policies in force.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Reach {
    /// The workload.
    pub workload: Workload,
    /// How many of its pods this is about.
    pub pods: usize,
    /// Their labels.
    pub labels: Vec<String>,
    /// What passes, and what would be denied if it were no dry run; everything else is dropped.
    pub ways: Vec<Way>,
}

/// Connections that fare alike.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Way {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// What becomes of them.
    pub verdict: crate::diff::Verdict,
    /// `80/TCP`, …, `everything`.
    pub ports: Vec<String>,
    /// Who is at the other end: workloads, entities, prefixes; `everyone`.
    pub peers: Vec<String>,
    /// The policies that say so; none where no policy selects the workload in this direction.
    pub because: Vec<String>,
}

/// Draws the workloads that the policies which `about` chooses select, under all policies.
pub fn reach(
    inventory: &Inventory,
    mode: EnforcementMode,
    cluster: &str,
    about: impl Fn(&PolicyOrigin) -> bool,
) -> Vec<Reach> {
    let chosen: Vec<&Rule> =
        inventory.policies.iter().filter(|(origin, _)| about(origin)).flat_map(|(_, rules)| rules).collect();
    let selected = |info: &SubjectInfo| {
        chosen.iter().any(|rule| match &rule.subject {
            Subject::Endpoints(selector) => selector.matches(&info.labels),
            Subject::Nodes(_) => false,
        })
    };
    let mut alike: BTreeMap<(&Workload, Vec<&Label>), (&SubjectInfo, usize)> = BTreeMap::new();
    for pod in inventory.pods.iter().filter(|pod| selected(&pod.info)) {
        let labels = pod.info.labels.iter().collect();
        alike.entry((&pod.workload, labels)).or_insert((&pod.info, 0)).1 += 1;
    }
    if alike.is_empty() {
        return Vec::new();
    }
    let mut world = World::of(inventory);
    let enforcement = Enforcement { mode, cluster: cluster.to_owned() };
    let [mut book, _] = world.rulebooks(inventory, &Inventory::default(), &enforcement);
    let peers = peer_names(inventory, &world);
    let drawn = alike.into_iter().map(|((workload, labels), (info, pods))| {
        // Against a table in which nothing passes, all that passes is a change.
        let tables = [Arc::<PolicyTable>::default(), book.table(info)];
        let ways = compare(&tables, &book, info, &peers).into_iter().map(Way::from).collect();
        let labels = labels.into_iter().map(Label::to_string).collect();
        Reach { workload: workload.clone(), pods, labels, ways }
    });
    drawn.collect()
}

impl From<Change> for Way {
    fn from(change: Change) -> Self {
        let Change { direction, before: _, after, ports, peers, because } = change;
        Self { direction, verdict: after, ports, peers, because }
    }
}
