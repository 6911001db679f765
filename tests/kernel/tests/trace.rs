//! `policy trace` over the kernel's maps tells what the kernel does with the same packet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use axoneme_kernel_tests::{pair::ETH0, pair::Pair, place::Place, random::Random};
use datapath::Action;
use mirror::{Flows, dump};
use sim::{Outcome, Program, Sent};
use trace::{Question, Surroundings, prepare};

const V4: &[&str] = &[
    "10.244.1.10",
    "10.244.1.11",
    "10.244.2.20",
    "172.31.0.11",
    "172.31.0.12",
    "203.0.113.7",
    "198.51.100.7",
    "8.8.8.8",
];
const V6: &[&str] = &[
    "fd00:10:244:1::10",
    "fd00:10:244:1::11",
    "fd00:10:244:2::20",
    "fd00:31::11",
    "2001:db8::7",
    "2001:4860::8",
];
/// Packets of one round, after which pods and policies are new.
const ROUND: usize = 50;
const ROUNDS: usize = 8;

fn question(random: &mut Random, source_port: u16) -> Question {
    let v6 = random.one_in(3);
    let pool = if v6 { V6 } else { V4 };
    let mut ip = || random.pick(pool).parse::<IpAddr>().expect("literal address");
    let (source, destination) = (ip(), ip());
    let protocol = random.pick(&[6, 6, 6, 17, 17, if v6 { 58 } else { 1 }, 132]);
    let port = match protocol {
        1 => random.pick(&[8, 8, 0, 13]),
        58 => random.pick(&[128, 128, 129, 144]),
        _ => random.pick(&[53, 80, 443, 8080]),
    };
    Question { source, destination, protocol, port, source_port }
}

/// Everything that a packet could change, but for the clocks in it.
fn content(pair: &Pair) -> (u32, usize, BTreeSet<abi::FlowKey>, usize) {
    let maps = pair.maps();
    let flows = maps.flows.dump().expect("flows").into_iter().chain(maps.half_open.dump().expect("flows"));
    let slots = maps.pods.dump().expect("pods").into_iter().map(|(_, facts)| facts.policy);
    let policies = loader::read_policies_in(&maps.policies, slots).expect("policies");
    let keys = flows.map(|(key, _)| key).collect();
    (
        maps.epoch.get().expect("epoch"),
        policies.values().map(|table| table.len()).sum(),
        keys,
        maps.nat.dump().expect("nat").len(),
    )
}

/// What the kernel does with the packet, on a native device's way out too.
fn in_kernel(pair: &mut Pair, program: Program, sent: &Sent) -> Outcome {
    let first = pair.send(program, sent).expect("both worlds agree");
    match first.verdict {
        Ok(verdict) if verdict.action == Action::Neighbour && verdict.ifindex == ETH0 => {
            let sent = Sent { frame: first.frame, ifindex: ETH0, mark: first.mark, ..Sent::default() };
            pair.send(Program::NetdevEgress, &sent).expect("both worlds agree")
        }
        _ => first,
    }
}

fn compare(tunnel: bool, seed: u64) {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let mut pair = Pair::new(place, tunnel, 0).expect("the programs load");
    let mut random = Random(seed);
    let around = Surroundings { native: vec![ETH0], ..Surroundings::default() };
    let (mut allowed, mut denied, mut audited, mut next_port) = (0, 0, 0, 20_000);
    let mut programs = BTreeSet::new();
    for _ in 0..ROUNDS {
        pair.refill(&mut random).expect("tables");
        let mut left = ROUND;
        while left > 0 {
            // Each is a connection of its own, to the kernel too.
            next_port += 1;
            let asked = question(&mut random, next_port);
            let mut node = dump(pair.maps(), pair.config(), Flows::Without).expect("a copy of the maps");
            node.routes.clone_from(&pair.node.routes);
            let Ok(prepared) = prepare(&node, &asked, &around) else { continue };
            let before = content(&pair);
            let told = trace::trace(&mut node, &prepared, &around);
            assert_eq!(content(&pair), before, "tracing changed a live map: {asked:?}");
            // ICMP without an identifier is always the same flow.
            pair.maps().half_open.clear().expect("flows");
            pair.node.half_open.clear();
            let kernel = in_kernel(&mut pair, prepared.program, &prepared.sent);
            programs.insert(format!("{:?}", prepared.program));
            match (told.verdict.as_str(), kernel.verdict) {
                ("DENIED", Err(reason)) if reason.text() == told.reason => denied += 1,
                ("ALLOWED", Ok(_)) => allowed += 1,
                ("AUDIT", Ok(_)) => audited += 1,
                (_, verdict) => {
                    panic!("{asked:?} of seed {seed}: the kernel says {verdict:?}, the trace {told:#?}")
                }
            }
            left -= 1;
        }
    }
    println!("tunnel {tunnel}: {allowed} allowed, {denied} denied, {audited} audited, through {programs:?}");
    assert!(
        allowed > 50 && denied > 50 && audited > 0,
        "a comparison of one verdict alone would prove little"
    );
    assert!(programs.len() >= 4, "few programs were met: {programs:?}");
}

#[test]
fn a_trace_tells_what_the_kernel_does_under_native_routing() {
    compare(false, 7);
}

#[test]
fn a_trace_tells_what_the_kernel_does_under_a_tunnel() {
    compare(true, 12);
}

#[test]
fn a_tracked_connection_is_followed() {
    let Some(place) = Place::enter().expect("namespaces") else { return };
    let mut pair = Pair::new(place, false, 0).expect("the programs load");
    let mut random = Random(13);
    let around = Surroundings { native: vec![ETH0], ..Surroundings::default() };
    let [a, b] = ["10.244.1.10", "10.244.1.11"].map(|text| text.parse::<IpAddr>().expect("literal address"));
    let (mut followed, mut against_policy) = (0, 0);
    for port in 40_000..40_100 {
        pair.refill(&mut random).expect("tables");
        let there = Question { source: a, destination: b, protocol: 6, port: 80, source_port: port };
        let copy = dump(pair.maps(), pair.config(), Flows::Without).expect("a copy of the maps");
        let opening = prepare(&copy, &there, &around).expect("a packet");
        if pair.send(opening.program, &opening.sent).expect("both worlds agree").verdict.is_err() {
            continue;
        }
        // What was allowed to open may be answered, whatever the other side's own policy says.
        let back = Question { source: b, destination: a, source_port: 80, port, ..there };
        let told = |flows| {
            let mut node = dump(pair.maps(), pair.config(), flows).expect("a copy of the maps");
            let answer = prepare(&node, &back, &around).expect("a packet");
            (trace::trace(&mut node, &answer, &around), answer)
        };
        let (reply, answer) = told(Flows::With);
        assert!(reply.verdict != "DENIED", "{reply:#?}");
        assert!(reply.steps[0].ends_with("reply in a tracked connection"), "{reply:#?}");
        let (opened, _) = told(Flows::Without);
        against_policy += u32::from(opened.verdict == "DENIED");
        assert!(pair.send(answer.program, &answer.sent).expect("both worlds agree").verdict.is_ok());
        followed += 1;
    }
    println!(
        "{followed} connections followed, {against_policy} of them could not be opened from the other side"
    );
    assert!(followed > 10 && against_policy > 0);
}
