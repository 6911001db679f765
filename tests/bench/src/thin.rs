//! Pods made by the plugin itself on a thin node: how long until they answer, how fast policy comes to them, and what
//! the agent costs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::figure::{Figure, Figures};
use crate::inside::{PodObject, Seen, Stage, Task};
use crate::lab::Lab;
use crate::stats::{estimate, median, quantile};

/// Prefixes of the figures of this part.
pub(crate) const PREFIXES: &[&str] = &["add.", "programs.loaded", "policy.", "agent."];
/// Those of [`policy_figures`].
pub(crate) const POLICY_PREFIXES: &[&str] = &["policy."];

const NODE: &str = "t1";
/// As many as a kubelet runs by default.
const PODS: usize = 110;
const PROXY_PORT: u16 = 8899;
/// The figures of this part.
pub(crate) fn figures() -> Vec<Figure> {
    let cilium = "Cilium 1.19.4: median of 434 at 20 pods at once, the agent's part alone";
    let mut figures = vec![
        Figure::lower("add.to_first_ping.p50", "ms"),
        Figure::lower("add.to_first_ping.p99", "ms").goal(20.0).peer(cilium),
        Figure::lower("add.ptp.to_first_ping.p50", "ms"),
        Figure::lower("add.ptp.to_first_ping.p99", "ms"),
        Figure::lower("add.p50_over_ptp", "ratio").goal(1.0).peer("the reference plugin ptp"),
        Figure::lower("add.p99_over_ptp", "ratio").goal(1.0).peer("the reference plugin ptp"),
        Figure::lower("add.110_pods_at_once", "s").goal(3.0),
        Figure::lower("programs.loaded_for_pods_and_policies", "programs").goal(0.0),
        Figure::lower("agent.memory_idle", "MiB").goal(25.0).peer("Cilium 1.19.4: 180"),
        Figure::lower("agent.memory_110_pods", "MiB"),
        Figure::lower("agent.start_to_reconciled", "s").goal(0.5),
    ];
    figures.extend(policy_figures());
    figures
}

/// Those of policy alone.
pub(crate) fn policy_figures() -> Vec<Figure> {
    let realized = "the agent's word that endpoints have it";
    vec![
        Figure::lower("policy.write_to_enforcement.p50", "ms"),
        Figure::lower("policy.write_to_enforcement.p99", "ms").goal(25.0),
        Figure::lower("policy.write_to_realized.p50", "ms").peer(realized),
        Figure::lower("policy.write_to_realized.p99", "ms").peer(realized),
        Figure::lower("policy.old_verdicts_after_realized", "packets").goal(0.0),
        Figure::higher("policy.packets_a_second", "packets"),
        Figure::lower("policy.api_server_acknowledges.p50", "ms"),
        Figure::lower("policy.api_server_acknowledges.p99", "ms"),
    ]
}

/// How much to do; without ADDs, policy alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) adds: usize,
    pub(crate) changes: usize,
    pub(crate) restarts: usize,
}

/// Measures everything of this part.
pub(crate) fn measure(figures: &mut Figures, effort: Effort) -> Result<()> {
    let native = ["routingMode=native", "autoDirectNodeRoutes=true", "ipv4NativeRoutingCIDR=10.0.0.0/8"];
    let mut arguments = vec!["--nodes", "0", "--thin", "1"];
    arguments.extend(native.iter().flat_map(|value| ["--set", value]));
    let lab = Lab::up("benchthin", &arguments)?;
    let _proxy = Proxy::start(&lab)?;
    let task = Task {
        pods: pods(&lab)?,
        api: ([172, 31, 0, 10], PROXY_PORT).into(),
        adds: effort.adds,
        changes: effort.changes,
        restarts: effort.restarts,
    };
    let mut seen = Vec::new();
    let outcome = inside(&lab, &task, |one| {
        record(figures, &one)?;
        seen.push(one);
        compare(figures, &seen)
    });
    outcome.context("inside the node")
}

