//! `cilium connectivity`: pods and policies of its own, every way between them tried, and told what came of it.
//!
//! `bed` makes the pods, `plan` says what is to be tried on them (pure), `run` tries it, `report` tells.

mod attempt;
mod bed;
mod objects;
mod perf;
mod plan;
mod report;
mod run;

use crate::cli::{ConnectivityCommand, TestArgs};
use crate::cluster;
use crate::output::{Answer, say};
use anyhow::{Context, Result, ensure};
use bed::Bed;
use plan::{Plan, Wanted};

pub(crate) async fn run(command: &ConnectivityCommand) -> Result<Answer> {
    match command {
        ConnectivityCommand::Test(args) => test(args).await,
        ConnectivityCommand::Perf(args) => perf::run(args).await,
    }
}

async fn test(args: &TestArgs) -> Result<Answer> {
    let wanted = Wanted::new(&args.tests)?;
    if args.list {
        return Ok(Answer::text(plan::names().map(|name| format!("{name}\n")).collect::<String>()));
    }
    ensure!(!args.external_target.is_empty(), "--external-target names no address");
    let reach = cluster::reach(&args.bed.reach).await?;
    let bed = Bed::make(reach, &args.bed, true).await?;
    say(format!("ℹ️  Cilium version: {}", bed.version));
    let plan = Plan::new(&bed.facts(args), &wanted);
    let outcome = run::all(&bed, &plan, args).await;
    if args.bed.cleanup {
        bed.remove().await?;
    }
    let outcome = outcome?;
    if let Some(path) = &args.junit_file {
        std::fs::write(path, report::junit(&outcome))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(Answer { text: report::closing(&outcome, &bed.namespace), code: u8::from(outcome.failed() > 0) })
}
