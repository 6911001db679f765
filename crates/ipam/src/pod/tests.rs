use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allocator(cidrs: &[&str]) -> PodAllocator {
    PodAllocator::new(cidrs.iter().map(|cidr| net(cidr)), &[]).unwrap()
}

#[test]
fn the_router_has_the_first_address_and_the_edges_stay_unused() {
    let mut ipam = allocator(&["10.0.1.0/29", "fd00:1::/64"]);
    assert_eq!(ipam.router(Family::V4), Some(ip("10.0.1.1")));
    assert_eq!(ipam.router(Family::V6), Some(ip("fd00:1::1")));
    let given: Vec<_> = (2..7).map(|n| ipam.allocate(&format!("pod{n}")).unwrap()).collect();
    assert_eq!(given[0].v4, Some("10.0.1.2".parse().unwrap()));
    assert_eq!(given[4].v4, Some("10.0.1.6".parse().unwrap()), ".7 is the broadcast address");
    assert_eq!(given[4].v6, Some("fd00:1::6".parse().unwrap()));
    assert_eq!(ipam.usage(Family::V4), Usage { used: 6, total: 6 });
    assert_eq!(ipam.usage(Family::V6), Usage { used: 6, total: 65_535 });
}

#[test]
fn exhaustion_names_the_cidrs_and_takes_nothing_from_the_other_family() {
    let mut ipam = allocator(&["10.0.1.0/30", "fd00:1::/120"]);
    ipam.allocate("a/one").unwrap();
    let error = ipam.allocate("a/two").unwrap_err();
    assert!(matches!(&error, PodError::Exhausted { family: Family::V4, total: 2, .. }), "{error:?}");
    assert!(error.to_string().contains("10.0.1.0/30"), "{error}");
    assert!(error.to_string().contains("cluster-pool mask size"), "{error}");
    assert_eq!(ipam.usage(Family::V6).used, 2, "router and one pod");

    let mut reversed = allocator(&["fd00:1::/126", "10.0.1.0/24"]);
    reversed.allocate("a/one").unwrap();
    assert!(matches!(reversed.allocate("a/two"), Err(PodError::Exhausted { family: Family::V6, .. })));
    assert_eq!(reversed.usage(Family::V4).used, 2, "the IPv4 address taken first was given back");
}

#[test]
fn several_cidrs_fill_in_order_and_released_addresses_come_last_oldest_first() {
    let mut ipam = allocator(&["10.0.1.0/30", "10.0.9.0/29"]);
    let first = ipam.allocate_family(Family::V4, "first").unwrap();
    assert_eq!(first, ip("10.0.1.2"));
    ipam.release(first);
    let second = ipam.allocate_family(Family::V4, "second").unwrap();
    assert_eq!(second, ip("10.0.9.1"), "never used ones first, even in the next CIDR");
    ipam.release(second);
    for n in 2..7 {
        assert_eq!(ipam.allocate_family(Family::V4, "p").unwrap(), ip(&format!("10.0.9.{n}")));
    }
    assert_eq!(ipam.allocate_family(Family::V4, "p").unwrap(), first);
    assert_eq!(ipam.allocate_family(Family::V4, "p").unwrap(), second);
    assert!(ipam.allocate_family(Family::V4, "p").is_err());
}

#[test]
fn restored_addresses_are_kept_and_what_lies_below_them_is_reused_last() {
    let mut ipam = PodAllocator::new([net("10.0.1.0/24")], &[ip("10.0.1.7"), ip("10.9.9.9")]).unwrap();
    assert_eq!(ipam.router(Family::V4), Some(ip("10.0.1.7")), "found on the node");
    ipam.claim(ip("10.0.1.40"), "web/a").unwrap();
    ipam.claim(ip("10.0.1.12"), "web/b").unwrap();
    ipam.claim(ip("10.0.1.12"), "web/b").unwrap();
    assert_eq!(ipam.allocate_family(Family::V4, "new").unwrap(), ip("10.0.1.41"));
    assert_eq!(ipam.release_owner("web/b"), [ip("10.0.1.12")]);
    let rest: Vec<_> = (0..250).map(|_| ipam.allocate_family(Family::V4, "more").unwrap()).collect();
    assert_eq!(rest.iter().position(|addr| *addr == ip("10.0.1.12")), None);
    assert_eq!(
        ipam.allocate_family(Family::V4, "more").unwrap(),
        ip("10.0.1.12"),
        "released, so last of all"
    );
}

#[test]
fn claims_are_refused_with_a_reason() {
    let mut ipam = allocator(&["10.0.1.0/24"]);
    ipam.claim(ip("10.0.1.9"), "web/a").unwrap();
    let texts: Vec<_> = ["10.0.1.9", "10.0.2.9", "10.0.1.255", "10.0.1.0", "fd00::1"]
        .map(|addr| ipam.claim(ip(addr), "web/b").unwrap_err())
        .into_iter()
        .collect();
    assert!(matches!(&texts[0], PodError::InUse { holder, .. } if holder == "web/a"));
    assert!(matches!(&texts[1], PodError::Outside { .. }) && texts[1].to_string().contains("10.0.1.0/24"));
    assert!(matches!(&texts[2], PodError::Reserved { .. }));
    assert!(matches!(&texts[3], PodError::Reserved { .. }));
    assert!(matches!(&texts[4], PodError::Outside { .. }));
    assert_eq!(ipam.usage(Family::V4).used, 2);
    assert_eq!(ipam.release(ip("10.0.1.77")), None, "a second DEL is no error");
}