/// Runs this program inside the node.
fn inside(lab: &Lab, task: &Task, mut see: impl FnMut(Seen) -> Result<()>) -> Result<()> {
    let path = crate::root().join("target/bench/task.json");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&path, serde_json::to_vec(task)?)?;
    let me = std::env::current_exe()?.display().to_string();
    let mut command = lab.command(&["exec", NODE, "--", &me, "inside", &path.display().to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start `lab exec`")?;
    for line in BufReader::new(child.stdout.take().context("no pipe")?).lines() {
        see(serde_json::from_str(&line?)?)?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "the measurement inside {NODE} ended with {status}");
    Ok(())
}

fn record(figures: &mut Figures, seen: &Seen) -> Result<()> {
    let prefixes: &[&str] = match seen.stage {
        Stage::Memory => &["agent.memory_idle"],
        Stage::Add => &["add.to_first_ping", "add.p"],
        Stage::AddPtp => &["add.ptp", "add.p"],
        Stage::Burst => &["add.110"],
        Stage::Policy => &["policy.write_to_enforcement"],
        Stage::PolicyAcknowledged => &["policy.api"],
        Stage::PolicyRealized => &["policy.write_to_realized"],
        Stage::OldVerdicts => &["policy.old"],
        Stage::Rate => &["policy.packets"],
        Stage::Programs => &["programs.loaded"],
        Stage::MemoryWithPods => &["agent.memory_110"],
        Stage::Start => &["agent.start"],
    };
    if let Some(error) = &seen.error {
        eprintln!("{:?}: {error}", seen.stage);
        return figures.give_up(prefixes, error);
    }
    let samples = &seen.samples;
    let ms = |q| quantile(samples, q) * 1000.0;
    match seen.stage {
        Stage::Memory => figures.set("agent.memory_idle", median(samples), samples.len()),
        Stage::Add => percentiles(figures, "add.to_first_ping", ms(0.5), ms(0.99), samples.len()),
        Stage::AddPtp => percentiles(figures, "add.ptp.to_first_ping", ms(0.5), ms(0.99), samples.len()),
        Stage::Burst => figures.set("add.110_pods_at_once", median(samples), samples.len()),
        Stage::Policy => {
            percentiles(figures, "policy.write_to_enforcement", ms(0.5), ms(0.99), samples.len())
        }
        Stage::PolicyAcknowledged => {
            percentiles(figures, "policy.api_server_acknowledges", ms(0.5), ms(0.99), samples.len())
        }
        Stage::PolicyRealized => {
            percentiles(figures, "policy.write_to_realized", ms(0.5), ms(0.99), samples.len())
        }
        Stage::OldVerdicts => {
            figures.set("policy.old_verdicts_after_realized", samples.iter().sum(), samples.len())
        }
        Stage::Rate => figures.set("policy.packets_a_second", median(samples), samples.len()),
        Stage::Programs => {
            figures.set("programs.loaded_for_pods_and_policies", median(samples), samples.len())
        }
        Stage::MemoryWithPods => figures.set("agent.memory_110_pods", median(samples), samples.len()),
        Stage::Start => figures.set_estimate("agent.start_to_reconciled", estimate(samples), samples.len()),
    }
}

fn percentiles(figures: &mut Figures, name: &str, p50: f64, p99: f64, samples: usize) -> Result<()> {
    figures.set(&format!("{name}.p50"), p50, samples)?;
    figures.set(&format!("{name}.p99"), p99, samples)
}

/// The ratios, once both plugins were measured.
fn compare(figures: &mut Figures, seen: &[Seen]) -> Result<()> {
    let of = |stage| seen.iter().find(|one| one.stage == stage && !one.samples.is_empty());
    let Some(Seen { stage: Stage::AddPtp, .. }) = seen.last() else { return Ok(()) };
    let (Some(ours), Some(ptp)) = (of(Stage::Add), of(Stage::AddPtp)) else { return Ok(()) };
    for (name, q) in [("add.p50_over_ptp", 0.5), ("add.p99_over_ptp", 0.99)] {
        figures.set(name, quantile(&ours.samples, q) / quantile(&ptp.samples, q), ours.samples.len())?;
    }
    Ok(())
}

/// Pod objects for the node; nobody runs them but we.
fn pods(lab: &Lab) -> Result<Vec<PodObject>> {
    let pod = |number: usize| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": format!("bench-{number}"), "labels": {"app": "bench"}},
            "spec": {
                "nodeName": NODE,
                "automountServiceAccountToken": false,
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "none", "image": "none"}],
            },
        })
    };
    let items: Vec<Value> = (0..PODS).map(pod).collect();
    lab.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
    let path = "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let text = lab.kubectl(&["get", "pods", "-l", "app=bench", "-o", path])?;
    let both = |line: &str| {
        let (name, uid) = line.split_once(' ')?;
        Some(PodObject { name: name.to_owned(), uid: uid.to_owned() })
    };
    let pods: Vec<PodObject> = text.lines().filter_map(both).collect();
    ensure!(pods.len() == PODS, "{} of {PODS} pods are in the API", pods.len());
    Ok(pods)
}

/// The API server without TLS, for the node's harness; ends when dropped.
struct Proxy(Child);

impl Proxy {
    fn start(lab: &Lab) -> Result<Proxy> {
        let port = format!("--port={PROXY_PORT}");
        let words = ["kubectl", "--", "proxy", "--address=0.0.0.0", &port, "--accept-hosts=.*"];
        let mut command = lab.command(&words);
        Ok(Proxy(command.stdout(Stdio::null()).spawn().context("cannot start kubectl proxy")?))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
