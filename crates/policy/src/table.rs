use crate::rule::Direction;
use abi::{PolicyEntry, PolicyKey, tables};
use std::collections::{BTreeMap, BTreeSet};
use types::NumericIdentity;

/// Key of a table, in the order that makes a walk meet every prefix before what lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    /// Which way the packet goes.
    pub direction: Direction,
    /// The peer; [`NumericIdentity::UNKNOWN`] = any.
    pub identity: NumericIdentity,
    /// The narrowest block around the peer's address, by the number that the block has as a peer outside of the cluster;
    /// [`NumericIdentity::UNKNOWN`] = any.
    pub block: NumericIdentity,
    /// Protocol and ports.
    pub l4: L4Key,
}

/// Protocol and destination ports of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct L4Key {
    /// Protocol number; 0 = any.
    pub protocol: u8,
    /// First port, host order; for ICMP the type.
    pub port: u16,
    /// Bits that count: 0 (any protocol), 8 (any port), 9–24 (port prefix).
    pub bits: u8,
}

/// What the kernel is told about the traffic of a set of equal pods, both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyTable {
    /// The entries, as they lie in the kernel.
    pub entries: BTreeMap<TableKey, PolicyEntry>,
    /// Cookie of the rules that close ingress; 0 = not closed by rules.
    pub deny_cookie_ingress: u32,
    /// Cookie of the rules that close egress; 0 = not closed by rules.
    pub deny_cookie_egress: u32,
    /// Whether ingress is filtered at all.
    pub enforced_ingress: bool,
    /// Whether egress is filtered at all.
    pub enforced_egress: bool,
    /// Whether some entry is for a block: peers that are no prefix are looked up by their address, too.
    pub blocks: bool,
}

/// Writes that turn one table into the next. Upserts first, then deletes: no packet falls between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDelta {
    /// Entries to write.
    pub upserts: BTreeMap<TableKey, PolicyEntry>,
    /// Entries to delete.
    pub deletes: BTreeSet<TableKey>,
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The entry that decides.
    pub entry: PolicyEntry,
    /// Which kind of key it has.
    pub matched: Matched,
}

/// Kind of the deciding key; the numbers are those of Cilium's verdict events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Matched {
    /// The identity alone.
    L3Only = 1,
    /// Identity and port.
    L3L4 = 2,
    /// Port alone.
    L4Only = 3,
    /// The entry for everything.
    All = 4,
    /// Identity and protocol.
    L3Proto = 5,
    /// Protocol alone.
    ProtoOnly = 6,
}

impl L4Key {
    /// Everything.
    pub const ANY: Self = L4Key { protocol: 0, port: 0, bits: 0 };
    /// Bits of a key that names one port.
    pub const FULL: u8 = 24;

    /// Everything of one protocol.
    pub const fn protocol(protocol: u8) -> Self {
        L4Key { protocol, port: 0, bits: 8 }
    }

    /// One port.
    pub const fn port(protocol: u8, port: u16) -> Self {
        L4Key { protocol, port, bits: Self::FULL }
    }

    /// Whether every packet of `other` is one of `self`.
    pub const fn covers(&self, other: &L4Key) -> bool {
        if self.bits > other.bits {
            return false;
        }
        match self.bits {
            0 => true,
            8 => self.protocol == other.protocol,
            bits => self.protocol == other.protocol && (self.port ^ other.port) >> (24 - bits) == 0,
        }
    }

    /// The key cut down to `bits`; `None` if it has fewer, or if no key has that many.
    pub const fn cut(&self, bits: u8) -> Option<Self> {
        if bits > self.bits {
            return None;
        }
        match bits {
            0 => Some(Self::ANY),
            8 => Some(Self::protocol(self.protocol)),
            9..=24 => {
                let mask = (u16::MAX as u32) << (24 - bits);
                Some(L4Key { protocol: self.protocol, port: self.port & mask as u16, bits })
            }
            _ => None,
        }
    }
}

impl TableKey {
    /// The key as the kernel knows it; `prefix_len` goes with it.
    pub fn abi(&self) -> PolicyKey {
        PolicyKey {
            identity: self.identity.get(),
            block: self.block.get(),
            direction: self.direction.number(),
            protocol: self.l4.protocol,
            port: self.l4.port.to_be(),
        }
    }

    /// Prefix length of the key in the kernel's trie.
    pub fn prefix_len(&self) -> u32 {
        tables::POLICY_STATIC_BITS + u32::from(self.l4.bits)
    }

