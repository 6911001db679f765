//! What the user sees while the lab works: numbered lines with times.

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;

/// Counts finished steps of a known number; steps may run in parallel.
pub(crate) struct Progress {
    total: usize,
    done: AtomicUsize,
    start: Instant,
}

impl Progress {
    /// A run of `total` steps.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, done: AtomicUsize::new(0), start: Instant::now() }
    }

    /// Does one step and prints a line when it is done. A failed step prints nothing: the error says it all.
    pub(crate) fn step<T>(&self, what: impl Display, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work()?;
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        say(format!(
            "[{done:>2}/{}] {:<44} {:>5.1} s",
            self.total,
            what.to_string(),
            start.elapsed().as_secs_f32()
        ));
        Ok(result)
    }

    /// Seconds since the start.
    pub(crate) fn seconds(&self) -> f32 {
        self.start.elapsed().as_secs_f32()
    }
}

/// Prints a line for the user, whole, also from several threads.
pub(crate) fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    // Nobody to read is no reason to stop: `lab up | head` must still give a lab.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// The word in bold where a person looks.
pub(crate) fn bold(word: &str) -> String {
    if std::io::stdout().is_terminal() { format!("\x1b[1m{word}\x1b[0m") } else { word.to_owned() }
}

/// The last `lines` lines of a file, indented; a word about it where there is none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let Ok(bytes) = std::fs::read(path) else { return format!("    ({} cannot be read)", path.display()) };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let mut out = format!("    last lines of {}:\n", path.display());
    for line in &all[all.len().saturating_sub(lines)..] {
        let short: String = line.chars().take(400).collect();
        out.push_str("    | ");
        out.push_str(&short);
        out.push('\n');
    }
    out
}
