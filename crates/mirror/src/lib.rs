//! The pinned maps, copied into a node in memory: what a trace of the live datapath runs on. No live map is ever written.
#![forbid(unsafe_code)]

use std::collections::{BTreeSet, HashMap};

use abi::tables::POLICY_STATIC_BITS;
use abi::{Backend, Frontend, NodeConfig, config as features};
use loader::{MapError, Maps};
use sim::{Node, PolicyTable};

/// Whether connections come along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// No: every packet opens a new one.
    Without,
    /// All that are tracked, with their translations.
    With,
}

/// How often a copy is taken anew because somebody wrote meanwhile.
const TRIES: usize = 3;

/// Copies the maps; of the policy tables those that pods use. Routes are not in maps: the caller adds them to
/// [`Node::routes`]; without one, a packet that leaves is handed to the node's stack.
///
/// A copy during which the generation changed is taken again, so that it rarely mixes old and new tables; like any packet
/// it may see a change that is under way.
///
/// # Errors
/// A map cannot be read.
pub fn dump(maps: &Maps, config: &NodeConfig, flows: Flows) -> Result<Node, MapError> {
    let mut node = copy(maps, config, flows)?;
    for _ in 1..TRIES {
        if maps.epoch.get()? == node.epoch {
            break;
        }
        node = copy(maps, config, flows)?;
    }
    Ok(node)
}

fn copy(maps: &Maps, config: &NodeConfig, flows: Flows) -> Result<Node, MapError> {
    let mut node = Node::default();
    node.config = *config;
    // Whoever asks wants the verdict, not what the sender is told of it.
    node.config.features &= !features::DENY_RESPONSE;
    node.epoch = maps.epoch.get()?;
    node.now = loader::monotonic_ns();
    node.pods = maps.pods.dump()?.into_iter().collect();
    node.local = maps.local.dump()?.into_iter().collect();
    node.hosts = maps.hosts.dump()?.into_iter().collect();
    node.prefixes =
        maps.prefixes.dump()?.into_iter().map(|(key, entry)| (key.addr, key.len, entry)).collect();
    node.blocks = maps.blocks.dump()?.into_iter().map(|(key, number)| (key.addr, key.len, number)).collect();
    node.never_masqueraded =
        maps.no_masquerade.dump()?.into_iter().map(|(key, _)| (key.addr, key.len)).collect();
    let slots: BTreeSet<u32> = node.pods.values().map(|facts| facts.policy).collect();
    for (slot, content) in loader::read_policies_in(&maps.policies, slots)? {
        let mut table = PolicyTable::default();
        for (key, entry) in content {
            table.insert(key.key, key.len.saturating_sub(POLICY_STATIC_BITS), entry);
        }
        node.policies.insert(slot, table);
    }
    node.frontends = maps.frontends.dump()?.into_iter().collect();
    node.members = maps.members.dump()?.into_iter().collect();
    node.source_ranges = maps.source_ranges.dump()?.into_iter().map(|(key, _)| key).collect();
    node.backends = backends(maps, node.frontends.values())?;
    if flows == Flows::With {
        node.flows = maps.flows.dump()?.into_iter().map(|(key, flow)| (key, Box::new(flow))).collect();
        node.half_open =
            maps.half_open.dump()?.into_iter().map(|(key, flow)| (key, Box::new(flow))).collect();
        let boxed = |(key, value)| (key, Box::new(value));
        node.nat = maps.nat.dump()?.into_iter().map(boxed).collect();
        node.nat_half_open = maps.nat_half_open.dump()?.into_iter().map(boxed).collect();
    }
    Ok(node)
}

/// The slots that frontends name.
fn backends<'a>(
    maps: &Maps,
    frontends: impl Iterator<Item = &'a Frontend>,
) -> Result<HashMap<u32, Backend>, MapError> {
    let ranges = frontends.flat_map(|row| [row.external, row.internal]);
    let slots: BTreeSet<u32> = ranges.flat_map(|range| range.start..range.start + range.count).collect();
    let mut found = HashMap::new();
    for slot in slots {
        if let Some(backend) = maps.backends.get(&slot)? {
            found.insert(slot, backend);
        }
    }
    Ok(found)
}
