use std::collections::BTreeMap;

use crate::ipcache::Claim;

/// Claims of several objects on the same address or prefix, in the order they came; the newest counts.
///
/// Objects outlive what they describe for a moment: a pod's address may be given to the next pod before the first
/// one's object is gone. Withdrawing one claim brings the one before it back.
#[derive(Debug)]
pub(crate) struct Claims<A, K> {
    by_address: BTreeMap<A, Vec<(K, Claim)>>,
    by_owner: BTreeMap<K, Vec<A>>,
}

impl<A, K> Default for Claims<A, K> {
    fn default() -> Self {
        Self { by_address: BTreeMap::new(), by_owner: BTreeMap::new() }
    }
}

impl<A: Ord + Copy, K: Ord + Clone> Claims<A, K> {
    /// Replaces all claims of `owner`; returns every address whose winning claim may be another now, with that claim.
    pub(crate) fn set(&mut self, owner: &K, claims: Vec<(A, Claim)>) -> Vec<(A, Option<Claim>)> {
        let before = self.by_owner.remove(owner).unwrap_or_default();
        let mut touched: Vec<A> = before.clone();
        for address in before.iter().filter(|a| !claims.iter().any(|(b, _)| a == &b)) {
            self.withdraw(address, owner);
        }
        for (address, claim) in &claims {
            let stack = self.by_address.entry(*address).or_default();
            match stack.iter_mut().find(|(k, _)| k == owner) {
                Some((_, held)) => *held = *claim,
                None => stack.push((owner.clone(), *claim)),
            }
            touched.push(*address);
        }
        if !claims.is_empty() {
            self.by_owner.insert(owner.clone(), claims.into_iter().map(|(a, _)| a).collect());
        }
        touched.sort_unstable();
        touched.dedup();
        touched.into_iter().map(|a| (a, self.winner(&a))).collect()
    }

    /// The newest claim on an address.
    pub(crate) fn winner(&self, address: &A) -> Option<Claim> {
        self.by_address.get(address)?.last().map(|(_, claim)| *claim)
    }

    /// Who made the newest claim on an address.
    pub(crate) fn owner(&self, address: &A) -> Option<&K> {
        self.by_address.get(address)?.last().map(|(owner, _)| owner)
    }

    fn withdraw(&mut self, address: &A, owner: &K) {
        if let Some(stack) = self.by_address.get_mut(address) {
            stack.retain(|(k, _)| k != owner);
            if stack.is_empty() {
                self.by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_goodbye_takes_nothing_from_the_successor() {
        let claim = |identity| Claim { identity, node: None };
        let mut claims = Claims::default();
        claims.set(&"old", vec![(1, claim(300)), (2, claim(300))]);
        claims.set(&"new", vec![(1, claim(301))]);
        assert_eq!(claims.winner(&1), Some(claim(301)));
        assert_eq!(claims.set(&"old", vec![]), [(1, Some(claim(301))), (2, None)]);
        assert_eq!(claims.owner(&1), Some(&"new"));
        assert_eq!(claims.set(&"new", vec![(1, claim(302))]), [(1, Some(claim(302)))]);
        assert_eq!(claims.set(&"new", vec![]), [(1, None)]);
    }
}
