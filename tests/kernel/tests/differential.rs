//! Random packets through the kernel and through memory: same verdict, same packet, same tables.

use abi::config;
use axoneme_kernel_tests::{packets, pair::Pair, place::Place, random::Random};

/// Packets of one round, after which tables are compared and everything starts from new policies. A round stays far
/// below the shortest lifetime of an entry, so that the two clocks cannot disagree on what has expired.
const ROUND: u64 = 2000;

fn packets_wanted() -> u64 {
    std::env::var("AXONEME_PACKETS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

fn compare(tunnel: bool, extras: u32, seed: u64) {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let mut pair = Pair::new(place, tunnel, extras).expect("the programs load");
    let mut random = Random(seed);
    let wanted = packets_wanted() / 3;
    let mut sent = 0;
    let mut actions = [0_u64; 9];
    while sent < wanted {
        pair.refill(&mut random).expect("tables");
        for (program, packet) in packets::conversation() {
            let outcome = pair.send(program, &packet).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            actions[outcome.verdict.map_or(0, |verdict| verdict.action as usize)] += 1;
        }
        for _ in 0..ROUND.min(wanted - sent) {
            let (program, packet) = packets::random(&mut random);
            match pair.send(program, &packet) {
                Ok(outcome) => actions[outcome.verdict.map_or(0, |verdict| verdict.action as usize)] += 1,
                Err(error) => panic!("packet {sent} of seed {seed}: {error}"),
            }
            if random.one_in(200) {
                pair.bump().expect("a new generation");
            }
            sent += 1;
        }
        pair.compare_tables().unwrap_or_else(|error| panic!("after packet {sent} of seed {seed}: {error}"));
    }
    println!(
        "{sent} packets, tunnel {tunnel}: dropped/pass/stack/pod/neighbour/tunnel/reply/transmit/own {actions:?}"
    );
    // A comparison of nothing but drops would prove little.
    for (action, count) in actions.iter().enumerate().take(7) {
        assert_eq!(*count > 0, tunnel || action != 5, "{count} packets came to action {action}");
    }
    assert_eq!(actions[8] > 0, extras & config::HOST_FIREWALL != 0, "packets of the node on the fast path");
}

#[test]
fn kernel_and_memory_agree_under_native_routing() {
    compare(false, 0, 1);
}

#[test]
fn kernel_and_memory_agree_where_the_stack_routes() {
    compare(false, config::STACK_ROUTING, 4);
}

#[test]
fn kernel_and_memory_agree_on_the_nodes_own_policy() {
    compare(false, config::HOST_FIREWALL, 3);
}

#[test]
fn kernel_and_memory_agree_under_a_tunnel() {
    compare(true, config::HOST_FIREWALL | config::DENY_RESPONSE, 2);
}

#[test]
fn programs_stay_within_their_budget() {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let pair =
        Pair::new(place, true, config::HOST_FIREWALL | config::DENY_RESPONSE).expect("the programs load");
    for (name, stats) in pair.programs() {
        println!(
            "{name}: {} instructions walked, {} bytes translated, loaded in {:?}",
            stats.verified, stats.translated, stats.load
        );
        // The verifier's limit is a million; this leaves room for the features to come.
        assert!(stats.verified < 250_000, "{name} walks {} instructions", stats.verified);
    }
}
