//! What a check says.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// `cargo xtask tidy` fails.
    Error,
    /// It is only printed.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is not tidy.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// File (with line) or package.
    pub(super) place: String,
    /// What is wrong.
    pub(super) text: String,
    /// What to do about it.
    pub(super) cure: String,
}

/// The outcome of one check.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) name: &'static str,
    /// Packages, files or lines that the check looked at: zero would mean that it cannot find anything.
    pub(super) looked_at: usize,
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// An empty report.
    pub(super) fn new(name: &'static str) -> Self {
        Report { name, looked_at: 0, findings: Vec::new() }
    }

    /// Adds an error.
    pub(super) fn error(
        &mut self,
        place: impl Into<String>,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.add(Severity::Error, place.into(), text.into(), cure.into());
    }

    /// Adds a warning.
    pub(super) fn warn(
        &mut self,
        place: impl Into<String>,
        text: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.add(Severity::Warning, place.into(), text.into(), cure.into());
    }

    fn add(&mut self, severity: Severity, place: String, text: String, cure: String) {
        self.findings.push(Finding { severity, place, text, cure });
    }
}
