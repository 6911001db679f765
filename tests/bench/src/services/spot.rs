//! A place in a lab from which something is done: a pod, a machine, a namespace beside the lab's nodes.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::lab::{Lab, run};

/// A place, as the command that leads there.
#[derive(Clone, Debug)]
pub(super) struct Spot(Vec<String>);

/// What `probe crr` says; times in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Connections {
    pub(super) count: u64,
    pub(super) errors: u64,
    /// Of whole connections: opened, a byte there and back, reset.
    pub(super) p50_us: f64,
    /// Of it until the connection stood.
    pub(super) connect_p50_us: f64,
    pub(super) connect_p99_us: f64,
}

impl Spot {
    /// A pod of a thin node; its processes belong to the node's cgroup.
    pub(super) fn pod(lab: &Lab, node: &str, pod: &str) -> Spot {
        Spot(words(&lab.command(&["pod", "exec", node, pod, "--"])))
    }

    /// A machine of the lab.
    pub(super) fn machine(lab: &Lab, machine: &str) -> Spot {
        Spot(words(&lab.command(&["exec", machine, "--"])))
    }

    /// A network namespace, and nothing else of any node.
    pub(super) fn namespace(name: &str) -> Spot {
        Spot(vec!["nsenter".into(), format!("--net=/run/netns/{name}"), "--".into()])
    }

    /// A command there.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut all = self.0.iter().map(String::as_str).chain(arguments.iter().copied());
        let mut command = Command::new(all.next().unwrap_or_default());
        command.args(all);
        command
    }

    /// Runs a command there; its output.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        run(self.command(arguments))
    }

    /// One connection after the other to `to` for a while, from these source ports, on processor 0.
    pub(super) fn connections(&self, to: &str, seconds: f64, ports: &str) -> Result<Connections> {
        let seconds = seconds.to_string();
        let probe = probe();
        let text = self.run(&[
            &probe,
            "crr",
            to,
            "--seconds",
            &seconds,
            "--ports",
            ports,
            "--cpu",
            "0",
            "-o",
            "json",
        ])?;
        serde_json::from_str(&text).with_context(|| format!("probe crr {to}: {text}"))
    }

    /// Whether a connection to `to` comes to stand.
    pub(super) fn connects(&self, to: &str) -> Result<bool> {
        let probe = probe();
        let mut command = self.command(&[&probe, "connect", to, "--handshake", "--timeout", "500"]);
        let status =
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().context("starting probe")?;
        Ok(status.success())
    }

    /// A server for [`Spot::connections`] at `port`, on processor 1.
    pub(super) fn serve(&self, port: u16) -> Result<Running> {
        let (probe, port) = (probe(), port.to_string());
        let mut command = self.command(&[&probe, "serve", "--inline", &port, "--cpu", "1"]);
        Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }
}

/// Our test tool.
pub(super) fn probe() -> String {
    crate::root().join("target/x86_64-unknown-linux-gnu/release/probe").display().to_string()
}

fn words(command: &Command) -> Vec<String> {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Starts it.
    pub(super) fn start(command: &mut Command) -> Result<Running> {
        let what = command.get_program().to_string_lossy().into_owned();
        Ok(Running(command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {what}"))?))
    }

    /// Sends a signal.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.0.id().cast_signed()).context("a process without a number")?;
        kill_process(pid, signal).context("signalling a process")
    }

    /// Fails if it has ended.
    pub(super) fn check(&mut self, what: &str) -> Result<()> {
        let ended = self.0.try_wait()?;
        ensure!(ended.is_none(), "{what} ended: {}", ended.unwrap_or_default());
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
