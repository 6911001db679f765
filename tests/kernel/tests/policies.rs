//! Random policies in the kernel: it lets through and drops what the API's text says, read literally, and leaves the same
//! packets and flows behind as the simulator, which judges many more of the same cases (`tests/policy`).
//!
//! `AXONEME_CASES=100000` judges that many packets (1,000 by default), `AXONEME_SEED=7` begins elsewhere.

use abi::DropReason;
use axoneme_kernel_tests::{pair::Pair, place::Place};
use policy_tests::cluster::{Cluster, config};
use policy_tests::naive::{Outcome, judge};
use policy_tests::random::Random;
use policy_tests::{PACKETS, number, written};

#[test]
fn the_kernel_does_what_the_api_says() {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let mut pair = Pair::empty(place, config()).expect("the programs load");
    let cases = number("AXONEME_CASES", 1_000);
    let first = number("AXONEME_SEED", 1);
    let (mut judged, mut passed) = (0, 0);
    for seed in first..first + cases.div_ceil(PACKETS) {
        let mut random = Random::new(seed);
        let world = written::world(&mut random);
        let cluster = Cluster::of(&world);
        let mut node = cluster.node();
        pair.take(&node).expect("tables");
        for _ in 0..PACKETS {
            let packet = world.packet(&mut random);
            let expected = judge(&world, &packet);
            let prepared = cluster.prepare(&mut node, &packet);
            let about = || format!("seed {seed}: {packet:?}\nthe API says {expected:?}\n{}", world.text());
            pair.forget().expect("flows");
            let outcome = pair
                .send(prepared.program, &prepared.sent)
                .unwrap_or_else(|error| panic!("{error}\n{}", about()));
            match outcome.verdict {
                Ok(_) if expected == Outcome::Passes => passed += 1,
                Err(DropReason::PolicyDenied | DropReason::PolicyDeny) if expected != Outcome::Passes => {}
                other => panic!("the kernel says {other:?}, {}", about()),
            }
            pair.compare_tables().unwrap_or_else(|error| panic!("{error}\n{}", about()));
            judged += 1;
        }
    }
    println!("{passed} of {judged} packets pass");
    assert!(passed * 10 > judged && passed * 10 < judged * 9, "one verdict alone would prove little");
}
