//! What to do, as values: [`Planner::plan`] looks at the world and says which writes it wants. It does no IO and reads
//! no clock, and wanting the same thing twice does no harm.

mod addresses;
mod identities;
mod orphans;
mod readiness;
mod restarts;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use kube_watch::Key;

use crate::config::PlanConfig;
use crate::world::{Version, World};

use addresses::Addresses;
pub(crate) use addresses::Pool;
use identities::Identities;
use orphans::Orphans;
pub(crate) use readiness::CILIUM_IS_UP;
use readiness::ReadyNodes;
use restarts::Unmanaged;

/// Annotation of an identity that nobody uses, with the time since when (RFC 3339). An agent that uses the identity
/// again removes it, and changes the resource version by that, so that the deletion fails.
pub(crate) const HEARTBEAT_ANNOTATION: &str = "io.cilium.heartbeat";

/// A write that the operator wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Write a node's pod CIDRs.
    AssignCidrs { node: String, version: Version, cidrs: Vec<String> },
    /// Write why a node has no pod CIDRs; empty: all is well.
    ReportAddressError { node: String, error: String },
    /// Mark an identity for collection.
    MarkIdentity { name: String, version: Version, mark: String },
    /// Remove the mark.
    UnmarkIdentity { name: String, version: Version },
    /// Delete an identity that has not changed since.
    DeleteIdentity { name: String, version: Version },
    /// Delete an endpoint that has not changed since.
    DeleteEndpoint { key: Key, version: Version },
    /// Delete a CiliumNode that has not changed since.
    DeleteCiliumNode { name: String, version: Version },
    /// Remove the taint.
    RemoveTaint { node: String, version: Version, taints: Vec<Taint> },
    /// Set the taint.
    AddTaint { node: String, version: Version, taints: Vec<Taint> },
    /// Set the condition NetworkUnavailable=False.
    NetworkIsUp { node: String },
    /// Delete a pod, so that its controller makes it anew.
    RestartPod { key: Key, uid: String },
}

impl fmt::Display for Action {
    /// What is done to what, in a few words; equal for two wishes of which the later replaces the earlier.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::AssignCidrs { node, .. } => write!(f, "assign pod CIDRs to CiliumNode {node}"),
            Action::ReportAddressError { node, .. } => {
                write!(f, "report the state of addresses on CiliumNode {node}")
            }
            Action::MarkIdentity { name, .. } => write!(f, "mark CiliumIdentity {name} as unused"),
            Action::UnmarkIdentity { name, .. } => write!(f, "unmark CiliumIdentity {name}"),
            Action::DeleteIdentity { name, .. } => write!(f, "delete unused CiliumIdentity {name}"),
            Action::DeleteEndpoint { key, .. } => write!(f, "delete CiliumEndpoint {key} without a pod"),
            Action::DeleteCiliumNode { name, .. } => write!(f, "delete CiliumNode {name} without a Node"),
            Action::RemoveTaint { node, .. } => write!(f, "untaint Node {node}: its agent is ready"),
            Action::AddTaint { node, .. } => write!(f, "taint Node {node}: its agent is not ready"),
            Action::NetworkIsUp { node } => write!(f, "set NetworkUnavailable=False on Node {node}"),
            Action::RestartPod { key, .. } => write!(f, "restart pod {key}, which started before the agent"),
        }
    }
}

/// All duties, each with what it remembers between two looks.
#[derive(Debug)]
pub(crate) struct Planner {
    addresses: Option<Addresses>,
    identities: Option<Identities>,
    orphans: Orphans,
    ready: ReadyNodes,
    unmanaged: Option<Unmanaged>,
}

impl Planner {
    /// A planner that knows nothing yet.
    pub(crate) fn new(config: PlanConfig) -> Self {
        Self {
            addresses: (!config.pools.is_empty()).then(|| Addresses::new(config.pools)),
            identities: config.identity_gc.map(Identities::new),
            orphans: Orphans::new(config.endpoint_gc, config.node_gc),
            ready: ReadyNodes::new(config.readiness),
            unmanaged: config.restarts.map(Unmanaged::new),
        }
    }

    /// How many blocks each pool has, and how many nodes have.
    pub(crate) fn pools(&self) -> Vec<Pool> {
        self.addresses.as_ref().map(Addresses::usage).unwrap_or_default()
    }

    /// What to write now. Nothing, while some kind of object has not been listed yet.
    pub(crate) fn plan(&mut self, world: &World, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if !world.complete() {
            return actions;
        }
        if let Some(addresses) = &mut self.addresses {
            addresses.plan(world, now, &mut actions);
        }
        let agents = self.ready.agents(world);
        self.ready.plan(world, &agents, &mut actions);
        if let Some(unmanaged) = &mut self.unmanaged {
            unmanaged.plan(world, &agents, now, &mut actions);
        }
        if let Some(identities) = &mut self.identities {
            identities.plan(world, now, &mut actions);
        }
        self.orphans.plan(world, now, &mut actions);
        actions
    }
}

/// Something that is due every so often, the first time at once.
#[derive(Clone, Copy, Debug)]
struct Every {
    interval: Duration,
    last: Option<Timestamp>,
}

impl Every {
    fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Whether it is due; if so, it counts as done.
    fn due(&mut self, now: Timestamp) -> bool {
        let due = self.last.is_none_or(|last| elapsed(last, now) >= self.interval);
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// The time from `then` to `now`; none if the clock was set back.
fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}
