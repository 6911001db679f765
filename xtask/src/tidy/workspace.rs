//! The workspace as `cargo metadata` tells it, and the files that git knows.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Our packages.
#[derive(Debug, Deserialize)]
pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
}

/// One of our packages.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) manifest_path: PathBuf,
    #[serde(default)]
    metadata: Option<Metadata>,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
}

/// A line under `[dependencies]`, `[dev-dependencies]` or `[build-dependencies]`.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    /// Name of the package, whatever it is called in the manifest.
    pub(super) name: String,
    /// `None` for ordinary ones, else "dev" or "build".
    pub(super) kind: Option<String>,
}

/// A library, program or test.
#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub(super) kind: Vec<String>,
    pub(super) src_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    axoneme: Option<Axoneme>,
}

#[derive(Debug, Deserialize)]
struct Axoneme {
    layer: Option<u8>,
}

impl Workspace {
    /// Asks cargo.
    pub(super) fn read(root: &Path) -> Result<Workspace> {
        let output = Command::new("cargo")
            .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("starting cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Workspace::parse(&output.stdout)
    }

    /// From the JSON of `cargo metadata`.
    pub(super) fn parse(json: &[u8]) -> Result<Workspace> {
        serde_json::from_slice(json).context("reading cargo's metadata")
    }

    /// Our package of this name.
    pub(super) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    /// `layer` under `[package.metadata.axoneme]`.
    pub(super) fn layer(&self) -> Option<u8> {
        self.metadata.as_ref()?.axoneme.as_ref()?.layer
    }

    /// Where its manifest lies.
    pub(super) fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new(""))
    }
}

impl Dependency {
    /// Whether only tests, examples and benches have it.
    pub(super) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// Files that are committed or about to be, relative to the root.
pub(super) fn committed_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("starting git ls-files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}
