//! A policy table as the kernel's trie sees it.

use std::collections::HashMap;

use abi::tables::{POLICY_FULL_BITS, POLICY_STATIC_BITS};
use abi::{PolicyEntry, PolicyKey};

/// Longest-prefix table over [`PolicyKey`]: identity, block and direction always count, then protocol and port bit by bit.
#[derive(Clone, Debug, Default)]
pub struct PolicyTable {
    entries: HashMap<(PolicyKey, u32), PolicyEntry>,
}

impl PolicyTable {
    /// Adds an entry that counts the first `bits` (0, 8, 9–24) of protocol and port.
    pub fn insert(&mut self, key: PolicyKey, bits: u32, entry: PolicyEntry) {
        self.entries.insert((masked(&key, bits), bits), entry);
    }

    /// All entries: key, how many bits of protocol and port count, entry.
    pub fn entries(&self) -> impl Iterator<Item = (PolicyKey, u32, &PolicyEntry)> {
        self.entries.iter().map(|((key, bits), entry)| (*key, *bits, entry))
    }

    /// The most specific entry for a full key.
    pub fn lookup(&self, key: &PolicyKey) -> Option<&PolicyEntry> {
        let dynamic = POLICY_FULL_BITS - POLICY_STATIC_BITS;
        (0..=dynamic).rev().find_map(|bits| self.entries.get(&(masked(key, bits), bits)))
    }
}

/// `key` with all but the first `bits` of protocol and port cleared.
fn masked(key: &PolicyKey, bits: u32) -> PolicyKey {
    let tail = (u32::from(key.protocol) << 16) | u32::from(u16::from_be(key.port));
    let kept = if bits == 0 { 0 } else { tail & (0x00ff_ffff_u32 << (24 - bits)) & 0x00ff_ffff };
    PolicyKey {
        identity: key.identity,
        block: key.block,
        direction: key.direction,
        protocol: (kept >> 16) as u8,
        port: ((kept & 0xffff) as u16).to_be(),
    }
}
