//! The policies that are to be tried.

use crate::cli::CandidateArgs;
use crate::cluster::Known;
use crate::files;
use anyhow::{Result, bail, ensure};
use std::io::Write as _;
use whatif::{Document, Finding, Inventory, Severity, lint};

/// The cluster with the candidate in force.
///
/// # Errors
/// The candidate holds no policy, or one that would be refused: nothing could be said about it.
pub(crate) fn after(args: &CandidateArgs, known: &Known) -> Result<Inventory> {
    let sources = files::read(&args.files)?;
    let mut documents: Vec<Document> = Vec::new();
    let mut refused = Vec::new();
    for source in sources {
        let findings = lint(&source.documents, &args.namespace, None);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        refused.extend(errors.map(|finding| line(&source.name, finding)));
        documents.extend(source.documents.objects);
    }
    if !refused.is_empty() {
        bail!("these policies would be refused:\n{}", refused.join("\n"));
    }
    let candidate = Inventory::read(&documents, &known.name, &args.namespace);
    ensure!(!candidate.policies.is_empty(), "the files hold no policy (-f)");
    Ok(known.inventory.with(&candidate.policies))
}

/// Says which objects of the cluster do not count as they are written, on standard error: the answer is about the others.
pub(crate) fn warn(known: &Known) {
    for problem in &known.inventory.problems {
        let _ = writeln!(std::io::stderr(), "Warning: {} {}", problem.object, problem.why);
    }
}

/// As compilers write it.
pub(crate) fn line(file: &str, finding: &Finding) -> String {
    let Finding { position, severity, object, field, text } = finding;
    let severity = if *severity == Severity::Error { "error" } else { "warning" };
    let field = if field.is_empty() { String::new() } else { format!(" {field}:") };
    format!("{file}:{}:{}: {severity}: {object}:{field} {text}", position.line, position.column)
}
