//! Many services on one node: how soon a change counts, how long the agent takes to bring all of them into an empty kernel,
//! and its memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::change::{self, Plan, Seen};
use super::field::{inside, pod, service_address, up, wait};
use super::inside::Task;
use super::spot::Spot;
use super::{objects, processes};
use crate::figure::{Figure, Figures};
use crate::lab::{Lab, run};
use crate::stats::{estimate, median, quantile};

/// Prefixes of the figures of this part.
pub(super) const PREFIXES: &[&str] = &["change.", "cold_load.", "restart.", "memory."];

const NODE: &str = "t1";
const AGENT: &str = "cilium-agent";
/// What the agent logs when its tables are complete.
const LOADED: &str = "the services are in the kernel";
/// The service whose slice changes.
const CHANGED: &str = "changed";
/// Tables of services: without these pins an agent begins with empty ones.
const TABLES: [&str; 5] = [
    abi::maps::FRONTENDS,
    abi::maps::BACKENDS,
    abi::maps::MEMBERS,
    abi::maps::MAGLEV,
    abi::maps::SOURCE_RANGES,
];
const SETTLE: Duration = Duration::from_secs(600);

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Services and endpoints of each, for changes and restarts.
    load: (u32, u32),
    /// The same for memory.
    memory: (u32, u32),
    changes: usize,
    restarts: usize,
}

impl Effort {
    /// What the goals are about, or less.
    pub(super) fn new(quick: bool) -> Effort {
        if quick {
            Effort { load: (1000, 10), memory: (3000, 4), changes: 20, restarts: 2 }
        } else {
            Effort { load: (10_000, 10), memory: (30_000, 4), changes: 300, restarts: 7 }
        }
    }

    /// A name that says the size.
    fn name(what: &str, (services, endpoints): (u32, u32)) -> String {
        format!("{what}.{services}x{endpoints}")
    }
}

/// The figures of this part.
pub(super) fn figures(effort: Effort) -> Vec<Figure> {
    let full = effort.load.0 == 10_000;
    let goal = |figure: Figure, goal| if full { figure.goal(goal) } else { figure };
    let count = effort.load.0;
    let (load, memory) = (effort.load, effort.memory);
    let event = "from the watch event, as a second watch beside the agent's sees it";
    let cilium = "Cilium 1.19.4: 208 at 3,000 services x 3; 1,100 at 30,000 x 4 (its report)";
    vec![
        Figure::lower(format!("change.event_to_connection.{count}.p50"), "ms").peer(event),
        goal(Figure::lower(format!("change.event_to_connection.{count}.p99"), "ms").peer(event), 2.0),
        Figure::lower(format!("change.write_to_connection.{count}.p50"), "ms"),
        Figure::lower(format!("change.write_to_connection.{count}.p99"), "ms"),
        Figure::lower(format!("change.api_server_acknowledges.{count}.p50"), "ms"),
        Figure::lower(format!("change.api_server_acknowledges.{count}.p99"), "ms"),
        Figure::lower("change.failed_connections", "connections").goal(0.0),
        goal(Figure::lower(Effort::name("cold_load", load), "s").peer("from the agent's start"), 1.0),
        Figure::lower(Effort::name("cold_load.processor_time", load), "s"),
        Figure::lower(Effort::name("restart", load), "s").peer("the same, tables kept"),
        goal(Figure::lower(Effort::name("memory", memory), "MiB").peer(cilium), 150.0),
        Figure::lower(Effort::name("memory.after_restart", memory), "MiB"),
        Figure::lower(Effort::name("memory.kernel_tables", memory), "MiB"),
    ]
}

/// Measures everything of this part.
pub(super) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    let lab = up("benchscale", "1")?;
    pod(&lab, NODE, "client")?;
    let server = pod(&lab, NODE, "server")?;
    let (services, endpoints) = effort.load;
    let all = 0..services - 1;
    inside(&lab, "cp", &Task::Fill { services: all.clone(), slices: all.clone(), endpoints })?;
    lab.apply(&objects::list(&objects::real(CHANGED, server, change::PORTS[1])))?;
    let address = service_address(&lab, CHANGED)?.parse().context("the service's address")?;
    rest(&lab)?;
    let plan = Plan {
        service: CHANGED.into(),
        address,
        client: "default.client".into(),
        server: "default.server".into(),
        changes: effort.changes,
    };
    let changed = changes(figures, &lab, plan, services);
    if let Err(error) = changed {
        figures.give_up(&["change."], &format!("{error:#}"))?;
    }
    let loaded = loads(figures, &lab, effort);
    if let Err(error) = loaded {
        figures.give_up(&["cold_load.", "restart."], &format!("{error:#}"))?;
    }
    let (more, fewer) = (effort.memory.0 - 1, effort.memory.1);
    inside(&lab, "cp", &Task::Resize { slices: all.clone(), endpoints: fewer })?;
    let fresh = all.end..more;
    inside(&lab, "cp", &Task::Fill { services: fresh.clone(), slices: fresh, endpoints: fewer })?;
    memory(figures, &lab, effort)
}

