//! Restarts of pods that started before the agent: they have no CiliumEndpoint, so no policy holds for them and others
//! do not know their identity. By default only the cluster's DNS, without which nothing else starts well.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use kube_watch::Key;

use super::readiness::Agents;
use super::{Action, Every, elapsed};
use crate::config::Restarts;
use crate::world::{PodFacts, World};

/// A pod younger than this may get its CiliumEndpoint yet.
const GRACE: Duration = Duration::from_secs(30);
/// In this time a controller's pods are restarted no more often than it has pods. Should restarts not help (another
/// plugin serves the node), they go on slowly.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Unmanaged {
    config: Restarts,
    every: Every,
    /// Restarts of the last while, by controller.
    restarted: BTreeMap<String, Vec<Timestamp>>,
}

impl Unmanaged {
    pub(super) fn new(config: Restarts) -> Self {
        Self { every: Every::new(config.interval), config, restarted: BTreeMap::new() }
    }

    /// One pod a look: those that are left keep the service up.
    pub(super) fn plan(&mut self, world: &World, agents: &Agents, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.every.due(now) {
            return;
        }
        self.restarted.retain(|_, times| {
            times.retain(|time| elapsed(*time, now) < PATIENCE);
            !times.is_empty()
        });
        let mut siblings: BTreeMap<&str, usize> = BTreeMap::new();
        let mut candidates: Vec<(&Key, &PodFacts, &str)> = Vec::new();
        for (key, pod) in world.pods.iter().filter(|(_, pod)| self.config.selector.matches(&pod.labels)) {
            // Who has no controller does not come back.
            let Some(controller) = &pod.controller else { continue };
            *siblings.entry(controller).or_default() += 1;
            if unmanaged(world, agents, key, pod, now) {
                candidates.push((key, pod, controller));
            }
        }
        candidates.retain(|(_, _, controller)| {
            let times = self.restarted.get(*controller).map_or(0, Vec::len);
            times < siblings.get(controller).copied().unwrap_or_default()
        });
        if let Some((key, pod, controller)) = candidates.into_iter().min_by_key(|(_, pod, _)| pod.started) {
            self.restarted.entry(controller.to_owned()).or_default().push(now);
            actions.push(Action::RestartPod { key: key.clone(), uid: pod.uid.clone() });
        }
    }
}

/// Whether a pod should have a CiliumEndpoint and has none, while its node's agent could give it one.
fn unmanaged(world: &World, agents: &Agents, key: &Key, pod: &PodFacts, now: Timestamp) -> bool {
    pod.running
        && !pod.host_network
        && !pod.deleting
        && !world.endpoints.contains(key)
        && pod.started.is_some_and(|started| elapsed(started, now) >= GRACE)
        && pod.node.as_ref().is_some_and(|node| agents.get(node) == Some(&true))
}
