//! The configuration file, and `hubble config`.
//!
//! Options of the server may stand in a YAML file, one key each. Flags win over the environment, that over the file.

use crate::cli::ConfigCommand;
use anyhow::{Context, bail};
use clap::{ArgMatches, Command};
use serde_yaml_ng::{Mapping, Value};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Keys that the file may have: flags by their long names.
pub(crate) const KEYS: [&str; 13] = [
    "basic-auth-password",
    "basic-auth-username",
    "debug",
    "request-timeout",
    "server",
    "timeout",
    "tls",
    "tls-allow-insecure",
    "tls-ca-cert-files",
    "tls-client-cert-file",
    "tls-client-key-file",
    "tls-server-name",
    "config",
];

/// The file as it is.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    path: PathBuf,
    values: Mapping,
}

impl Settings {
    /// Reads the file that the arguments or the environment name, or the usual one; that one need not be there.
    pub(crate) fn read(arguments: &[OsString]) -> anyhow::Result<Self> {
        let given = given(arguments).or_else(|| std::env::var_os("HUBBLE_CONFIG").map(PathBuf::from));
        let Some(path) = given.clone().or_else(usual) else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let values = match serde_yaml_ng::from_str(&text) {
            Ok(Value::Mapping(values)) => values,
            Ok(Value::Null) => Mapping::new(),
            _ => bail!("{} is no YAML of keys and values, such as server: localhost:4245", path.display()),
        };
        Ok(Self { path, values })
    }

    /// Puts the file's values in the place of the defaults.
    pub(crate) fn as_defaults(&self, mut command: Command) -> Command {
        for (key, value) in &self.values {
            let (Some(key), Some(value)) = (key.as_str().filter(|key| KEYS.contains(key)), text(value))
            else {
                continue;
            };
            let id = key.replace('-', "_");
            if command.get_arguments().any(|arg| arg.get_id() == id.as_str()) && !value.is_empty() {
                // Leaked: it is needed as long as the program runs, and clap takes nothing shorter.
                let value: &'static str = value.leak();
                command = command.mut_arg(id, |arg| arg.default_value(value));
            }
        }
        command
    }

    /// `hubble config`.
    pub(crate) fn run(
        mut self,
        what: &ConfigCommand,
        matches: &ArgMatches,
        command: &Command,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        match what {
            ConfigCommand::View | ConfigCommand::Get { key: None } => {
                for key in sorted() {
                    write!(out, "{key}: {}", yaml(&self.effective(key, matches))?)?;
                }
            }
            ConfigCommand::Get { key: Some(key) } => {
                known(key)?;
                write!(out, "{}", yaml(&self.effective(key, matches))?)?;
            }
            ConfigCommand::Set { key, value } => {
                known(key)?;
                self.set(key, value.as_deref().unwrap_or_default(), command)?;
                self.write()?;
            }
            ConfigCommand::Reset { key } => {
                for key in KEYS.iter().filter(|known| key.as_ref().is_none_or(|key| key == *known)) {
                    self.values.remove(*key);
                }
                key.as_deref().map_or(Ok(()), known)?;
                self.write()?;
            }
        }
        Ok(())
    }

    /// What holds: flag, environment, file or default.
    fn effective(&self, key: &str, matches: &ArgMatches) -> Value {
        if key == "config" {
            return Value::String(self.path.display().to_string());
        }
        let values = matches.get_raw(&key.replace('-', "_")).into_iter().flatten();
        let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        match key {
            "tls-ca-cert-files" => values.into_iter().map(Value::String).collect::<Vec<_>>().into(),
            "debug" => Value::Bool(matches.get_flag("debug")),
            _ => match values.join(",").as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                text => Value::String(text.to_owned()),
            },
        }
    }

    /// An empty value takes the key out of the file.
    fn set(&mut self, key: &str, value: &str, command: &Command) -> anyhow::Result<()> {
        if value.is_empty() {
            self.values.remove(key);
            return Ok(());
        }
        let checked = command.clone().try_get_matches_from(["hubble", &format!("--{key}={value}"), "status"]);
        if key != "debug" {
            checked.map_err(|error| {
                anyhow::anyhow!(
                    "{key} cannot be {value:?}: {}",
                    error.to_string().trim_start_matches("error: ")
                )
            })?;
        }
        let value = match (key, value) {
            ("tls-ca-cert-files", list) => {
                let list = list.trim_start_matches('[').trim_end_matches(']');
                list.split(',').map(|file| Value::String(file.trim().to_owned())).collect::<Vec<_>>().into()
            }
            (_, "true") => Value::Bool(true),
            (_, "false") => Value::Bool(false),
            ("debug" | "tls" | "tls-allow-insecure", other) => {
                bail!("{key} cannot be {other:?}: write true or false")
            }
            (_, text) => Value::String(text.to_owned()),
        };
        self.values.insert(key.into(), value);
        Ok(())
    }

    fn write(&self) -> anyhow::Result<()> {
        let writing = || format!("cannot write {}", self.path.display());
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).with_context(writing)?;
        }
        std::fs::write(&self.path, serde_yaml_ng::to_string(&self.values)?).with_context(writing)
    }
}

fn sorted() -> Vec<&'static str> {
    let mut keys = KEYS.to_vec();
    keys.sort_unstable();
    keys
}

fn known(key: &str) -> anyhow::Result<()> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    bail!("unknown key: {key}; there are {}", sorted().join(", "))
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    Ok(match value {
        Value::Sequence(list) if list.is_empty() => "[]\n".to_owned(),
        Value::Sequence(_) => format!("\n{}", serde_yaml_ng::to_string(value)?),
        other => serde_yaml_ng::to_string(other)?,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Sequence(list) => Some(list.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        _ => None,
    }
}

/// `--config FILE` or `--config=FILE`, which must be known before the other arguments are read.
fn given(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            return arguments.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn usual() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configs = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")))?;
    Some(Path::new(&configs).join("hubble/config.yaml"))
}

#[cfg(test)]
mod tests;