    /// The key that the kernel's form stands for; `None` if it is none that this crate writes.
    pub fn from_abi(prefix_len: u32, key: &PolicyKey) -> Option<Self> {
        let bits = u8::try_from(prefix_len.checked_sub(tables::POLICY_STATIC_BITS)?).ok()?;
        let direction = match key.direction {
            tables::INGRESS => Direction::Ingress,
            tables::EGRESS => Direction::Egress,
            _ => return None,
        };
        let whole = L4Key { protocol: key.protocol, port: u16::from_be(key.port), bits: L4Key::FULL };
        let (identity, block) = (NumericIdentity(key.identity), NumericIdentity(key.block));
        Some(Self { direction, identity, block, l4: whole.cut(bits)? })
    }
}

impl PolicyTable {
    /// Writes `delta` into the table.
    pub fn apply(&mut self, delta: &TableDelta) {
        self.entries.extend(delta.upserts.iter().map(|(key, entry)| (*key, *entry)));
        for key in &delta.deletes {
            self.entries.remove(key);
        }
    }

    /// The writes that turn `self` into `next`.
    pub fn delta_to(&self, next: &PolicyTable) -> TableDelta {
        let changed = |(key, entry): &(&TableKey, &PolicyEntry)| self.entries.get(key) != Some(entry);
        TableDelta {
            upserts: next.entries.iter().filter(changed).map(|(key, entry)| (*key, *entry)).collect(),
            deletes: self.entries.keys().filter(|key| !next.entries.contains_key(key)).copied().collect(),
        }
    }

    /// Cookie of the rules that close `direction`; 0 = not closed by rules.
    pub fn deny_cookie(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Ingress => self.deny_cookie_ingress,
            Direction::Egress => self.deny_cookie_egress,
        }
    }

    /// Asks the table as the kernel does: the most specific entry for the peer in its block, for the peer, for its block and
    /// for anyone, until one cannot be beaten; else the strongest. `block` is [`NumericIdentity::UNKNOWN`] where the table
    /// holds none ([`PolicyTable::blocks`]), or the peer is a prefix itself. `port` is the destination port in host order,
    /// for ICMP the type.
    pub fn lookup(
        &self,
        identity: NumericIdentity,
        block: NumericIdentity,
        direction: Direction,
        protocol: u8,
        port: u16,
    ) -> Option<Hit> {
        let none = NumericIdentity::UNKNOWN;
        let halves = match block == none {
            true => &[(identity, none), (none, none)][..],
            false => &[(identity, block), (identity, none), (none, block), (none, none)],
        };
        let mut found: Option<(TableKey, PolicyEntry)> = None;
        for (identity, block) in halves {
            if found.is_some_and(|(_, entry)| entry.precedence == u32::MAX) {
                break;
            }
            let key = TableKey { direction, identity: *identity, block: *block, l4: L4Key::ANY };
            let hit = self.longest(key, protocol, port);
            let beats = |(_, entry): (TableKey, PolicyEntry)| {
                found.is_none_or(|(_, before)| {
                    (entry.precedence, entry.bits) > (before.precedence, before.bits)
                })
            };
            found = hit.filter(|hit| beats(*hit)).or(found);
        }
        found.map(|(key, entry)| Hit::new(key, entry))
    }

    fn longest(&self, half: TableKey, protocol: u8, port: u16) -> Option<(TableKey, PolicyEntry)> {
        let whole = L4Key::port(protocol, port);
        (0..=L4Key::FULL).rev().filter_map(|bits| whole.cut(bits)).find_map(|l4| {
            let key = TableKey { l4, ..half };
            self.entries.get(&key).map(|entry| (key, *entry))
        })
    }
}

impl TableDelta {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.deletes.is_empty()
    }

    /// The delta that does what `self` and then `later` do.
    pub fn merge(&mut self, later: TableDelta) {
        for key in later.upserts.keys() {
            self.deletes.remove(key);
        }
        for key in &later.deletes {
            self.upserts.remove(key);
        }
        self.upserts.extend(later.upserts);
        self.deletes.extend(later.deletes);
    }
}

impl Hit {
    fn new(key: TableKey, entry: PolicyEntry) -> Self {
        let anyone = key.identity == NumericIdentity::UNKNOWN && key.block == NumericIdentity::UNKNOWN;
        let matched = match (anyone, key.l4.bits) {
            (false, 0) => Matched::L3Only,
            (false, 8) => Matched::L3Proto,
            (false, _) => Matched::L3L4,
            (true, 0) => Matched::All,
            (true, 8) => Matched::ProtoOnly,
            (true, _) => Matched::L4Only,
        };
        Hit { entry, matched }
    }

    /// Whether the packet is dropped.
    pub fn denies(&self) -> bool {
        self.entry.flags & tables::POLICY_DENY != 0 && self.entry.flags & tables::POLICY_AUDITED == 0
    }

    /// Whether the packet passes only because the deny behind it is under audit.
    pub fn audited(&self) -> bool {
        self.entry.flags & tables::POLICY_AUDITED != 0
    }
}
