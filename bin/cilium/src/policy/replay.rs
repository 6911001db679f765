//! `cilium policy replay`.

use super::candidate;
use crate::cli::ReplayArgs;
use crate::output::{Answer, count};
use crate::{cluster, flows};
use anyhow::Result;
use std::fmt::Write;
use whatif::{Replay, Side};

pub(crate) async fn run(args: &ReplayArgs) -> Result<Answer> {
    let known = cluster::read(&args.known, &args.candidate.namespace).await?;
    candidate::warn(&known);
    let after = candidate::after(&args.candidate, &known)?;
    let flows = match args.since {
        Some(since) => flows::of_servers(&args.server, since.0).await?,
        None => flows::of_files(&args.flows)?,
    };
    let told = whatif::replay(&known.inventory, &after, known.mode, &known.name, &flows);
    Answer::new(args.format, u8::from(!told.changes.is_empty()), &told, words)
}

fn words(told: &Replay) -> String {
    let mut text = String::new();
    let mut last = None;
    for change in &told.changes {
        let workload = &change.workload;
        if last != Some(workload) {
            let _ = writeln!(text, "{workload} ({})", workload.kind);
        }
        last = Some(workload);
        let (side, way) = match change.direction {
            Side::Ingress => ("ingress", "from"),
            Side::Egress => ("egress", "to"),
        };
        let (before, after, peer, port) = (change.before, change.after, &change.peer, &change.port);
        let flows = count_of(change.flows, "flow");
        let _ = writeln!(text, "  {side:7}  {before} → {after}  {port} {way} {peer} ({flows})");
        if !change.because.is_empty() {
            let _ = writeln!(text, "           by {}", change.because.join(", "));
        }
    }
    let changed: u64 = told.changes.iter().map(|change| change.flows).sum();
    let all = format!("{} of {}", count_of(told.flows, "flow"), count(told.connections, "connection"));
    let _ = match told.changes.len() {
        0 => writeln!(text, "{all}: nothing changes"),
        number => {
            writeln!(text, "{all}: {} change ({})", count(number, "connection"), count_of(changed, "flow"))
        }
    };
    for (why, flows) in &told.skipped {
        let _ = writeln!(text, "{} not replayed: {why}", count_of(*flows, "flow"));
    }
    if told.outdated > 0 {
        let flows = count_of(told.outdated, "flow");
        let _ = writeln!(text, "{flows} recorded with another verdict than today's policies give");
    }
    text
}

fn count_of(number: u64, what: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), what)
}
