//! What the engine costs the processor, beside 10,000 rules. Time is that of the measuring thread, so that others on the
//! machine do not count.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use policy::{
    Direction, Engine, IdentityInfo, Options, Owner, Peer, PortRule, Protocol, Rule, Subject, SubjectInfo,
    TableChange,
};
use types::{IpNet, Labels, NumericIdentity, PolicyKind, PolicyOrigin, Selector, Source};

use crate::figure::{Figure, Figures};
use crate::stats::{quantile, thread_time};

/// Prefixes of the figures of this part.
pub(crate) const PREFIXES: &[&str] = &["engine."];

const RULES: u32 = 10_000;
const ADDED: &str = "engine.identity_added.rules_10000";
const REMOVED: &str = "engine.identity_removed.rules_10000";
const UNSELECTED: &str = "engine.unselected_pod.rules_10000";
const BLOCKS: &str = "engine.cidr_rules_1000.identities_3000";
const LIMITS: &str = "engine.rules_20000.identities_64000.from_nothing";
const FULL: &str = "engine.rules_20000.identities_64000.identity_added";

/// The figures of this part.
pub(crate) fn figures() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (name, unit, goal) in
        [(ADDED, "µs", 50.0), (REMOVED, "µs", 50.0), (UNSELECTED, "µs", 20.0), (BLOCKS, "ms", 2.0)]
    {
        figures.push(Figure::lower(format!("{name}.p50"), unit).goal(goal));
        figures.push(Figure::lower(format!("{name}.p99"), unit).goal(goal));
    }
    figures.push(Figure::lower(LIMITS, "s"));
    figures.push(Figure::lower(format!("{FULL}.p50"), "µs"));
    figures.push(Figure::lower(format!("{FULL}.p99"), "µs"));
    figures
}

/// Measures everything of this part, each thing `times` times.
pub(crate) fn measure(figures: &mut Figures, times: u32) -> Result<()> {
    identities(figures, times)?;
    blocks(figures, times.min(100))?;
    limits(figures, times)
}

fn percentiles(figures: &mut Figures, name: &str, samples: &[Duration], unit: f64) -> Result<()> {
    let samples: Vec<f64> = samples.iter().map(|time| time.as_secs_f64() * unit).collect();
    figures.set(&format!("{name}.p50"), quantile(&samples, 0.5), samples.len())?;
    figures.set(&format!("{name}.p99"), quantile(&samples, 0.99), samples.len())
}

fn selector(pairs: &[(&str, &str)]) -> Result<Selector> {
    let none: [(&str, &str, Vec<&str>); 0] = [];
    Selector::new(pairs.iter().copied(), none, &Source::K8s).context("a selector")
}

fn pod(app: &str, namespace: &str) -> Result<Labels> {
    let texts = [format!("k8s:app={app}"), format!("k8s:io.kubernetes.pod.namespace={namespace}")];
    Labels::parse(texts.iter().map(String::as_str)).context("labels")
}

/// An engine with one pod and so many policies, each of which lets one application reach it at one port. Half of them share
/// a namespace and differ by application, half share an application and differ by namespace.
fn engine(rules: u32) -> Result<Engine> {
    let mut engine = Engine::new(Options::default());
    engine.set_subject(1, Some(SubjectInfo { labels: pod("server", "shop")?, ..SubjectInfo::default() }));
    let subject = Subject::Endpoints(selector(&[("app", "server")])?);
    let policy = |i: u32| -> Result<_> {
        let name = format!("n{i}");
        let peer = match i % 2 {
            0 => selector(&[("app", &name), ("io.kubernetes.pod.namespace", "shop")])?,
            _ => selector(&[("app", "client"), ("io.kubernetes.pod.namespace", &name)])?,
        };
        let rule = Rule {
            peers: vec![Peer::Endpoints(peer)],
            ports: vec![PortRule::port(Protocol::TCP, 1 + i as u16)],
            ..Rule::allow(subject.clone(), Direction::Ingress)
        };
        let origin =
            PolicyOrigin { kind: PolicyKind::Cnp, namespace: "shop".into(), name, uid: String::new() };
        Ok((origin, Some(vec![rule])))
    };
    let policies = (0..rules).map(policy).collect::<Result<_>>()?;
    engine.set_policies(policies);
    Ok(engine)
}

/// The identity that policy number `i` lets in.
fn named(i: u32) -> Result<Labels> {
    match i % 2 {
        0 => pod(&format!("n{i}"), "shop"),
        _ => pod("client", &format!("n{i}")),
    }
}

