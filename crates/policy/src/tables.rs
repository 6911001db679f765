//! The tables in use: one for each set of rules that selects a pod.

use crate::cookies::{Cookies, RuleRef};
use crate::engine::{EnforcementMode, Options, SubjectId, TableChange, TableId};
use crate::number_hash::NumberMap;
use crate::program::{Entries, Half, Program};
use crate::repository::{Compiled, RuleKey};
use crate::rule::{Direction, NamedPorts};
use crate::selector_cache::{IdentityChange, SelectorCache, SelectorId};
use crate::table::{L4Key, PolicyTable, TableDelta, TableKey};
use abi::PolicyEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use types::NumericIdentity;

/// All tables, found by what makes them.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<TableId, Table>,
    by_content: HashMap<Content, TableId>,
    by_selector: NumberMap<SelectorId, BTreeSet<TableId>>,
    /// Tables in which named ports alone can make entries.
    by_named_ports: BTreeSet<TableId>,
    cookies: Cookies,
    next: u64,
}

/// What a subject needs.
pub(crate) struct Wanted<'a> {
    pub(crate) rules: Vec<Arc<Compiled>>,
    pub(crate) named_ports: &'a NamedPorts,
    pub(crate) audit: bool,
}

/// What makes a table: equal content, equal table, whatever identities come and go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    rules: Vec<RuleKey>,
    /// Only the names that some rule uses.
    named_ports: NamedPorts,
    audit: bool,
    mode: EnforcementMode,
}

#[derive(Debug)]
struct Table {
    content: Content,
    programs: [Program; 2],
    image: Arc<PolicyTable>,
    users: BTreeSet<SubjectId>,
}

impl Tables {
    /// The table for `wanted`, made now if there is none.
    pub(crate) fn find_or_make(
        &mut self,
        wanted: Wanted<'_>,
        cache: &SelectorCache,
        options: &Options,
        changes: &mut BTreeMap<TableId, TableChange>,
    ) -> TableId {
        let content = Content::of(&wanted, options.mode);
        if let Some(id) = self.by_content.get(&content) {
            return *id;
        }
        let id = TableId(self.next);
        self.next += 1;
        let program =
            |direction| Program::new(direction, &wanted.rules, wanted.named_ports, wanted.audit, options);
        let programs = Direction::BOTH.map(program);
        let image = Arc::new(self.image(&programs, cache));
        for program in &programs {
            for selector in program.selectors() {
                self.by_selector.entry(selector).or_default().insert(id);
            }
            if program.follows_named_ports() {
                self.by_named_ports.insert(id);
            }
        }
        changes.insert(id, TableChange::Created(Arc::clone(&image)));
        self.by_content.insert(content.clone(), id);
        self.tables.insert(id, Table { content, programs, image, users: BTreeSet::new() });
        id
    }

    /// Notes that a subject uses a table.
    pub(crate) fn join(&mut self, id: TableId, subject: SubjectId) {
        if let Some(table) = self.tables.get_mut(&id) {
            table.users.insert(subject);
        }
    }

    /// Notes that a subject no longer uses a table; one that nobody uses is dropped.
    pub(crate) fn leave(
        &mut self,
        id: TableId,
        subject: SubjectId,
        changes: &mut BTreeMap<TableId, TableChange>,
    ) {
        let Some(table) = self.tables.get_mut(&id) else { return };
        table.users.remove(&subject);
        if !table.users.is_empty() {
            return;
        }
        let Some(table) = self.tables.remove(&id) else { return };
        for selector in table.programs.iter().flat_map(Program::selectors) {
            if let Some(tables) = self.by_selector.get_mut(&selector) {
                tables.remove(&id);
                if tables.is_empty() {
                    self.by_selector.remove(&selector);
                }
            }
        }
        self.by_named_ports.remove(&id);
        self.by_content.remove(&table.content);
        for entry in table.image.entries.values() {
            self.cookies.release(entry.cookie);
        }
        self.cookies.release(table.image.deny_cookie_ingress);
        self.cookies.release(table.image.deny_cookie_egress);
        changes.insert(id, TableChange::Removed);
    }

    /// Brings the entries of one identity up to date in all tables that can see its change.
    pub(crate) fn refresh(
        &mut self,
        id: NumericIdentity,
        change: &IdentityChange,
        cache: &SelectorCache,
        changes: &mut BTreeMap<TableId, TableChange>,
    ) {
        let by_peers =
            change.selectors.iter().filter_map(|selector| self.by_selector.get(selector)).flatten();
        let by_ports = change.named_ports.then_some(&self.by_named_ports).into_iter().flatten();
        let touched: BTreeSet<TableId> = by_peers.chain(by_ports).copied().collect();
        for table_id in touched {
            let Some(table) = self.tables.get_mut(&table_id) else { continue };
            let delta = table.refresh(id, cache, &mut self.cookies);
            if delta.is_empty() {
                continue;
            }
            Arc::make_mut(&mut table.image).apply(&delta);
            match changes.entry(table_id).or_insert_with(|| TableChange::Edited(TableDelta::default())) {
                TableChange::Edited(edited) => edited.merge(delta),
                // A table made by the same call is handed out as it is now.
                TableChange::Created(image) => *image = Arc::clone(&table.image),
                TableChange::Removed => {}
            }
        }
    }

