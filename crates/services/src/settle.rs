//! From changed objects to changed rows.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use abi::FrontendKey;

use crate::adopt::Strays;
use crate::balancer::{Balancer, Port};
use crate::claims::{Claim, PortRef, Rank};
use crate::compile::{self, PortPlan};
use crate::health;
use crate::model::{ObjectName, Owner, ServicePort};
use crate::update::{Update, member_key, range_key};

impl Balancer {
    /// Works out what the changes since the last call come to. The first call must wait until all objects were listed.
    /// `now`: nanoseconds of any clock that does not go backwards, the same as for [`Balancer::realized`].
    pub fn settle(&mut self, now: u64) -> Update {
        self.revision += 1;
        let mut update = Update { revision: self.revision, ..Update::default() };
        self.sets.reclaim(now);
        let mut touched: BTreeSet<FrontendKey> = self.rows.short().keys().copied().collect();
        self.follow_redirects();
        // In the order of rank: who has a frontend takes up the number that was found on it.
        let dirty = std::mem::take(&mut self.dirty).into_iter();
        let mut dirty: Vec<Rank> = dirty.map(|owner| Rank::new(self.age(&owner), owner)).collect();
        dirty.sort_unstable();
        for rank in &dirty {
            self.work_out(rank, &mut touched, &mut update);
        }
        if let Some(strays) = self.strays.take() {
            touched.extend(strays.frontends);
            update.members.extend(strays.members.into_keys().map(|key| (key, None)));
            update.source_ranges.extend(strays.source_ranges.into_keys().map(|key| (key, None)));
        }
        // Those found are among the touched, so this update replaces or removes them all.
        self.sets.release_foreign(self.revision);
        for key in touched {
            self.rows.place(key, &self.claims, &mut self.sets, self.revision, &mut update.frontends);
        }
        self.rows.place_dead_ends(&mut update.frontends);
        self.numbers.settled();
        let writes = self.sets.take_writes();
        update.backends = writes.backends;
        update.maglev = writes.maglev.into_iter().collect();
        update
    }

    /// All updates up to `revision` are in the kernel. Until this is said, slots that they let go are not used again: the
    /// kernel may still have frontends that name them. Frontends that could not be created, as the table is full, do not
    /// stand in the way of saying it.
    pub fn realized(&mut self, revision: u64, now: u64) {
        self.sets.realized(revision, now);
    }

    /// When [`Balancer::settle`] should be called although nothing changed: some frontend waits for slots.
    pub fn due(&self) -> Option<u64> {
        if self.rows.short().is_empty() { None } else { self.sets.due() }
    }

    fn age(&self, owner: &Owner) -> u64 {
        let age = match owner {
            Owner::Service(name) => {
                self.services.get(name).and_then(|entry| Some(entry.service.as_ref()?.created))
            }
            Owner::Pod(name) => self.pods.get(name).map(|pod| pod.created),
            Owner::Redirect(name) => self.redirects.policies.get(name).map(|policy| policy.created),
        };
        age.unwrap_or(0)
    }

    /// Works an owner's rows out anew, all but its frontends' rows, whose keys go to `touched`.
    fn work_out(&mut self, rank: &Rank, touched: &mut BTreeSet<FrontendKey>, update: &mut Update) {
        let owner = &rank.owner;
        let mut old = self.ports.remove(owner).unwrap_or_default();
        for key in old.iter().flat_map(|port| &port.frontends) {
            self.claims.withdraw(key, owner);
            touched.insert(*key);
        }
        let plans = self.plans(owner);
        let mut ports = Vec::with_capacity(plans.len());
        for plan in plans {
            let PortPlan { name, protocol, mut frontends, members, source_ranges } = plan;
            // Two ports of a service with one number are refused by the API server; here the first has it.
            frontends.retain(|(key, _)| !self.claims.has(key, owner));
            let keys: Vec<FrontendKey> = frontends.iter().map(|(key, _)| *key).collect();
            if keys.is_empty() {
                continue;
            }
            let port = PortRef { name, protocol };
            let before = old.iter().position(|old| *old.port == port).map(|at| old.swap_remove(at));
            let number = match &before {
                Some(before) => before.number,
                None => self.numbers.take(keys.iter()),
            };
            let port = Arc::new(port);
            for (key, plan) in frontends {
                self.claims.add(key, Claim { rank: rank.clone(), port: Arc::clone(&port), number, plan });
                touched.insert(key);
            }
            let port = Port { port, number, frontends: keys, members, source_ranges };
            other_rows(before.as_ref(), Some(&port), self.strays.as_mut(), update);
            ports.push(port);
        }
        for gone in old {
            other_rows(Some(&gone), None, self.strays.as_mut(), update);
            self.numbers.give(gone.number);
        }
        if !ports.is_empty() {
            self.ports.insert(owner.clone(), ports);
        }
    }

