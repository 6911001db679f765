//! `cilium install`, `upgrade` and `uninstall`: the chart inside this program, brought into a cluster by helm.
//!
//! Refusals of values are the chart's own sentences (`templates/_validate.tpl`), so that this command, helm alone and a
//! rendering by somebody else say the same.

mod chart;
mod detect;
mod helm;
mod values;

use crate::cli::{ReleaseArgs, UninstallArgs, UpgradeArgs};
use crate::cluster::{self, Reach};
use crate::output::{Answer, say};
use crate::status;
use anyhow::{Context, Result, anyhow, bail};
use chart::Chart;
use helm::Helm;
use serde_json::Value;
use std::ffi::OsString;
use std::time::{Duration, Instant};
use values::Values;

/// How long pods may take to go away.
const GOING: Duration = Duration::from_secs(120);

pub(crate) async fn install(args: &ReleaseArgs) -> Result<Answer> {
    let chart = Chart::take(args)?;
    let user = Values::read(args)?;
    let reach = cluster::reach(&args.reach).await?;
    let facts = detect::look(&reach).await?;
    let decided = detect::decide(&facts, &user);
    let helm = Helm::find(args.helm.program.as_ref(), &reach)?;
    if args.dry_run_helm_values {
        return Ok(Answer::text(user.over(&decided.values)?));
    }
    let own = helm.write_values(&decided.values)?;
    if args.dry_run {
        let version = facts.kubernetes.as_deref().map(|v| ["--kube-version".to_owned(), v.to_owned()]);
        let words =
            release(args, &chart, "template", &own).chain(version.into_iter().flatten().map(Into::into));
        return Ok(Answer::text(helm.run(words)?));
    }
    say(format!("ℹ️  Using Cilium version {}", chart.version));
    decided.lines.iter().for_each(say);
    if let Some(there) = helm.release(&args.helm.name)? {
        bail!(
            "{} is installed in {} already ({there}): use `cilium upgrade` to change it, or `cilium uninstall` first",
            args.helm.name,
            reach.namespace
        );
    }
    helm.run(release(args, &chart, "install", &own))?;
    finish(args, &reach, "installed").await
}

pub(crate) async fn upgrade(args: &UpgradeArgs) -> Result<Answer> {
    let release_args = &args.release;
    let chart = Chart::take(release_args)?;
    let user = Values::read(release_args)?;
    let reach = cluster::reach(&release_args.reach).await?;
    let helm = Helm::find(release_args.helm.program.as_ref(), &reach)?;
    if release_args.dry_run_helm_values {
        return Ok(Answer::text(user.over(&Value::Object(serde_json::Map::new()))?));
    }
    let name = &release_args.helm.name;
    if helm.release(name)?.is_none() {
        bail!("there is no release {name} in {}: use `cilium install`", reach.namespace);
    }
    let own = helm.write_values(&Value::Object(serde_json::Map::new()))?;
    let keep = match (args.reset_values, args.reuse_values) {
        (true, _) => "--reset-values",
        (_, true) => "--reuse-values",
        // The new chart's defaults below what was said before: nothing gets lost, and nothing is missing.
        _ => "--reset-then-reuse-values",
    };
    let mut words: Vec<OsString> = release(release_args, &chart, "upgrade", &own).collect();
    words.push(keep.into());
    if release_args.dry_run {
        words.push("--dry-run=server".into());
        return Ok(Answer::text(helm.run(words)?));
    }
    say(format!("ℹ️  Using Cilium version {}", chart.version));
    helm.run(words)?;
    finish(release_args, &reach, "upgraded").await
}

/// The words for helm: verb, name, chart, our values, and the user's above them.
fn release(
    args: &ReleaseArgs,
    chart: &Chart,
    verb: &str,
    own: &std::path::Path,
) -> impl Iterator<Item = OsString> + use<> {
    let mut words: Vec<OsString> = vec![verb.into(), args.helm.name.clone().into()];
    words.extend([chart.folder().as_os_str().to_owned(), "--values".into(), own.as_os_str().to_owned()]);
    for file in &args.values {
        words.extend(["--values".into(), file.as_os_str().to_owned()]);
    }
    for pair in &args.set {
        words.extend(["--set".into(), pair.into()]);
    }
    words.into_iter()
}

async fn finish(args: &ReleaseArgs, reach: &Reach, done: &str) -> Result<Answer> {
    if args.wait {
        say(format!("⌛ Waiting for Cilium to be {done} and ready..."));
        status::wait_well(reach, args.wait_duration.0).await?;
        say(format!("✅ Cilium was successfully {done}! Run 'cilium status' to view installation health"));
    }
    Ok(Answer::text(""))
}

pub(crate) async fn uninstall(args: &UninstallArgs) -> Result<Answer> {
    let reach = cluster::reach(&args.reach).await?;
    let helm = Helm::find(args.helm.program.as_ref(), &reach)?;
    let test = format!("/api/v1/namespaces/{}", args.test_namespace);
    if cluster::find(&reach.clients, &test).await?.is_some() {
        say(format!("🔥 Deleting {} namespace...", args.test_namespace));
        // While there still is a network for its pods' ends.
        remove(&reach, &test).await?;
        gone(&reach, &test).await?;
    }
    let name = &args.helm.name;
    if helm.release(name)?.is_none() {
        bail!("there is no release {name} in {}: nothing is uninstalled", reach.namespace);
    }
    say("🔥 Uninstalling Cilium...");
    helm.run(["uninstall", name.as_str()].map(Into::into))?;
    if args.wait {
        let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/cilium", reach.namespace);
        gone(&reach, &path).await?;
        let start = Instant::now();
        while !status::agents(&cluster::list(&reach.clients, "/api/v1/pods").await?, &reach.namespace)
            .is_empty()
        {
            if start.elapsed() > GOING {
                bail!(
                    "agents are still there after {} s: `kubectl get pods -n {}`",
                    GOING.as_secs(),
                    reach.namespace
                );
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    say("✅ Cilium was successfully uninstalled.");
    Ok(Answer::text(""))
}

async fn remove(reach: &Reach, path: &str) -> Result<()> {
    match reach.clients.delete_at(path).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(anyhow!("{}", error.describe())),
    }
}

async fn gone(reach: &Reach, path: &str) -> Result<()> {
    let start = Instant::now();
    while cluster::find(&reach.clients, path).await.context("waiting for objects to go")?.is_some() {
        if start.elapsed() > GOING {
            bail!("{path} is still there after {} s", GOING.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