    pub(crate) fn get(&self, id: TableId) -> Option<Arc<PolicyTable>> {
        self.tables.get(&id).map(|table| Arc::clone(&table.image))
    }

    pub(crate) fn users(&self, id: TableId) -> BTreeSet<SubjectId> {
        self.tables.get(&id).map(|table| table.users.clone()).unwrap_or_default()
    }

    pub(crate) fn cookie(&self, cookie: u32) -> Option<&[RuleRef]> {
        self.cookies.rules(cookie)
    }

    /// Whether there is no table, and nothing that points to one.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.by_content.is_empty()
            && self.by_selector.is_empty()
            && self.by_named_ports.is_empty()
            && self.cookies.referenced() == 0
    }

    fn image(&mut self, programs: &[Program; 2], cache: &SelectorCache) -> PolicyTable {
        // In the order of keys, or nearly: a map is made of such a list at once.
        let mut entries = Vec::new();
        for (direction, program) in Direction::BOTH.into_iter().zip(programs) {
            for half in program.halves(cache) {
                entries.extend(program.entries(half, cache).iter().map(|(l4, decision)| {
                    (key_of(direction, half, *l4), decision.entry(l4.bits, &mut self.cookies))
                }));
            }
        }
        let [ingress, egress] = programs;
        PolicyTable {
            entries: entries.into_iter().collect(),
            deny_cookie_ingress: self.cookies.acquire(ingress.closed_by()),
            deny_cookie_egress: self.cookies.acquire(egress.closed_by()),
            enforced_ingress: ingress.enforced(),
            enforced_egress: egress.enforced(),
            blocks: programs.iter().any(Program::names_blocks),
        }
    }
}

impl Table {
    /// What must be written so that the entries of `identity` are right. References on cookies follow the entries.
    fn refresh(&self, identity: NumericIdentity, cache: &SelectorCache, cookies: &mut Cookies) -> TableDelta {
        let mut delta = TableDelta::default();
        for (direction, program) in Direction::BOTH.into_iter().zip(&self.programs) {
            let mut halves = program.halves_of(identity, cache);
            if program.names_blocks() {
                // What it had beside blocks that no rule names any more.
                let first = Half { identity, block: NumericIdentity::UNKNOWN };
                let last = Half { identity, block: NumericIdentity(u32::MAX) };
                let held = self
                    .image
                    .entries
                    .range(key_of(direction, first, L4Key::ANY)..=key_of(direction, last, LAST));
                halves.extend(held.map(|(key, _)| Half { identity, block: key.block }));
            }
            for half in halves {
                self.refresh_half(direction, half, program.entries(half, cache), cookies, &mut delta);
            }
        }
        delta
    }

    fn refresh_half(
        &self,
        direction: Direction,
        half: Half,
        entries: Entries,
        cookies: &mut Cookies,
        delta: &mut TableDelta,
    ) {
        let mut next: BTreeMap<TableKey, PolicyEntry> = BTreeMap::new();
        for (l4, decision) in entries {
            next.insert(key_of(direction, half, l4), decision.entry(l4.bits, cookies));
        }
        let all = key_of(direction, half, L4Key::ANY)..=key_of(direction, half, LAST);
        for (key, entry) in self.image.entries.range(all) {
            match next.get(key) {
                None => {
                    delta.deletes.insert(*key);
                }
                Some(same) if same == entry => {
                    next.remove(key);
                }
                Some(_) => {}
            }
            cookies.release(entry.cookie);
        }
        delta.upserts.extend(next);
    }
}

/// Greater than every key.
const LAST: L4Key = L4Key { protocol: u8::MAX, port: u16::MAX, bits: u8::MAX };

fn key_of(direction: Direction, half: Half, l4: L4Key) -> TableKey {
    TableKey { direction, identity: half.identity, block: half.block, l4 }
}

impl Content {
    fn of(wanted: &Wanted<'_>, mode: EnforcementMode) -> Self {
        let ingress = wanted.rules.iter().filter(|rule| rule.rule.direction == Direction::Ingress);
        let used: BTreeSet<&String> = ingress.flat_map(|rule| &rule.named).map(|(_, name)| name).collect();
        let ports = wanted.named_ports.iter().filter(|(name, _)| used.contains(name));
        Self {
            rules: wanted.rules.iter().map(|rule| rule.key).collect(),
            named_ports: ports.map(|(name, ports)| (name.clone(), ports.clone())).collect(),
            audit: wanted.audit,
            mode,
        }
    }
}
