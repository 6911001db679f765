use super::*;
use abi::service::{MAGLEV_SIZE, MAGLEV_SIZES};
use std::net::{IpAddr, Ipv4Addr};

fn table(backends: &[Backend], seed: u64) -> Table {
    sized(backends, seed, MAGLEV_SIZE)
}

fn sized(backends: &[Backend], seed: u64, size: u32) -> Table {
    Table::new(backends.into(), Hashing { seed, size })
}

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
    let entries = table(&backends(3), 7).entries();
    assert_eq!(entries.len(), MAGLEV_SIZE as usize);
    let sum = entries.iter().fold(0u64, |sum, entry| mix(sum ^ u64::from(*entry)));
    assert_eq!((sum, &entries[..8]), (4229331821041703383, &[2, 1, 2, 2, 0, 1, 0, 1][..]));
}

#[test]
fn shares_are_even() {
    for count in [1, 2, 3, 10, 100, 1000] {
        let all = backends(count);
        for size in MAGLEV_SIZES.into_iter().filter(|size| *size >= count) {
            let shares = shares(&sized(&all, 1, size).entries(), all.len());
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} backends, {size} entries: {least}..{most}");
        }
    }
}

/// How many of the entries that other backends have name another one when one of 100 goes: the median over all that may
/// go, and the worst, in percent.
fn moved(size: u32) -> (f64, f64) {
    let all = backends(100);
    let before = sized(&all, 42, size).entries();
    let mut moves: Vec<f64> = (0..all.len())
        .map(|gone| {
            let mut rest = all.clone();
            let lost = rest.remove(gone);
            let after = sized(&rest, 42, size).entries();
            let pairs = before.iter().zip(&after).map(|(b, a)| (all[usize::from(*b)], rest[usize::from(*a)]));
            let (mut kept, mut moved) = (0u32, 0u32);
            for (was, is) in pairs.filter(|(was, _)| *was != lost) {
                if was == is { kept += 1 } else { moved += 1 }
            }
            f64::from(moved) / f64::from(kept + moved) * 100.0
        })
        .collect();
    moves.sort_by(f64::total_cmp);
    (moves[moves.len() / 2], moves[moves.len() - 1])
}

/// 1.5 % holds for the usual size in the median, and for all backends from the next size on.
#[test]
fn others_keep_their_entries() {
    for (size, median, worst) in [(MAGLEV_SIZE, 1.5, 1.6), (32_749, 1.0, 1.1), (65_521, 0.6, 0.7)] {
        let found = moved(size);
        assert!(
            found.0 <= median && found.1 <= worst,
            "{size} entries: median {} %, worst {} %",
            found.0,
            found.1
        );
    }
}

#[test]
fn seeds_and_backends_matter() {
    let table = |count, seed| table(&backends(count), seed);
    let found = table(10, 1).entries();
    assert!(table(10, 1).agrees_with(&found));
    assert!(!table(10, 2).agrees_with(&found));
    assert!(!table(2, 1).agrees_with(&table(2, 2).entries()));
    assert!(!table(10, 1).agrees_with(&found[1..]), "another size");
    assert!(!sized(&backends(10), 1, 251).agrees_with(&found), "another size");
    assert!(!table(10, 1).agrees_with(&[]));
}

#[test]
fn none_and_too_many() {
    assert!(table(&[], 1).entries().iter().all(|entry| *entry == FREE));
    let many = table(&backends(20_000), 1).entries();
    let most = sized(&backends(70_000), 1, 131_071).entries();
    assert!(most.iter().all(|entry| *entry != FREE));
    assert!(many.iter().all(|entry| u32::from(*entry) < MAGLEV_SIZE));
}
