//! Pod CIDRs of nodes from the cluster pools.

use std::collections::BTreeMap;
use std::time::Duration;

use ipam::{ClusterPool, Family, PoolError};
use ipnet::IpNet;
use jiff::Timestamp;
use kube_watch::Key;

use super::{Action, elapsed};
use crate::world::{CiliumNodeFacts, World};

/// The blocks of a node that is gone stay its own for this long. Should it only have looked gone, nobody has its
/// addresses; and packets to its dead pods do not reach somebody else's new ones.
const HOLD: Duration = Duration::from_secs(60);

/// Who has which blocks. This, not the nodes' objects, is what blocks are given by: an object may not show yet what was
/// written a moment ago.
#[derive(Debug)]
pub(super) struct Addresses {
    pools: Vec<ClusterPool>,
    nodes: BTreeMap<String, Holding>,
}

/// How full the pool of a family is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pool {
    /// The family.
    pub(crate) family: Family,
    /// Blocks that nodes have.
    pub(crate) used: usize,
    /// Blocks that there are.
    pub(crate) total: u128,
}

#[derive(Debug, Default)]
struct Holding {
    blocks: Vec<IpNet>,
    gone_since: Option<Timestamp>,
}

impl Addresses {
    pub(super) fn new(pools: Vec<ClusterPool>) -> Self {
        Self { pools, nodes: BTreeMap::new() }
    }

    pub(super) fn usage(&self) -> Vec<Pool> {
        let pool = |pool: &ClusterPool| Pool {
            family: pool.family(),
            used: pool.in_use().count(),
            total: pool.total(),
        };
        self.pools.iter().map(pool).collect()
    }

    pub(super) fn plan(&mut self, world: &World, now: Timestamp, actions: &mut Vec<Action>) {
        self.forget(world, now);
        let mut nodes: Vec<(&str, &CiliumNodeFacts)> =
            world.cilium_nodes.iter().map(|(key, facts)| (key.name.as_str(), facts)).collect();
        nodes.sort_by_key(|(name, facts)| (facts.created, *name));
        // First all that exists, then what is missing: a new node must not get what an old one has.
        let states: Vec<State> = nodes.iter().map(|(name, facts)| self.adopt(name, facts)).collect();
        for ((name, facts), state) in nodes.into_iter().zip(states) {
            self.complete(name, facts, state, actions);
        }
    }

    /// Takes the blocks back of nodes that have been gone for a while.
    fn forget(&mut self, world: &World, now: Timestamp) {
        let pools = &mut self.pools;
        self.nodes.retain(|name, holding| {
            if world.cilium_nodes.contains(&Key::new("", name.as_str())) {
                holding.gone_since = None;
                return true;
            }
            let since = *holding.gone_since.get_or_insert(now);
            if elapsed(since, now) < HOLD {
                return true;
            }
            for block in holding.blocks.drain(..) {
                pools.iter_mut().for_each(|pool| {
                    pool.release(block);
                });
            }
            false
        });
    }

    /// Notes the blocks that a node's object says it has.
    fn adopt(&mut self, name: &str, facts: &CiliumNodeFacts) -> State {
        let mut state = State::default();
        for text in &facts.pod_cidrs {
            let Ok(block) = text.parse::<IpNet>() else {
                state.problems.push(format!("{text:?} in spec.ipam.podCIDRs is no CIDR: remove it"));
                continue;
            };
            state.families.push(Family::of_net(&block));
            let holding = self.nodes.entry(name.to_owned()).or_default();
            let pool = self.pools.iter_mut().find(|pool| pool.family() == Family::of_net(&block));
            let Some(pool) = pool.filter(|_| !holding.blocks.contains(&block)) else { continue };
            match pool.occupy(block) {
                Ok(()) => holding.blocks.push(block),
                // Given by hand, or from a pool that was configured once: it works, so leave it.
                Err(PoolError::Outside { .. }) => {}
                Err(error) => state.problems.push(format!(
                    "{error}; remove {block} from spec.ipam.podCIDRs of this CiliumNode to get another one, and restart its pods"
                )),
            }
        }
        state
    }

    /// Gives a node what it lacks, and says what is wrong.
    fn complete(&mut self, name: &str, facts: &CiliumNodeFacts, mut state: State, actions: &mut Vec<Action>) {
        let holding = self.nodes.entry(name.to_owned()).or_default();
        for pool in &mut self.pools {
            let family = pool.family();
            let has = state.families.contains(&family)
                || holding.blocks.iter().any(|block| Family::of_net(block) == family);
            if !has {
                match pool.allocate() {
                    Ok(block) => holding.blocks.push(block),
                    Err(error) => state.problems.push(error.to_string()),
                }
            }
        }
        let mut cidrs = facts.pod_cidrs.clone();
        cidrs.extend(
            holding.blocks.iter().map(ToString::to_string).filter(|block| !facts.pod_cidrs.contains(block)),
        );
        let (node, version) = (name.to_owned(), facts.version.clone());
        if cidrs != facts.pod_cidrs {
            actions.push(Action::AssignCidrs { node: node.clone(), version, cidrs });
        }
        let error = state.problems.join("; ");
        if error != facts.error {
            actions.push(Action::ReportAddressError { node, error });
        }
    }
}

/// What is known of a node after a look at its object.
#[derive(Debug, Default)]
struct State {
    /// Families of which it has a CIDR.
    families: Vec<Family>,
    problems: Vec<String>,
}
