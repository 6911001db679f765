//! Connections, open and new, that have to survive what happens meanwhile.

use std::process::Child;

use anyhow::Result;

use super::{Pod, Scene};
use crate::account::{self, Account};
use crate::cluster::probe;
use crate::report::Report;

/// Longer than TCP waits before it tries again after two gaps of the three seconds in which deleted links are put back (its tries
/// are 0.2, 0.6, 1.4, 3.0, 6.2 and 12.6 s after a loss): what counts is that nothing ends.
const TIMEOUT: &str = "15000";

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
            let broken = Account::of(child)?.broken();
            report.check(name, &format!("open connections broken, {how}"), "0", &broken);
        }
        for (how, child) in self.opened {
            let account = Account::of(child)?;
            let detail = format!("new connections failed of {}, {how}", account.attempts());
            report.check(name, &detail, "0", &account.failed());
        }
        Ok(())
    }
}

/// Attempts from `near` to `left` that a policy denies; gives the running client.
pub(super) fn canary(scene: &Scene<'_>, seconds: u64) -> Result<Child> {
    start(scene, scene.near, ["flood", &scene.left.socket(80)], seconds, "50")
}

/// Waits for the canary's end and reports what got through: nothing should.
pub(super) fn finish_canary(canary: Child, name: &str, report: &mut Report) -> Result<()> {
    let canary = Account::of(canary)?;
    report.check(name, &format!("denied, but let through of {}", canary.attempts()), "0", &canary.through());
    Ok(())
}

fn start(scene: &Scene<'_>, from: &Pod, ask: [&str; 2], seconds: u64, timeout: &str) -> Result<Child> {
    let (tool, seconds) = (probe(), seconds.to_string());
    let [what, to] = ask;
    let ask = [tool.as_str(), what, to, "--seconds", &seconds, "--timeout", timeout, "--interval", "20"];
    account::start(scene.cluster.command(&[&from.enter(), ask.as_slice()].concat()))
}
