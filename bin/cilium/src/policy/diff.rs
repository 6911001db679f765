//! `cilium policy diff`.

use super::candidate;
use crate::cli::DiffArgs;
use crate::cluster;
use crate::output::{Answer, count, some};
use anyhow::Result;
use std::fmt::Write;
use whatif::Diff;

/// Ports and peers that one line names.
const MOST: usize = 12;

pub(crate) async fn run(args: &DiffArgs) -> Result<Answer> {
    let known = cluster::read(&args.known, &args.candidate.namespace).await?;
    candidate::warn(&known);
    let after = candidate::after(&args.candidate, &known)?;
    let told = whatif::diff(&known.inventory, &after, known.mode, &known.name);
    Answer::new(args.format, u8::from(!told.workloads.is_empty()), &told, words)
}

fn words(told: &Diff) -> String {
    let mut text = String::new();
    for changed in &told.workloads {
        let (workload, pods) = (&changed.workload, count(changed.pods, "pod"));
        let _ = writeln!(text, "{workload} ({}, {pods})", workload.kind);
        for change in &changed.changes {
            let way = if change.direction == "ingress" { "from" } else { "to" };
            let (before, after, ports) = (change.before, change.after, some(&change.ports, MOST));
            let peers = some(&change.peers, MOST);
            let _ = writeln!(text, "  {:7}  {before} → {after}  {ports} {way} {peers}", change.direction);
            if !change.because.is_empty() {
                let _ = writeln!(text, "           by {}", change.because.join(", "));
            }
        }
    }
    let changed = told.workloads.len();
    let _ = writeln!(text, "{} changed, {} not", count(changed, "workload"), told.unchanged);
    text
}