#[test]
fn cidrs_can_change_under_running_pods() {
    let mut ipam = allocator(&["10.0.1.0/30"]);
    let pod = ipam.allocate_family(Family::V4, "web/a").unwrap();
    assert!(matches!(ipam.set_cidrs([net("10.0.0.0/8"), net("10.0.1.0/24")]), Err(PodError::Overlap { .. })));
    ipam.set_cidrs([net("10.0.2.0/30"), net("fd00::/64")]).unwrap();
    assert_eq!(ipam.owner(pod), Some("web/a"), "keeps its address");
    assert_eq!(ipam.allocate_family(Family::V4, "web/b").unwrap(), ip("10.0.2.1"));
    ipam.release(pod);
    ipam.allocate_family(Family::V4, "web/c").unwrap();
    assert!(ipam.allocate_family(Family::V4, "web/d").is_err(), "the old CIDR gives nothing any more");
    ipam.set_cidrs([net("10.0.1.0/30"), net("10.0.2.0/30")]).unwrap();
    assert_eq!(
        ipam.allocate_family(Family::V4, "web/d").unwrap(),
        pod,
        "it came back, and .1 is still the router's"
    );
}

#[test]
fn without_cidrs_there_is_a_cure_in_the_text() {
    let mut ipam = PodAllocator::default();
    assert!(ipam.allocate("web/a").unwrap_err().to_string().contains("operator"));
    let mut v4 = allocator(&["10.0.1.0/24"]);
    assert!(matches!(v4.allocate_family(Family::V6, "x"), Err(PodError::NoCidr { family: Family::V6, .. })));
}

/// What a test does to the allocator.
#[derive(Debug, Clone)]
enum Step {
    Allocate(bool),
    Claim(bool, u8),
    Release(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Allocate),
        1 => (any::<bool>(), 0u8..40).prop_map(|(v6, host)| Step::Claim(v6, host)),
        3 => any::<usize>().prop_map(Step::Release),
    ];
    proptest::collection::vec(step, 0..120)
}

/// The addresses that may be handed out, written down by hand: two IPv4 CIDRs and one IPv6 CIDR.
fn usable() -> BTreeSet<IpAddr> {
    let v4 = (1..15).map(|n| ip(&format!("10.0.0.{n}"))).chain((33..35).map(|n| ip(&format!("10.0.0.{n}"))));
    v4.chain((1..15).map(|n| ip(&format!("fd00::{n:x}")))).collect()
}

proptest! {
    /// Against a map from address to owner: nothing is given twice, nothing outside, an error only when the set of the
    /// free is empty, and the released come back in the order of their release.
    #[test]
    fn behaves_like_a_set(steps in steps()) {
        let mut ipam = allocator(&["10.0.0.0/28", "10.0.0.32/30", "fd00::/124"]);
        let usable = usable();
        let mut model: BTreeMap<IpAddr, String> =
            BTreeMap::from([(ip("10.0.0.1"), ROUTER_OWNER.to_owned()), (ip("fd00::1"), ROUTER_OWNER.to_owned())]);
        let mut history: Vec<IpAddr> = Vec::new();
        let mut ever: BTreeSet<IpAddr> = model.keys().copied().collect();
        for (at, step) in steps.into_iter().enumerate() {
            let owner = format!("pod{at}");
            match step {
                Step::Allocate(v6) => {
                    let family = if v6 { Family::V6 } else { Family::V4 };
                    let free: BTreeSet<_> =
                        usable.iter().filter(|a| Family::of(**a) == family && !model.contains_key(a)).copied().collect();
                    match ipam.allocate_family(family, &owner) {
                        Ok(addr) => {
                            prop_assert!(free.contains(&addr), "{addr} is not free");
                            if free.iter().any(|a| !ever.contains(a)) {
                                prop_assert!(!ever.contains(&addr), "{addr} was used before, others were not");
                            } else {
                                let oldest = history.iter().find(|a| free.contains(a));
                                prop_assert_eq!(Some(&addr), oldest);
                            }
                            history.retain(|a| *a != addr);
                            ever.insert(addr);
                            model.insert(addr, owner);
                        }
                        Err(_) => prop_assert!(free.is_empty()),
                    }
                }
                Step::Claim(v6, host) => {
                    let addr = if v6 { ip(&format!("fd00::{host:x}")) } else { ip(&format!("10.0.0.{host}")) };
                    let fits = usable.contains(&addr) && !model.contains_key(&addr);
                    prop_assert_eq!(ipam.claim(addr, &owner).is_ok(), fits);
                    if fits {
                        history.retain(|a| *a != addr);
                        ever.insert(addr);
                        model.insert(addr, owner);
                    }
                }
                Step::Release(nth) => {
                    let held: Vec<_> = model.keys().copied().collect();
                    if let Some(addr) = held.get(nth % held.len().max(1)) {
                        prop_assert_eq!(ipam.release(*addr), model.remove(addr));
                        history.push(*addr);
                    }
                }
            }
            let seen: BTreeMap<_, _> = ipam.allocations().map(|(addr, owner)| (addr, owner.to_owned())).collect();
            prop_assert_eq!(&seen, &model);
        }
    }
}
