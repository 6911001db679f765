//! The agent is killed at random moments while connections are open, new ones are made, and a denied one is tried again
//! and again. Nobody may notice.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::account::{self, Account, PATIENCE};
use crate::cluster::{Cluster, socket};
use crate::manifests::NAMESPACE;
use crate::report::{Report, yes};

/// Longest pause between two kills. Short against the agent's start, so that some hit it while it starts.
const PAUSE: Duration = Duration::from_millis(2500);

/// Kills the agents of both nodes `times` times.
pub(crate) fn run(cluster: &Cluster, times: u32, report: &mut Report) -> Result<()> {
    report.title(&format!("{times} times SIGKILL of the agents under load"));
    let local = socket(&cluster.addresses("echo-a")?.remove(0), 80);
    let remote = socket(&cluster.addresses("echo-b")?.remove(0), 80);
    let seconds = (f64::from(times) * PAUSE.as_secs_f64() * 0.6 + 8.0).to_string();
    let start = |pod: &str, what: &str, to: &str, timeout: &str| -> Result<Child> {
        account::start(cluster.in_pod(pod, &["probe", what, to, "--seconds", &seconds, "--timeout", timeout]))
    };
    let held = [start("pod-to-a", "hold", &local, "2000")?, start("pod-to-a", "hold", &remote, "2000")?];
    let opened = [
        start("pod-to-a", "flood", &local, PATIENCE)?,
        start("pod-to-a-allowed", "flood", &local, PATIENCE)?,
        start("pod-to-a", "flood", &remote, PATIENCE)?,
    ];
    let canary = start("pod-to-a-denied", "flood", &local, "50")?;
    sleep(Duration::from_secs(1));
    let (killed, random_end) = kill(cluster, times, seconds.parse().unwrap_or(0.0))?;
    report.show(&format!("{killed} processes killed within {random_end:.0} s"));
    report.check("agents killed", "at least one of the two, each time", "yes", yes(killed >= times));

    for (child, how) in held.into_iter().zip(["same node", "across nodes"]) {
        report.check("open connections", &format!("{how}, broken"), "0", &Account::of(child)?.broken());
    }
    for (child, how) in opened.into_iter().zip(["same node", "same node, under policy", "across nodes"]) {
        let account = Account::of(child)?;
        let detail = format!("{how}, failed of {}", account.attempts());
        report.check("new connections", &detail, "0", &account.failed());
        let detail = format!("{how}, handshakes that lost a packet");
        report.check("new connections", &detail, "0", &account.lost_openings());
    }
    let canary = Account::of(canary)?;
    let detail = format!("let through of {}", canary.attempts());
    report.check("denied canary", &detail, "0", &canary.through());
    settled(cluster, report)
}

/// Kills until `times` rounds are over or the load is about to end; gives the number of processes and the time it took.
pub(crate) fn kill(cluster: &Cluster, times: u32, limit: f64) -> Result<(u32, f64)> {
    let start = Instant::now();
    let mut killed = 0;
    let mut seed =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |t| t.subsec_nanos())
            | 1;
    for _ in 0..times {
        // Xorshift: the moments have to differ, no more.
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        sleep(PAUSE.mul_f64(f64::from(seed) / f64::from(u32::MAX)));
        let round = Instant::now();
        let mut hit = 0;
        // Where all are down at this moment, the next one to start is hit while it starts.
        while hit == 0 && round.elapsed() < PAUSE {
            for node in ["n1", "n2"] {
                for pid in cluster.agent_pids(node)? {
                    let gone = cluster.lab(&["exec", node, "kill", "-9", &pid.to_string()]);
                    hit += u32::from(gone.is_ok());
                }
            }
        }
        killed += hit;
        if start.elapsed().as_secs_f64() > limit - 3.0 {
            break;
        }
    }
    Ok((killed, start.elapsed().as_secs_f64()))
}

/// After it all the agents are there again and policy still changes.
fn settled(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let start = Instant::now();
    let wait = ["rollout", "status", "-n", "kube-system", "daemonset/cilium", "--timeout=120s"];
    let back = cluster.kubectl(&wait).is_ok();
    report.check("agents", "ready again", "yes", yes(back));
    report.show(&format!("ready again after {:.1} s", start.elapsed().as_secs_f64()));
    let endpoints = [
        "get",
        "ciliumendpoints",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.items[?(@.status.state!='ready')].metadata.name}",
    ];
    report.check("endpoints", "not ready", "", cluster.kubectl(&endpoints)?.trim());
    report.flush();
    Ok(())
}
