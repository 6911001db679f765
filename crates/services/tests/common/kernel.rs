//! Tables as the kernel has them, written in the order that `Update` asks for; and a judge of each write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use abi::service::*;
use abi::{Backend, Frontend, FrontendKey, MemberKey, Range, SourceRangeKey};
use axoneme_services::{Found, NO_SERVICE, Protocol, REST_NS, Tables, Update};

#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub backends: BTreeMap<u32, Backend>,
    pub maglev: BTreeMap<u32, Vec<u16>>,
    pub members: BTreeMap<MemberKey, u32>,
    pub source_ranges: BTreeMap<SourceRangeKey, u32>,
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// When a frontend that named this slot went.
    left: BTreeMap<u32, u64>,
    maglev_left: BTreeMap<u32, u64>,
    /// Rows written or deleted since the start.
    pub writes: usize,
    /// Frontends may lead to backends that are no active members: there was no room for newer ones.
    pub is_short: bool,
}

/// A frontend with slots and numbers resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub flags: u32,
    pub affinity: u32,
    pub external: (Vec<Backend>, bool),
    pub internal: (Vec<Backend>, bool),
}

/// All tables in a form that does not depend on slots and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    pub frontends: BTreeMap<FrontendKey, Resolved>,
    /// The number is that of the first frontend that has it, if one has.
    pub members: Vec<(Option<FrontendKey>, MemberKey, u32)>,
    pub source_ranges: Vec<(Option<FrontendKey>, SourceRangeKey, u32)>,
}

impl Kernel {
    /// Writes an update, a step at a time.
    pub fn apply(&mut self, update: &Update, now: u64) {
        self.writes += update.len();
        self.write_slots(update, now);
        each_once(update.members.iter().map(|(key, _)| *key));
        each_once(update.source_ranges.iter().map(|(key, _)| *key));
        each_once(update.frontends.iter().map(|(key, _)| *key));
        write(&mut self.members, update.members.iter().filter(|(_, value)| value.is_some()));
        write(&mut self.source_ranges, update.source_ranges.iter().filter(|(_, value)| value.is_some()));
        let before: BTreeSet<u32> = self.named_slots().collect();
        let tables_before: BTreeSet<u32> = self.named_tables().collect();
        for (key, frontend) in &update.frontends {
            assert_ne!(self.frontends.get(key), frontend.as_ref(), "a write that changes nothing: {key:?}");
            if let Some(frontend) = frontend {
                self.judge(key, frontend);
            }
            write(&mut self.frontends, [&(*key, *frontend)].into_iter());
        }
        let after: BTreeSet<u32> = self.named_slots().collect();
        let tables_after: BTreeSet<u32> = self.named_tables().collect();
        self.left.extend(before.difference(&after).map(|slot| (*slot, now)));
        self.maglev_left.extend(tables_before.difference(&tables_after).map(|slot| (*slot, now)));
        write(&mut self.members, update.members.iter().filter(|(_, value)| value.is_none()));
        write(&mut self.source_ranges, update.source_ranges.iter().filter(|(_, value)| value.is_none()));
    }

