//! What a person reads: titles, output, and a table of checks.

use std::time::Instant;

/// A truth, for tables.
pub(crate) const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// One check: what was tried, what should come of it, what came.
struct Row {
    name: String,
    detail: String,
    expected: String,
    seen: String,
}

/// Collects and prints.
pub(crate) struct Report {
    start: Instant,
    passed: usize,
    failed: Vec<String>,
    rows: Vec<Row>,
}

impl Default for Report {
    fn default() -> Self {
        Report { start: Instant::now(), passed: 0, failed: Vec::new(), rows: Vec::new() }
    }
}

impl Report {
    /// A headline, with the time since the start.
    pub(crate) fn title(&mut self, text: &str) {
        self.flush();
        println!(
            "\n── {text} {} {:.0} s",
            "─".repeat(70_usize.saturating_sub(text.chars().count())),
            self.start.elapsed().as_secs_f64()
        );
    }

    /// Output of a command.
    pub(crate) fn show(&self, text: &str) {
        for line in text.trim_end().lines() {
            println!("  {line}");
        }
    }

    /// One check.
    pub(crate) fn check(&mut self, name: &str, detail: &str, expected: &str, seen: &str) {
        if expected == seen {
            self.passed += 1;
        } else {
            self.failed.push(format!("{name} ({detail}): expected {expected}, seen {seen}"));
        }
        let [name, detail, expected, seen] = [name, detail, expected, seen].map(str::to_owned);
        self.rows.push(Row { name, detail, expected, seen });
    }

    /// Prints the table so far.
    pub(crate) fn flush(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return;
        }
        let width = |pick: fn(&Row) -> &String, least: usize| {
            rows.iter().map(|r| pick(r).chars().count()).max().unwrap_or(0).max(least)
        };
        let (a, b) = (width(|r| &r.name, 5), width(|r| &r.detail, 3));
        println!("  {:a$}   {:b$}   {:10} {:10}", "CHECK", "HOW", "EXPECTED", "SEEN");
        for row in rows {
            let sign = if row.expected == row.seen { "✔" } else { "✘" };
            println!("  {:a$}   {:b$}   {:10} {:10} {sign}", row.name, row.detail, row.expected, row.seen);
        }
    }

    /// Checks that failed.
    pub(crate) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// The closing lines.
    pub(crate) fn finish(&mut self) {
        self.flush();
        println!();
        for failure in &self.failed {
            println!("FAILED  {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed.len());
    }
}
