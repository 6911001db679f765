//! Text or JSON, and the exit code.

use crate::cli::{Format, Output};
use anyhow::Context;
use serde::Serialize;
use std::io::Write;

/// What a command has to say.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) code: u8,
}

impl Answer {
    /// A text, and success.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: 0 }
    }

    /// An answer in the form that was asked for.
    pub(crate) fn new<T: Serialize>(
        output: Output,
        code: u8,
        answer: &T,
        words: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Self> {
        let text = match output.output {
            Format::Text => words(answer),
            Format::Json => {
                serde_json::to_string_pretty(answer).context("cannot write the answer as JSON")? + "\n"
            }
        };
        Ok(Self { text, code })
    }
}

/// Says something while a command goes on; whoever does not listen any more misses nothing.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref());
    let _ = out.flush();
}

/// `1 flow`, `2 flows`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let (stem, end) = match what.strip_suffix('y') {
        Some(stem) => (stem, ("y", "ies")),
        None => (what, ("", "s")),
    };
    format!("{number} {stem}{}", if number == 1 { end.0 } else { end.1 })
}

/// The first of a list, and how many more there are.
pub(crate) fn some(items: &[String], most: usize) -> String {
    let shown = items.iter().take(most).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
