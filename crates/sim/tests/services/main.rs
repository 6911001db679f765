//! Random services, backends, clients and packets: two nodes in memory, held against a literal reading of the objects.
//!
//! Every conversation is followed from end to end over both nodes' programs, the link and the router between them. It must
//! reach a backend that the objects allow, show the client where they say so, hear answers from the address that it spoke
//! to and from nobody else, keep its backend while it lives, and find another when it has none.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]
#![allow(unreachable_pub, reason = "modules of one test")]

mod cluster;
mod frame;
mod generate;
mod model;
mod talk;

use generate::Step;
use proptest::prelude::*;
use talk::Run;

/// How many clusters are tried; `PROPTEST_CASES` says otherwise.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(4000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conversations_are_as_the_objects_say(
        setup in generate::setup(),
        host_port in any::<bool>(),
        services in prop::collection::vec(generate::service(), 1..4),
        slices in prop::collection::vec(generate::slice(), 1..4),
        steps in generate::steps(),
    ) {
        let mut run = Run::new(&setup, host_port);
        let objects = slices.into_iter().map(Step::Slice).chain(services.into_iter().map(Step::Service));
        for step in objects.chain(steps) {
            if let Err(error) = run.step(step) {
                return Err(TestCaseError::fail(error));
            }
        }
    }
}
