//! Taint and condition of nodes, by the state of their agents.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;

use super::Action;
use crate::config::Readiness;
use crate::world::{NodeFacts, World};

/// Reason of the condition NetworkUnavailable=False.
pub(crate) const CILIUM_IS_UP: &str = "CiliumIsUp";

/// Nodes that have an agent's pod, and whether it is ready.
pub(super) type Agents = BTreeMap<String, bool>;

#[derive(Debug)]
pub(super) struct ReadyNodes {
    config: Readiness,
}

impl ReadyNodes {
    pub(super) fn new(config: Readiness) -> Self {
        Self { config }
    }

    /// The agents of the cluster. Of two on one node (an update) the ready one counts.
    pub(super) fn agents(&self, world: &World) -> Agents {
        let mut agents = Agents::new();
        for (key, pod) in world.pods.iter() {
            if key.namespace != self.config.namespace
                || pod.finished
                || !self.config.agents.matches(&pod.labels)
            {
                continue;
            }
            if let Some(node) = &pod.node {
                *agents.entry(node.clone()).or_default() |= pod.ready && !pod.deleting;
            }
        }
        agents
    }

    /// Nodes without an agent's pod are not ours to judge: perhaps none is meant to run there.
    pub(super) fn plan(&self, world: &World, agents: &Agents, actions: &mut Vec<Action>) {
        for (key, node) in world.nodes.iter() {
            match agents.get(&key.name) {
                Some(true) => self.up(&key.name, node, actions),
                Some(false) => self.down(&key.name, node, actions),
                None => {}
            }
        }
    }

    fn up(&self, name: &str, node: &NodeFacts, actions: &mut Vec<Action>) {
        let up = node
            .network_unavailable
            .as_ref()
            .is_some_and(|(status, reason)| status == "False" && reason == CILIUM_IS_UP);
        if self.config.set_condition && !up {
            actions.push(Action::NetworkIsUp { node: name.to_owned() });
        }
        let left: Vec<_> =
            node.taints.iter().filter(|taint| taint.key != self.config.taint_key).cloned().collect();
        if self.config.remove_taint && left.len() != node.taints.len() {
            actions.push(Action::RemoveTaint {
                node: name.to_owned(),
                version: node.version.clone(),
                taints: left,
            });
        }
    }

    fn down(&self, name: &str, node: &NodeFacts, actions: &mut Vec<Action>) {
        if !self.config.set_taint || node.taints.iter().any(|taint| taint.key == self.config.taint_key) {
            return;
        }
        let taint =
            Taint { key: self.config.taint_key.clone(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        let taints = node.taints.iter().cloned().chain([taint]).collect();
        actions.push(Action::AddTaint { node: name.to_owned(), version: node.version.clone(), taints });
    }
}
