//! Several ways to a server, in turns: each round goes all ways, every other round in the opposite order, so that a drift
//! meets them all.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::spot::Spot;

/// Source ports of each place.
const PORTS: std::ops::Range<u16> = 20_000..65_000;
/// Of so many connections one may fail without spoiling a measurement; it is counted.
const TOLERATED: u64 = 1000;

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    pub(super) seconds: f64,
}

impl Effort {
    /// Enough, or just enough to see that everything works.
    pub(super) fn new(quick: bool) -> Effort {
        if quick { Effort { rounds: 3, seconds: 1.0 } } else { Effort { rounds: 15, seconds: 2.0 } }
    }
}

/// A way to a server.
pub(super) struct Way<'a> {
    pub(super) name: &'static str,
    pub(super) from: &'a Spot,
    /// Taken in turns.
    pub(super) to: Vec<String>,
    /// Which part of the source ports, of how many: ways from one place to one server share none, since they would be one
    /// connection to who remembers those that were.
    pub(super) lane: (u16, u16),
}

impl Way<'_> {
    /// The source ports of a round: half of the way's own, so that none is used again in the next round.
    fn ports(&self, round: usize) -> String {
        let (low, half) = self.lane();
        let low = low + (round % 2) as u16 * half;
        format!("{low}-{}", low + half - 1)
    }

    /// The source ports of all rounds.
    pub(super) fn all_ports(&self) -> String {
        let (low, half) = self.lane();
        format!("{low}-{}", low + 2 * half - 1)
    }

    /// The first of the way's ports, and half their number.
    fn lane(&self) -> (u16, u16) {
        let (lane, lanes) = self.lane;
        let half = (PORTS.end - PORTS.start) / lanes.max(1) / 2;
        (PORTS.start + lane * 2 * half, half)
    }
}

/// What one turn gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    /// Connections a second: the rate of the middle one, since a stall (a lost SYN waits a second) must not decide.
    pub(super) rate: f64,
    /// Microseconds until a connection stood.
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) connections: u64,
    pub(super) failed: u64,
}

/// The samples of each way.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(BTreeMap<&'static str, Vec<Sample>>);

impl Samples {
    /// One number of each sample of a way.
    pub(super) fn of(&self, way: &str, number: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.0.get(way).map(|samples| samples.iter().map(number).collect()).unwrap_or_default()
    }

    /// Rates of a way.
    pub(super) fn rates(&self, way: &str) -> Vec<f64> {
        self.of(way, |sample| sample.rate)
    }

    /// Connections of a way that failed.
    pub(super) fn failed(&self, way: &str) -> u64 {
        self.0.get(way).map(|samples| samples.iter().map(|sample| sample.failed).sum()).unwrap_or_default()
    }
}

/// Goes all ways in each round.
pub(super) fn measure(ways: &[Way], effort: Effort) -> Result<Samples> {
    let mut samples = Samples::default();
    for round in 0..effort.rounds {
        let mut order: Vec<&Way> = ways.iter().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            let to = way.to.get(round % way.to.len().max(1)).context("a way to nowhere")?;
            let seen = way
                .from
                .connections(to, effort.seconds, &way.ports(round))
                .with_context(|| format!("{} to {to}", way.name))?;
            ensure!(
                seen.errors * TOLERATED <= seen.count,
                "{} to {to}: {} connections failed, {} did not",
                way.name,
                seen.errors,
                seen.count
            );
            samples.0.entry(way.name).or_default().push(Sample {
                rate: 1e6 / seen.p50_us,
                p50: seen.connect_p50_us,
                p99: seen.connect_p99_us,
                connections: seen.count,
                failed: seen.errors,
            });
        }
    }
    Ok(samples)
}

/// Writes all samples to `target/bench/services-PART.json`, by number of services.
pub(super) fn keep(part: &str, samples: &BTreeMap<u32, Samples>) -> Result<()> {
    let all: BTreeMap<_, _> =
        samples.iter().map(|(count, samples)| (count.to_string(), &samples.0)).collect();
    let path = crate::root().join(format!("target/bench/services-{part}.json"));
    let text = serde_json::to_string_pretty(&json!({"samples": all}))?;
    std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_rounds_have_ports_of_their_own() {
        let spot = Spot::namespace("none");
        let way = |lane| Way { name: "a", from: &spot, to: vec![], lane };
        assert_eq!(
            [0, 1, 2].map(|round| way((0, 1)).ports(round)),
            ["20000-42499", "42500-64999", "20000-42499"]
        );
        let all = [0, 1, 2, 3].map(|lane| [way((lane, 4)).ports(0), way((lane, 4)).ports(1)]);
        assert_eq!(all[0], ["20000-25624", "25625-31249"]);
        assert_eq!(all[3], ["53750-59374", "59375-64999"]);
    }
}
