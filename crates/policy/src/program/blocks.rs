//! Rules that name addresses whoever has them (`ipBlock`, `networks`).
//!
//! A peer outside of the cluster has its prefix for an identity; rules find it by that. Pods and nodes have identities that
//! say nothing of addresses, so for them the kernel also looks up the narrowest block around the address, and asks the table
//! by it: the block stands for all addresses that lie in it and in no narrower one. A table has an entry for identity *and*
//! block only where the two separate ones do not suffice: where the verdict is no maximum (layered), where the block means
//! nodes alone or all but nodes, or where a port has its name from the peer.

use super::{Entries, Half, Items, Program, rules_in, with_rule};
use crate::decide::Decision;
use crate::ports;
use crate::selector_cache::{SelectorCache, SelectorId};
use crate::table::L4Key;
use std::collections::BTreeSet;
use types::NumericIdentity;

impl Program {
    /// Whether some rule names blocks.
    pub(crate) fn names_blocks(&self) -> bool {
        !self.by_block.is_empty() || !self.by_node_block.is_empty()
    }

    /// Every half that may have entries, as far as `cache` knows; sorted, each once.
    pub(crate) fn halves(&self, cache: &SelectorCache) -> Vec<Half> {
        let mut halves = vec![Half::ANYONE];
        halves.extend(self.identities(cache).into_iter().map(Half::of));
        let beside = self.beside_blocks(cache);
        for block in self.blocks(cache) {
            halves.push(Half { block, ..Half::ANYONE });
            halves.extend(beside.iter().map(|identity| Half { identity: *identity, block }));
        }
        halves.sort_unstable();
        halves.dedup();
        halves
    }

    /// The halves that a change of one identity can touch.
    pub(crate) fn halves_of(&self, id: NumericIdentity, cache: &SelectorCache) -> BTreeSet<Half> {
        let mut halves = BTreeSet::from([Half::of(id)]);
        if !self.names_blocks() {
            return halves;
        }
        if is_block(id) {
            halves.insert(Half { block: id, ..Half::ANYONE });
            let beside = self.beside_blocks(cache).into_iter();
            halves.extend(beside.map(|identity| Half { identity, block: id }));
        }
        if !id.is_local() {
            halves.extend(self.blocks(cache).into_iter().map(|block| Half { identity: id, block }));
        }
        halves
    }

    /// The entries for whoever has an address in a block.
    pub(super) fn for_block(&self, block: NumericIdentity, cache: &SelectorCache) -> Entries {
        let Some(block) = cache.identity_of(block) else { return Entries::new() };
        let rules = rules_in(&self.by_block, &block.selectors).into_iter();
        let items: Items =
            rules.flat_map(|rule| with_rule(self.judge.rules[rule as usize].keys.clone(), rule)).collect();
        match (items.is_empty(), self.judge.layered) {
            (true, _) => Entries::new(),
            (false, true) => self.layered(items, false, |key| self.floor_at(key, key.bits)),
            (false, false) => self.plain(items, false),
        }
    }

    /// The entries for an identity in a block, beyond those for either.
    pub(super) fn for_pair(
        &self,
        id: NumericIdentity,
        block: NumericIdentity,
        cache: &SelectorCache,
    ) -> Entries {
        let (Some(peer), Some(known)) = (cache.identity_of(id), cache.identity_of(block)) else {
            return Entries::new();
        };
        let node = self.nodes.is_some_and(|nodes| cache.is_member(nodes, id));
        let by_node = if node { rules_in(&self.by_node_block, &known.selectors) } else { Vec::new() };
        let named_by_block = rules_in(&self.by_block, &known.selectors);
        let meant = |rule: &u32| !(node && self.spares_nodes(*rule, &known.selectors));
        let by_block: Vec<u32> = named_by_block.iter().copied().filter(meant).collect();
        let whole = |rule: &u32| with_rule(self.keys_for(*rule, &peer.named_ports), *rule);
        let mut items: Items = by_node.iter().flat_map(whole).collect();
        if !self.judge.layered {
            items.extend(by_block.iter().flat_map(|rule| {
                let named = &self.judge.rules[*rule as usize].rule.named;
                let keys =
                    if self.named_blocks { ports::named(named, &peer.named_ports) } else { Vec::new() };
                with_rule(keys, *rule)
            }));
            return if items.is_empty() { Entries::new() } else { self.plain(items, false) };
        }
        let spared = by_block.len() != named_by_block.len();
        items.extend(by_block.iter().flat_map(whole));
        // What the block's own half says may be what a node does not get.
        if items.is_empty() && named_by_block.is_empty() {
            return Entries::new();
        }
        items.extend(self.items_for(peer));
        let (by_identity, by_block) = (self.for_identity(id, cache), self.for_block(block, cache));
        self.layered(items, self.is_own_host(id), |key| {
            let other = longest(&by_identity, key);
            // What the block's half says of others is no reason here, even where it comes to the same.
            if spared {
                return other;
            }
            other.or_else(|| longest(&by_block, key)).or_else(|| self.floor_at(key, key.bits))
        })
    }

    /// Whether a rule names none of these blocks but such as do not mean nodes.
    fn spares_nodes(&self, rule: u32, matching: &[SelectorId]) -> bool {
        let rule = &self.judge.rules[rule as usize].rule;
        let named = rule.blocks.iter().filter(|selector| matching.binary_search(selector).is_ok());
        named.into_iter().all(|selector| rule.pod_blocks.contains(selector))
    }

    /// The blocks that rules name.
    fn blocks(&self, cache: &SelectorCache) -> BTreeSet<NumericIdentity> {
        let selectors = self.by_block.keys().chain(self.by_node_block.keys());
        selectors.flat_map(|selector| cache.members(*selector)).filter(|id| is_block(*id)).collect()
    }

    /// The identities that may have entries beside blocks.
    fn beside_blocks(&self, cache: &SelectorCache) -> BTreeSet<NumericIdentity> {
        let mut identities = BTreeSet::new();
        if self.judge.layered {
            identities.extend(self.identities(cache));
        }
        identities.extend(self.nodes.into_iter().flat_map(|nodes| cache.members(nodes)));
        if self.named_blocks {
            let named = cache.identities().filter(|(_, identity)| !identity.named_ports.is_empty());
            identities.extend(named.map(|(id, _)| id));
        }
        identities.retain(|id| !id.is_local());
        identities
    }
}

/// Whether this can be the number of a block: that of a prefix, or of a whole family.
fn is_block(id: NumericIdentity) -> bool {
    use NumericIdentity as N;
    id.is_local() || matches!(id, N::WORLD | N::WORLD_IPV4 | N::WORLD_IPV6)
}

fn longest<'a>(entries: &'a Entries, key: &L4Key) -> Option<&'a Decision> {
    let around = entries.iter().filter(|(wider, _)| wider.covers(key));
    around.max_by_key(|(wider, _)| wider.bits).map(|(_, decision)| decision)
}
