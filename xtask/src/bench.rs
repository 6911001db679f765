//! Starts the program that measures. It is another package so that building the other tasks stays quick.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs the measurement `name` and leaves `target/bench/NAME.json`.
pub(crate) fn run(name: &str, arguments: &[String]) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--package", "axoneme-bench", "--", name])
        .args(arguments)
        .current_dir(crate::bpf::root())
        .status()
        .context("starting cargo for the measurements")?;
    if !status.success() {
        bail!("measuring {name} failed; what was measured so far is in target/bench");
    }
    Ok(())
}
