use std::sync::Arc;

use abi::{Addr, Identity, IpcacheEntry, PodFacts, PrefixKey};
use ipnet::IpNet;
use policy::{PolicyTable, TableDelta, TableId};
use types::{Labels, PolicyOrigin};

use crate::model::PodKey;
use crate::objects::{Condition, EndpointObject};
use crate::routes::Route;
use crate::table::Table;
use crate::untracked::Untracked;

/// Rows to write (`Some`) or to delete (`None`).
pub type Delta<K, V> = Vec<(K, Option<V>)>;

/// What is to change outside, as of a revision.
///
/// Order of writing: new policy entries; blocks; addresses and prefixes; pods (rows before addresses); then policy entries and
/// slots that go; routes; last the generation. Thus a policy table knows an identity before any address has it, a pod
/// never points to a table that is not complete, and no packet is judged under old facts once the generation has grown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// Grows with every update that holds rows.
    pub revision: u64,
    /// The desired state is complete. Until it is, nothing of the last run may be taken away.
    pub settled: bool,
    /// Policy tables.
    pub policies: Vec<PolicyWrite>,
    /// [`abi::maps::BLOCKS`].
    pub blocks: Delta<PrefixKey, u32>,
    /// [`abi::maps::HOSTS`].
    pub hosts: Delta<Addr, IpcacheEntry>,
    /// [`abi::maps::PREFIXES`].
    pub prefixes: Delta<PrefixKey, IpcacheEntry>,
    /// [`abi::maps::PODS`], by interface index.
    pub pods: Delta<u32, PodRow>,
    /// [`abi::maps::LOCAL`].
    pub local: Delta<Addr, u32>,
    /// Routes of the node.
    pub routes: Delta<IpNet, Route>,
    /// What the kernel's connection tracking is to leave alone, all of it, if that has changed.
    pub untracked: Option<Untracked>,
    /// CiliumEndpoint objects.
    pub endpoints: Delta<PodKey, EndpointObject>,
    /// Conditions of policy objects.
    pub conditions: Delta<PolicyOrigin, Condition>,
    /// Everything else.
    pub effects: Vec<Effect>,
    /// What the node's operator should read in the log.
    pub problems: Vec<String>,
}

/// A write to the policy tables.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyWrite {
    /// A new table, that no pod uses yet.
    Create {
        /// Its number.
        id: TableId,
        /// The table.
        table: Arc<PolicyTable>,
    },
    /// Entries of a table in use.
    Edit {
        /// Its number.
        id: TableId,
        /// The entries.
        delta: TableDelta,
    },
    /// No pod uses this table any more.
    Remove {
        /// Its number.
        id: TableId,
    },
}

/// A row of [`abi::maps::PODS`], but for the slot of its policy table, which only the writer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRow {
    /// The policy table.
    pub table: TableId,
    /// The row, with 0 for the slot.
    pub facts: PodFacts,
}

/// Something to do that is not a row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Create the CiliumIdentity `number` for `labels`; if others have taken the number, say so with
    /// [`crate::State::identity_refused`].
    CreateIdentity {
        /// The number.
        number: Identity,
        /// The labels.
        labels: Labels,
    },
    /// Keep the endpoint on disk.
    Save(u16),
    /// Forget the endpoint on disk.
    Forget(u16),
}

impl Update {
    /// Whether anything is to be written to the kernel.
    pub fn has_rows(&self) -> bool {
        let tables = self.policies.len()
            + self.blocks.len()
            + self.hosts.len()
            + self.prefixes.len()
            + self.pods.len();
        tables + self.local.len() + self.routes.len() > 0
    }

    /// Whether nothing is to be written or done.
    pub fn is_empty(&self) -> bool {
        !self.has_rows()
            && self.endpoints.len() + self.conditions.len() + self.effects.len() + self.problems.len() == 0
    }
}

/// Takes what changed out of a table.
pub(crate) fn drain<K: Ord + Clone, V: Clone + PartialEq>(table: &mut Table<K, V>) -> Delta<K, V> {
    let touched = table.drain_touched();
    touched.into_iter().map(|key| (key.clone(), table.get(&key).cloned())).collect()
}
