use std::collections::{BTreeMap, BTreeSet};

use abi::Identity;
use abi::identity::{CLUSTER_MAX, CLUSTER_MIN};
use types::Labels;

use crate::PodKey;

/// Numbers that the cluster gave to labels, as far as this node has seen them, and the numbers it asks for.
///
/// The number of new labels follows from the labels themselves, so two nodes that meet them at the same time try to
/// create the same object: one wins, the other finds its own labels under that name. A name taken by other labels
/// means: the next number.
#[derive(Debug, Default)]
pub struct ClusterIdentities {
    by_number: BTreeMap<Identity, Labels>,
    by_labels: BTreeMap<Labels, BTreeSet<Identity>>,
    /// Labels without a number that a pod of this node has, with the attempts that failed.
    wanted: BTreeMap<Labels, u32>,
}

impl ClusterIdentities {
    /// Notes what a number stands for; returns the labels it stood for before, if others.
    pub fn insert(&mut self, number: Identity, labels: Labels) -> Option<Labels> {
        if self.by_number.get(&number) == Some(&labels) {
            return None;
        }
        let before = self.remove(number);
        self.by_labels.entry(labels.clone()).or_default().insert(number);
        self.by_number.insert(number, labels);
        before
    }

    /// Forgets a number; returns what it stood for.
    pub fn remove(&mut self, number: Identity) -> Option<Labels> {
        let labels = self.by_number.remove(&number)?;
        if let Some(numbers) = self.by_labels.get_mut(&labels) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_labels.remove(&labels);
            }
        }
        Some(labels)
    }

    /// The number of these labels: the lowest, if two nodes once created two.
    pub fn number(&self, labels: &Labels) -> Option<Identity> {
        self.by_labels.get(labels)?.first().copied()
    }

    /// The labels of a number.
    pub fn labels(&self, number: Identity) -> Option<&Labels> {
        self.by_number.get(&number)
    }

    /// All numbers.
    pub fn iter(&self) -> impl Iterator<Item = (Identity, &Labels)> {
        self.by_number.iter().map(|(number, labels)| (*number, labels))
    }

    /// Makes `labels` wanted exactly if they are in `needed` and have no number; returns those newly wanted, each with
    /// the number to create.
    pub fn want(&mut self, needed: &BTreeSet<Labels>) -> Vec<(Labels, Identity)> {
        let missing: BTreeSet<&Labels> = needed.iter().filter(|l| !self.by_labels.contains_key(l)).collect();
        self.wanted.retain(|labels, _| missing.contains(labels));
        let fresh: Vec<Labels> =
            missing.into_iter().filter(|l| !self.wanted.contains_key(*l)).cloned().collect();
        for labels in &fresh {
            self.wanted.insert(labels.clone(), 0);
        }
        fresh
            .into_iter()
            .filter_map(|labels| self.candidate(&labels).map(|number| (labels, number)))
            .collect()
    }

    /// The number tried last for `labels` is taken by others; returns the next to try while they are still wanted.
    pub fn refused(&mut self, labels: &Labels) -> Option<Identity> {
        *self.wanted.get_mut(labels)? += 1;
        self.candidate(labels)
    }

    /// The first number of the labels' own sequence that is not known to be taken; `None` when all are.
    fn candidate(&self, labels: &Labels) -> Option<Identity> {
        let attempts = *self.wanted.get(labels)?;
        let count = CLUSTER_MAX - CLUSTER_MIN + 1;
        let start = u32::from_str_radix(labels.sha256().get(..8)?, 16).ok()? % count;
        let sequence = (0..count).map(|i| CLUSTER_MIN + (start + i) % count);
        sequence.skip(attempts as usize).find(|number| !self.by_number.contains_key(number))
    }
}

/// Which pods of other nodes have which identity.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_pod: BTreeMap<PodKey, Identity>,
    by_number: BTreeMap<Identity, BTreeSet<PodKey>>,
}

impl Users {
    /// Notes a pod's identity, or that it has none any more.
    pub(crate) fn set(&mut self, pod: &PodKey, identity: Option<Identity>) {
        let before = match identity {
            Some(identity) => self.by_pod.insert(pod.clone(), identity),
            None => self.by_pod.remove(pod),
        };
        if let Some(before) = before
            && let Some(pods) = self.by_number.get_mut(&before)
        {
            pods.remove(pod);
            if pods.is_empty() {
                self.by_number.remove(&before);
            }
        }
        if let Some(identity) = identity {
            self.by_number.entry(identity).or_default().insert(pod.clone());
        }
    }

    /// The pods that have it.
    pub(crate) fn of(&self, identity: Identity) -> impl Iterator<Item = &PodKey> {
        self.by_number.get(&identity).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::parse([text]).expect("literal labels")
    }

    #[test]
    fn nodes_agree_on_the_number_to_try() {
        let needed = BTreeSet::from([labels("k8s:app=web")]);
        let first = ClusterIdentities::default().want(&needed);
        let mut other = ClusterIdentities::default();
        other.insert(4711, labels("k8s:app=db"));
        assert_eq!(first, other.want(&needed));
        assert!((CLUSTER_MIN..=CLUSTER_MAX).contains(&first[0].1));
        assert!(other.want(&needed).is_empty(), "asked once");
    }

    #[test]
    fn a_taken_number_leads_to_the_next() {
        let web = labels("k8s:app=web");
        let mut identities = ClusterIdentities::default();
        let number = identities.want(&BTreeSet::from([web.clone()]))[0].1;
        identities.insert(number, labels("k8s:app=thief"));
        let next = identities.refused(&web).expect("another number");
        assert_ne!(next, number);
        identities.insert(next, web.clone());
        assert_eq!(identities.number(&web), Some(next));
        assert!(identities.want(&BTreeSet::from([web.clone()])).is_empty());
        assert_eq!(identities.refused(&web), None, "no longer wanted");
    }

    #[test]
    fn of_two_numbers_the_lower_counts_until_it_goes() {
        let web = labels("k8s:app=web");
        let mut identities = ClusterIdentities::default();
        identities.insert(500, web.clone());
        identities.insert(400, web.clone());
        assert_eq!(identities.number(&web), Some(400));
        assert_eq!(identities.remove(400), Some(web.clone()));
        assert_eq!(identities.number(&web), Some(500));
        assert_eq!(identities.insert(500, labels("k8s:app=db")), Some(web));
    }
}
