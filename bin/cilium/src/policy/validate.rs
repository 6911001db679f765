//! `cilium policy validate`.

use super::candidate::line;
use crate::cli::ValidateArgs;
use crate::output::{Answer, count};
use crate::{cluster, files};
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write;
use whatif::{Finding, Severity, lint};

/// What was found.
#[derive(Serialize)]
struct Report {
    files: Vec<FileReport>,
    errors: usize,
    warnings: usize,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    objects: usize,
    findings: Vec<Finding>,
}

pub(crate) async fn run(args: &ValidateArgs) -> Result<Answer> {
    let known = match args.cluster || args.known.is_files() {
        true => Some(cluster::read(&args.known, &args.namespace).await?.inventory),
        false => None,
    };
    let files: Vec<FileReport> = files::read(&args.files)?
        .into_iter()
        .map(|source| FileReport {
            objects: source.documents.objects.len(),
            findings: lint(&source.documents, &args.namespace, known.as_ref()),
            file: source.name,
        })
        .collect();
    let number = |severity| {
        files.iter().flat_map(|file| &file.findings).filter(|finding| finding.severity == severity).count()
    };
    let (errors, warnings) = (number(Severity::Error), number(Severity::Warning));
    let bad = errors > 0 || (args.strict && warnings > 0);
    Answer::new(args.format, u8::from(bad), &Report { files, errors, warnings }, words)
}

fn words(report: &Report) -> String {
    let mut text = String::new();
    for file in &report.files {
        for finding in &file.findings {
            let _ = writeln!(text, "{}", line(&file.file, finding));
        }
    }
    let objects: usize = report.files.iter().map(|file| file.objects).sum();
    let (objects, files) = (count(objects, "object"), count(report.files.len(), "file"));
    let (errors, warnings) = (count(report.errors, "error"), count(report.warnings, "warning"));
    let _ = writeln!(text, "{objects} in {files}: {errors}, {warnings}");
    text
}
