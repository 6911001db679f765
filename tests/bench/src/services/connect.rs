//! From a pod to a cluster IP whose backend is on the other node, with more and more services, beside the same pod by its
//! own address, beside kube-proxy in both modes, and beside IP routing without any filter, which no service can slow down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::field::{Field, inside, wait};
use super::inside::Task;
use super::peer::{Peer, Proxy};
use super::plot::{self, Line};
use super::rounds::{self, Samples, Way};
use super::{field, processes};
use crate::figure::{Figure, Figures};
use crate::stats::{estimate, median};

/// Prefixes of the figures of this part.
pub(super) const PREFIXES: &[&str] = &["rate.", "connect."];

const OURS: &str = "ours";
const DIRECT: &str = "direct";
const PLAIN: &str = "plain";
const IPTABLES: &str = "iptables";
const NFTABLES: &str = "nftables";
const WAYS: [&str; 5] = [OURS, DIRECT, PLAIN, IPTABLES, NFTABLES];
/// Services that lead to the server, where there are enough: kube-proxy's rules stand in no order, so that one service
/// alone might be early or late in the list.
const REAL: u32 = 8;
/// Until everybody has read and written all services.
const SETTLE: Duration = Duration::from_secs(2400);
/// Until everybody rests then.
const REST: Duration = Duration::from_secs(300);

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    counts: &'static [u32],
    rounds: rounds::Effort,
}

impl Effort {
    /// All counts, or those that are quickly there.
    pub(super) fn new(quick: bool) -> Effort {
        let counts: &[u32] = if quick { &[1, 1000, 3000] } else { &[1, 1000, 3000, 10_000, 30_000] };
        Effort { counts, rounds: rounds::Effort::new(quick) }
    }
}

/// The figures of this part.
pub(super) fn figures(effort: Effort) -> Vec<Figure> {
    let iptables = "kube-proxy 1.34, iptables";
    let ratio = |name: String| Figure::higher(name, "ratio");
    let mut figures = Vec::new();
    for count in effort.counts {
        let direct = "the same pod by its own address";
        figures.push(ratio(format!("rate.over_direct.{count}")).goal(0.97).peer(direct));
    }
    let alone = "the rate with 1 service, each over IP routing without a filter at that time";
    if let Some(count) = effort.counts.last() {
        figures.push(ratio(format!("rate.{count}_over_1")).goal(0.99).peer(alone));
    }
    for count in effort.counts {
        let figure = ratio(format!("rate.over_iptables.{count}")).peer(iptables);
        figures.push(match count {
            1 => figure.goal(1.2),
            30_000 => figure.goal(8.0),
            _ => figure,
        });
    }
    for count in effort.counts {
        let nftables = "kube-proxy 1.34, nftables";
        figures.push(ratio(format!("rate.over_nftables.{count}")).goal(1.25).peer(nftables));
    }
    for way in WAYS {
        for count in effort.counts {
            figures.push(Figure::lower(format!("connect.{way}.{count}.p50"), "µs"));
            figures.push(Figure::lower(format!("connect.{way}.{count}.p99"), "µs"));
        }
    }
    figures.push(Figure::lower("connect.ours.failed", "connections").goal(0.0));
    figures.push(Figure::lower("connect.kube_proxy.failed", "connections"));
    figures
}

/// Measures everything of this part.
pub(super) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    figures.note("iptables", &super::peer::iptables());
    let mut world = World::up()?;
    let mut samples: BTreeMap<u32, Samples> = BTreeMap::new();
    for count in effort.counts {
        let seen = world.measure(*count, effort).with_context(|| format!("{count} services"))?;
        record(figures, *count, &seen)?;
        samples.insert(*count, seen);
        rounds::keep("connect", &samples)?;
        draw(&samples)?;
    }
    flatness(figures, &samples)?;
    let failed =
        |ways: &[&str]| samples.values().flat_map(|s| ways.iter().map(|way| s.failed(way))).sum::<u64>();
    figures.set("connect.ours.failed", failed(&[OURS, DIRECT]) as f64, samples.len())?;
    figures.set("connect.kube_proxy.failed", failed(&[IPTABLES, NFTABLES]) as f64, samples.len())
}

fn record(figures: &mut Figures, count: u32, samples: &Samples) -> Result<()> {
    let ours = samples.rates(OURS);
    for other in [DIRECT, IPTABLES, NFTABLES] {
        figures.set_ratio(&format!("rate.over_{other}.{count}"), &ours, &samples.rates(other))?;
    }
    for way in WAYS {
        let (p50, p99) = (samples.of(way, |s| s.p50), samples.of(way, |s| s.p99));
        figures.set_estimate(&format!("connect.{way}.{count}.p50"), estimate(&p50), p50.len())?;
        figures.set_estimate(&format!("connect.{way}.{count}.p99"), estimate(&p99), p99.len())?;
    }
    Ok(())
}

