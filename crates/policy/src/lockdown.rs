//! What is left of a table that has more entries than the kernel has room for.

use crate::rule::Direction;
use crate::table::{L4Key, PolicyTable, TableKey};
use abi::{PolicyEntry, tables};
use std::collections::{BTreeMap, BTreeSet};
use types::NumericIdentity;

/// Who keeps the access that policy gives: the pod's own node, whose kubelet asks how the pod is, and the API server,
/// without which a node could not learn that it is better now.
const SPARED: [NumericIdentity; 2] = [NumericIdentity::HOST, NumericIdentity::KUBE_APISERVER];

impl PolicyTable {
    /// The table without everybody but the own node and the API server: these get what they get now, at most, and nobody
    /// else gets anything. Cutting a table off anywhere else would leave out denials.
    pub fn locked_down(&self) -> PolicyTable {
        let none = NumericIdentity::UNKNOWN;
        let mut entries = BTreeMap::new();
        for direction in Direction::BOTH {
            let anyone = self.keys_of(direction, none);
            for identity in SPARED {
                for l4 in self.keys_of(direction, identity).union(&anyone) {
                    let own = self.covering(direction, identity, *l4);
                    let strongest = own.into_iter().chain(self.covering(direction, none, *l4));
                    if let Some(entry) = strongest.max_by_key(|entry| (entry.precedence, entry.bits)) {
                        let key = TableKey { direction, identity, block: none, l4: *l4 };
                        entries.insert(key, PolicyEntry { bits: l4.bits, ..entry });
                    }
                }
            }
        }
        let denied = |(key, entry): &(&TableKey, &PolicyEntry)| {
            let about = key.identity == none || SPARED.contains(&key.identity);
            key.block != none && about && entry.flags & tables::POLICY_DENY != 0
        };
        entries.extend(self.entries.iter().filter(denied).map(|(key, entry)| (*key, *entry)));
        PolicyTable { entries, enforced_ingress: true, enforced_egress: true, ..*self }
    }

    fn keys_of(&self, direction: Direction, identity: NumericIdentity) -> BTreeSet<L4Key> {
        let key = |l4| TableKey { direction, identity, block: NumericIdentity::UNKNOWN, l4 };
        let last = L4Key { protocol: u8::MAX, port: u16::MAX, bits: u8::MAX };
        self.entries.range(key(L4Key::ANY)..=key(last)).map(|(key, _)| key.l4).collect()
    }

    /// The narrowest entry of a half that covers all of `l4`.
    fn covering(&self, direction: Direction, identity: NumericIdentity, l4: L4Key) -> Option<PolicyEntry> {
        let wider = (0..=l4.bits).rev().filter_map(|bits| l4.cut(bits));
        wider
            .map(|l4| TableKey { direction, identity, block: NumericIdentity::UNKNOWN, l4 })
            .find_map(|key| self.entries.get(&key).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: NumericIdentity = NumericIdentity(1001);

    fn table(entries: &[(Direction, NumericIdentity, L4Key, u32, bool)]) -> PolicyTable {
        let entry = |(direction, identity, l4, precedence, deny): &(_, _, L4Key, u32, bool)| {
            let key = TableKey {
                direction: *direction,
                identity: *identity,
                block: NumericIdentity::UNKNOWN,
                l4: *l4,
            };
            let flags = if *deny { tables::POLICY_DENY } else { 0 };
            (key, PolicyEntry { precedence: *precedence, flags, bits: l4.bits, ..PolicyEntry::default() })
        };
        PolicyTable { entries: entries.iter().map(entry).collect(), ..PolicyTable::default() }
    }

    #[test]
    fn the_node_and_the_api_server_keep_what_they_have_and_nobody_else_does() {
        let (ingress, egress) = (Direction::Ingress, Direction::Egress);
        let (host, anyone) = (NumericIdentity::HOST, NumericIdentity::UNKNOWN);
        let full = table(&[
            (ingress, host, L4Key::ANY, 10, false),
            (ingress, anyone, L4Key::port(6, 80), 10, false),
            (ingress, anyone, L4Key::port(6, 22), 99, true),
            (ingress, POD, L4Key::ANY, 10, false),
            (egress, anyone, L4Key::protocol(6), 10, false),
            (egress, NumericIdentity::KUBE_APISERVER, L4Key::port(6, 443), 99, true),
        ]);
        let locked = full.locked_down();
        for identity in SPARED {
            for direction in Direction::BOTH {
                for (protocol, port) in [(6, 80), (6, 22), (6, 443), (17, 53)] {
                    let ask = |table: &PolicyTable| {
                        let hit = table.lookup(identity, anyone, direction, protocol, port);
                        hit.map(|hit| (hit.denies(), hit.entry.precedence))
                    };
                    assert_eq!(ask(&locked), ask(&full), "{identity} {direction} {protocol}/{port}");
                }
            }
        }
        for direction in Direction::BOTH {
            for identity in [POD, NumericIdentity(1002), NumericIdentity::WORLD, NumericIdentity::REMOTE_NODE]
            {
                assert_eq!(locked.lookup(identity, anyone, direction, 6, 80), None, "{identity} {direction}");
            }
        }
    }

    #[test]
    fn denials_of_blocks_stay_for_those_who_are_spared() {
        let key = |identity, block| TableKey {
            direction: Direction::Egress,
            identity,
            block: NumericIdentity(block),
            l4: L4Key::ANY,
        };
        let deny = PolicyEntry { precedence: 255, flags: tables::POLICY_DENY, ..PolicyEntry::default() };
        let allow = PolicyEntry { precedence: 1, ..PolicyEntry::default() };
        let none = NumericIdentity::UNKNOWN;
        let full = PolicyTable {
            entries: [(key(none, 0x0100_0001), deny), (key(none, 0x0100_0002), allow), (key(none, 0), allow)]
                .into(),
            blocks: true,
            ..PolicyTable::default()
        };
        let locked = full.locked_down();
        let ask = |block| {
            let hit = locked.lookup(NumericIdentity::HOST, NumericIdentity(block), Direction::Egress, 6, 80);
            hit.map(|hit| hit.denies())
        };
        assert_eq!((ask(0x0100_0001), ask(0)), (Some(true), Some(false)));
        assert_eq!(locked.lookup(POD, NumericIdentity(0x0100_0002), Direction::Egress, 6, 80), None);
        assert!(locked.entries.len() < 5 && locked.blocks);
    }
}
