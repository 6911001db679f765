use super::*;
use std::net::{IpAddr, Ipv4Addr};

fn backends(count: u32) -> Vec<Backend> {
    let backend = |i: u32| {
        let addr = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)).into();
        Backend { addr, port: 8080u16.to_be(), _pad: 0 }
    };
    (1..=count).map(backend).collect()
}

fn shares(entries: &[u16], backends: usize) -> Vec<usize> {
    let mut shares = vec![0; backends];
    entries.iter().for_each(|offset| shares[usize::from(*offset)] += 1);
    shares
}

/// The first outputs of SplitMix64 from state 0, as its reference implementation prints them.
#[test]
fn mix_is_splitmix64() {
    let outputs: Vec<u64> = (1..=3u64).map(|i| mix(GOLDEN.wrapping_mul(i))).collect();
    assert_eq!(outputs, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
}

/// Other nodes, perhaps of another version, must agree: a change of these numbers moves connections.
#[test]
fn entries_are_pinned() {
    let entries = Table::new(backends(3).into(), 7).entries();
    assert_eq!(entries.len(), SIZE);
    let sum = entries.iter().fold(0u64, |sum, entry| mix(sum ^ u64::from(*entry)));
    assert_eq!((sum, &entries[..8]), (4229331821041703383, &[2, 1, 2, 2, 0, 1, 0, 1][..]));
}

#[test]
fn shares_are_even() {
    for count in [1, 2, 3, 10, 100, 1000] {
        let all = backends(count);
        let shares = shares(&Table::new(all.clone().into(), 1).entries(), all.len());
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(most - least <= 1, "{count} backends: {least}..{most}");
    }
}

/// Which backend an entry names, before and after `gone` went.
#[test]
fn others_keep_their_entries() {
    for gone in [0, 17, 50, 99] {
        let all = backends(100);
        let mut rest = all.clone();
        let lost = rest.remove(gone);
        let before = Table::new(all.clone().into(), 42).entries();
        let after = Table::new(rest.clone().into(), 42).entries();
        let pairs = before.iter().zip(&after).map(|(b, a)| (all[usize::from(*b)], rest[usize::from(*a)]));
        let (mut kept, mut moved) = (0u32, 0u32);
        for (was, is) in pairs.filter(|(was, _)| *was != lost) {
            if was == is { kept += 1 } else { moved += 1 }
        }
        let share = f64::from(moved) / f64::from(kept + moved);
        assert!(share <= 0.015, "losing backend {gone} moves {:.2} % of the others", share * 100.0);
    }
}

#[test]
fn seeds_and_backends_matter() {
    let table = |count, seed| Table::new(backends(count).into(), seed);
    let found = table(10, 1).entries();
    assert!(table(10, 1).agrees_with(&found));
    assert!(!table(10, 2).agrees_with(&found));
    assert!(!table(2, 1).agrees_with(&table(2, 2).entries()));
    assert!(!table(10, 1).agrees_with(&found[1..]), "another size");
    assert!(!table(10, 1).agrees_with(&[]));
}

#[test]
fn none_and_too_many() {
    assert!(Table::new(Arc::default(), 1).entries().iter().all(|entry| *entry == FREE));
    let many = Table::new(backends(20_000).into(), 1).entries();
    assert!(many.iter().all(|entry| usize::from(*entry) < SIZE));
}
