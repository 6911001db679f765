//! What is measured inside a thin node, by this program run in the node's namespaces: pods made by the plugin itself,
//! policy seen by packets, and the agent's own costs. Each stage prints one line of JSON; [`crate::thin`] reads them.

mod agent;
mod ping;
mod plugin;
mod policy;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use plugin::{Attachment, Plugin};

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Pods of this node as the API server knows them.
    pub(crate) pods: Vec<PodObject>,
    /// A `kubectl proxy`.
    pub(crate) api: SocketAddr,
    /// ADDs one by one, of each plugin; none: policy alone is measured.
    pub(crate) adds: usize,
    /// Changes of policy.
    pub(crate) changes: usize,
    /// Restarts of the agent.
    pub(crate) restarts: usize,
}

/// A pod object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PodObject {
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// A stage's outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) stage: Stage,
    /// Seconds; MiB for memory; a number for programs.
    pub(crate) samples: Vec<f64>,
    pub(crate) error: Option<String>,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Memory of the idle agent.
    Memory,
    /// Our ADD until the first ping.
    Add,
    /// The reference plugin's.
    AddPtp,
    /// From the first ADD to the last ping of all pods at once.
    Burst,
    /// Policy written until packets are denied or allowed again.
    Policy,
    /// The API server's own part of that.
    PolicyAcknowledged,
    /// Policy written until the agent says that endpoints have it.
    PolicyRealized,
    /// Packets sent after that which met the old policy.
    OldVerdicts,
    /// Packets a second in all of this.
    Rate,
    /// Programs that are new after all pods and policies.
    Programs,
    /// Memory of the agent with all pods.
    MemoryWithPods,
    /// The agent's start until everything is reconciled.
    Start,
}

/// Runs all stages; one that fails tells why, and the others go on if they can.
pub(crate) fn run(task: &Path) -> Result<()> {
    let text = std::fs::read(task).with_context(|| format!("reading {}", task.display()))?;
    let task: Task = serde_json::from_slice(&text)?;
    let mut attached = Vec::new();
    if task.adds == 0 {
        all_at_once(&task, &mut attached)?;
        return changes(&task, &attached);
    }
    tell(Stage::Memory, agent::memory().map(|mib| vec![mib]))?;
    let programs = agent::programs();
    let (ours, ptp) = one_by_one(&task);
    tell(Stage::Add, ours)?;
    tell(Stage::AddPtp, ptp)?;
    tell(Stage::Burst, all_at_once(&task, &mut attached).map(|time| vec![time]))?;
    changes(&task, &attached)?;
    let new = programs.and_then(|before| Ok(agent::programs()?.difference(&before).count()));
    tell(Stage::Programs, new.map(|new| vec![new as f64]))?;
    tell(Stage::MemoryWithPods, agent::memory().map(|mib| vec![mib]))?;
    let starts = (0..task.restarts).map(|_| agent::restart().map(|time| time.as_secs_f64()));
    tell(Stage::Start, starts.collect())?;
    Ok(())
}

/// Changes of policy, under the eyes of packets.
fn changes(task: &Task, attached: &[(Attachment, IpAddr)]) -> Result<()> {
    let outcome = policy::measure(attached, task.api, task.changes);
    type Value = fn(&policy::Change) -> f64;
    let stages: [(Stage, Value); 5] = [
        (Stage::Policy, |change| change.enforced.as_secs_f64()),
        (Stage::PolicyAcknowledged, |change| change.acknowledged.as_secs_f64()),
        (Stage::PolicyRealized, |change| change.realized.as_secs_f64()),
        (Stage::OldVerdicts, |change| change.old_verdicts as f64),
        (Stage::Rate, |change| change.rate),
    ];
    for (stage, value) in stages {
        let samples = match &outcome {
            Ok(changes) => Ok(changes.iter().map(value).collect()),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        tell(stage, samples)?;
    }
    Ok(())
}

fn tell(stage: Stage, outcome: Result<Vec<f64>>) -> Result<()> {
    let seen = match outcome {
        Ok(samples) => Seen { stage, samples, error: None },
        Err(error) => Seen { stage, samples: Vec::new(), error: Some(format!("{error:#}")) },
    };
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// ADD, ping, DEL: ours and the reference plugin in turns.
fn one_by_one(task: &Task) -> (Result<Vec<f64>>, Result<Vec<f64>>) {
    let both = [Plugin::ours(), Plugin::ptp()];
    let mut outcomes = [Ok(Vec::new()), Ok(Vec::new())];
    for number in 0..task.adds {
        for (plugin, outcome) in both.iter().zip(&mut outcomes) {
            let Ok(samples) = outcome else { continue };
            match plugin.as_ref().map_err(|e| anyhow!("{e:#}")).and_then(|plugin| one(plugin, task, number)) {
                Ok(time) => samples.push(time),
                Err(error) => *outcome = Err(error),
            }
        }
    }
    let [ours, ptp] = outcomes;
    (ours, ptp)
}

fn one(plugin: &Plugin, task: &Task, number: usize) -> Result<f64> {
    let pod = task.pods.get(number % task.pods.len().max(1)).context("no pods to make")?;
    let attachment = Attachment::prepare(pod, number)?;
    let time = connect(plugin, &attachment, Duration::from_micros(500)).map(|(time, _)| time.as_secs_f64());
    plugin.delete(&attachment)?;
    time
}

/// From the plugin's start to the first answer of the pod.
fn connect(plugin: &Plugin, attachment: &Attachment, pause: Duration) -> Result<(Duration, IpAddr)> {
    let start = Instant::now();
    let address = plugin.add(attachment)?;
    ping::until_answered(address, pause, Duration::from_secs(10))?;
    Ok((start.elapsed(), address))
}

/// All pods at the same time; seconds until the last one answered.
fn all_at_once(task: &Task, attached: &mut Vec<(Attachment, IpAddr)>) -> Result<f64> {
    let plugin = Plugin::ours()?;
    let prepare = |(number, pod)| Attachment::prepare(pod, task.adds + number);
    let all: Vec<Attachment> = task.pods.iter().enumerate().map(prepare).collect::<Result<_>>()?;
    let gate = Barrier::new(all.len() + 1);
    let (start, outcomes) = thread::scope(|scope| {
        let (gate, plugin) = (&gate, &plugin);
        let threads: Vec<_> = all
            .iter()
            .map(|attachment| {
                scope.spawn(move || {
                    gate.wait();
                    let connected = connect(plugin, attachment, Duration::from_millis(5));
                    (connected, Instant::now())
                })
            })
            .collect();
        gate.wait();
        let start = Instant::now();
        let outcomes: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        (start, outcomes)
    });
    let (mut last, mut failures) = (start, Vec::new());
    for (attachment, outcome) in all.into_iter().zip(outcomes) {
        match outcome.map_err(|_| anyhow!("a thread panicked"))? {
            (Ok((_, address)), end) => {
                last = last.max(end);
                attached.push((attachment, address));
            }
            (Err(error), _) => failures.push(format!("{error:#}")),
        }
    }
    let first = failures.first().cloned().unwrap_or_default();
    ensure!(failures.is_empty(), "{} of {} pods failed, the first: {first}", failures.len(), task.pods.len());
    Ok((last - start).as_secs_f64())
}
