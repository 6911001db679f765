//! All rules that select one kind of pod, in one direction: which entries they make for anyone, and for each identity.
//!
//! The kernel asks a table twice, for the peer and for anyone, gets the most specific entry each time, and takes the one
//! of higher precedence. So a table is right if each of its two halves says, at every key, what the strongest of *all*
//! its rules that cover the key says (a narrow entry must not hide a broad one of higher precedence), and if comparing
//! the two strongest gives the verdict. The second holds as long as only strength counts ("plain"). With rules that pass
//! to the next tier, or dry runs, the verdict is no maximum any more; there ("layered") an identity's half is computed
//! from the rules for it *and* those for anyone, wherever the result differs from what anyone gets, and is given the
//! precedence that ends the lookup.
//!
//! Rules that name addresses whoever has them make two more halves, for blocks; see [`blocks`].

mod blocks;

use crate::cookies::RuleHandle;
use crate::decide::{Closed, Decision, Judge};
use crate::engine::Options;
use crate::number_hash::NumberMap;
use crate::ports;
use crate::repository::Compiled;
use crate::rule::{Direction, NamedPorts, Tier, Verdict};
use crate::selector_cache::{Identity, SelectorCache, SelectorId};
use crate::table::L4Key;
use crate::tree::{self, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::NumericIdentity;

/// A rule within a program.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) rule: Arc<Compiled>,
    /// Its keys; for named ports on egress, which differ by peer, see [`Program::keys_for`].
    pub(crate) keys: Vec<L4Key>,
    /// Whether it is a dry run, by itself or by its subject.
    pub(crate) audited: bool,
}

/// The rules for one kind of pod in one direction.
#[derive(Debug)]
pub(crate) struct Program {
    direction: Direction,
    judge: Judge,
    by_selector: NumberMap<SelectorId, Vec<u32>>,
    /// Rules by blocks that mean anybody's addresses.
    by_block: NumberMap<SelectorId, Vec<u32>>,
    /// Rules by blocks that mean nodes' addresses.
    by_node_block: NumberMap<SelectorId, Vec<u32>>,
    /// All nodes, if there are such.
    nodes: Option<SelectorId>,
    /// A block stands beside names of ports that are the peer's: who has an address then matters.
    named_blocks: bool,
    anyone: Vec<u32>,
    /// Rules for anyone with names of ports, which become rules for every identity that has such a port.
    anyone_named: Vec<u32>,
    /// What anyone gets, at every key at which it could change.
    floor: BTreeMap<L4Key, Decision>,
    /// Numbers of bits of the keys in `floor`, most first.
    floor_bits: Vec<u8>,
}

/// Entries of one half of a table.
pub(crate) type Entries = Vec<(L4Key, Decision)>;

/// Whom a half of a table is for; [`NumericIdentity::UNKNOWN`] = anyone, anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Half {
    pub(crate) identity: NumericIdentity,
    pub(crate) block: NumericIdentity,
}

impl Half {
    const ANYONE: Self = Half::of(NumericIdentity::UNKNOWN);

    const fn of(identity: NumericIdentity) -> Self {
        Half { identity, block: NumericIdentity::UNKNOWN }
    }
}

impl Program {
    /// Puts together the rules that select a pod. `ports` are the pod's own names.
    pub(crate) fn new(
        direction: Direction,
        rules: &[Arc<Compiled>],
        ports: &NamedPorts,
        audit: bool,
        options: &Options,
    ) -> Self {
        let rules = rules.iter().filter(|rule| rule.rule.direction == direction);
        let bind = |rule: &Arc<Compiled>| {
            let mut keys = rule.keys.clone();
            if direction == Direction::Ingress {
                keys.extend(ports::named(&rule.named, ports));
            }
            Bound { rule: Arc::clone(rule), keys, audited: audit || rule.rule.audit }
        };
        let mut bound: Vec<Bound> = rules.map(bind).collect();
        let closed = Closed::new(&bound, options.mode, audit);
        // A block that means no nodes is no maximum either: a node gets less than who else has the address.
        let is_layer =
            |b: &Bound| b.audited || b.rule.rule.verdict == Verdict::Pass || !b.rule.pod_blocks.is_empty();
        let layered = closed.is_dry() || bound.iter().any(is_layer);
        if !layered && let Some(last) = closed.first_tier() {
            // Nothing passes beyond the tier that closes the direction.
            bound.retain(|b| b.rule.rule.tier <= last);
        }
        let reaches_pods =
            closed.first_tier().is_some() || bound.iter().any(|b| b.rule.rule.tier > Tier::Normal);
        let host = direction == Direction::Ingress && options.allow_localhost && reaches_pods;
        let mut program = Self {
            direction,
            judge: Judge::new(bound, closed, layered, host),
            by_selector: NumberMap::default(),
            by_block: NumberMap::default(),
            by_node_block: NumberMap::default(),
            nodes: None,
            named_blocks: false,
            anyone: Vec::new(),
            anyone_named: Vec::new(),
            floor: BTreeMap::new(),
            floor_bits: Vec::new(),
        };
        program.sort_rules();
        program.lay_floor();
        program
    }

