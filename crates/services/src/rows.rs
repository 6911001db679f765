//! The frontends' rows as the kernel knows them, and how they follow the claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use abi::service::{CLUSTER_IP, EXTERNAL_DROP, EXTERNAL_IP, INTERNAL_DROP, KIND_MASK, LOAD_BALANCER};
use abi::{Addr, Frontend, FrontendKey, Range};

use crate::claims::Claims;
use crate::numbers::NO_SERVICE;
use crate::problem::Shortage;
use crate::sets::{Choice, Lease, Sets};
use crate::update::Delta;

/// The row for any port of a virtual address that has no frontend: what is sent there would else circle between the
/// node and its router.
const DEAD_END: Frontend = Frontend {
    service: NO_SERVICE,
    flags: EXTERNAL_DROP | INTERNAL_DROP,
    external: Range { start: 0, count: 0, maglev: 0 },
    internal: Range { start: 0, count: 0, maglev: 0 },
    affinity: 0,
};

/// Rows of [`abi::maps::FRONTENDS`].
#[derive(Debug, Default)]
pub(crate) struct Rows {
    rows: BTreeMap<FrontendKey, Row>,
    /// Frontends of each virtual address.
    vips: BTreeMap<Addr, u32>,
    /// Rows for any port of a virtual address.
    dead_ends: BTreeMap<Addr, Frontend>,
    /// Virtual addresses whose dead end may have to come or go.
    touched_vips: BTreeSet<Addr>,
    /// Addresses of nodes, on which other things than services listen.
    node_addresses: BTreeSet<Addr>,
    /// Frontends that are not as they should be.
    short: BTreeMap<FrontendKey, Shortage>,
}

/// A row and what it holds on to.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) frontend: Frontend,
    pub(crate) external: Option<Lease>,
    pub(crate) internal: Option<Lease>,
}

impl Rows {
    /// Makes the row of `key` what its winner wants, as far as there is room.
    pub(crate) fn place(
        &mut self,
        key: FrontendKey,
        claims: &Claims,
        sets: &mut Sets,
        revision: u64,
        changes: &mut Delta<FrontendKey, Frontend>,
    ) {
        self.short.remove(&key);
        let old = self.rows.remove(&key);
        let old_value = old.as_ref().map(|row| row.frontend);
        let new = claims.winner(&key).map(|claim| {
            // Backends of another service are no stopgap.
            let stopgap = old.as_ref().filter(|row| row.frontend.service == claim.number);
            let plan = &claim.plan;
            let external = stopgap.map(|row| (row.frontend.external, row.external.as_ref()));
            let internal = stopgap.map(|row| (row.frontend.internal, row.internal.as_ref()));
            let (external_range, external, first) = acquire(sets, &plan.external, external);
            let (internal_range, internal, second) = acquire(sets, &plan.internal, internal);
            if let Some(shortage) = first.or(second) {
                self.short.insert(key, shortage);
            }
            let frontend = Frontend {
                service: claim.number,
                flags: plan.flags,
                external: external_range,
                internal: internal_range,
                affinity: plan.affinity,
            };
            Row { frontend, external, internal }
        });
        let new_value = new.as_ref().map(|row| row.frontend);
        if let Some(row) = old {
            sets.release(row.external, revision);
            sets.release(row.internal, revision);
        }
        if old_value != new_value {
            changes.push((key, new_value));
        }
        self.count_vip(&key, old_value, new_value);
        if let Some(row) = new {
            self.rows.insert(key, row);
        }
    }

    /// Brings the dead ends up to date with the frontends.
    pub(crate) fn place_dead_ends(&mut self, changes: &mut Delta<FrontendKey, Frontend>) {
        for addr in std::mem::take(&mut self.touched_vips) {
            let wanted = self.vips.contains_key(&addr) && !self.node_addresses.contains(&addr);
            let value = wanted.then_some(DEAD_END);
            let old = match value {
                Some(value) => self.dead_ends.insert(addr, value),
                None => self.dead_ends.remove(&addr),
            };
            if old != value {
                changes.push((any_port(addr), value));
            }
        }
    }

    /// Takes over a row that the kernel has.
    pub(crate) fn adopt(&mut self, key: FrontendKey, row: Row) {
        self.count_vip(&key, None, Some(row.frontend));
        self.rows.insert(key, row);
    }

    /// Takes over a dead end that the kernel has; `false`: the key is not one.
    pub(crate) fn adopt_dead_end(&mut self, key: FrontendKey, frontend: Frontend) -> bool {
        let is_dead_end = key == any_port(key.addr);
        if is_dead_end {
            self.dead_ends.insert(key.addr, frontend);
            self.touched_vips.insert(key.addr);
        }
        is_dead_end
    }

    /// Tells the addresses of nodes.
    pub(crate) fn set_node_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses: BTreeSet<Addr> = addresses.into_iter().map(|ip| ip.to_canonical().into()).collect();
        self.touched_vips.extend(addresses.symmetric_difference(&self.node_addresses));
        self.node_addresses = addresses;
    }

    /// Whether an address is a node's.
    pub(crate) fn is_node(&self, addr: &Addr) -> bool {
        self.node_addresses.contains(addr)
    }

    /// The rows of frontends, without dead ends.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FrontendKey, &Frontend)> {
        self.rows.iter().map(|(key, row)| (key, &row.frontend))
    }

    /// The dead ends.
    pub(crate) fn dead_ends(&self) -> impl Iterator<Item = (FrontendKey, Frontend)> {
        self.dead_ends.iter().map(|(addr, frontend)| (any_port(*addr), *frontend))
    }

    /// The row of a frontend.
    pub(crate) fn get(&self, key: &FrontendKey) -> Option<&Frontend> {
        self.rows.get(key).map(|row| &row.frontend)
    }

    /// Frontends that are to be tried again.
    pub(crate) fn short(&self) -> &BTreeMap<FrontendKey, Shortage> {
        &self.short
    }

    fn count_vip(&mut self, key: &FrontendKey, old: Option<Frontend>, new: Option<Frontend>) {
        let (old, new) = (old.is_some_and(is_virtual), new.is_some_and(is_virtual));
        if old == new {
            return;
        }
        self.touched_vips.insert(key.addr);
        let count = self.vips.entry(key.addr).or_default();
        *count = if new { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.vips.remove(&key.addr);
        }
    }
}

/// A range for `choice`; without room, the one it had.
fn acquire(
    sets: &mut Sets,
    choice: &Choice,
    stopgap: Option<(Range, Option<&Lease>)>,
) -> (Range, Option<Lease>, Option<Shortage>) {
    let (lease, shortage) = sets.acquire(choice);
    if let (None, Some(_), Some((range, Some(held)))) = (&lease, shortage, stopgap) {
        let lease = sets.again(held);
        // A table that is not held may be overwritten.
        let maglev = sets.range(Some(&lease)).maglev;
        return (Range { maglev, ..range }, Some(lease), shortage);
    }
    (sets.range(lease.as_ref()), lease, shortage)
}

/// Whether the address is the service's alone, and not a node's.
fn is_virtual(frontend: Frontend) -> bool {
    matches!(frontend.flags & KIND_MASK, CLUSTER_IP | EXTERNAL_IP | LOAD_BALANCER)
}

fn any_port(addr: Addr) -> FrontendKey {
    FrontendKey { addr, port: 0, protocol: 0, _pad: 0 }
}
