//! The rules of all policies, and which of them select whom.

use crate::cookies::RuleHandle;
use crate::index::{Anchor, AnchorIndex};
use crate::number_hash::NumberMap;
use crate::ports;
use crate::rule::{Owner, Peer, PortRule, Protocol, Rule, Subject, Verdict};
use crate::selector_cache::{SelectorCache, SelectorId, normal};
use crate::table::L4Key;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{IpNet, Labels, NumericIdentity, PolicyOrigin, Selector};

/// Number of a rule in this process; a changed rule gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleKey(u64);

/// A rule, made ready to be put into tables.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) key: RuleKey,
    pub(crate) handle: RuleHandle,
    pub(crate) rule: Rule,
    /// Some peer is everyone.
    pub(crate) anyone: bool,
    pub(crate) selectors: Vec<SelectorId>,
    /// Those of them that mean addresses, whoever has them.
    pub(crate) blocks: Vec<SelectorId>,
    /// Those of them that mean nodes' addresses, too.
    pub(crate) node_blocks: Vec<SelectorId>,
    /// Those of `blocks` that do not mean nodes' addresses.
    pub(crate) pod_blocks: Vec<SelectorId>,
    /// All nodes, where some of `node_blocks` or `pod_blocks` tells them apart. Not a peer of the rule.
    pub(crate) nodes: Option<SelectorId>,
    /// Ports with numbers, split into prefixes.
    pub(crate) keys: Vec<L4Key>,
    /// Ports with names.
    pub(crate) named: Vec<(Protocol, String)>,
}

/// All policies.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    policies: BTreeMap<Arc<PolicyOrigin>, Policy>,
    rules: NumberMap<RuleKey, Arc<Compiled>>,
    subjects: AnchorIndex<RuleKey>,
    prefixes: BTreeMap<IpNet, usize>,
    revision: u64,
    next: u64,
}

#[derive(Debug, Default)]
struct Policy {
    rules: Vec<Rule>,
    compiled: Vec<Arc<Compiled>>,
}

/// What a change of policies did.
#[derive(Debug, Default)]
pub(crate) struct RuleDiff {
    pub(crate) added: Vec<Arc<Compiled>>,
    pub(crate) removed: Vec<Arc<Compiled>>,
    pub(crate) prefixes_added: BTreeSet<IpNet>,
    pub(crate) prefixes_removed: BTreeSet<IpNet>,
}

impl Compiled {
    /// Whether a peer fits: `peer` is its identity, `block` the narrowest block around its address if it is no prefix itself.
    pub(crate) fn fits(&self, peer: NumericIdentity, block: NumericIdentity, cache: &SelectorCache) -> bool {
        let is = |selector: &SelectorId, id| cache.is_member(*selector, id);
        let node = || self.nodes.as_ref().is_some_and(|nodes| is(nodes, peer));
        self.anyone
            || self.selectors.iter().any(|selector| is(selector, peer))
            || self
                .blocks
                .iter()
                .any(|selector| is(selector, block) && !(self.pod_blocks.contains(selector) && node()))
            || self.node_blocks.iter().any(|selector| is(selector, block)) && node()
    }

    /// Tier and priority as one number; lower is asked first.
    pub(crate) fn level(&self) -> u32 {
        level(self.rule.tier as u8, self.rule.priority.min(Rule::MAX_PRIORITY))
    }

    /// The low byte of the precedence: who wins at equal priority.
    pub(crate) fn class(&self) -> u8 {
        match (self.rule.verdict, self.rule.redirect) {
            (Verdict::Deny, _) => 255,
            (Verdict::Pass, _) => 0,
            (Verdict::Allow, None) => 1,
            (Verdict::Allow, Some(redirect)) if redirect.priority == 0 => 2,
            (Verdict::Allow, Some(redirect)) => 255 - redirect.priority.min(126),
        }
    }
}

/// Bits of a priority in a level: [`Rule::MAX_PRIORITY`] and one more, for what comes at the end of a tier.
pub(crate) const fn level(tier: u8, priority: u32) -> u32 {
    ((tier as u32) << 22) | priority
}

impl Repository {
    /// Sets (`Some`) or forgets (`None`) the rules of each origin. Rules that are equal and in the same place stay as they
    /// are. Peers of removed rules stay known until [`Repository::release`].
    pub(crate) fn change(
        &mut self,
        changes: BTreeMap<PolicyOrigin, Option<Vec<Rule>>>,
        cache: &mut SelectorCache,
    ) -> RuleDiff {
        let mut diff = RuleDiff::default();
        let mut touched = false;
        for (origin, rules) in changes {
            let known = self.policies.get(&origin).map(|policy| &policy.rules);
            if known == rules.as_ref() {
                continue;
            }
            touched = true;
            let old = self.policies.remove(&origin).unwrap_or_default();
            let Some(rules) = rules else {
                diff.removed.extend(old.compiled);
                continue;
            };
            let origin = Arc::new(origin);
            let mut old = old.compiled.into_iter();
            let mut compiled = Vec::with_capacity(rules.len());
            for (index, rule) in rules.iter().enumerate() {
                let before = old.next();
                if let Some(before) = before.as_ref().filter(|before| &before.rule == rule) {
                    compiled.push(Arc::clone(before));
                    continue;
                }
                diff.removed.extend(before);
                let rule = self.compile(&origin, index, rule, cache);
                diff.added.push(Arc::clone(&rule));
                compiled.push(rule);
            }
            diff.removed.extend(old);
            self.policies.insert(origin, Policy { rules, compiled });
        }
        self.revision += u64::from(touched);
        self.file(&mut diff);
        diff
    }

