//! Rule cookies: one number for the set of rules behind a verdict.

use crate::number_hash::NumberMap;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use types::PolicyOrigin;

/// One rule of one policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// The policy.
    pub origin: Arc<PolicyOrigin>,
    /// The rule's place in it, from 0.
    pub index: u32,
    /// What its flows carry (`log.value`).
    pub log: Option<Arc<str>>,
}

/// A [`RuleRef`] that is cheap to compare: by a digest of what it names.
#[derive(Clone, Debug)]
pub(crate) struct RuleHandle(Arc<(u64, RuleRef)>);

/// Numbers of rule sets. The number is derived from the names of the rules, so that it survives a restart of the agent
/// (and tables that did not change need no write), and stays while it is referenced.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    by_set: NumberMap<Box<[u64]>, u32>,
    by_number: NumberMap<u32, Cookie>,
    /// Unreferenced numbers, oldest first, kept for events that are still under way.
    retired: VecDeque<(u32, u64)>,
    clock: u64,
}

#[derive(Debug)]
struct Cookie {
    tags: Box<[u64]>,
    rules: Vec<RuleRef>,
    references: usize,
    retired_at: u64,
}

/// How many unreferenced cookies can still be explained.
const MEMORY: usize = 4096;

impl RuleHandle {
    pub(crate) fn new(origin: Arc<PolicyOrigin>, index: u32, log: Option<&str>) -> Self {
        let mut digest = Sha256::new();
        for part in [origin.kind.name(), &origin.namespace, &origin.name, &origin.uid] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update(index.to_le_bytes());
        // Another text is another cookie: whoever reads it has the text that was in force.
        digest.update(log.unwrap_or_default());
        let digest = digest.finalize();
        let mut tag = [0; 8];
        tag.copy_from_slice(&digest[..8]);
        Self(Arc::new((u64::from_le_bytes(tag), RuleRef { origin, index, log: log.map(Arc::from) })))
    }

    pub(crate) fn reference(&self) -> &RuleRef {
        &self.0.1
    }

    fn tag(&self) -> u64 {
        self.0.0
    }
}

impl PartialEq for RuleHandle {
    fn eq(&self, other: &Self) -> bool {
        self.tag() == other.tag()
    }
}

impl Eq for RuleHandle {}

impl PartialOrd for RuleHandle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RuleHandle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.tag().cmp(&other.tag())
    }
}

impl Hash for RuleHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tag().hash(state);
    }
}

impl Cookies {
    /// The number of this set (sorted, each once), one reference more. The empty set has none: 0.
    pub(crate) fn acquire(&mut self, rules: &[RuleHandle]) -> u32 {
        if rules.is_empty() {
            return 0;
        }
        let tags: Box<[u64]> = rules.iter().map(RuleHandle::tag).collect();
        let number = match self.by_set.get(&tags) {
            Some(number) => *number,
            None => self.add(tags, rules),
        };
        if let Some(cookie) = self.by_number.get_mut(&number) {
            cookie.references += 1;
        }
        number
    }

    /// One reference less.
    pub(crate) fn release(&mut self, number: u32) {
        let Some(cookie) = self.by_number.get_mut(&number) else { return };
        cookie.references = cookie.references.saturating_sub(1);
        if cookie.references > 0 {
            return;
        }
        self.clock += 1;
        cookie.retired_at = self.clock;
        self.retired.push_back((number, self.clock));
        if self.retired.len() > MEMORY
            && let Some((oldest, at)) = self.retired.pop_front()
        {
            self.forget(oldest, at);
        }
    }

    /// The rules of a number.
    pub(crate) fn rules(&self, number: u32) -> Option<&[RuleRef]> {
        self.by_number.get(&number).map(|cookie| cookie.rules.as_slice())
    }

    /// How many numbers are referenced.
    #[cfg(test)]
    pub(crate) fn referenced(&self) -> usize {
        self.by_number.values().filter(|cookie| cookie.references > 0).count()
    }

    fn add(&mut self, tags: Box<[u64]>, rules: &[RuleHandle]) -> u32 {
        let mut number = number_of(&tags);
        while number == 0 || self.by_number.contains_key(&number) {
            number = number.wrapping_add(1);
        }
        let mut rules: Vec<RuleRef> = rules.iter().map(|rule| rule.reference().clone()).collect();
        rules.sort();
        self.by_set.insert(tags.clone(), number);
        self.by_number.insert(number, Cookie { tags, rules, references: 0, retired_at: 0 });
        number
    }

    /// Drops a number unless it was taken up again after `at`.
    fn forget(&mut self, number: u32, at: u64) {
        let unused = |cookie: &Cookie| cookie.references == 0 && cookie.retired_at == at;
        if self.by_number.get(&number).is_some_and(unused)
            && let Some(cookie) = self.by_number.remove(&number)
        {
            self.by_set.remove(&cookie.tags);
        }
    }
}

/// Tags are digests already; folding them keeps them spread.
fn number_of(tags: &[u64]) -> u32 {
    let folded =
        tags.iter().fold(0_u64, |sum, tag| (sum ^ tag).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    (folded ^ (folded >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, index: u32) -> RuleHandle {
        RuleHandle::new(Arc::new(PolicyOrigin::builtin(name)), index, None)
    }

    fn set(rules: &[(&str, u32)]) -> Vec<RuleHandle> {
        let mut rules: Vec<_> = rules.iter().map(|(name, index)| rule(name, *index)).collect();
        rules.sort();
        rules
    }

    #[test]
    fn equal_sets_have_one_number_in_any_engine() {
        let (mut one, mut other) = (Cookies::default(), Cookies::default());
        let ab = one.acquire(&set(&[("a", 0), ("b", 1)]));
        other.acquire(&set(&[("c", 0)]));
        assert_eq!(ab, other.acquire(&set(&[("b", 1), ("a", 0)])));
        assert_ne!(ab, one.acquire(&set(&[("a", 0), ("b", 2)])));
        let names: Vec<_> =
            one.rules(ab).unwrap().iter().map(|r| (r.origin.name.as_str(), r.index)).collect();
        assert_eq!(names, [("a", 0), ("b", 1)]);
        assert_eq!(one.acquire(&[]), 0);
    }

    #[test]
    fn numbers_are_explained_for_a_while_after_their_last_use() {
        let mut cookies = Cookies::default();
        let kept = cookies.acquire(&set(&[("kept", 0)]));
        let first = cookies.acquire(&set(&[("first", 0)]));
        cookies.release(first);
        assert!(cookies.rules(first).is_some());
        for i in 0..2 * MEMORY as u32 {
            let number = cookies.acquire(&set(&[("churn", i)]));
            cookies.release(number);
        }
        assert!(cookies.rules(first).is_none() && cookies.rules(kept).is_some());
        assert!(cookies.by_number.len() <= MEMORY + 2 && cookies.by_set.len() == cookies.by_number.len());
    }
}