    /// What an owner wants.
    fn plans(&mut self, owner: &Owner) -> Vec<PortPlan> {
        let name = match owner {
            Owner::Service(name) => name,
            Owner::Pod(name) => {
                return self.pods.get(name).map_or_else(Vec::new, |pod| compile::pod(pod, &self.settings));
            }
            Owner::Redirect(name) => return self.redirect_plans(name),
        };
        self.health.remove(name);
        let Some(entry) = self.services.get(name) else { return Vec::new() };
        let Some(service) = &entry.service else { return Vec::new() };
        if let Some(health) = health::of(service, entry.slices.values(), &self.settings) {
            self.health.insert(name.clone(), health);
        }
        let policy = self.redirects.of_service(name);
        let led = |port: &ServicePort, v4| {
            self.redirects.service_port(policy?, (&port.name, port.port, port.protocol), v4)
        };
        compile::service(service, &entry.slices, &led, &self.settings)
    }

    /// What a policy wants of the address that it names.
    fn redirect_plans(&mut self, name: &ObjectName) -> Vec<PortPlan> {
        self.redirects.refused.remove(name);
        let Some(policy) = self.redirects.policies.get(name) else { return Vec::new() };
        let Some(ip) = policy.address() else { return Vec::new() };
        if let Some(refusal) = self.refusal(ip) {
            self.redirects.refused.insert(name.clone(), (ip, refusal));
            return Vec::new();
        }
        let led = |name: &str, protocol| self.redirects.led(policy, name, protocol, ip.is_ipv4());
        compile::redirect(policy, &led, &self.settings)
    }
}

/// The rows of members and source ranges in which two states of a port differ.
fn other_rows(old: Option<&Port>, new: Option<&Port>, mut strays: Option<&mut Strays>, update: &mut Update) {
    let Some(Port { port, number, .. }) = new.or(old) else { return };
    let protocol = port.protocol.number();
    let members = |port: Option<&Port>| port.map_or_else(Vec::new, |port| port.members.clone());
    diff(&members(old), &members(new), |backend, state| {
        let key = member_key(*number, protocol, backend);
        let found = strays.as_mut().and_then(|strays| strays.members.remove(&key));
        if state.is_none() || found.as_ref() != state {
            update.members.push((key, state.copied()));
        }
    });
    let ranges = |port: Option<&Port>| {
        port.map_or_else(Vec::new, |port| port.source_ranges.iter().map(|range| (*range, 1)).collect())
    };
    diff(&ranges(old), &ranges(new), |range, value| {
        let key = range_key(*number, *range);
        let found = strays.as_mut().and_then(|strays| strays.source_ranges.remove(&key));
        if value.is_none() || found.as_ref() != value {
            update.source_ranges.push((key, value.copied()));
        }
    });
}

/// Tells of each key, in order, that has another value in `new`, or none.
fn diff<K: Ord, V: PartialEq>(old: &[(K, V)], new: &[(K, V)], mut tell: impl FnMut(&K, Option<&V>)) {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((gone, _)), Some((come, _))) => gone.cmp(come),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        match (before, after) {
            (Some((_, before)), Some((key, after))) if before != after => tell(key, Some(after)),
            (Some((key, _)), None) => tell(key, None),
            (None, Some((key, after))) => tell(key, Some(after)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_sorted_lists() {
        let mut told = Vec::new();
        diff(&[(1, 'a'), (2, 'b'), (4, 'd')], &[(2, 'b'), (3, 'c'), (4, 'e'), (5, 'f')], |key, value| {
            told.push((*key, value.copied()));
        });
        assert_eq!(told, [(1, None), (3, Some('c')), (4, Some('e')), (5, Some('f'))]);
    }
}
