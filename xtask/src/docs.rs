//! `cargo xtask docs`: the reference part of `docs/site`, from what the programs themselves are made of: the tables of options,
//! the chart's `values.yaml`, the drop reasons of the contract with the kernel programs.

mod values;

use std::fmt::Write;
use std::fs;

use abi::DropReason;
use anyhow::{Context, Result, bail};

// The very tables that the programs read.
#[path = "../../bin/agent/src/config/keys.rs"]
#[expect(dead_code, reason = "only the table is of use here")]
mod agent;
#[path = "../../bin/operator/src/config/keys.rs"]
#[expect(dead_code, reason = "only the table is of use here")]
mod operator;

/// Where the pages are.
const FOLDER: &str = "docs/site/src/reference";
/// First line of each: nobody should edit it.
const NOTE: &str = "<!-- made by `cargo xtask docs` -->\n\n";

/// Writes the pages, or with `check` only says which are not as they would be written.
pub(crate) fn run(check: bool) -> Result<()> {
    let root = crate::bpf::root();
    let chart = root.join("charts/cilium/values.yaml");
    let chart = fs::read_to_string(&chart).with_context(|| format!("cannot read {}", chart.display()))?;
    let pages = [
        (
            "agent.md",
            options("cilium-agent", agent::KEYS.iter().map(|key| (key.name, key.default, key.help))),
        ),
        (
            "operator.md",
            options("cilium-operator", operator::KEYS.iter().map(|key| (key.name, key.default, key.help))),
        ),
        ("values.md", values::page(&chart)),
        ("drop-reasons.md", reasons()),
    ];
    let mut stale = Vec::new();
    for (name, text) in pages {
        let path = root.join(FOLDER).join(name);
        let text = format!("{NOTE}{text}");
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            continue;
        }
        if check {
            stale.push(name);
        } else {
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            println!("wrote {FOLDER}/{name}");
        }
    }
    if !stale.is_empty() {
        bail!("{FOLDER}: {} not as the code is: run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}

/// A table of options.
fn options(program: &str, keys: impl Iterator<Item = (&'static str, &'static str, &'static str)>) -> String {
    let mut text = format!(
        "# Options of {program}\n\nAs flags `--name=value`, as keys of the ConfigMap `cilium-config` (`extraConfig` in the chart's values), \
         or as variables: `CILIUM_` and the name in capitals, with `_` for `-`.\n\n| option | default | meaning |\n|---|---|---|\n"
    );
    for (name, default, help) in keys {
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "| `{name}` | {} | {} |", code(default), cell(help));
    }
    text
}

/// Numbers and texts of drop reasons.
fn reasons() -> String {
    let mut text = "# Drop reasons\n\nNumbers and texts are Cilium's: in `cilium-dbg monitor`, in flows (`drop_reason_desc`), and as the label \
                    `reason` of `cilium_drop_count_total`.\n\n| number | text | in flows |\n|---|---|---|\n"
        .to_owned();
    for reason in (0..=u8::MAX).filter_map(DropReason::from_code) {
        let _ = writeln!(text, "| {} | {} | `{}` |", reason as u8, cell(reason.text()), reason.api_name());
    }
    text
}

/// A value in a table's cell; nothing for an empty one.
fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", text.replace('|', "\\|")) }
}

/// Words in a table's cell, read as they stand.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_hold_together() {
        assert_eq!((code(""), code("a|b")), (String::new(), "`a\\|b`".to_owned()));
        let table = options("x", [("a", "", "b | <c>")].into_iter());
        assert!(table.ends_with("| `a` |  | b \\| &lt;c> |\n"), "{table}");
        assert!(reasons().contains("| 133 | Policy denied | `POLICY_DENIED` |"), "{}", reasons());
    }
}
