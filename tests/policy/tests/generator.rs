//! Random policies, pods and packets: what the tables do in the simulator is what the API's text says, read literally; and
//! every order of the same events ends in the same maps.
//!
//! `AXONEME_CASES=100000` judges that many packets (2,000 by default), `AXONEME_SEED=7` begins elsewhere.

use std::thread;

use axoneme_policy_tests::cluster::Cluster;
use axoneme_policy_tests::random::{Random, permutations};
use axoneme_policy_tests::{PACKETS, naive, number, written};

#[test]
fn tables_do_what_the_api_says() {
    let cases = number("AXONEME_CASES", 2_000);
    let first = number("AXONEME_SEED", 1);
    let seeds = first..first + cases.div_ceil(PACKETS);
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let passed: u64 = thread::scope(|scope| {
        let part = |worker| seeds.clone().skip(worker as usize).step_by(workers as usize);
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || part(worker).map(judge_world).sum::<u64>()))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("every world agrees")).sum()
    });
    let judged = seeds.count() as u64 * PACKETS;
    // Worlds in which nothing or everything passes would show nothing.
    assert!(passed * 10 > judged && passed * 10 < judged * 9, "{passed} of {judged} pass");
}

/// Judges packets of the world of this seed; how many pass.
fn judge_world(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let written = written::world(&mut random);
    let cluster = Cluster::of(&written);
    let mut node = cluster.node();
    let mut passed = 0;
    for _ in 0..PACKETS {
        let packet = written.packet(&mut random);
        let expected = naive::judge(&written, &packet);
        let seen = cluster.send(&mut node, &packet);
        assert!(
            seen == expected,
            "seed {seed}: {packet:?}\nthe API says {expected:?}, the tables {seen:?}\n{}",
            written.text()
        );
        passed += u64::from(expected == naive::Outcome::Passes);
    }
    passed
}

#[test]
fn every_order_of_events_ends_in_equal_maps() {
    for seed in 1..=number("AXONEME_ORDERS", 2) {
        let mut random = Random::new(seed);
        let written = written::world(&mut random);
        let events = written.events();
        let last = events.len().saturating_sub(4);
        // All orders of the last four, after the others; then some of all.
        let orders = permutations(events.len() - last);
        let mut maps = None;
        let tails = orders.iter().map(|order| (0..last).chain(order.iter().map(|i| last + i)).collect());
        let shuffles: Vec<Vec<usize>> = (0..16).map(|_| random.shuffle(events.len())).collect();
        for (number, order) in tails.chain(shuffles).enumerate() {
            let order: Vec<usize> = order;
            let seen = Cluster::in_order(&written, &order, number).maps();
            let wanted = maps.get_or_insert_with(|| seen.clone());
            assert!(*wanted == seen, "seed {seed}, order {order:?}:\n{}", difference(wanted, &seen));
        }
    }
}

fn difference(one: &[String], other: &[String]) -> String {
    let missing = |these: &[String], those: &[String], sign: char| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    missing(one, other, '-') + &missing(other, one, '+')
}
