//! The chart's values, from the comments of `values.yaml`.

use std::fmt::Write;

use super::{cell, code};

/// A value: its name with dots, what stands there, and what is said about it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: String,
    default: String,
    help: String,
}

/// The page.
pub(super) fn page(yaml: &str) -> String {
    let mut text = "# Values of the chart\n\nNames and meaning are Cilium's. What is not listed is refused, what contradicts itself, too; \
                    Cilium's values for features that are not in this version are accepted where they switch them off.\n\n\
                    | value | default | meaning |\n|---|---|---|\n"
        .to_owned();
    for Entry { name, default, help } in entries(yaml) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {} | {} |", code(&default), cell(&help));
    }
    text
}

/// Keys that have a value of their own, or a comment; a comment begins with `# -- ` and stands above its key.
fn entries(yaml: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    // Names that the line is below of, with their indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut help: Option<String> = None;
    for line in yaml.lines() {
        let (indent, line) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(words) = line.strip_prefix("# -- ") {
            help = Some(words.to_owned());
        } else if let Some(words) = line.strip_prefix("# ") {
            if let Some(help) = &mut help {
                help.push(' ');
                help.push_str(words);
            }
        } else if line.is_empty() {
            help = None;
        } else if let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_key(key)) {
            above.retain(|(of, _)| *of < indent);
            let name = above.iter().map(|(_, name)| name.as_str()).chain([key]).collect::<Vec<_>>().join(".");
            above.push((indent, key.to_owned()));
            let value = value.split(" # ").next().unwrap_or_default().trim();
            if !value.is_empty() || help.is_some() {
                let help = help.take().unwrap_or_default();
                found.push(Entry { name, default: value.to_owned(), help });
            }
            help = None;
        } else {
            // An item of the list above it.
            help = None;
        }
    }
    found
}

/// Not an item of a list, and not words of a text that stands over several lines.
fn is_key(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    !text.starts_with('-') && !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stand_above_their_keys() {
        let yaml = "# no value's\n# -- Where.\n# And how.\na:\n  # -- One.\n  b: 1\n  c: \"x\"\n\n# -- lost\n\nd:\n  list:\n    - e: 2\n  f: null\n";
        let entry = |name: &str, default: &str, help: &str| Entry {
            name: name.to_owned(),
            default: default.to_owned(),
            help: help.to_owned(),
        };
        assert_eq!(
            entries(yaml),
            [
                entry("a", "", "Where. And how."),
                entry("a.b", "1", "One."),
                entry("a.c", "\"x\"", ""),
                entry("d.f", "null", ""),
            ]
        );
    }
}