    /// What a restarted agent finds.
    pub fn found<'a>(
        &self,
        backend: &'a dyn Fn(u32) -> Option<Backend>,
        maglev: &'a dyn Fn(u32) -> Option<Vec<u16>>,
    ) -> Found<'a> {
        Found {
            frontends: self.frontends.iter().map(|(k, v)| (*k, *v)).collect(),
            members: self.members.iter().map(|(k, v)| (*k, *v)).collect(),
            source_ranges: self.source_ranges.iter().map(|(k, v)| (*k, *v)).collect(),
            backend,
            maglev,
        }
    }

    /// Whether this is what the balancer believes it to be.
    pub fn assert_equals(&self, tables: &Tables) {
        assert_eq!(self.frontends, tables.frontends);
        assert_eq!(self.members, tables.members);
        assert_eq!(self.source_ranges, tables.source_ranges);
        for (slot, backend) in &tables.backends {
            assert_eq!(self.backends.get(slot), Some(backend), "slot {slot}");
        }
        for (slot, table) in &tables.maglev {
            assert_eq!(self.maglev.get(slot), Some(&table.entries()), "table {slot}");
        }
    }

    /// What packets see.
    pub fn meaning(&self) -> Meaning {
        let mut names: BTreeMap<u32, FrontendKey> = BTreeMap::new();
        for (key, frontend) in &self.frontends {
            names.entry(frontend.service).or_insert(*key);
        }
        let mut meaning = Meaning::default();
        for (key, frontend) in &self.frontends {
            let resolved = Resolved {
                flags: frontend.flags,
                affinity: frontend.affinity,
                external: self.resolve(&frontend.external),
                internal: self.resolve(&frontend.internal),
            };
            meaning.frontends.insert(*key, resolved);
        }
        meaning.members = self
            .members
            .iter()
            .map(|(key, value)| (names.get(&key.service).copied(), MemberKey { service: 0, ..*key }, *value))
            .collect();
        meaning.source_ranges = self
            .source_ranges
            .iter()
            .map(|(key, value)| {
                (names.get(&key.service).copied(), SourceRangeKey { service: 0, ..*key }, *value)
            })
            .collect();
        meaning.members.sort_unstable();
        meaning.source_ranges.sort_unstable();
        meaning
    }

    /// The backends of a range, and whether a table chooses among them.
    pub fn resolve(&self, range: &Range) -> (Vec<Backend>, bool) {
        let slots = range.start..range.start + range.count;
        (slots.map(|slot| self.backends[&slot]).collect(), range.maglev != 0)
    }

    /// All rows but slots, as text.
    pub fn text(&self) -> String {
        let mut lines: Vec<String> =
            self.frontends.iter().map(|(key, row)| self.frontend_text(key, row)).collect();
        lines.extend(self.members.iter().map(|(key, state)| {
            let member = address(key.addr.into(), u16::from_be(key.port), key.protocol);
            let state = ["active", "draining", "spared"][*state as usize - 1];
            format!("member #{} {member} {state}", key.service)
        }));
        lines.extend(self.source_ranges.keys().map(|key| {
            let len = key.len - 32;
            let ip = IpAddr::from(key.addr);
            format!("range #{} {ip}/{}", key.service, if ip.is_ipv4() { len - 96 } else { len })
        }));
        lines.sort();
        lines.join("\n")
    }

    fn write_slots(&mut self, update: &Update, now: u64) {
        let named: BTreeSet<u32> = self.named_slots().collect();
        for (slot, backend) in &update.backends {
            assert!(!named.contains(slot), "slot {slot} is written to while a frontend names it");
            let left = self.left.get(slot).copied();
            assert!(
                left.is_none_or(|at| now >= at + REST_NS),
                "slot {slot} is written to, left at {left:?}, now {now}"
            );
            self.backends.insert(*slot, *backend);
        }
        let named: BTreeSet<u32> = self.named_tables().collect();
        for (slot, table) in &update.maglev {
            assert!(!named.contains(slot), "table {slot} is written to while a frontend names it");
            let left = self.maglev_left.get(slot).copied();
            assert!(
                left.is_none_or(|at| now >= at + REST_NS),
                "table {slot} is written to, left at {left:?}"
            );
            match table {
                Some(table) => self.maglev.insert(*slot, table.entries()),
                None => self.maglev.remove(slot),
            };
        }
        each_once(update.backends.iter().map(|(slot, _)| *slot));
        each_once(update.maglev.iter().map(|(slot, _)| *slot));
    }

    /// A frontend leads to complete slots, a table that is of them, and members that may be chosen.
    fn judge(&self, key: &FrontendKey, frontend: &Frontend) {
        assert_ne!(frontend.service, 0, "{key:?}");
        for range in [&frontend.external, &frontend.internal] {
            let (backends, _) = self.resolve(range);
            if let Some(slot) = range.maglev.checked_sub(1) {
                let entries = &self.maglev[&slot];
                assert!(
                    entries.iter().all(|entry| u32::from(*entry) < range.count),
                    "table {slot} of {key:?}"
                );
            }
            for backend in backends.iter().filter(|_| !self.is_short) {
                let Backend { addr, port, .. } = *backend;
                let member =
                    MemberKey { addr, service: frontend.service, port, protocol: key.protocol, _pad: 0 };
                assert_eq!(self.members.get(&member), Some(&MEMBER_ACTIVE), "{member:?}");
            }
            assert!(range.count > 0 || (range.start, range.maglev) == (0, 0), "{range:?}");
        }
    }

    fn named_slots(&self) -> impl Iterator<Item = u32> {
        let ranges = self.frontends.values().flat_map(|frontend| [frontend.external, frontend.internal]);
        ranges.flat_map(|range| range.start..range.start.saturating_add(range.count))
    }

    fn named_tables(&self) -> impl Iterator<Item = u32> {
        let ranges = self.frontends.values().flat_map(|frontend| [frontend.external, frontend.internal]);
        ranges.filter_map(|range| range.maglev.checked_sub(1))
    }

    fn frontend_text(&self, key: &FrontendKey, row: &Frontend) -> String {
        if row.service == NO_SERVICE {
            assert_eq!((key.port, key.protocol, row.flags), (0, 0, EXTERNAL_DROP | INTERNAL_DROP));
            return format!("{} other ports closed", IpAddr::from(key.addr));
        }
        let has = |bit: u32| row.flags & bit != 0;
        let kinds = ["ClusterIP", "NodePort", "ExternalIPs", "LoadBalancer", "HostPort", "LocalRedirect"];
        let kind = if has(REDIRECTED) { "ClusterIP->" } else { kinds[(row.flags & KIND_MASK) as usize] };
        let choice = |range: &Range, drop: bool| match self.resolve(range) {
            (backends, _) if backends.is_empty() => (if drop { "drop" } else { "refuse" }).to_owned(),
            (backends, maglev) => {
                let all: Vec<String> = backends.iter().map(backend_text).collect();
                format!("{}{}", if maglev { "maglev:" } else { "" }, all.join(","))
            }
        };
        let mut text = format!(
            "{} {kind} #{} in={}",
            address(key.addr.into(), u16::from_be(key.port), key.protocol),
            row.service,
            choice(&row.internal, has(INTERNAL_DROP))
        );
        if has(EXTERNAL_ALLOWED) {
            text += &format!(" out={}", choice(&row.external, has(EXTERNAL_DROP)));
        } else if has(SPARES) && has(REDIRECTED) {
            text += &format!(" spared={}", choice(&row.external, has(EXTERNAL_DROP)));
        } else {
            assert_eq!((row.external, has(EXTERNAL_DROP)), (Range::default(), false));
        }
        if row.affinity != 0 {
            text += &format!(" affinity={}", row.affinity);
        }
        for (bit, name) in
            [(SOURCE_RANGES, " ranges"), (SOURCE_RANGES_DENY, " deny"), (DSR, " dsr"), (SPARES, " spares")]
        {
            text += if has(bit) { name } else { "" };
        }
        text
    }
}

fn address(ip: IpAddr, port: u16, protocol: u8) -> String {
    format!("{}/{}", SocketAddr::new(ip, port), Protocol::from_number(protocol).unwrap())
}

fn backend_text(backend: &Backend) -> String {
    SocketAddr::new(backend.addr.into(), u16::from_be(backend.port)).to_string()
}

fn write<'a, K: Ord + Copy + 'a, V: Copy + 'a>(
    table: &mut BTreeMap<K, V>,
    rows: impl Iterator<Item = &'a (K, Option<V>)>,
) {
    for (key, value) in rows {
        match value {
            Some(value) => table.insert(*key, *value),
            None => Some(table.remove(key).expect("only what is there is deleted")),
        };
    }
}

fn each_once<K: Ord>(keys: impl Iterator<Item = K>) {
    let mut keys: Vec<K> = keys.collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "a key is there twice");
}
