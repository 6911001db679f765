//! The tables of a node in memory, put into the kernel.

use std::time::Duration;

use abi::{PodFacts, PrefixKey};
use anyhow::{Result, ensure};
use loader::{Plain, PolicyContent, PolicyTrieKey, Table, monotonic_ns};
use sim::{Node, PolicyTable};

use super::Pair;

impl Pair {
    /// Gives both worlds the pods, addresses and policies of `node` in place of those they had. Configuration and routes stay,
    /// and are not looked at; devices of pods are made where they are missing.
    pub fn take(&mut self, node: &Node) -> Result<()> {
        let old: Vec<u32> = self.node.policies.drain().map(|(slot, _)| slot).collect();
        self.node.pods.clear();
        self.node.local.clone_from(&node.local);
        self.node.hosts.clone_from(&node.hosts);
        self.node.prefixes.clone_from(&node.prefixes);
        self.node.blocks.clone_from(&node.blocks);
        for (ifindex, facts) in &node.pods {
            if self.devices.insert(*ifindex) {
                self.place.device(&format!("lxc{ifindex}"), *ifindex)?;
            }
            let table = node.policies.get(&facts.policy).cloned().unwrap_or_default();
            let policy = self.policies.publish(&content(&table)?)?;
            self.node.policies.insert(policy, table);
            self.node.pods.insert(*ifindex, PodFacts { policy, ..*facts });
        }
        let (maps, node) = (&self.object.maps, &self.node);
        let prefix = |addr, len| PrefixKey { len, addr };
        replace(&maps.local, node.local.iter().map(|(addr, ifindex)| (*addr, *ifindex)))?;
        replace(&maps.hosts, node.hosts.iter().map(|(addr, entry)| (*addr, *entry)))?;
        replace(
            &maps.prefixes,
            node.prefixes.iter().map(|(base, len, entry)| (prefix(*base, *len), *entry)),
        )?;
        replace(&maps.blocks, node.blocks.iter().map(|(base, len, number)| (prefix(*base, *len), *number)))?;
        replace(&maps.pods, node.pods.iter().map(|(ifindex, facts)| (*ifindex, *facts)))?;
        let now = Duration::from_nanos(monotonic_ns());
        old.into_iter().for_each(|slot| self.policies.release(slot, now));
        self.policies.tick(now);
        self.bump()
    }

    /// Forgets all connections in both worlds.
    pub fn forget(&mut self) -> Result<()> {
        self.object.maps.flows.clear()?;
        self.object.maps.half_open.clear()?;
        self.node.flows.clear();
        self.node.half_open.clear();
        Ok(())
    }
}

/// A policy table as the agent writes it.
fn content(table: &PolicyTable) -> Result<PolicyContent> {
    let mut content = PolicyContent::new();
    for (key, bits, entry) in table.entries() {
        ensure!(bits == u32::from(entry.bits), "an entry of {bits} bits says that it has {}", entry.bits);
        content.insert(PolicyTrieKey::new(key, entry), *entry);
    }
    Ok(content)
}

fn replace<K: Plain, V: Plain>(table: &Table<K, V>, rows: impl Iterator<Item = (K, V)>) -> Result<()> {
    table.clear()?;
    for (key, value) in rows {
        table.insert(&key, &value)?;
    }
    Ok(())
}
