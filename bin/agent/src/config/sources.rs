use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Arg, Command};

use super::keys::{self, KEYS};

/// Values by option name, before they are checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    values: BTreeMap<String, String>,
    unknown: Vec<String>,
}

impl Options {
    /// The value of `name`, or its default. Names outside the table read as empty.
    pub(crate) fn get(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => keys::find(name).map_or("", |k| k.default),
        }
    }

    /// Sets `name`, or notes that nobody here knows it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if keys::find(name).is_some() {
            self.values.insert(name.to_owned(), value.trim_end_matches(['\n', '\r']).to_owned());
        } else {
            self.unknown.push(name.to_owned());
        }
    }

    /// Options that were given but mean nothing to this agent.
    pub(crate) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// All options with their values in force, for `cilium-dbg status --verbose`.
    pub(crate) fn in_force(&self) -> BTreeMap<String, String> {
        KEYS.iter().map(|k| (k.name.to_owned(), self.get(k.name).to_owned())).collect()
    }
}

/// Reads all sources: flags from `args` (the program's name first), `environment`, and the folder `--config-dir` names.
///
/// # Errors
/// A flag nobody knows, or a folder that cannot be read.
pub(crate) fn gather(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Options> {
    let matches = command().try_get_matches_from(args)?;
    let flags: Vec<(&str, &String)> =
        KEYS.iter().filter_map(|k| matches.get_one::<String>(k.name).map(|v| (k.name, v))).collect();
    let environment = from_environment(environment);

    let mut options = Options::default();
    let folder = flags.iter().find(|(name, _)| *name == "config-dir").map(|(_, v)| v.as_str());
    let folder = folder.or_else(|| environment.get("config-dir").map(String::as_str)).unwrap_or_default();
    if !folder.is_empty() {
        read_folder(Path::new(folder), &mut options)?;
    }
    for (name, value) in &environment {
        options.set(name, value);
    }
    for (name, value) in flags {
        options.set(name, value);
    }
    Ok(options)
}

fn command() -> Command {
    KEYS.iter().fold(
        Command::new("cilium-agent")
            .version(env!("CARGO_PKG_VERSION"))
            .about("The agent of a node: pod network and policy"),
        |command, key| {
            let arg =
                Arg::new(key.name).long(key.name).help(format!("{} [default: {}]", key.help, key.default));
            // `--debug` and `--debug=true` both work; other options take their value with or without `=`.
            command.arg(match key.default {
                "true" | "false" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                _ => arg.num_args(1),
            })
        },
    )
}

/// `CILIUM_ENABLE_IPV4` is `enable-ipv4`; `K8S_NODE_NAME` is the node's name. Variables that name no option are not
/// ours (Kubernetes itself sets `CILIUM_*` for a Service of that name) and stay unmentioned.
fn from_environment(environment: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    environment
        .into_iter()
        .filter_map(|(variable, value)| {
            let name = match variable.as_str() {
                "K8S_NODE_NAME" => "k8s-node-name".to_owned(),
                other => other.strip_prefix("CILIUM_")?.to_ascii_lowercase().replace('_', "-"),
            };
            keys::find(&name).map(|k| (k.name.to_owned(), value))
        })
        .collect()
}

fn read_folder(folder: &Path, options: &mut Options) -> Result<()> {
    let reading = || format!("cannot read the options in {} (--config-dir)", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A mounted ConfigMap has `..data` and dated folders beside the links.
        if name.starts_with('.') || entry.path().is_dir() {
            continue;
        }
        let value = fs::read_to_string(entry.path())
            .with_context(|| format!("cannot read option {name} in {}", folder.display()))?;
        options.set(&name, &value);
    }
    Ok(())
}