/// The two rates lie half an hour apart, so each is taken over what cannot depend on services.
fn flatness(figures: &mut Figures, samples: &BTreeMap<u32, Samples>) -> Result<()> {
    let over_plain = |samples: &Samples| -> Vec<f64> {
        samples.rates(OURS).iter().zip(samples.rates(PLAIN)).map(|(ours, plain)| ours / plain).collect()
    };
    let (Some(first), Some((count, last))) = (samples.get(&1), samples.last_key_value()) else {
        return Ok(());
    };
    figures.set_ratio(&format!("rate.{count}_over_1"), &over_plain(last), &over_plain(first))
}

fn draw(samples: &BTreeMap<u32, Samples>) -> Result<()> {
    let line = |name: &'static str, way: &str, color: &'static str| Line {
        name,
        color,
        points: samples.iter().map(|(count, s)| (*count, median(&s.of(way, |one| one.p50)))).collect(),
    };
    let lines = [
        line("kube-proxy, iptables", IPTABLES, "#c0392b"),
        line("kube-proxy, nftables", NFTABLES, "#d68910"),
        line("ours", OURS, "#1a7f37"),
        line("direct: the pod's own address", DIRECT, "#57606a"),
    ];
    let path = crate::root().join("target/bench/services.svg");
    std::fs::write(&path, plot::svg(&lines)).with_context(|| format!("writing {}", path.display()))
}

/// Our network and its peers, over one API server.
struct World {
    /// Ended before the lab whose API server they use.
    peers: [(&'static str, Peer); 3],
    field: Field,
    /// Addresses of services that lead to the server.
    real: Vec<String>,
    invented: u32,
}

impl World {
    fn up() -> Result<World> {
        let field = Field::up("benchconnect")?;
        let peer = |proxy, host| Peer::up(&field.lab, proxy, host, field.pods, field::SERVER);
        let peers = [
            (PLAIN, peer(Proxy::None, 210)?),
            (IPTABLES, peer(Proxy::Iptables, 220)?),
            (NFTABLES, peer(Proxy::Nftables, 230)?),
        ];
        Ok(World { peers, field, real: Vec::new(), invented: 0 })
    }

    fn measure(&mut self, count: u32, effort: Effort) -> Result<Samples> {
        self.grow(count)?;
        let direct = vec![self.field.direct()];
        let mut ways = vec![
            Way { name: OURS, from: &self.field.client, to: self.real.clone(), lane: (0, 2) },
            Way { name: DIRECT, from: &self.field.client, to: direct.clone(), lane: (1, 2) },
        ];
        for (name, peer) in &mut self.peers {
            peer.check()?;
            let to = if *name == PLAIN { direct.clone() } else { self.real.clone() };
            ways.push(Way { name, from: &peer.client, to, lane: (0, 1) });
        }
        rounds::measure(&ways, effort.rounds)
    }

    /// Adds services until there are `count`, the real ones last; waits until everybody has them.
    fn grow(&mut self, count: u32) -> Result<()> {
        let start = Instant::now();
        let have = self.real.len() as u32;
        // One more real one at each step: what is asked for last tells that all before are there.
        let real = (have + 1).max(REAL).min(count);
        let invented = count.saturating_sub(real);
        if invented > self.invented {
            let numbers = self.invented..invented;
            let fill = Task::Fill { services: numbers.clone(), slices: numbers, endpoints: 1 };
            inside(&self.field.lab, "cp", &fill)?;
            self.invented = invented;
        }
        let written = start.elapsed();
        // Only now: every change makes kube-proxy write, and read back, all it has.
        self.peers.iter().try_for_each(|(_, peer)| peer.resume())?;
        for number in have..real {
            self.real.push(self.field.real_service(&format!("real-{number}"))?);
        }
        self.wait()?;
        let all = start.elapsed();
        eprintln!("{count} services: written after {written:.1?}, everywhere and at rest after {all:.1?}");
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let lab = &self.field.lab;
        let mut places =
            vec![("ours", self.field.client.clone()), ("t2", super::spot::Spot::machine(lab, "t2"))];
        for (name, peer) in self.peers.iter().filter(|(name, _)| *name != PLAIN) {
            places.extend([(*name, peer.client.clone()), (*name, peer.second.clone())]);
        }
        for (name, place) in places {
            for to in &self.real {
                wait(&format!("{to} to be served by {name}"), SETTLE, || place.connects(to))?;
            }
        }
        self.peers.iter().try_for_each(|(_, peer)| peer.pause())?;
        if let Err(error) = processes::wait_for_rest(&lab.namespace(""), REST) {
            eprintln!("measuring all the same: {error:#}");
        }
        Ok(())
    }
}
