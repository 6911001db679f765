use crate::cookies::{Cookies, RuleRef};
use crate::explain::{Explanation, Packet};
use crate::rule::{NamedPorts, Rule};
use crate::table::{PolicyTable, TableDelta};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{IpNet, Labels, NumericIdentity, PolicyOrigin};

/// The whole of policy: rules, identities and subjects go in one by one; what changes in which table comes out.
#[derive(Debug)]
pub struct Engine {
    _todo: Cookies,
}

/// How policy is enforced on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `policyEnforcementMode`.
    pub mode: EnforcementMode,
    /// The node may reach its own pods whatever normal rules leave open (`allow-localhost` other than `policy`).
    pub allow_localhost: bool,
    /// Which families the cluster speaks: decides what `0.0.0.0/0` and `::/0` mean for the identity `world`.
    pub families: Families,
    /// Name of this cluster, for the entity `cluster`.
    pub cluster: String,
}

/// `policyEnforcementMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EnforcementMode {
    /// A direction is closed by the first rule that selects the pod in it.
    #[default]
    Default,
    /// Both directions are closed for every pod.
    Always,
    /// Nothing is filtered.
    Never,
}

/// Address families of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Families {
    /// IPv4 alone.
    #[default]
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

/// A table of the engine. Pods that the same rules select share one; the number is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

/// What the caller calls a subject: its endpoint number, say.
pub type SubjectId = u64;

/// A pod whose traffic is ruled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectInfo {
    /// Its identity labels.
    pub labels: Labels,
    /// The ports its spec names.
    pub named_ports: NamedPorts,
    /// Everything that rules would do to it is a dry run (audit of a namespace or an endpoint).
    pub audit: bool,
}

/// What one call changed. Empty means that the kernel already has all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The policy revision that is realized once all of this is written.
    pub revision: u64,
    /// Tables that are new or changed, and those no subject uses any more.
    pub tables: BTreeMap<TableId, TableChange>,
    /// Subjects that have another table than before; `None`: the subject is gone.
    pub subjects: BTreeMap<SubjectId, Option<TableId>>,
    /// Prefixes that rules name now and did not before: they need identities.
    pub prefixes_added: BTreeSet<IpNet>,
    /// Prefixes that no rule names any more.
    pub prefixes_removed: BTreeSet<IpNet>,
}

/// What became of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// New: write all of it, then move its subjects.
    Created(Arc<PolicyTable>),
    /// Changed in place by identities that came, went, or changed.
    Edited(TableDelta),
    /// No subject uses it any more: free it after the subjects have moved.
    Removed,
}

/// What is known of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityInfo {
    /// Its labels.
    pub labels: Labels,
    /// Ports that the specs of its pods name, for rules on egress.
    pub named_ports: NamedPorts,
}

impl Engine {
    /// An engine that knows the reserved identities and no rule.
    pub fn new(_options: Options) -> Self {
        todo!()
    }
    /// Makes `rules` the rules of `origin`, in place of those it had.
    pub fn apply(&mut self, _origin: PolicyOrigin, _rules: Vec<Rule>) -> Update {
        todo!()
    }
    /// Forgets the rules of `origin`.
    pub fn remove(&mut self, _origin: &PolicyOrigin) -> Update {
        todo!()
    }
    /// Learns, changes (`Some`) or forgets (`None`) identities.
    pub fn set_identities(&mut self, _changes: BTreeMap<NumericIdentity, Option<IdentityInfo>>) -> Update {
        todo!()
    }
    /// Learns, changes (`Some`) or forgets (`None`) a subject.
    pub fn set_subject(&mut self, _id: SubjectId, _info: Option<SubjectInfo>) -> Update {
        todo!()
    }
    /// Grows with every change of the rules.
    pub fn revision(&self) -> u64 {
        todo!()
    }
    /// The table of a subject.
    pub fn table_of(&self, _id: SubjectId) -> Option<TableId> {
        todo!()
    }
    /// The table as it is now.
    pub fn table(&self, _id: TableId) -> Option<Arc<PolicyTable>> {
        todo!()
    }
    /// Which subjects use the table.
    pub fn users(&self, _id: TableId) -> BTreeSet<SubjectId> {
        todo!()
    }
    /// All prefixes that rules name, exceptions included: each needs an identity of the node's own.
    pub fn prefixes_in_use(&self) -> BTreeSet<IpNet> {
        todo!()
    }
    /// The rules of every policy, for `policy get`.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyOrigin, &[Rule])> {
        todo!();
        #[expect(unreachable_code, reason = "signature only, being written")]
        std::iter::empty()
    }
    /// The rules that a cookie stands for; also for a while after no table holds it any more.
    pub fn cookie(&self, _cookie: u32) -> Option<&[RuleRef]> {
        todo!()
    }
    /// Why a packet of this subject passes or not.
    pub fn explain(&self, _subject: &SubjectInfo, _packet: &Packet) -> Explanation {
        todo!()
    }
}
