//! The chart: the one inside this program, or a folder.

use crate::cli::ReleaseArgs;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files of `charts/cilium` and their texts.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/chart.rs"));

/// A chart that helm can read; one that was unpacked goes away with this.
#[derive(Debug)]
pub(super) struct Chart {
    /// Its version.
    pub(super) version: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Own(TempDir),
    Given(PathBuf),
}

impl Chart {
    /// Takes the chart that was asked for.
    pub(super) fn take(args: &ReleaseArgs) -> Result<Self> {
        let chart = match &args.chart_directory {
            Some(folder) => Self::given(folder)?,
            None => Self::own()?,
        };
        if let Some(wanted) = &args.version {
            let wanted = wanted.strip_prefix('v').unwrap_or(wanted);
            ensure!(
                wanted == chart.version,
                "--version={wanted}: this command carries the chart of version {}; take the command of version {wanted}, or \
                 give its chart with --chart-directory",
                chart.version
            );
        }
        Ok(chart)
    }

    fn given(folder: &Path) -> Result<Self> {
        let path = folder.join("Chart.yaml");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("--chart-directory={}: {} cannot be read", folder.display(), path.display())
        })?;
        Ok(Self { version: version(&text)?, place: Place::Given(folder.to_owned()) })
    }

    fn own() -> Result<Self> {
        let text = FILES.iter().find(|(name, _)| *name == "Chart.yaml").map_or("", |(_, text)| text);
        let version = version(text)?;
        let folder = tempfile::tempdir().context("no room for the chart's files")?;
        for (name, text) in FILES {
            let path = folder.path().join(name);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
            }
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { version, place: Place::Own(folder) })
    }

    /// Where helm finds it.
    pub(super) fn folder(&self) -> &Path {
        match &self.place {
            Place::Own(folder) => folder.path(),
            Place::Given(folder) => folder,
        }
    }
}

fn version(chart: &str) -> Result<String> {
    let chart: serde_json::Value = serde_yaml_ng::from_str(chart).context("Chart.yaml is no YAML")?;
    Ok(chart["version"].as_str().context("Chart.yaml has no version")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_inside_is_whole() {
        let chart = Chart::own().expect("a chart");
        assert_eq!(chart.version, env!("CARGO_PKG_VERSION"), "command and chart are of one version");
        for file in ["Chart.yaml", "values.yaml", "values.schema.json", "templates/_validate.tpl"] {
            assert!(chart.folder().join(file).is_file(), "{file} is missing");
        }
    }
}