fn changes(figures: &mut Figures, lab: &Lab, plan: Plan, count: u32) -> Result<()> {
    let text = inside(lab, NODE, &Task::Change(plan))?;
    let seen: Seen = serde_json::from_str(&text).with_context(|| format!("what was seen: {text}"))?;
    let parts = [
        ("event_to_connection", &seen.from_event),
        ("write_to_connection", &seen.from_write),
        ("api_server_acknowledges", &seen.acknowledged),
    ];
    for (name, samples) in parts {
        for (q, percentile) in [(0.5, "p50"), (0.99, "p99")] {
            let name = format!("change.{name}.{count}.{percentile}");
            figures.set(&name, quantile(samples, q) * 1000.0, samples.len())?;
        }
    }
    figures.set("change.failed_connections", seen.failed as f64, seen.connections)?;
    let path = crate::root().join("target/bench/services-change.json");
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

fn loads(figures: &mut Figures, lab: &Lab, effort: Effort) -> Result<()> {
    let (mut cold, mut processor, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.restarts {
        let (seconds, used) = restart(lab, true)?;
        cold.push(seconds);
        processor.push(used);
        warm.push(restart(lab, false)?.0);
    }
    for (name, samples) in
        [("cold_load", &cold), ("cold_load.processor_time", &processor), ("restart", &warm)]
    {
        figures.set_estimate(&Effort::name(name, effort.load), estimate(samples), samples.len())?;
    }
    Ok(())
}

/// Kills the agent and starts it again, with empty tables if `cold`: seconds from the order to start until the services
/// are in the kernel, and the agent's processor time by then.
fn restart(lab: &Lab, cold: bool) -> Result<(f64, f64)> {
    rest(lab)?;
    let path = lab.directory()?.join(NODE).join("log/cilium-agent.log");
    let log = || std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()));
    run(lab.command(&["service", "kill", NODE, AGENT]))?;
    if cold {
        let pins = TABLES.map(|table| format!("/sys/fs/bpf/tc/globals/{table}"));
        let words: Vec<&str> = ["rm", "--"].into_iter().chain(pins.iter().map(String::as_str)).collect();
        Spot::machine(lab, NODE).run(&words)?;
    }
    let before = log()?.len();
    let start = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    run(lab.command(&["service", "start", NODE, AGENT]))?;
    let agent = processes::find(&lab.namespace(NODE), AGENT)?;
    let (mut loaded, mut used) = (None, 0.0);
    wait("the agent to have its services in the kernel", SETTLE, || {
        used = processes::processor_time(agent).context("the agent ended")?;
        let log = log()?;
        let line = log.get(before..).and_then(|new| new.lines().find(|line| line.contains(LOADED)));
        loaded = line.map(seconds_of).transpose()?;
        Ok(loaded.is_some())
    })?;
    let loaded = loaded.context("no line")?;
    ensure!(loaded >= start, "the clock went backwards");
    Ok((loaded - start, used))
}

/// The time at which a line was logged, seconds since 1970.
fn seconds_of(line: &str) -> Result<f64> {
    let word = line.split_whitespace().next().unwrap_or_default();
    let time: jiff::Timestamp = word.parse().with_context(|| format!("{word} is no time"))?;
    Ok(time.as_microsecond() as f64 / 1e6)
}

fn memory(figures: &mut Figures, lab: &Lab, effort: Effort) -> Result<()> {
    rest(lab)?;
    let resident = || processes::memory(processes::find(&lab.namespace(NODE), AGENT)?);
    figures.set(&Effort::name("memory", effort.memory), resident()?, 1)?;
    let tables = TABLES.iter().map(|table| table_size(lab, table)).collect::<Result<Vec<_>>>()?;
    figures.set(&Effort::name("memory.kernel_tables", effort.memory), tables.iter().sum(), 1)?;
    let mut after = Vec::new();
    for _ in 0..effort.restarts.div_ceil(2) {
        restart(lab, false)?;
        rest(lab)?;
        after.push(resident()?);
    }
    figures.set(&Effort::name("memory.after_restart", effort.memory), median(&after), after.len())
}

/// Memory of a kernel table, MiB.
fn table_size(lab: &Lab, table: &str) -> Result<f64> {
    let pin = format!("/sys/fs/bpf/tc/globals/{table}");
    let text = Spot::machine(lab, NODE).run(&["bpftool", "-j", "map", "show", "pinned", &pin])?;
    let info: serde_json::Value = serde_json::from_str(&text).with_context(|| format!("bpftool: {text}"))?;
    let bytes = info["bytes_memlock"].as_f64().with_context(|| format!("the size of {table}"))?;
    Ok(bytes / f64::from(1 << 20))
}

fn rest(lab: &Lab) -> Result<()> {
    processes::wait_for_rest(&lab.namespace(""), SETTLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_times() {
        let line = "1970-01-01T00:01:00.500000Z  INFO cilium_agent::services: the services are in the kernel";
        assert_eq!(seconds_of(line).expect("a time"), 60.5);
        assert!(seconds_of("no time").is_err());
    }
}
