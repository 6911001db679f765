//! Files stay short enough to be read at once, and each crate's root says what it is.

use std::path::Path;

use anyhow::{Context, Result};

use super::finding::Report;
use super::source::Source;
use super::workspace::Workspace;

/// Lines, tests aside, from which a file is long, and from which it is too long.
const LONG: usize = 400;
const TOO_LONG: usize = 700;
const CURE: &str = "split it by what its parts are about; tests of more than 100 lines go to `x/tests.rs`";

/// Lengths of files.
pub(super) fn check(sources: &[Source]) -> Report {
    let mut report = Report::new("size: files up to 700 lines");
    for source in sources.iter().filter(|source| !source.is_test) {
        report.looked_at += 1;
        let place = source.path.display().to_string();
        let text = format!("{} lines without tests", source.prod_lines);
        if source.prod_lines > TOO_LONG {
            report.error(place, text, CURE);
        } else if source.prod_lines > LONG {
            report.warn(place, text, CURE);
        }
    }
    report
}

/// Module docs at the roots of libraries and programs.
pub(super) fn check_roots(workspace: &Workspace, root: &Path) -> Result<Report> {
    let mut report = Report::new("docs: crate roots say what they are");
    let roots = workspace.packages.iter().flat_map(|package| &package.targets).filter(|target| {
        target.kind.iter().any(|kind| matches!(kind.as_str(), "lib" | "bin" | "proc-macro"))
    });
    for target in roots {
        report.looked_at += 1;
        let path = &target.src_path;
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        if !has_docs(&text) {
            report.error(
                path.strip_prefix(root).unwrap_or(path).display().to_string(),
                "has no module docs",
                "begin the file with `//!` lines: what it is, its invariants, what is deliberately absent",
            );
        }
    }
    Ok(report)
}

fn has_docs(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docs_come_first() {
        assert!(has_docs("//! What it is.\nuse x;"));
        assert!(has_docs("#![no_std]\n\n//! What it is.\n"));
        assert!(!has_docs("use x;\n//! too late"));
        assert!(!has_docs("// not docs\n"));
    }

    #[test]
    fn lengths_without_tests() {
        let with = |lines: usize| {
            let text =
                "fn f() {}\n".repeat(lines) + "#[cfg(test)]\nmod tests {\n" + &"\n".repeat(900) + "}\n";
            let report = check(&[Source::new("a", "a/src/x.rs", &text)]);
            report.findings.first().map(|finding| finding.severity)
        };
        assert_eq!(with(300), None);
        assert_eq!(with(450), Some(super::super::finding::Severity::Warning));
        assert_eq!(with(750), Some(super::super::finding::Severity::Error));
    }
}
