use std::collections::BTreeMap;

use abi::Identity;
use abi::identity::{LOCAL_MAX, LOCAL_MIN};
use ipnet::IpNet;

/// Numbers of CIDRs that policies name: node-local, counted, and released late.
///
/// A number outlives its last user by [`CidrIdentities::GRACE`], so that a policy that is replaced (deleted and created
/// again) keeps its numbers, and so that no packet meets a number that was just given to another prefix.
#[derive(Debug, Default)]
pub struct CidrIdentities {
    by_prefix: BTreeMap<IpNet, Entry>,
    by_number: BTreeMap<Identity, IpNet>,
    next: Identity,
}

#[derive(Debug)]
struct Entry {
    number: Identity,
    users: u32,
    /// When the last user left, ns of the caller's clock.
    idle_since: u64,
}

/// No number is left between [`LOCAL_MIN`] and [`LOCAL_MAX`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no node-local identity is left for {prefix}: policies name too many different CIDRs")]
pub struct Exhausted {
    /// The prefix that got none.
    pub prefix: IpNet,
}

impl CidrIdentities {
    /// How long an unused number stays bound to its prefix, ns.
    pub const GRACE: u64 = 600_000_000_000;

    /// Binds a prefix to the number found in the kernel, before any policy is read. It counts as unused since `now`.
    pub fn adopt(&mut self, prefix: IpNet, number: Identity, now: u64) {
        let prefix = prefix.trunc();
        if !(LOCAL_MIN..=LOCAL_MAX).contains(&number)
            || self.by_number.contains_key(&number)
            || self.by_prefix.contains_key(&prefix)
        {
            return;
        }
        self.by_number.insert(number, prefix);
        self.by_prefix.insert(prefix, Entry { number, users: 0, idle_since: now });
    }

    /// Adds a user of `prefix`; the flag tells whether this is its first one.
    ///
    /// # Errors
    /// [`Exhausted`] when all numbers are bound.
    pub fn acquire(&mut self, prefix: IpNet) -> Result<(Identity, bool), Exhausted> {
        let prefix = prefix.trunc();
        if let Some(entry) = self.by_prefix.get_mut(&prefix) {
            entry.users += 1;
            return Ok((entry.number, entry.users == 1));
        }
        let number = self.free_number().ok_or(Exhausted { prefix })?;
        self.by_number.insert(number, prefix);
        self.by_prefix.insert(prefix, Entry { number, users: 1, idle_since: 0 });
        Ok((number, true))
    }

    /// Removes a user of `prefix`; returns its number if that was the last one.
    pub fn release(&mut self, prefix: IpNet, now: u64) -> Option<Identity> {
        let entry = self.by_prefix.get_mut(&prefix.trunc())?;
        entry.users = entry.users.saturating_sub(1);
        if entry.users > 0 {
            return None;
        }
        entry.idle_since = now;
        Some(entry.number)
    }

    /// Unbinds what nobody used for [`CidrIdentities::GRACE`], and returns it.
    pub fn expire(&mut self, now: u64) -> Vec<(IpNet, Identity)> {
        let over: Vec<(IpNet, Identity)> = self
            .by_prefix
            .iter()
            .filter(|(_, e)| e.users == 0 && now.saturating_sub(e.idle_since) >= Self::GRACE)
            .map(|(prefix, e)| (*prefix, e.number))
            .collect();
        for (prefix, number) in &over {
            self.by_prefix.remove(prefix);
            self.by_number.remove(number);
        }
        over
    }

    /// The number of `prefix`, if it is bound.
    pub fn number(&self, prefix: &IpNet) -> Option<Identity> {
        self.by_prefix.get(prefix).map(|e| e.number)
    }

    /// The prefix of a number, if it is bound.
    pub fn prefix(&self, number: Identity) -> Option<IpNet> {
        self.by_number.get(&number).copied()
    }

    /// Every binding: prefix, number, users.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, Identity, u32)> + '_ {
        self.by_prefix.iter().map(|(prefix, e)| (*prefix, e.number, e.users))
    }

    /// The next number in a circle, so that a released one rests as long as possible.
    fn free_number(&mut self) -> Option<Identity> {
        let count = LOCAL_MAX - LOCAL_MIN + 1;
        let start = self.next;
        let free = (0..count)
            .map(|i| LOCAL_MIN + (start + i) % count)
            .find(|number| !self.by_number.contains_key(number))?;
        self.next = (free - LOCAL_MIN + 1) % count;
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("literal prefix")
    }

    #[test]
    fn users_share_a_number_and_release_it_late() {
        let mut cidrs = CidrIdentities::default();
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok((LOCAL_MIN, true)));
        assert_eq!(cidrs.acquire(net("10.1.2.3/8")), Ok((LOCAL_MIN, false)), "host bits do not count");
        assert_eq!(cidrs.release(net("10.0.0.0/8"), 5), None);
        assert_eq!(cidrs.release(net("10.0.0.0/8"), 7), Some(LOCAL_MIN));
        assert!(cidrs.expire(CidrIdentities::GRACE).is_empty());
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok((LOCAL_MIN, true)), "comes back with its number");
        cidrs.release(net("10.0.0.0/8"), 7);
        assert_eq!(cidrs.expire(7 + CidrIdentities::GRACE), [(net("10.0.0.0/8"), LOCAL_MIN)]);
        assert_eq!(cidrs.acquire(net("11.0.0.0/8")), Ok((LOCAL_MIN + 1, true)), "released numbers rest");
    }

    #[test]
    fn what_the_kernel_holds_keeps_its_number() {
        let mut cidrs = CidrIdentities::default();
        cidrs.adopt(net("fd00::/8"), LOCAL_MIN, 0);
        cidrs.adopt(net("fd01::/16"), LOCAL_MIN, 0);
        cidrs.adopt(net("10.0.0.0/8"), 300, 0);
        assert_eq!(cidrs.iter().count(), 1);
        assert_eq!(cidrs.acquire(net("10.0.0.0/8")), Ok((LOCAL_MIN + 1, true)));
        assert_eq!(cidrs.acquire(net("fd00::/8")), Ok((LOCAL_MIN, true)));
    }
}