fn identities(figures: &mut Figures, times: u32) -> Result<()> {
    let mut engine = engine(RULES)?;
    let (mut added, mut removed, mut unselected) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..times {
        let change = [(NumericIdentity(1000 + i), Some(IdentityInfo::of(named(i)?)))].into();
        let start = thread_time();
        let update = engine.set_identities(change);
        added.push(thread_time() - start);
        let changed = update.tables.len();
        ensure!(changed == 1, "the identity of policy {i} changed {changed} tables");
    }
    for i in 0..times {
        let start = thread_time();
        let update = engine.set_identities([(NumericIdentity(1000 + i), None)].into());
        removed.push(thread_time() - start);
        ensure!(update.tables.len() == 1, "without identity {i}, {} tables changed", update.tables.len());
    }
    for i in 0..times {
        let info = SubjectInfo { labels: pod("nobody", &format!("other{i}"))?, ..SubjectInfo::default() };
        let start = thread_time();
        engine.set_subject(u64::from(100 + i), Some(info));
        unselected.push(thread_time() - start);
    }
    percentiles(figures, ADDED, &added, 1e6)?;
    percentiles(figures, REMOVED, &removed, 1e6)?;
    percentiles(figures, UNSELECTED, &unselected, 1e6)
}

/// A table made from nothing: 1,000 rules about prefixes, three addresses in each with identities of their own.
fn blocks(figures: &mut Figures, times: u32) -> Result<()> {
    let mut engine = Engine::new(Options::default());
    let net = |i: u32, last: u32, len: u8| -> Result<IpNet> {
        format!("10.{}.{}.{last}/{len}", i / 250, i % 250).parse().context("a prefix")
    };
    let subject = Subject::Endpoints(selector(&[("app", "client")])?);
    let rule = |i| -> Result<Rule> {
        let peer = Peer::Cidr { prefix: net(i, 0, 24)?, except: Default::default(), owner: Owner::Outside };
        Ok(Rule {
            peers: vec![peer],
            ports: vec![PortRule::ANY],
            ..Rule::allow(subject.clone(), Direction::Egress)
        })
    };
    engine.apply(PolicyOrigin::builtin("blocks"), (0..1000).map(rule).collect::<Result<_>>()?);
    let identity = |i: u32| -> Result<_> {
        let labels = Labels::of_cidr(&net(i / 3, 10 + i % 3, 32)?, "world");
        Ok((NumericIdentity(abi::identity::LOCAL_MIN + i), Some(IdentityInfo::of(labels))))
    };
    engine.set_identities((0..3000).map(identity).collect::<Result<_>>()?);
    let mut samples = Vec::new();
    for _ in 0..times {
        let info = SubjectInfo { labels: pod("client", "shop")?, ..SubjectInfo::default() };
        let start = thread_time();
        let update = engine.set_subject(1, Some(info));
        samples.push(thread_time() - start);
        let made = update.tables.values().map(|change| match change {
            TableChange::Created(table) => table.entries.len(),
            _ => 0,
        });
        let entries: usize = made.sum();
        ensure!(entries > 3000, "the table has {entries} entries");
        engine.set_subject(1, None);
    }
    percentiles(figures, BLOCKS, &samples, 1e3)
}

/// As much as shall fit.
fn limits(figures: &mut Figures, times: u32) -> Result<()> {
    const RULES: u32 = 20_000;
    const IDENTITIES: u32 = 64_000;
    let start = thread_time();
    let mut engine = engine(RULES)?;
    let identity =
        |i: u32| -> Result<_> { Ok((NumericIdentity(1000 + i), Some(IdentityInfo::of(named(i % RULES)?)))) };
    engine.set_identities((0..IDENTITIES).map(identity).collect::<Result<_>>()?);
    figures.set(LIMITS, (thread_time() - start).as_secs_f64(), 1)?;
    // Kept, the table would have to be copied by each change.
    let entries = engine.table_of(1).and_then(|id| engine.table(id)).map_or(0, |table| table.entries.len());
    ensure!(entries >= IDENTITIES as usize, "the table has {entries} entries");
    let mut samples = Vec::new();
    for i in 0..times {
        let change = [(NumericIdentity(100_000 + i), Some(IdentityInfo::of(named(i)?)))].into();
        let start = thread_time();
        engine.set_identities(change);
        samples.push(thread_time() - start);
    }
    percentiles(figures, FULL, &samples, 1e6)
}
