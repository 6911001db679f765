//! What no compiler checks: that arrows between crates point downwards, that each outside library stays in its one
//! adapter, that pure crates are pure, that files stay short, and that the contract with the kernel programs does not
//! change unnoticed.

mod abi;
mod finding;
mod hosts;
mod imports;
mod layers;
mod purity;
mod size;
mod source;
mod workspace;

use std::time::Instant;

use anyhow::{Result, bail};

use finding::{Finding, Report, Severity};
use workspace::Workspace;

/// Runs all checks, prints a table and every finding with its cure; fails if one of them is an error.
pub(crate) fn check() -> Result<()> {
    let start = Instant::now();
    let root = crate::bpf::root();
    let workspace = Workspace::read(&root)?;
    let sources = source::read_all(&root, &workspace)?;
    let files = workspace::committed_files(&root)?;
    let reports = [
        layers::check(&workspace),
        imports::check(&workspace, &sources),
        purity::check(&workspace, &sources),
        purity::check_unsafe(&sources),
        size::check(&sources),
        size::check_roots(&workspace, &root)?,
        purity::check_stubs(&sources),
        hosts::check(&root, &files),
        abi::check(&root)?,
    ];
    print(&reports);
    let errors = count(&reports, Severity::Error);
    let warnings = count(&reports, Severity::Warning);
    println!("\n{errors} errors, {warnings} warnings, {} ms", start.elapsed().as_millis());
    if errors > 0 {
        bail!("not tidy: each error above names its cure");
    }
    Ok(())
}

/// Records the contract with the kernel programs.
pub(crate) fn bless_abi() -> Result<()> {
    abi::bless(&crate::bpf::root())
}

fn count(reports: &[Report], severity: Severity) -> usize {
    reports.iter().flat_map(|report| &report.findings).filter(|finding| finding.severity == severity).count()
}

fn print(reports: &[Report]) {
    println!("{:<34} {:>9} {:>7} {:>9}", "check", "looked at", "errors", "warnings");
    for report in reports {
        let of = |severity| report.findings.iter().filter(|f: &&Finding| f.severity == severity).count();
        println!(
            "{:<34} {:>9} {:>7} {:>9}",
            report.name,
            report.looked_at,
            of(Severity::Error),
            of(Severity::Warning)
        );
    }
    for finding in reports.iter().flat_map(|report| &report.findings) {
        println!("\n{}: {}: {}\n  cure: {}", finding.severity, finding.place, finding.text, finding.cure);
    }
}