    /// Whether the direction is filtered.
    pub(crate) fn enforced(&self) -> bool {
        self.judge.closed.closes()
    }

    /// The rules behind a drop that no entry is written for.
    pub(crate) fn closed_by(&self) -> &[RuleHandle] {
        match self.floor.get(&L4Key::ANY) {
            Some(decision) if decision.is_default_deny() => &decision.rules,
            _ => &[],
        }
    }

    /// The peers that rules name.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = SelectorId> {
        self.by_selector.keys().copied().chain(self.nodes)
    }

    /// Whether what an identity gets may depend on its named ports alone.
    pub(crate) fn follows_named_ports(&self) -> bool {
        !self.anyone_named.is_empty() || self.named_blocks
    }

    /// The entries of a half.
    pub(crate) fn entries(&self, half: Half, cache: &SelectorCache) -> Entries {
        let Half { identity, block } = half;
        match (identity, block) {
            (NumericIdentity::UNKNOWN, NumericIdentity::UNKNOWN) => self.for_anyone(),
            (identity, NumericIdentity::UNKNOWN) => self.for_identity(identity, cache),
            (NumericIdentity::UNKNOWN, block) => self.for_block(block, cache),
            (identity, block) => self.for_pair(identity, block, cache),
        }
    }

    /// The entries for anyone.
    fn for_anyone(&self) -> Entries {
        let mut entries = Entries::new();
        for (key, decision) in &self.floor {
            // The next broader decision is what would be found without this one.
            let broader = key.bits.checked_sub(1).and_then(|_| self.floor_at(key, key.bits - 1));
            let needed = match broader {
                Some(broader) => !decision.same_effect(broader),
                None => !decision.is_default_deny(),
            };
            if needed {
                entries.push((*key, decision.clone()));
            }
        }
        entries
    }

    /// Every identity that has entries of its own, as far as `cache` knows; sorted, each once.
    fn identities(&self, cache: &SelectorCache) -> Vec<NumericIdentity> {
        let mut identities: Vec<_> = self.selectors().flat_map(|selector| cache.members(selector)).collect();
        if self.judge.host {
            identities.push(NumericIdentity::HOST);
        }
        if self.follows_named_ports() {
            let named = cache.identities().filter(|(_, identity)| !identity.named_ports.is_empty());
            identities.extend(named.map(|(id, _)| id));
        }
        identities.sort_unstable();
        identities.dedup();
        identities
    }

    /// The entries for one identity: none if what anyone gets is right for it.
    fn for_identity(&self, id: NumericIdentity, cache: &SelectorCache) -> Entries {
        let host = self.is_own_host(id);
        let mut items = cache.identity_of(id).map_or_else(Vec::new, |identity| self.items_for(identity));
        if items.is_empty() && !host {
            return Entries::new();
        }
        if host {
            items.push((L4Key::ANY, None));
        }
        match self.judge.layered {
            true => self.layered(items, host, |key| self.floor_at(key, key.bits)),
            false => self.plain(items, host),
        }
    }

    /// Whether this is the host, and is let in.
    fn is_own_host(&self, id: NumericIdentity) -> bool {
        self.judge.host && id == NumericIdentity::HOST
    }

    /// The rules that name an identity, and those that name its ports, by key.
    fn items_for(&self, identity: &Identity) -> Items {
        let own = rules_in(&self.by_selector, &identity.selectors);
        let mut items: Items = own
            .into_iter()
            .flat_map(|rule| with_rule(self.keys_for(rule, &identity.named_ports), rule))
            .collect();
        items.extend(self.anyone_named.iter().flat_map(|rule| {
            let bound = &self.judge.rules[*rule as usize];
            with_rule(ports::named(&bound.rule.named, &identity.named_ports), *rule)
        }));
        items
    }

    /// What becomes of one packet, of which `fits` says which rules it meets.
    pub(crate) fn judge_packet(&self, peer: NumericIdentity, fits: impl Fn(&Compiled) -> bool) -> Decision {
        let rules = self.judge.rules.iter().enumerate().filter(|(_, bound)| fits(&bound.rule));
        let covering: Vec<u32> = rules.map(|(index, _)| index as u32).collect();
        self.judge.decide(&covering, self.judge.host && peer == NumericIdentity::HOST)
    }

    /// Strength decides: entries that something stronger for anyone covers are left out.
    fn plain(&self, items: Items, host: bool) -> Entries {
        // Most identities are named by one rule about one thing.
        if let [(key, rule)] = items[..] {
            let decision = self.judge.decide(rule.as_slice(), host);
            let weaker = self.floor_at(&key, key.bits).is_some_and(|f| f.precedence > decision.precedence);
            return match weaker || decision.is_default_deny() {
                true => Entries::new(),
                false => vec![(key, decision)],
            };
        }
        let nodes = tree::build(items, |covering| self.judge.strongest(covering));
        let decisions: Vec<Decision> =
            nodes.iter().map(|node| self.judge.decide(&node.covering, host)).collect();
        let needed = |node: &Node, decision: &Decision| {
            let repeats = node.parent.is_some_and(|parent| decisions[parent].same_effect(decision));
            let weaker =
                self.floor_at(&node.key, node.key.bits).is_some_and(|f| f.precedence > decision.precedence);
            // What no rule lets through needs no entry.
            !repeats && !weaker && !decision.is_default_deny()
        };
        let pairs = nodes.iter().zip(&decisions).filter(|(node, decision)| needed(node, decision));
        pairs.map(|(node, decision)| (node.key, decision.clone())).collect()
    }

    /// Entries hold the whole verdict, where it is not what would be found without them (`other`).
    fn layered<'a>(
        &'a self,
        mut items: Items,
        host: bool,
        other: impl Fn(&L4Key) -> Option<&'a Decision>,
    ) -> Entries {
        items.push((L4Key::ANY, None));
        for rule in &self.anyone {
            items.extend(with_rule(self.judge.rules[*rule as usize].keys.clone(), *rule));
        }
        let nodes = tree::build(items, |_| {});
        // The entry that is found at each node, if one is: the nearest written one above it.
        let mut found: Vec<Option<Decision>> = Vec::with_capacity(nodes.len());
        let mut entries = Entries::new();
        for node in &nodes {
            let decision = self.judge.decide(&node.covering, host);
            let above = node.parent.and_then(|parent| found[parent].clone());
            let needed = match &above {
                Some(above) => !above.same_effect(&decision),
                None => other(&node.key).is_none_or(|other| !other.same_effect(&decision)),
            };
            if needed {
                entries.push((node.key, decision.final_word()));
            }
            found.push(if needed { Some(decision) } else { above });
        }
        entries
    }

    /// What anyone gets at `key`, seen from at most `bits` bits of it.
    fn floor_at(&self, key: &L4Key, bits: u8) -> Option<&Decision> {
        let shorter = self.floor_bits.iter().filter(|b| **b <= bits);
        shorter.filter_map(|b| key.cut(*b)).find_map(|cut| self.floor.get(&cut))
    }

    /// The keys of a rule towards a peer with these named ports.
    fn keys_for(&self, rule: u32, ports: &NamedPorts) -> Vec<L4Key> {
        let bound = &self.judge.rules[rule as usize];
        let mut keys = bound.keys.clone();
        if self.direction == Direction::Egress {
            keys.extend(ports::named(&bound.rule.named, ports));
        }
        keys
    }

    fn sort_rules(&mut self) {
        for (index, bound) in self.judge.rules.iter().enumerate() {
            let index = index as u32;
            for (selectors, rules) in [
                (&bound.rule.selectors, &mut self.by_selector),
                (&bound.rule.blocks, &mut self.by_block),
                (&bound.rule.node_blocks, &mut self.by_node_block),
            ] {
                for selector in selectors {
                    rules.entry(*selector).or_default().push(index);
                }
            }
            self.nodes = self.nodes.or(bound.rule.nodes);
            let named = self.direction == Direction::Egress && !bound.rule.named.is_empty();
            self.named_blocks |= named && !bound.rule.blocks.is_empty();
            if bound.rule.anyone {
                self.anyone.push(index);
                if named {
                    self.anyone_named.push(index);
                }
            }
        }
    }

    fn lay_floor(&mut self) {
        let keys = self.anyone.iter().flat_map(|rule| {
            self.judge.rules[*rule as usize].keys.iter().map(move |key| (*key, Some(*rule)))
        });
        let items = keys.chain([(L4Key::ANY, None)]).collect();
        let nodes = tree::build(items, |covering| {
            if !self.judge.layered {
                self.judge.strongest(covering);
            }
        });
        self.floor =
            nodes.into_iter().map(|node| (node.key, self.judge.decide(&node.covering, false))).collect();
        let bits: BTreeSet<u8> = self.floor.keys().map(|key| key.bits).collect();
        self.floor_bits = bits.into_iter().rev().collect();
    }
}

/// Keys with the rules that they come from.
type Items = Vec<(L4Key, Option<u32>)>;

fn with_rule(keys: Vec<L4Key>, rule: u32) -> impl Iterator<Item = (L4Key, Option<u32>)> {
    keys.into_iter().map(move |key| (key, Some(rule)))
}

/// The rules filed under some of `selectors`, which are sorted; each once.
fn rules_in(filed: &NumberMap<SelectorId, Vec<u32>>, selectors: &[SelectorId]) -> Vec<u32> {
    let mut rules: Vec<u32> = if filed.len() < selectors.len() {
        let matching = filed.iter().filter(|(id, _)| selectors.binary_search(id).is_ok());
        matching.flat_map(|(_, rules)| rules.iter().copied()).collect()
    } else {
        selectors.iter().filter_map(|id| filed.get(id)).flatten().copied().collect()
    };
    rules.sort_unstable();
    rules.dedup();
    rules
}
