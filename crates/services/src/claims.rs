//! Who wants which frontend, and who has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use abi::FrontendKey;

use crate::compile::Plan;
use crate::model::{Owner, Protocol};

/// One owner's wish for one frontend.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) rank: Rank,
    pub(crate) port: Arc<PortRef>,
    /// Of the service port.
    pub(crate) number: u32,
    pub(crate) plan: Plan,
}

/// Older first; of the same age, services before pods, then by name: nodes agree, and so does an agent after a restart.
/// Local redirect policies come after all others: what a service or a pod has is not theirs to take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    redirects: bool,
    created: u64,
    pub(crate) owner: Owner,
}

impl Rank {
    /// `created`: seconds.
    pub(crate) fn new(created: u64, owner: Owner) -> Self {
        Self { redirects: matches!(owner, Owner::Redirect(_)), created, owner }
    }
}

/// A port of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortRef {
    pub(crate) name: Arc<str>,
    pub(crate) protocol: Protocol,
}

/// All claims.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// By rank; never empty.
    by_key: BTreeMap<FrontendKey, Vec<Claim>>,
    /// Frontends with more than one claim.
    contested: BTreeSet<FrontendKey>,
}

impl Claims {
    /// Adds a claim. An owner has at most one on a frontend.
    pub(crate) fn add(&mut self, key: FrontendKey, claim: Claim) {
        let claims = self.by_key.entry(key).or_default();
        let at = claims.partition_point(|other| other.rank < claim.rank);
        claims.insert(at, claim);
        if claims.len() > 1 {
            self.contested.insert(key);
        }
    }

    /// Withdraws an owner's claim.
    pub(crate) fn withdraw(&mut self, key: &FrontendKey, owner: &Owner) {
        let Some(claims) = self.by_key.get_mut(key) else { return };
        claims.retain(|claim| claim.rank.owner != *owner);
        if claims.len() < 2 {
            self.contested.remove(key);
        }
        if claims.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// Whether `owner` claims this frontend.
    pub(crate) fn has(&self, key: &FrontendKey, owner: &Owner) -> bool {
        self.by_key.get(key).is_some_and(|claims| claims.iter().any(|claim| claim.rank.owner == *owner))
    }

    /// The claim that counts.
    pub(crate) fn winner(&self, key: &FrontendKey) -> Option<&Claim> {
        self.by_key.get(key)?.first()
    }

    /// Frontend, who has it, who does not.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = (FrontendKey, &Owner, &Owner)> {
        let split = |key: &FrontendKey| Some((*key, self.by_key.get(key)?.split_first()?));
        self.contested.iter().filter_map(split).flat_map(|(key, (winner, losers))| {
            losers.iter().map(move |loser| (key, &winner.rank.owner, &loser.rank.owner))
        })
    }
}
