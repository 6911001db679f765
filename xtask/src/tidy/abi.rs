//! The contract with the kernel programs does not change without a new version: `crates/abi/abi.lock` holds a checksum
//! of everything that has a layout or a number, and the version it had.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::finding::Report;
use super::source::{item_end, mask};

const SOURCES: &str = "crates/abi/src";
const LOCK: &str = "crates/abi/abi.lock";
const BLESS: &str = "`cargo xtask tidy --bless-abi`";

/// Starts of items that a layout or a number hangs on. Functions are left out: what they compute is tested.
const ITEMS: &[&str] = &["plain! {", "crate::plain! {", "pub const ", "const ", "#[repr(", "pub type "];

/// A version and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contract {
    version: u32,
    checksum: String,
}

pub(super) fn check(root: &Path) -> Result<Report> {
    let mut report = Report::new("abi: no change without a version");
    report.looked_at = 1;
    let now = Contract::of_sources(root)?;
    let Ok(text) = std::fs::read_to_string(root.join(LOCK)) else {
        report.error(LOCK, "is missing", format!("{BLESS} writes it"));
        return Ok(report);
    };
    match Contract::parse(&text) {
        None => report.error(LOCK, "cannot be read", format!("{BLESS} writes it anew")),
        Some(recorded) => judge(&mut report, &recorded, &now),
    }
    Ok(report)
}

fn judge(report: &mut Report, recorded: &Contract, now: &Contract) {
    if recorded == now {
        return;
    }
    let (text, cure) = if now.version > recorded.version {
        (format!("version {} is not recorded yet", now.version), format!("{BLESS}, and commit {LOCK}"))
    } else if now.version < recorded.version {
        (
            format!("version {} was {} before", now.version, recorded.version),
            "versions only grow: an agent must know pinned maps of another layout".to_owned(),
        )
    } else {
        (
            format!("layouts or numbers changed under version {}", now.version),
            format!("raise ABI_VERSION in {SOURCES}/lib.rs, then {BLESS}"),
        )
    };
    report.error(SOURCES, text, cure);
}

/// Records the contract as it is now.
///
/// # Errors
/// When it changed and `ABI_VERSION` did not grow.
pub(super) fn bless(root: &Path) -> Result<()> {
    let now = Contract::of_sources(root)?;
    let path = root.join(LOCK);
    let recorded = std::fs::read_to_string(&path).ok().and_then(|text| Contract::parse(&text));
    match recorded {
        Some(recorded) if recorded == now => {
            println!("{LOCK} is up to date: version {}", now.version);
            return Ok(());
        }
        Some(recorded) if recorded.version >= now.version => bail!(
            "the contract changed since version {}: raise ABI_VERSION in {SOURCES}/lib.rs above it first",
            recorded.version
        ),
        _ => {}
    }
    std::fs::write(&path, now.to_text()).with_context(|| format!("writing {}", path.display()))?;
    println!("{LOCK} records version {}", now.version);
    Ok(())
}

impl Contract {
    fn of_sources(root: &Path) -> Result<Contract> {
        let folder = root.join(SOURCES);
        let mut files = std::fs::read_dir(&folder)
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
            })
            .with_context(|| format!("listing {}", folder.display()))?;
        files.retain(|path| path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs"));
        files.sort();
        let mut texts = Vec::new();
        for file in &files {
            texts.push(std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?);
        }
        Contract::of_texts(&texts)
    }

    fn of_texts(texts: &[String]) -> Result<Contract> {
        let items: Vec<String> = texts.iter().flat_map(|text| items(text)).collect();
        let version = items
            .iter()
            .find_map(|item| item.strip_prefix(VERSION_ITEM)?.trim_end_matches(';').trim().parse().ok())
            .context("no `pub const ABI_VERSION: u32 = N;` in the contract")?;
        let mut hash = Sha256::new();
        for item in items.iter().filter(|item| !item.starts_with(VERSION_ITEM)) {
            hash.update(item);
            hash.update("\n");
        }
        let checksum = hash.finalize().iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Contract { version, checksum })
    }

    fn parse(text: &str) -> Option<Contract> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Some(Contract { version: value("version")?.parse().ok()?, checksum: value("layout")?.to_owned() })
    }

    fn to_text(&self) -> String {
        format!(
            "# Written by {BLESS}: layouts, names and numbers of {SOURCES}, comments aside.\nversion {}\nlayout {}\n",
            self.version, self.checksum
        )
    }
}

