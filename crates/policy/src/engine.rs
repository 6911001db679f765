use crate::cookies::RuleRef;
use crate::explain::{self, Explanation, Packet};
use crate::repository::{Repository, RuleDiff};
use crate::rule::{NamedPorts, Peer, Rule};
use crate::selector_cache::{SelectorCache, World};
use crate::table::{PolicyTable, TableDelta};
use crate::tables::{Tables, Wanted};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use types::{IpNet, Labels, NumericIdentity, PolicyOrigin, Reserved};

/// The whole of policy: rules, identities and subjects go in one by one; what changes in which table comes out.
#[derive(Debug)]
pub struct Engine {
    options: Options,
    repository: Repository,
    cache: SelectorCache,
    tables: Tables,
    subjects: BTreeMap<SubjectId, Attached>,
}

#[derive(Debug)]
struct Attached {
    info: SubjectInfo,
    table: TableId,
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
    /// Both directions are closed for every pod. The node itself is closed by rules alone: nobody could open it again.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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
    pub fn new(options: Options) -> Self {
        let world = World { families: options.families, cluster: options.cluster.clone() };
        let mut engine = Self {
            options,
            repository: Repository::default(),
            cache: SelectorCache::new(world),
            tables: Tables::default(),
            subjects: BTreeMap::new(),
        };
        for reserved in Reserved::ALL {
            engine.cache.set_identity(reserved.id, Some(IdentityInfo::of(reserved.labels())));
        }
        engine
    }

    /// Makes `rules` the rules of `origin`, in place of those it had.
    pub fn apply(&mut self, origin: PolicyOrigin, rules: Vec<Rule>) -> Update {
        self.set_policies([(origin, Some(rules))].into())
    }

    /// Forgets the rules of `origin`.
    pub fn remove(&mut self, origin: &PolicyOrigin) -> Update {
        self.set_policies([(origin.clone(), None)].into())
    }

    /// Sets (`Some`) or forgets (`None`) the rules of many origins at once; origins not named stay as they are. A rule that
    /// is equal and in the same place as before is not touched, and neither is any table that only it concerns.
    pub fn set_policies(&mut self, changes: BTreeMap<PolicyOrigin, Option<Vec<Rule>>>) -> Update {
        let RuleDiff { added, removed, prefixes_added, prefixes_removed } =
            self.repository.change(changes, &mut self.cache);
        let mut update = Update { prefixes_added, prefixes_removed, ..self.update() };
        let concerned = |attached: &Attached| {
            added.iter().chain(&removed).any(|rule| rule.rule.subject.matches(&attached.info.labels))
        };
        let subjects: Vec<SubjectId> =
            self.subjects.iter().filter(|(_, attached)| concerned(attached)).map(|(id, _)| *id).collect();
        // Pods with equal labels need the same table.
        let mut known: HashMap<SubjectInfo, TableId> = HashMap::new();
        for id in subjects {
            let Some(attached) = self.subjects.get(&id) else { continue };
            let info = attached.info.clone();
            let table = match known.get(&info) {
                Some(table) => *table,
                None => self.table_for(&info, &mut update),
            };
            known.insert(info, table);
            self.move_subject(id, table, &mut update);
        }
        self.repository.release(&removed, &mut self.cache);
        update
    }

    /// Learns, changes (`Some`) or forgets (`None`) identities. Only tables whose rules name a peer that such an identity
    /// matches, or matched, are touched, and in these only the entries of the identity.
    pub fn set_identities(&mut self, changes: BTreeMap<NumericIdentity, Option<IdentityInfo>>) -> Update {
        let mut update = self.update();
        for (id, info) in changes {
            let change = self.cache.set_identity(id, info);
            self.tables.refresh(id, &change, &self.cache, &mut update.tables);
        }
        update
    }

    /// Learns, changes (`Some`) or forgets (`None`) a subject.
    pub fn set_subject(&mut self, id: SubjectId, info: Option<SubjectInfo>) -> Update {
        let mut update = self.update();
        let Some(info) = info else {
            if let Some(attached) = self.subjects.remove(&id) {
                update.subjects.insert(id, None);
                self.tables.leave(attached.table, id, &mut update.tables);
            }
            return update;
        };
        if self.subjects.get(&id).is_some_and(|attached| attached.info == info) {
            return update;
        }
        let table = self.table_for(&info, &mut update);
        match self.subjects.get_mut(&id) {
            Some(attached) => {
                attached.info = info;
                self.move_subject(id, table, &mut update);
            }
            None => {
                self.tables.join(table, id);
                self.subjects.insert(id, Attached { info, table });
                update.subjects.insert(id, Some(table));
            }
        }
        update
    }

