//! Rust files as the checks read them: without comments, string contents and test modules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::workspace::Workspace;

/// One `.rs` file of the workspace.
#[derive(Debug)]
pub(super) struct Source {
    /// The package it belongs to.
    pub(super) package: String,
    /// Relative to the root of the workspace.
    pub(super) path: PathBuf,
    /// It holds tests and nothing else.
    pub(super) is_test: bool,
    /// Lines without those of test modules.
    pub(super) prod_lines: usize,
    /// The text with comments, contents of literals and test modules blanked; lines stay where they were.
    masked: String,
}

impl Source {
    /// A file of `package` with this content.
    pub(super) fn new(package: &str, path: impl Into<PathBuf>, text: &str) -> Source {
        let path = path.into();
        let mut masked = mask(text);
        let test_lines = blank_tests(&mut masked);
        let is_test = is_test_file(&path);
        let prod_lines = text.lines().count() - test_lines;
        Source { package: package.to_owned(), path, is_test, prod_lines, masked }
    }

    /// Numbers (from 1) of the lines that hold `needle` as a whole word or path.
    pub(super) fn lines_with<'a>(&'a self, needle: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.masked
            .lines()
            .enumerate()
            .filter(move |(_, line)| holds(line, needle))
            .map(|(index, _)| index + 1)
    }

    /// A line by its number, masked.
    pub(super) fn line(&self, number: usize) -> &str {
        self.masked.lines().nth(number - 1).unwrap_or_default()
    }

    /// `path:line`.
    pub(super) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// All `.rs` files of the workspace's packages.
pub(super) fn read_all(root: &Path, workspace: &Workspace) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for package in &workspace.packages {
        for part in ["src", "tests", "benches", "examples", "build.rs"] {
            let mut files = Vec::new();
            rust_files(&package.directory().join(part), &mut files)?;
            files.sort();
            for file in files {
                let text =
                    std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
                let path = file.strip_prefix(root).unwrap_or(&file);
                sources.push(Source::new(&package.name, path, &text));
            }
        }
    }
    Ok(sources)
}

fn rust_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    // A folder with a manifest is a package of its own; a target folder holds nothing of ours.
    if path.is_dir() && !path.join("Cargo.toml").exists() && !path.ends_with("target") {
        for entry in std::fs::read_dir(path).with_context(|| format!("listing {}", path.display()))? {
            rust_files(&entry?.path(), files)?;
        }
    } else if path.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
    Ok(())
}

/// `tests.rs`, and everything in a folder `tests`, unless a package lies in there (`tests/kernel/src`).
fn is_test_file(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    let after_src = parts.iter().rposition(|part| *part == "src").map_or(&parts[..], |at| &parts[at + 1..]);
    after_src.iter().any(|part| matches!(*part, "tests" | "tests.rs" | "benches" | "examples"))
}

/// Whether `line` holds `needle` not as a part of longer words.
fn holds(line: &str, needle: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(word) && needle.starts_with(word);
        let after = line[at + needle.len()..].chars().next().is_some_and(word) && needle.ends_with(word);
        !before && !after
    })
}

/// Replaces comments and the contents of literals by spaces, keeping line ends.
pub(super) fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// End of the comment or literal that starts at `at`; `at` itself if none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let follows = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    if follows("//") {
        return chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n);
    }
    if follows("/*") {
        return block_end(chars, at);
    }
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    if chars[at] == '"' {
        return quoted_end(chars, at + 1, '"');
    }
    if !in_word && (follows("r\"") || follows("r#") || follows("br\"") || follows("br#")) {
        return raw_end(chars, at);
    }
    // A character, unless it is a lifetime.
    if chars[at] == '\'' && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')) {
        return quoted_end(chars, at + 1, '\'');
    }
    at
}

/// After a quoted literal whose content starts at `at`.
fn quoted_end(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// After a raw string; `at` itself for a raw identifier.
fn raw_end(chars: &[char], at: usize) -> usize {
    let mut open = at + if chars[at] == 'b' { 2 } else { 1 };
    let hashes = chars[open..].iter().take_while(|c| **c == '#').count();
    open += hashes;
    if chars.get(open) != Some(&'"') {
        return at;
    }
    let mut end = open + 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return end + 1 + hashes;
        }
        end += 1;
    }
    chars.len()
}

/// After a block comment; they nest.
fn block_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

/// Blanks `#[cfg(test)] mod x { … }` in masked text; the number of lines that went.
fn blank_tests(masked: &mut String) -> usize {
    const MARK: &str = "#[cfg(test)]";
    let mut lines = 0;
    while let Some(start) = masked.find(MARK) {
        let end = item_end(masked, start + MARK.len());
        let item = &masked[start..end];
        lines += item.matches('\n').count();
        let blank: String = item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        masked.replace_range(start..end, &blank);
    }
    lines
}

/// End of the item that starts at `at`: its `;`, or the brace that closes its body.
pub(super) fn item_end(masked: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, c) in masked[at..].char_indices() {
        match c {
            ';' if depth == 0 => return at + offset + 1,
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return at + offset + 1;
                }
            }
            _ => {}
        }
    }
    masked.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked() {
        for (text, kept) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("f(\"x \\\" y\", z)", "f(        , z)"),
            ("r#\"a \" b\"# + r#type", "           + r#type"),
            ("'a' 'b: &'a str '\\'' x", "    'b: &'a str      x"),
            ("br\"//\" y", "       y"),
        ] {
            assert_eq!(mask(text), kept, "{text}");
        }
    }

    #[test]
    fn test_modules_do_not_count() {
        let source = Source::new(
            "a",
            "a/src/x.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\nfn h() {}\n",
        );
        assert_eq!(source.prod_lines, 3);
        assert_eq!(source.lines_with("fn g").count(), 0);
        assert_eq!(source.lines_with("fn h").collect::<Vec<_>>(), [6]);
    }

    #[test]
    fn words_are_whole() {
        assert!(holds("use rand::Rng;", "rand::"));
        assert!(!holds("use my_rand::Rng;", "rand::"));
        assert!(!holds("my_todo!()", "todo!"));
        assert!(holds("x = std::fs::read()", "std::fs"));
        assert!(!holds("std::fsck", "std::fs"));
    }

    #[test]
    fn test_files_are_known() {
        for (path, test) in [
            ("crates/a/src/x/tests.rs", true),
            ("crates/a/tests/x.rs", true),
            ("tests/kernel/src/pair.rs", false),
            ("tests/kernel/tests/differential.rs", true),
            ("crates/a/src/lib.rs", false),
        ] {
            assert_eq!(is_test_file(Path::new(path)), test, "{path}");
        }
    }
}
