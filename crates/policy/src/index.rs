//! Finds the few selectors that could match a set of labels, without looking at the others.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use types::{Labels, Selector, Test};

/// A label without which nothing is selected. Sources are left out: whoever asks checks candidates anyway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Anchor {
    /// Some label with this key.
    Key(Box<str>),
    /// A label with this key and value.
    Value(Box<str>, Box<str>),
}

/// Things filed under labels that they need.
#[derive(Debug)]
pub(crate) struct AnchorIndex<I> {
    keys: HashMap<Box<str>, Buckets<I>>,
    /// What needs no label is a candidate for all.
    unanchored: BTreeSet<I>,
    filed: HashMap<I, Vec<Anchor>>,
}

#[derive(Debug)]
struct Buckets<I> {
    any_value: BTreeSet<I>,
    values: HashMap<Box<str>, BTreeSet<I>>,
}

impl Anchor {
    /// For each positive requirement of `selector` the anchors of which one must be there.
    pub(crate) fn of_selector(selector: &Selector) -> Vec<Vec<Anchor>> {
        selector
            .requirements()
            .filter_map(|requirement| match requirement.test() {
                Test::In(values) => {
                    let key = requirement.key();
                    Some(values.iter().map(|value| Anchor::Value(key.into(), value.clone())).collect())
                }
                Test::Exists => Some(vec![Anchor::Key(requirement.key().into())]),
                Test::NotIn(_) | Test::DoesNotExist => None,
            })
            .collect()
    }

    fn key(&self) -> &str {
        match self {
            Anchor::Key(key) | Anchor::Value(key, _) => key,
        }
    }
}

impl<I> Default for AnchorIndex<I> {
    fn default() -> Self {
        Self { keys: HashMap::new(), unanchored: BTreeSet::new(), filed: HashMap::new() }
    }
}

impl<I: Copy + Ord + Hash> AnchorIndex<I> {
    /// Files `id` under one of the alternatives: the one whose buckets are emptiest, so that neither a common label nor a
    /// common namespace makes a long list.
    pub(crate) fn insert(&mut self, id: I, alternatives: Vec<Vec<Anchor>>) {
        let load =
            |anchors: &Vec<Anchor>| anchors.iter().map(|anchor| self.len_of(anchor)).max().unwrap_or(0);
        let anchors = alternatives.into_iter().min_by_key(load).unwrap_or_default();
        if anchors.is_empty() {
            self.unanchored.insert(id);
        }
        for anchor in &anchors {
            let buckets = self.keys.entry(anchor.key().into()).or_default();
            match anchor {
                Anchor::Key(_) => buckets.any_value.insert(id),
                Anchor::Value(_, value) => buckets.values.entry(value.clone()).or_default().insert(id),
            };
        }
        self.filed.insert(id, anchors);
    }

    /// Takes `id` out.
    pub(crate) fn remove(&mut self, id: I) {
        let anchors = self.filed.remove(&id).unwrap_or_default();
        self.unanchored.remove(&id);
        for anchor in anchors {
            let Some(buckets) = self.keys.get_mut(anchor.key()) else { continue };
            match &anchor {
                Anchor::Key(_) => {
                    buckets.any_value.remove(&id);
                }
                Anchor::Value(_, value) => {
                    if let Some(bucket) = buckets.values.get_mut(value) {
                        bucket.remove(&id);
                        if bucket.is_empty() {
                            buckets.values.remove(value);
                        }
                    }
                }
            }
            if buckets.any_value.is_empty() && buckets.values.is_empty() {
                self.keys.remove(anchor.key());
            }
        }
    }