    /// Grows with every change of the rules.
    pub fn revision(&self) -> u64 {
        self.repository.revision()
    }

    /// The table of a subject.
    pub fn table_of(&self, id: SubjectId) -> Option<TableId> {
        self.subjects.get(&id).map(|attached| attached.table)
    }

    /// What is known of a subject.
    pub fn subject(&self, id: SubjectId) -> Option<&SubjectInfo> {
        self.subjects.get(&id).map(|attached| &attached.info)
    }

    /// The table as it is now. Keeping it makes the next change of the table copy it first.
    pub fn table(&self, id: TableId) -> Option<Arc<PolicyTable>> {
        self.tables.get(id)
    }

    /// Which subjects use the table.
    pub fn users(&self, id: TableId) -> BTreeSet<SubjectId> {
        self.tables.users(id)
    }

    /// All prefixes that rules name, exceptions included: each needs an identity of the node's own, with the labels of
    /// [`Labels::of_cidr`]. Whole families (`0.0.0.0/0`) are not among them: those are the world.
    pub fn prefixes_in_use(&self) -> BTreeSet<IpNet> {
        self.repository.prefixes().collect()
    }

    /// The rules of every policy, for `policy get`.
    pub fn policies(&self) -> impl Iterator<Item = (&PolicyOrigin, &[Rule])> {
        self.repository.policies()
    }

    /// Every peer that rules name, the number of rules that do, and the identities that match it, for `policy selectors`.
    pub fn selectors(&self) -> impl Iterator<Item = (&Peer, usize, &BTreeSet<NumericIdentity>)> {
        self.cache.selectors()
    }

    /// The labels of an identity.
    pub fn labels_of(&self, id: NumericIdentity) -> Option<&Labels> {
        self.cache.identity_of(id).map(|identity| &identity.labels)
    }

    /// The rules that a cookie stands for; also for a while after no table holds it any more.
    pub fn cookie(&self, cookie: u32) -> Option<&[RuleRef]> {
        self.tables.cookie(cookie)
    }

    /// Why a packet of this subject passes or not. Reads the rules, not the tables: what a table says is
    /// [`PolicyTable::lookup`], and both always agree.
    pub fn explain(&self, subject: &SubjectInfo, packet: &Packet) -> Explanation {
        let rules = self.repository.selecting(&subject.labels);
        explain::explain(subject, packet, &rules, &self.cache, &self.options.for_subject(&subject.labels))
    }

    fn update(&self) -> Update {
        Update { revision: self.repository.revision(), ..Update::default() }
    }

    fn table_for(&mut self, info: &SubjectInfo, update: &mut Update) -> TableId {
        let rules = match self.options.mode {
            EnforcementMode::Never => Vec::new(),
            EnforcementMode::Default | EnforcementMode::Always => self.repository.selecting(&info.labels),
        };
        let wanted = Wanted { rules, named_ports: &info.named_ports, audit: info.audit };
        let options = self.options.for_subject(&info.labels);
        self.tables.find_or_make(wanted, &self.cache, &options, &mut update.tables)
    }

    fn move_subject(&mut self, id: SubjectId, table: TableId, update: &mut Update) {
        let Some(attached) = self.subjects.get_mut(&id) else { return };
        let old = std::mem::replace(&mut attached.table, table);
        if old != table {
            self.tables.join(table, id);
            self.tables.leave(old, id, &mut update.tables);
            update.subjects.insert(id, Some(table));
        }
    }
}

impl IdentityInfo {
    /// An identity that names no ports.
    pub fn of(labels: Labels) -> Self {
        Self { labels, named_ports: NamedPorts::new() }
    }
}

impl Options {
    /// How policy is enforced on a subject with these labels.
    fn for_subject(&self, labels: &Labels) -> Options {
        let mut options = self.clone();
        if options.mode == EnforcementMode::Always && labels.has_reserved("host") {
            options.mode = EnforcementMode::Default;
        }
        options
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: EnforcementMode::Default,
            allow_localhost: true,
            families: Families::V4,
            cluster: "default".to_owned(),
        }
    }
}

impl Update {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.subjects.is_empty()
            && self.prefixes_added.is_empty()
            && self.prefixes_removed.is_empty()
    }
}

#[cfg(test)]
mod tests;
