//! The program helm: found, and asked.

use crate::cluster::Reach;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A helm, and how it reaches the cluster.
#[derive(Debug)]
pub(super) struct Helm {
    program: PathBuf,
    namespace: String,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    /// Our values, and what helm keeps for itself: a user's own settings and plugins play no part here.
    room: TempDir,
}

impl Helm {
    /// The one that was named, the one beside this program, or the one on PATH.
    pub(super) fn find(named: Option<&PathBuf>, reach: &Reach) -> Result<Self> {
        let program = match named {
            Some(path) => path.clone(),
            None => search().context(
                "there is no helm: put it beside this command or on PATH (version 3.14 or later), or name it with --helm. \
                 `cilium install` has helm install the chart that it carries",
            )?,
        };
        Ok(Self {
            program,
            namespace: reach.namespace.clone(),
            kubeconfig: reach.config.kubeconfig.clone(),
            context: reach.config.context.clone(),
            room: tempfile::tempdir().context("no room for helm's files")?,
        })
    }

    /// Writes values to a file for `--values`.
    pub(super) fn write_values(&self, values: &Value) -> Result<PathBuf> {
        let path = self.room.path().join("values.json");
        // JSON is YAML.
        std::fs::write(&path, values.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// What there is of a release: `revision 2, chart cilium-0.1.0, deployed`; `None`: nothing.
    pub(super) fn release(&self, name: &str) -> Result<Option<String>> {
        let filter = format!("^{name}$");
        let words = ["list", "--all", "--filter", filter.as_str(), "--output", "json"];
        let list: Vec<Value> =
            serde_json::from_str(&self.run(words.map(Into::into))?).context("helm's list is no JSON")?;
        let text = |release: &Value, field: &str| release[field].as_str().unwrap_or("?").to_owned();
        Ok(list.first().map(|release| {
            let (revision, chart) = (text(release, "revision"), text(release, "chart"));
            format!("revision {revision}, chart {chart}, {}", text(release, "status"))
        }))
    }

    /// Runs it; the answer is its standard output.
    ///
    /// # Errors
    /// It cannot be started, or it refuses: the text is its reason, without its own wrapping.
    pub(super) fn run(&self, words: impl IntoIterator<Item = OsString>) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.args(words).args(["--namespace", &self.namespace]).stdin(Stdio::null());
        if let Some(path) = &self.kubeconfig {
            command.arg("--kubeconfig").arg(path);
        }
        if let Some(context) = &self.context {
            command.args(["--kube-context", context]);
        }
        for (name, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.room.path().join(folder));
        }
        let out = command.output().with_context(|| {
            format!("cannot start {}: is it a helm for this machine?", self.program.display())
        })?;
        if !out.status.success() {
            bail!("{}", reason(&String::from_utf8_lossy(&out.stderr)));
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }
}

/// The reason in what helm says, without the words around it.
fn reason(stderr: &str) -> String {
    let lines = stderr.lines().filter(|line| !line.starts_with("WARNING:"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut text = text.trim();
    for start in ["Error: ", "INSTALLATION FAILED: ", "UPGRADE FAILED: ", "execution error at ("] {
        text = text.strip_prefix(start).unwrap_or(text);
    }
    // `cilium/templates/x.yaml:1:2): the sentence`
    match text.split_once("): ") {
        Some((place, sentence)) if place.starts_with("cilium/templates/") => text = sentence,
        _ => {}
    }
    let end = "\n\nUse --debug flag to render out invalid YAML";
    text.strip_suffix(end).unwrap_or(text).to_owned()
}

fn search() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("helm")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("helm"));
    beside.into_iter().chain(on_path).find(|file: &PathBuf| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn refusals_are_the_chart_s_own_sentences() {
        let said = "WARNING: Kubernetes configuration file is group-readable.\nError: INSTALLATION FAILED: execution error at \
                    (cilium/templates/validate.yaml:1:4): tunnelProtocol=x is not in this version: use vxlan.\n";
        assert_eq!(reason(said), "tunnelProtocol=x is not in this version: use vxlan.");
        assert_eq!(reason("Error: Kubernetes cluster unreachable\n"), "Kubernetes cluster unreachable");
        let schema = "Error: values don't meet the specifications of the schema(s) in the following chart(s):\ncilium:\n- x\n";
        assert!(reason(schema).starts_with("values don't meet"));
    }
}