    /// Whether nothing is filed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.unanchored.is_empty() && self.filed.is_empty()
    }

    /// Everything that could select `labels`, sorted, each once.
    pub(crate) fn candidates(&self, labels: &Labels) -> Vec<I> {
        let mut found: Vec<I> = self.unanchored.iter().copied().collect();
        for label in labels {
            let Some(buckets) = self.keys.get(label.key()) else { continue };
            found.extend(&buckets.any_value);
            found.extend(buckets.values.get(label.value()).into_iter().flatten());
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn len_of(&self, anchor: &Anchor) -> usize {
        let Some(buckets) = self.keys.get(anchor.key()) else { return 0 };
        match anchor {
            Anchor::Key(_) => buckets.any_value.len(),
            Anchor::Value(_, value) => buckets.values.get(value).map_or(0, BTreeSet::len),
        }
    }
}

impl<I> Default for Buckets<I> {
    fn default() -> Self {
        Self { any_value: BTreeSet::new(), values: HashMap::new() }
    }
}

/// Labels → the things that carry them: the same question from the other side.
#[derive(Debug)]
pub(crate) struct Postings<I> {
    keys: HashMap<Box<str>, HashMap<Box<str>, BTreeSet<I>>>,
}

impl<I> Default for Postings<I> {
    fn default() -> Self {
        Self { keys: HashMap::new() }
    }
}

impl<I: Copy + Ord> Postings<I> {
    /// Notes that `id` carries `labels`.
    pub(crate) fn insert(&mut self, id: I, labels: &Labels) {
        for label in labels {
            let values = self.keys.entry(label.key().into()).or_default();
            values.entry(label.value().into()).or_default().insert(id);
        }
    }

    /// Forgets that `id` carries `labels`.
    pub(crate) fn remove(&mut self, id: I, labels: &Labels) {
        for label in labels {
            let Some(values) = self.keys.get_mut(label.key()) else { continue };
            if let Some(ids) = values.get_mut(label.value()) {
                ids.remove(&id);
                if ids.is_empty() {
                    values.remove(label.value());
                }
            }
            if values.is_empty() {
                self.keys.remove(label.key());
            }
        }
    }

    /// Everything that carries one anchor of the shortest alternative; `None` if there are no alternatives.
    pub(crate) fn candidates(&self, alternatives: &[Vec<Anchor>]) -> Option<BTreeSet<I>> {
        let size = |anchors: &&Vec<Anchor>| -> usize {
            anchors.iter().flat_map(|anchor| self.sets(anchor)).map(BTreeSet::len).sum()
        };
        let anchors = alternatives.iter().min_by_key(size)?;
        Some(anchors.iter().flat_map(|anchor| self.sets(anchor)).flatten().copied().collect())
    }

    fn sets(&self, anchor: &Anchor) -> Vec<&BTreeSet<I>> {
        let Some(values) = self.keys.get(anchor.key()) else { return Vec::new() };
        match anchor {
            Anchor::Key(_) => values.values().collect(),
            Anchor::Value(_, value) => values.get(value).into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        Labels::parse(texts.iter().copied()).unwrap()
    }

    fn selector(pairs: &[(&str, &str)]) -> Selector {
        let none: [(&str, &str, Vec<&str>); 0] = [];
        Selector::new(pairs.iter().copied(), none, &types::Source::K8s).unwrap()
    }

    #[test]
    fn a_common_label_does_not_make_long_lists() {
        let mut index = AnchorIndex::default();
        for i in 0..1000 {
            let (app, ns) = (format!("app{i}"), format!("ns{i}"));
            // One namespace with many apps, and one app in many namespaces.
            index.insert(2 * i, Anchor::of_selector(&selector(&[("app", &app), ("ns", "shop")])));
            index.insert(2 * i + 1, Anchor::of_selector(&selector(&[("app", "web"), ("ns", &ns)])));
        }
        assert!(index.candidates(&labels(&["k8s:app=app7", "k8s:ns=shop"])).len() < 5);
        assert!(index.candidates(&labels(&["k8s:app=web", "k8s:ns=ns7"])).len() < 5);
        assert!(index.candidates(&labels(&["k8s:app=web", "k8s:ns=ns7"])).contains(&15));
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let mut index = AnchorIndex::default();
        index.insert(1, Anchor::of_selector(&selector(&[("a", "b")])));
        index.insert(2, Anchor::of_selector(&Selector::everything()));
        assert_eq!(index.candidates(&labels(&["k8s:a=b"])), [1, 2]);
        index.remove(1);
        index.remove(2);
        assert!(index.is_empty());
        let mut postings = Postings::default();
        postings.insert(1, &labels(&["k8s:a=b"]));
        postings.remove(1, &labels(&["k8s:a=b"]));
        assert!(postings.keys.is_empty());
    }
}
