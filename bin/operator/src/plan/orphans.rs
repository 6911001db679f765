//! Collection of endpoints without a pod and of CiliumNodes without a Node. Normally the API server removes both with
//! their owners; this is for what it missed.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kube_watch::Key;

use super::{Action, Every};
use crate::world::{EndpointFacts, Version, World};

/// An orphan is deleted when two looks in a row find it: the watch of one kind may lag behind that of the other.
#[derive(Debug)]
pub(super) struct Orphans {
    endpoints: Option<Every>,
    nodes: Option<Every>,
    suspect_endpoints: BTreeSet<(Key, String)>,
    suspect_nodes: BTreeSet<(Key, String)>,
}

impl Orphans {
    pub(super) fn new(endpoints: Option<Duration>, nodes: Option<Duration>) -> Self {
        Self {
            endpoints: endpoints.map(Every::new),
            nodes: nodes.map(Every::new),
            suspect_endpoints: BTreeSet::new(),
            suspect_nodes: BTreeSet::new(),
        }
    }

    pub(super) fn plan(&mut self, world: &World, now: Timestamp, actions: &mut Vec<Action>) {
        if self.endpoints.as_mut().is_some_and(|every| every.due(now)) {
            let orphans = world.endpoints.iter().filter(|(key, endpoint)| !has_pod(world, key, endpoint));
            let found: Vec<_> = orphans.map(|(key, endpoint)| (key, &endpoint.version)).collect();
            let confirmed = confirm(&mut self.suspect_endpoints, found);
            actions.extend(confirmed.map(|(key, version)| Action::DeleteEndpoint { key, version }));
        }
        if self.nodes.as_mut().is_some_and(|every| every.due(now)) {
            let orphans = world.cilium_nodes.iter().filter(|(key, _)| !world.nodes.contains(key));
            let found: Vec<_> = orphans.map(|(key, node)| (key, &node.version)).collect();
            let confirmed = confirm(&mut self.suspect_nodes, found);
            actions
                .extend(confirmed.map(|(key, version)| Action::DeleteCiliumNode { name: key.name, version }));
        }
    }
}

/// Whether the pod of an endpoint is there and may still use its network.
fn has_pod(world: &World, key: &Key, endpoint: &EndpointFacts) -> bool {
    world
        .pods
        .get(key)
        .is_some_and(|pod| !pod.finished && endpoint.pod_uid.as_ref().is_none_or(|uid| *uid == pod.uid))
}

/// Keeps of what was found that which was suspected before; all of it is suspected from now on.
fn confirm(
    suspects: &mut BTreeSet<(Key, String)>,
    found: Vec<(&Key, &Version)>,
) -> impl Iterator<Item = (Key, Version)> + use<> {
    let now: BTreeSet<_> = found.iter().map(|(key, version)| ((*key).clone(), version.uid.clone())).collect();
    let before = std::mem::replace(suspects, now);
    let confirmed: Vec<_> = found
        .into_iter()
        .filter(|(key, version)| before.contains(&((*key).clone(), version.uid.clone())))
        .map(|(key, version)| (key.clone(), version.clone()))
        .collect();
    confirmed.into_iter()
}