const VERSION_ITEM: &str = "pub const ABI_VERSION: u32 =";

/// The items of a file that the contract consists of, each on one line without comments.
fn items(text: &str) -> Vec<String> {
    // Positions are found in masked text, where strings are blank; map names are strings, so the item itself is cut
    // from the text without comments only. Both have the same length in characters; the contract is ASCII elsewhere.
    let masked = mask(text);
    let plain = without_comments(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < masked.len() {
        let line_end = masked[at..].find('\n').map_or(masked.len(), |n| at + n + 1);
        let line = masked[at..line_end].trim_start();
        if ITEMS.iter().any(|start| line.starts_with(start)) && !is_function(line) {
            let end = item_end(&masked, at);
            found.push(plain[at..end].split_whitespace().collect::<Vec<_>>().join(" "));
            at = end;
        } else {
            at = line_end;
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    line.contains("const fn")
}

/// Blanks comments, keeping strings: byte positions stay equal to those of [`mask`] for ASCII outside comments.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        // The contract has no block comments and no `//` in strings.
        let code = line.find("//").map_or(line, |at| &line[..at]);
        out.push_str(code);
        out.extend(std::iter::repeat_n(' ', line.chars().count() - code.chars().count()));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "//! Docs – with a dash.\npub const ABI_VERSION: u32 = 3;\n/// Pods.\npub const PODS: &str = \"AX_PODS\";\n\
                        plain! {\n/// A key.\npub struct Key { pub a: u32, // why\n pub b: u32 } size 8\n}\n\
                        pub const fn with(a: u32) -> u32 { a }\n#[repr(u8)]\npub enum Kind { A = 1, B = 2 }\n";

    fn contract(text: &str) -> Contract {
        Contract::of_texts(&[text.to_owned()]).expect("a contract")
    }

    #[test]
    fn the_items_are_found() {
        let items = items(TEXT);
        assert_eq!(
            items,
            [
                "pub const ABI_VERSION: u32 = 3;",
                "pub const PODS: &str = \"AX_PODS\";",
                "plain! { pub struct Key { pub a: u32, pub b: u32 } size 8 }",
                "#[repr(u8)] pub enum Kind { A = 1, B = 2 }",
            ]
        );
    }

    #[test]
    fn only_what_matters_changes_the_checksum() {
        let before = contract(TEXT);
        assert_eq!(contract(&TEXT.replace("// why", "// why not")), before);
        assert_eq!(contract(&TEXT.replace("{ a }", "{ a + 1 }")), before);
        for (from, to) in [("AX_PODS", "AX_POD"), ("b: u32", "b: u16"), ("B = 2", "B = 3")] {
            assert_ne!(contract(&TEXT.replace(from, to)).checksum, before.checksum, "{from} to {to}");
        }
    }

    #[test]
    fn a_change_needs_a_version() {
        let findings = |recorded: &Contract, now: &Contract| {
            let mut report = Report::new("");
            judge(&mut report, recorded, now);
            report.findings.into_iter().map(|finding| finding.text).collect::<Vec<_>>()
        };
        let before = contract(TEXT);
        let changed = contract(&TEXT.replace("b: u32", "b: u16"));
        let raised = contract(&TEXT.replace("b: u32", "b: u16").replace("= 3", "= 4"));
        assert!(findings(&before, &before).is_empty());
        assert_eq!(findings(&before, &changed), ["layouts or numbers changed under version 3"]);
        assert_eq!(findings(&before, &raised), ["version 4 is not recorded yet"]);
        assert_eq!(findings(&raised, &before), ["version 3 was 4 before"]);
        assert_eq!(Contract::parse(&raised.to_text()), Some(raised));
    }

    #[test]
    fn the_real_contract_is_read_in_full() {
        let root = crate::bpf::root();
        let all = std::fs::read_to_string(root.join(SOURCES).join("maps.rs")).expect("maps.rs");
        let found = items(&all).len();
        let structs = all.matches("crate::plain! {").count();
        let top_level = all.lines().filter(|line| line.starts_with("pub const ")).count();
        assert!(
            found >= structs + top_level && structs > 0,
            "{found} items, {structs} structs, {top_level} constants"
        );
    }
}