    /// Gives back what removed rules held, once no table uses them.
    pub(crate) fn release(&mut self, removed: &[Arc<Compiled>], cache: &mut SelectorCache) {
        for selector in removed.iter().flat_map(|rule| rule.selectors.iter().chain(&rule.nodes)) {
            cache.release(*selector);
        }
    }

    /// The rules that select an endpoint with these labels, in a fixed order.
    pub(crate) fn selecting(&self, labels: &Labels) -> Vec<Arc<Compiled>> {
        let candidates = self.subjects.candidates(labels);
        let rules = candidates.iter().filter_map(|key| self.rules.get(key));
        rules.filter(|rule| rule.rule.subject.matches(labels)).cloned().collect()
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn policies(&self) -> impl Iterator<Item = (&PolicyOrigin, &[Rule])> {
        self.policies.iter().map(|(origin, policy)| (origin.as_ref(), policy.rules.as_slice()))
    }

    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.prefixes.keys().copied()
    }

    /// Whether nothing is left of any policy.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
            && self.rules.is_empty()
            && self.subjects.is_empty()
            && self.prefixes.is_empty()
    }

    /// Brings the indexes up to date with `diff`, and notes in it which prefixes came and went.
    fn file(&mut self, diff: &mut RuleDiff) {
        for rule in &diff.added {
            let (Subject::Endpoints(selector) | Subject::Nodes(selector)) = &rule.rule.subject;
            self.subjects.insert(rule.key, Anchor::of_selector(selector));
            self.rules.insert(rule.key, Arc::clone(rule));
            for net in rule.rule.prefixes() {
                let count = self.prefixes.entry(net).or_default();
                *count += 1;
                if *count == 1 {
                    diff.prefixes_added.insert(net);
                }
            }
        }
        for rule in &diff.removed {
            self.subjects.remove(rule.key);
            self.rules.remove(&rule.key);
            for net in rule.rule.prefixes() {
                let Some(count) = self.prefixes.get_mut(&net) else { continue };
                *count -= 1;
                if *count == 0 {
                    self.prefixes.remove(&net);
                    if !diff.prefixes_added.remove(&net) {
                        diff.prefixes_removed.insert(net);
                    }
                }
            }
        }
    }

    fn compile(
        &mut self,
        origin: &Arc<PolicyOrigin>,
        index: usize,
        rule: &Rule,
        cache: &mut SelectorCache,
    ) -> Arc<Compiled> {
        let key = RuleKey(self.next);
        self.next += 1;
        let peers: BTreeSet<Peer> = rule.peers.iter().filter_map(normal).collect();
        let anyone = peers.contains(&Peer::All);
        let (mut selectors, mut blocks) = (Vec::new(), Vec::new());
        let (mut node_blocks, mut pod_blocks) = (Vec::new(), Vec::new());
        for peer in peers.into_iter().filter(|_| !anyone) {
            let owner = if let Peer::Cidr { owner, .. } = &peer { *owner } else { Owner::Outside };
            let selector = cache.acquire(peer);
            selectors.push(selector);
            match owner {
                Owner::Outside => {}
                Owner::OutsideOrNode => node_blocks.push(selector),
                Owner::OutsideOrPod => {
                    blocks.push(selector);
                    pod_blocks.push(selector);
                }
                Owner::Anyone => blocks.push(selector),
            }
        }
        let nodes_apart = !node_blocks.is_empty() || !pod_blocks.is_empty();
        let nodes = nodes_apart.then(|| cache.acquire(Peer::Nodes(Selector::everything())));
        let named = rule.ports.iter().filter_map(|port| match port {
            PortRule::Named { protocol, name } => Some((*protocol, name.clone())),
            _ => None,
        });
        Arc::new(Compiled {
            key,
            handle: RuleHandle::new(
                Arc::clone(origin),
                u32::try_from(index).unwrap_or(u32::MAX),
                rule.log.as_deref(),
            ),
            rule: rule.clone(),
            anyone,
            selectors,
            blocks,
            node_blocks,
            pod_blocks,
            nodes,
            keys: ports::keys(&rule.ports),
            named: named.collect(),
        })
    }
}

impl Subject {
    /// Whether an endpoint with these labels is meant.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        let node = labels.has_reserved("host");
        match self {
            Subject::Endpoints(selector) => !node && selector.matches(labels),
            Subject::Nodes(selector) => node && selector.matches(labels),
        }
    }
}
