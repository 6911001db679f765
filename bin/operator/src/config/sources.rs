//! Where options come from.

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
    values: BTreeMap<&'static str, String>,
}

impl Options {
    /// Sets an option. Names that the operator does not know are the agent's, as both share one ConfigMap.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if let Some(key) = keys::find(name) {
            self.values.insert(key.name, value.trim().to_owned());
        }
    }

    /// The value of an option, or its default.
    pub(super) fn get(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(value) => value,
            None => keys::find(name).map_or("", |key| key.default),
        }
    }
}

/// Reads all sources, the later winning: the folder `--config-dir` names, `environment`, flags in `args` (the program's
/// name first).
///
/// # Errors
/// A flag nobody knows, or a folder that cannot be read.
pub(crate) fn gather(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Options> {
    let matches = command().try_get_matches_from(args)?;
    let flags: Vec<(&str, &String)> =
        KEYS.iter().filter_map(|key| Some((key.name, matches.get_one::<String>(key.name)?))).collect();
    let environment: Vec<(String, String)> = environment.into_iter().filter_map(from_environment).collect();

    let mut options = Options::default();
    for (name, value) in &environment {
        options.set(name, value);
    }
    for (name, value) in &flags {
        options.set(name, value);
    }
    let folder = options.get("config-dir").to_owned();
    if !folder.is_empty() {
        let mut below = read_folder(Path::new(&folder))?;
        below.values.append(&mut options.values);
        options = below;
    }
    Ok(options)
}

fn command() -> Command {
    let command = Command::new("cilium-operator")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The cluster's part of the pod network: definitions, pod CIDRs, garbage collection, taints");
    KEYS.iter().fold(command, |command, key| {
        let arg = Arg::new(key.name).long(key.name).help(format!("{} [default: {}]", key.help, key.default));
        // `--debug` and `--debug=true` both work; other options take their value with or without `=`.
        command.arg(match key.default {
            "true" | "false" => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg.num_args(1),
        })
    })
}

/// `CILIUM_ENABLE_IPV4` is `enable-ipv4`.
fn from_environment((variable, value): (String, String)) -> Option<(String, String)> {
    let name = variable.strip_prefix("CILIUM_")?.to_ascii_lowercase().replace('_', "-");
    keys::find(&name).map(|key| (key.name.to_owned(), value))
}

fn read_folder(folder: &Path) -> Result<Options> {
    let reading = || format!("cannot read the options in {} (--config-dir)", folder.display());
    let mut options = Options::default();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A mounted ConfigMap has `..data` and dated folders beside the links.
        if name.starts_with('.') || entry.path().is_dir() || keys::find(&name).is_none() {
            continue;
        }
        let value = fs::read_to_string(entry.path())
            .with_context(|| format!("cannot read option {name} in {}", folder.display()))?;
        options.set(&name, &value);
    }
    Ok(options)
}
