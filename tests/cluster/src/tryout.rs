//! A wrong policy, tried on recorded flows, then audited, then enforced; every verdict explained.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::{Cluster, socket};
use crate::connectivity::{reaches, word};
use crate::manifests::{self, NAMESPACE};
use crate::report::{Report, yes};
use crate::rules::until;

/// Who calls, and whom; both run on [`NODE`].
const CLIENT: &str = "pod-to-a";
const SERVER: &str = "echo-a";
const NODE: &str = "n1";

/// The client's name is misspelt, so that nobody may call the server any more.
fn wrong(audit: bool) -> Value {
    let mut policy = manifests::policy(
        "callers-of-a",
        &json!({
            "endpointSelector": { "matchLabels": { "name": SERVER } },
            "ingress": [{ "fromEndpoints": [{ "matchLabels": { "name": "pod-to-aa" } }] }],
        }),
    );
    let mode = if audit { "enabled" } else { "disabled" };
    policy["metadata"]["annotations"] = json!({ "policy.cilium.io/audit-mode": mode });
    policy
}

/// Shows and checks it, between the pods of the connectivity check. With `restart` the agent is killed while it audits.
pub(crate) fn run(cluster: &Cluster, restart: bool, report: &mut Report) -> Result<()> {
    report.title("A wrong policy, tried before it bites");
    let address = cluster.addresses(SERVER)?.into_iter().next().context("a pod without an address")?;
    let target = socket(&address, 80);
    let call = || Ok(word(reaches(cluster, CLIENT, &target)?).to_owned());
    let how = format!("{CLIENT} → {SERVER} {target}");
    report.check("before", &how, "allowed", &call()?);

    let files = Files::new(cluster)?;
    let checked = cilium(cluster, &["policy", "validate", "--cluster", &files.policy()])?;
    report.show(&text(&checked));
    let hint = text(&checked).contains("did you mean name=pod-to-a");
    report.check("cilium policy validate", "finds the misspelt name", "yes", yes(hint));
    let replayed = cilium(cluster, &["policy", "replay", "-f", &files.policy(), "--flows", &files.flows()])?;
    report.show(&text(&replayed));
    let denied = text(&replayed).contains("ALLOWED → DENIED  80/TCP from shop/pod-to-a");
    report.check("cilium policy replay", "names the calls that would be lost", "yes", yes(denied));
    report.check("cilium policy replay", "exit code", "1", &code(&replayed));

    cluster.apply(&[wrong(true)])?;
    audited(cluster, report, "under audit", &how, &call)?;
    if restart {
        for pid in cluster.agent_pids(NODE)? {
            cluster.lab(&["exec", NODE, "kill", "-9", &pid.to_string()])?;
        }
        report.check("under audit, agent killed", &how, "allowed", &call()?);
        audited(cluster, report, "under audit, agent back", &how, &call)?;
    }
    explained(cluster, report, "AUDIT", "audit mode")?;

    cluster.apply(&[wrong(false)])?;
    report.check("enforced", &how, "denied", &until(call, "denied")?);
    explained(cluster, report, "DROPPED", "denied: no rule allows it")?;
    cluster.kubectl(&["delete", "cnp", "-n", NAMESPACE, "callers-of-a"])?;
    report.check("deleted", &how, "allowed", &until(call, "allowed")?);
    report.flush();
    Ok(())
}

/// Calls until the verdict is recorded; none of the calls may fail.
fn audited(
    cluster: &Cluster,
    report: &mut Report,
    name: &str,
    how: &str,
    call: &impl Fn() -> Result<String>,
) -> Result<()> {
    let args = ["hubble", "observe", "--verdict", "AUDIT", "--last", "1", "--print-policy-names"];
    let start = Instant::now();
    loop {
        report.check(name, how, "allowed", &call()?);
        // An agent that was killed needs a while to answer.
        let seen = cluster.agent(NODE, &args).unwrap_or_default();
        let named = seen.contains("AUDITED BY callers-of-a");
        if named || start.elapsed() > Duration::from_secs(20) {
            report.show(&seen);
            report.check(name, "verdict AUDIT names the policy", "yes", yes(named));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Has the agent explain the last flow to the server with this verdict.
fn explained(cluster: &Cluster, report: &mut Report, verdict: &str, wanted: &str) -> Result<()> {
    let observe =
        format!("hubble observe -o json --verdict {verdict} --to-pod {NAMESPACE}/{SERVER} --last 1");
    let command = format!("{observe} | cilium-dbg policy explain --flow -");
    report.show(&format!("$ {command}"));
    let told = cluster.agent(NODE, &["sh", "-c", &command])?;
    report.show(&told);
    let good =
        told.contains(wanted) && told.contains("by CiliumNetworkPolicy shop/callers-of-a spec.ingress[0]");
    report.check("cilium-dbg policy explain", &format!("{verdict}: names the rule"), "yes", yes(good));
    Ok(())
}

/// The candidate and the recorded flows, for as long as this lives.
struct Files(PathBuf);

impl Files {
    fn new(cluster: &Cluster) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("axoneme-tryout-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let files = Files(folder);
        let observe = ["hubble", "observe", "-n", NAMESPACE, "-o", "json", "--last", "1000"];
        let flows = cluster.agent(NODE, &observe)?;
        std::fs::write(files.flows(), flows).context("writing flows")?;
        std::fs::write(files.policy(), format!("{:#}\n", wrong(false))).context("writing a policy")?;
        Ok(files)
    }

    fn policy(&self) -> String {
        self.0.join("callers-of-a.json").display().to_string()
    }

    fn flows(&self) -> String {
        self.0.join("flows.json").display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `cilium`; its exit code is part of the answer.
fn cilium(cluster: &Cluster, args: &[&str]) -> Result<Output> {
    cluster.command(&[&["cilium"], args].concat()).output().context("starting cilium")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> String {
    output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string())
}
