//! Two tables, and the protocols and ports for which they say different things.

use super::*;

/// Ports of a protocol that fare alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    /// Protocol; one that no rule names stands for all of those.
    pub(super) protocol: u8,
    /// No rule names the protocol.
    pub(super) other: bool,
    /// First port, for ICMP first type.
    pub(super) first: u16,
    /// Last one.
    pub(super) last: u16,
    /// The first of its protocol to the last: all of it.
    whole: bool,
    /// Every protocol has nothing but this change.
    everything: bool,
    pub(super) before: Verdict,
    pub(super) after: Verdict,
}

/// Where the verdicts on `peer` differ.
pub(super) fn regions(tables: &[Arc<PolicyTable>; 2], direction: Direction, peer: Peer) -> Vec<Region> {
    let mut bounds: BTreeMap<u8, BTreeSet<u32>> = BTreeMap::new();
    for key in tables.iter().flat_map(|table| keys(table, direction, peer)) {
        if key.bits == 0 {
            continue;
        }
        let of_protocol = bounds.entry(key.protocol).or_default();
        of_protocol.insert(0);
        if key.bits > 8 {
            let start = u32::from(key.port);
            of_protocol.extend([start, start + (1 << (24 - u32::from(key.bits)))]);
        }
    }
    let other = (0..=253_u8).rev().find(|number| !bounds.contains_key(number)).unwrap_or_default();
    bounds.insert(other, [0].into());
    let mut all: Vec<Region> = Vec::new();
    for (protocol, starts) in &bounds {
        let most: u32 = if matches!(protocol, 1 | 58) { 255 } else { 65_535 };
        let starts: Vec<u32> = starts.iter().copied().filter(|start| *start <= most).collect();
        for (index, start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).map_or(most, |next| next - 1);
            let first = *start as u16;
            let [before, after] = [0, 1].map(|i| verdict(&tables[i], direction, peer, *protocol, first));
            match all
                .last_mut()
                .filter(|last| last.protocol == *protocol && (last.before, last.after) == (before, after))
            {
                Some(last) => last.last = end as u16,
                None => all.push(Region {
                    protocol: *protocol,
                    other: *protocol == other,
                    first,
                    last: end as u16,
                    whole: false,
                    everything: false,
                    before,
                    after,
                }),
            }
        }
        for region in all.iter_mut().filter(|region| region.protocol == *protocol) {
            region.whole = region.first == 0 && u32::from(region.last) == most;
        }
    }
    let alike = all.windows(2).all(|two| (two[0].before, two[0].after) == (two[1].before, two[1].after));
    all.retain(|region| region.before != region.after);
    all.iter_mut().for_each(|region| region.everything = alike);
    all
}

/// The keys that can decide about `peer`.
fn keys(table: &PolicyTable, direction: Direction, peer: Peer) -> impl Iterator<Item = L4Key> {
    let any = NumericIdentity::UNKNOWN;
    let halves = BTreeSet::from([(any, any), (peer.0, any), (any, peer.1), peer]);
    halves.into_iter().flat_map(move |(identity, block)| {
        let key = |l4| TableKey { direction, identity, block, l4 };
        let all = key(L4Key::ANY)..=key(L4Key { protocol: u8::MAX, port: u16::MAX, bits: u8::MAX });
        table.entries.range(all).map(|(key, _)| key.l4)
    })
}

fn verdict(table: &PolicyTable, direction: Direction, peer: Peer, protocol: u8, port: u16) -> Verdict {
    match table.lookup(peer.0, peer.1, direction, protocol, port) {
        None => Verdict::Denied,
        Some(hit) if hit.denies() => Verdict::Denied,
        Some(hit) if hit.audited() => Verdict::Audit,
        Some(hit) if hit.entry.proxy_port != 0 => Verdict::Redirected,
        Some(_) => Verdict::Allowed,
    }
}

/// As people write them.
pub(super) fn words(regions: &[Region]) -> Vec<String> {
    if regions.iter().any(|region| region.everything) {
        return vec!["everything".to_owned()];
    }
    regions.iter().map(word).collect()
}

fn word(region: &Region) -> String {
    let Region { protocol, first, last, .. } = *region;
    let name = protocol_name(protocol);
    match (region.other, region.whole, first == last, protocol) {
        (true, ..) => "all other protocols".to_owned(),
        (_, true, ..) => name,
        (_, _, true, 1 | 58) => format!("{name} type {first}"),
        (_, _, false, 1 | 58) => format!("{name} types {first}-{last}"),
        (_, _, true, _) => format!("{first}/{name}"),
        (_, _, false, _) => format!("{first}-{last}/{name}"),
    }
}

/// A protocol as policies write it.
pub(crate) fn protocol_name(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        2 => "IGMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        58 => "ICMPv6".to_owned(),
        112 => "VRRP".to_owned(),
        132 => "SCTP".to_owned(),
        other => format!("protocol {other}"),
    }
}
