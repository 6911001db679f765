//! What the policy engine answers: tables, and prefixes that need numbers.

use std::collections::{BTreeMap, BTreeSet};

use abi::Identity;
use ipnet::IpNet;
use policy::{TableChange, TableDelta, TableId, Update};

use super::State;
use crate::update::PolicyWrite;

/// Answers of the engine since the last settlement, joined.
#[derive(Debug, Default)]
pub(super) struct Pending {
    created: BTreeSet<TableId>,
    edited: BTreeMap<TableId, TableDelta>,
    removed: BTreeSet<TableId>,
    /// The newest policy revision.
    pub(super) revision: u64,
}

impl State {
    /// Takes in an answer of the engine. Prefixes it needs numbers for get them at once, which may lead to more answers.
    pub(super) fn take(&mut self, update: Update, now: u64) {
        let pending = &mut self.pending;
        pending.revision = pending.revision.max(update.revision);
        for (id, change) in update.tables {
            match change {
                TableChange::Created(_) => {
                    pending.created.insert(id);
                }
                TableChange::Edited(delta) => pending.edited.entry(id).or_default().merge(delta),
                TableChange::Removed => {
                    pending.removed.insert(id);
                }
            }
        }
        for subject in update.subjects.into_keys() {
            self.host.dirty |= subject == super::host::SUBJECT;
            self.dirty_endpoints.extend(u16::try_from(subject));
        }
        for prefix in update.prefixes_removed {
            self.cidrs.release(prefix, now);
        }
        for prefix in update.prefixes_added {
            self.acquire_cidr(prefix);
        }
    }

    /// Adds a user of a prefix, and makes it known if it is new.
    pub(super) fn acquire_cidr(&mut self, prefix: IpNet) {
        match self.cidrs.acquire(prefix) {
            Ok(_) if self.known_cidrs.contains(&prefix) => {}
            Ok((number, _)) => self.introduce_cidr(prefix, number),
            Err(exhausted) => self.problems.push(exhausted.to_string()),
        }
    }

    /// Makes a prefix and its number known to the policies and then to the tables of addresses.
    pub(super) fn introduce_cidr(&mut self, prefix: IpNet, number: Identity) {
        self.known_cidrs.insert(prefix);
        self.tell_identities([(number, Some(self.cidr_labels(prefix)))].into());
        self.ipcache.set_cidr(prefix, Some(number));
    }

    /// Forgets prefixes that nobody named for long.
    pub(super) fn expire_cidrs(&mut self, now: u64) {
        let over = self.cidrs.expire(now);
        let mut changes = BTreeMap::new();
        for (prefix, number) in over {
            self.known_cidrs.remove(&prefix);
            self.ipcache.set_cidr(prefix, None);
            changes.insert(number, None);
        }
        self.tell_identities(changes);
    }

    /// The writes for all tables that changed, in the order to make them.
    pub(super) fn policy_writes(&mut self) -> Vec<PolicyWrite> {
        let pending = std::mem::take(&mut self.pending);
        self.pending.revision = pending.revision;
        let mut writes = Vec::new();
        for id in pending.created.difference(&pending.removed) {
            let Some(table) = self.engine.table(*id) else { continue };
            writes.push(PolicyWrite::Create { id: *id, table });
        }
        for (id, delta) in pending.edited {
            let fresh = pending.created.contains(&id) || pending.removed.contains(&id);
            if !fresh && !delta.is_empty() {
                writes.push(PolicyWrite::Edit { id, delta });
            }
        }
        let gone = pending.removed.difference(&pending.created).map(|id| PolicyWrite::Remove { id: *id });
        writes.extend(gone);
        writes
    }
}
