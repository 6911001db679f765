use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn pool(cidrs: &[&str], mask_size: u8) -> Result<ClusterPool, PoolError> {
    ClusterPool::new(&cidrs.iter().map(|cidr| net(cidr)).collect::<Vec<_>>(), mask_size)
}

#[test]
fn blocks_come_lowest_first_and_the_next_cidr_when_one_is_full() {
    let mut pool = pool(&["10.0.0.0/23", "10.8.0.0/24"], 24).unwrap();
    let given: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
    assert_eq!(given, ["10.0.0.0/24", "10.0.1.0/24", "10.8.0.0/24"].map(net));
    let error = pool.allocate().unwrap_err().to_string();
    assert!(error.contains("all 3 blocks of size /24 in 10.0.0.0/23, 10.8.0.0/24"), "{error}");
    assert!(error.contains("clusterPoolIPv4PodCIDRList"), "{error}");
    assert!(pool.release(net("10.0.1.0/24")));
    assert!(!pool.release(net("10.0.1.0/24")));
    assert_eq!(pool.allocate().unwrap(), net("10.0.1.0/24"));
}

#[test]
fn ipv6_pools_of_any_size_work() {
    let mut pool = pool(&["fd00::/32"], 120).unwrap();
    assert_eq!(pool.total(), 1 << 88);
    assert_eq!(pool.allocate().unwrap(), net("fd00::/120"));
    assert_eq!(pool.allocate().unwrap(), net("fd00::100/120"));
    let everything = ClusterPool::new(&[net("::/0")], 126).unwrap();
    assert_eq!(everything.total(), 1 << 126);
}

#[test]
fn blocks_of_another_size_are_respected() {
    let mut pool = pool(&["10.0.0.0/16"], 24).unwrap();
    pool.occupy(net("10.0.0.128/25")).unwrap();
    pool.occupy(net("10.0.2.0/23")).unwrap();
    assert_eq!(pool.allocate().unwrap(), net("10.0.1.0/24"));
    assert_eq!(pool.allocate().unwrap(), net("10.0.4.0/24"));
    assert!(pool.release(net("10.0.2.0/23")));
    assert_eq!(pool.allocate().unwrap(), net("10.0.2.0/24"));
    assert!(matches!(pool.occupy(net("10.0.2.0/25")), Err(PoolError::InUse { .. })));
    assert!(matches!(pool.occupy(net("10.1.0.0/24")), Err(PoolError::Outside { .. })));
    assert!(matches!(pool.occupy(net("fd00::/64")), Err(PoolError::Outside { .. })));
    assert!(matches!(pool.occupy(net("0.0.0.0/0")), Err(PoolError::Outside { .. })));
}

#[test]
fn bad_configurations_say_what_is_wrong() {
    let text = |cidrs: &[&str], mask| pool(cidrs, mask).unwrap_err().to_string();
    assert!(text(&[], 24).contains("no CIDR"));
    assert!(text(&["10.0.0.0/8", "fd00::/64"], 24).contains("two families"));
    assert!(text(&["10.0.0.1/8"], 24).contains("write 10.0.0.0/8 instead"));
    assert!(text(&["10.0.0.0/8", "10.4.0.0/16"], 24).contains("10.0.0.0/8 and 10.4.0.0/16 overlap"));
    assert!(text(&["10.0.0.0/25"], 24).contains("from /25 to /30"));
    assert!(text(&["10.0.0.0/8"], 31).contains("from /8 to /30"));
    assert!(text(&["fd00::/104"], 127).contains("from /104 to /126"));
    assert!(text(&["10.0.0.0/8"], 255).contains("/255 does not fit"));
}

/// What a test does to the pool.
#[derive(Debug, Clone)]
enum Step {
    Allocate,
    Occupy(u8, u8),
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Allocate),
        2 => (any::<u8>(), 25u8..=30).prop_map(|(host, len)| Step::Occupy(host, len)),
        3 => any::<usize>().prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 0..80)
}

/// Every address of a small prefix.
fn addresses(net: &IpNet) -> BTreeSet<u128> {
    (number(net.network())..=number(net.broadcast())).collect()
}

proptest! {
    /// Against the set of single addresses in use: a block is given iff a free aligned one exists, it is the lowest,
    /// and what was released can be given again.
    #[test]
    fn behaves_like_a_set_of_addresses(steps in steps()) {
        let mut pool = pool(&["10.0.0.0/25", "10.0.0.192/26"], 28).unwrap();
        let blocks: Vec<IpNet> =
            (0..8).chain(12..16).map(|n| net(&format!("10.0.0.{}/28", n * 16))).collect();
        let mut held: Vec<IpNet> = Vec::new();
        for step in steps {
            let used: BTreeSet<u128> = held.iter().flat_map(addresses).collect();
            match step {
                Step::Allocate => {
                    let lowest = blocks.iter().find(|block| addresses(block).is_disjoint(&used)).copied();
                    prop_assert_eq!(pool.allocate().ok(), lowest);
                    held.extend(lowest);
                }
                Step::Occupy(host, len) => {
                    let base = number(net("10.0.0.0/24").network()) + u128::from(host);
                    let block = IpNet::new(Family::V4.addr(base), len).unwrap().trunc();
                    let inside = net("10.0.0.0/25").contains(&block) || net("10.0.0.192/26").contains(&block);
                    let fits = inside && addresses(&block).is_disjoint(&used);
                    prop_assert_eq!(pool.occupy(block).is_ok(), fits);
                    if fits {
                        held.push(block);
                    }
                }
                Step::Release(nth) => {
                    if !held.is_empty() {
                        let block = held.swap_remove(nth % held.len());
                        prop_assert!(pool.release(block));
                        prop_assert!(!pool.release(block));
                    }
                }
            }
            let mut sorted = held.clone();
            sorted.sort_by_key(|net| number(net.network()));
            prop_assert_eq!(pool.in_use().collect::<Vec<_>>(), sorted);
        }
    }
}
