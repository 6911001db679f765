//! Connections, open and new, that have to survive what happens meanwhile.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};

use super::{Pod, Scene};
use crate::cluster::probe;
use crate::report::Report;
use crate::restart::{account, outcomes};

/// Longer than TCP waits before it tries again after a gap of the three seconds in which deleted links are put back (its tries are
/// 0.2, 0.6, 1.4, 3.0 and 6.2 s after a loss): what counts is that nothing ends.
const TIMEOUT: &str = "10000";

/// Running traffic on one node and across nodes, both families.
pub(super) struct Load {
    held: Vec<(String, Child)>,
    opened: Vec<(String, Child)>,
}

impl Load {
    /// Starts traffic for `seconds`.
    pub(super) fn start(scene: &Scene<'_>, seconds: u64) -> Result<Load> {
        let start = |what: &str, to: &str| start(scene, scene.left, [what, to], seconds, TIMEOUT);
        let mut load = Load { held: Vec::new(), opened: Vec::new() };
        for (to, how) in [(scene.near, "same node"), (scene.right, "across nodes")] {
            for target in to.sockets(80) {
                load.held.push((format!("{how} {target}"), start("hold", &target)?));
            }
            load.opened.push((how.to_owned(), start("flood", &to.socket(80))?));
        }
        Ok(load)
    }

    /// Waits for the end and reports what broke: nothing should.
    pub(super) fn finish(self, name: &str, report: &mut Report) -> Result<()> {
        for (how, child) in self.held {
            let account = account(child)?;
            let alive = account["exchanges"].as_u64().unwrap_or(0) > 0;
            let seen = if alive { broken(&account) } else { "no traffic".to_owned() };
            report.check(name, &format!("open connections broken, {how}"), "0", &seen);
        }
        for (how, child) in self.opened {
            let (attempts, ok) = outcomes(&account(child)?);
            let seen = if attempts == 0 { "no attempts".to_owned() } else { (attempts - ok).to_string() };
            report.check(name, &format!("new connections failed of {attempts}, {how}"), "0", &seen);
        }
        Ok(())
    }
}

/// How many connections broke, and how.
fn broken(account: &serde_json::Value) -> String {
    let count = |key: &str| account[key].as_u64().unwrap_or(0);
    let (failed, resets, timeouts) = (count("failed"), count("resets"), count("timeouts"));
    match failed + resets + timeouts {
        0 => "0".to_owned(),
        all => format!("{all}: {failed} never opened, {resets} reset, {timeouts} silent"),
    }
}

/// Attempts from `near` to `left` that a policy denies; gives the running client.
pub(super) fn canary(scene: &Scene<'_>, seconds: u64) -> Result<Child> {
    start(scene, scene.near, ["flood", &scene.left.socket(80)], seconds, "50")
}

/// Waits for the canary's end and reports what got through: nothing should.
pub(super) fn finish_canary(canary: Child, name: &str, report: &mut Report) -> Result<()> {
    let (attempts, ok) = outcomes(&account(canary)?);
    let seen = if attempts == 0 { "no attempts".to_owned() } else { ok.to_string() };
    report.check(name, &format!("denied, but let through of {attempts}"), "0", &seen);
    Ok(())
}

fn start(scene: &Scene<'_>, from: &Pod, ask: [&str; 2], seconds: u64, timeout: &str) -> Result<Child> {
    let (tool, seconds) = (probe(), seconds.to_string());
    let [what, to] = ask;
    let ask = [tool.as_str(), what, to, "--seconds", &seconds, "--timeout", timeout, "--interval", "20"];
    let mut command = scene.cluster.command(&[&from.enter(), ask.as_slice()].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting the load")
}
