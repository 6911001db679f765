//! The file that tells the container runtime which network plugin to run: `05-cilium.conflist` in the node's CNI folder.
//!
//! What has to be done is decided by [`ConfList::plan`], which is pure; [`ConfList::ensure`] looks, plans and does it.
//! With nothing to do it touches nothing, so the agent may call it as often as it likes.

#![forbid(unsafe_code)]

use serde_json::{Map, Value, json};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where runtimes look by default.
pub const DIRECTORY: &str = "/etc/cni/net.d";
/// Name of the file; runtimes take the first in order of names.
pub const FILE: &str = "05-cilium.conflist";
/// What is appended to configurations that are set aside (`cni.exclusive`).
pub const BACKUP_SUFFIX: &str = ".cilium_bak";

/// Which plugins the file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Plugins {
    /// Ours alone.
    #[default]
    Alone,
    /// Ours, then the reference plugin `portmap`.
    Portmap,
    /// Flannel's, then ours, in a network called as Flannel's own (so that its leases hold on).
    Flannel,
    /// As in this text, to the letter; see [`check`].
    Given(String),
}

/// A configuration that somebody wrote and that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// No JSON.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// No list of plugins.
    #[error("it is no CNI configuration list: \"plugins\" is missing or empty")]
    NoPlugins,
    /// Ours is not in it.
    #[error("none of its plugins has the type cilium-cni: pods would start without policy")]
    NotOurs,
}

/// Whether a runtime would make pods by a configuration with our help.
///
/// # Errors
/// [`GivenError`] says what is wrong with it.
pub fn check(text: &str) -> Result<(), GivenError> {
    let value: Value = serde_json::from_str(text).map_err(GivenError::NotJson)?;
    let plugins =
        value["plugins"].as_array().filter(|plugins| !plugins.is_empty()).ok_or(GivenError::NoPlugins)?;
    if plugins.iter().any(|plugin| plugin["type"] == PLUGIN) { Ok(()) } else { Err(GivenError::NotOurs) }
}

/// Type of our plugin: its name in the runtime's folder.
const PLUGIN: &str = "cilium-cni";

/// What the file is to say, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfList {
    /// Folder of network configurations, as the agent sees it.
    pub directory: PathBuf,
    /// Version of the CNI specification that the runtime is to speak.
    pub cni_version: String,
    /// Where the plugin logs; none: nowhere.
    pub log_file: Option<String>,
    /// Whether the plugin logs what went well, too.
    pub debug: bool,
    /// Whether configurations of others are set aside.
    pub exclusive: bool,
    /// Which plugins.
    pub plugins: Plugins,
}

/// Something to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write our file.
    Write {
        /// Its content.
        text: String,
    },
    /// Set another's configuration aside.
    SetAside {
        /// Its name in the folder.
        name: String,
    },
}

/// The folder or a file in it cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: is the node's CNI folder mounted into the agent and writable?", path.display())]
pub struct ConfError {
    /// What was tried.
    pub what: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl ConfList {
    /// The defaults of the Helm chart, for a folder.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        ConfList {
            directory: directory.into(),
            cni_version: "0.3.1".to_owned(),
            log_file: Some("/var/run/cilium/cilium-cni.log".to_owned()),
            debug: false,
            exclusive: true,
            plugins: Plugins::Alone,
        }
    }

    /// Our file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// What our file is to hold.
    pub fn render(&self) -> String {
        if let Plugins::Given(text) = &self.plugins {
            return text.clone();
        }
        let mut plugin = Map::new();
        plugin.insert("type".to_owned(), PLUGIN.into());
        plugin.insert("enable-debug".to_owned(), self.debug.into());
        if let Some(file) = &self.log_file {
            plugin.insert("log-file".to_owned(), file.as_str().into());
        }
        let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        let mut plugins = Vec::new();
        let mut name = "cilium";
        if self.plugins == Plugins::Flannel {
            name = "cbr0";
            plugin.insert("chaining-mode".to_owned(), "flannel".into());
            plugins.push(
                json!({ "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } }),
            );
            plugins.push(portmap.clone());
        }
        plugins.push(Value::Object(plugin));
        if self.plugins == Plugins::Portmap {
            name = "portmap";
            plugins.push(portmap);
        }
        format!("{:#}\n", json!({ "cniVersion": self.cni_version, "name": name, "plugins": plugins }))
    }

    /// What has to be done, given the names in the folder and the content of our file. Ours comes first: a node is never
    /// without a configuration.
    pub fn plan(&self, names: &[String], current: Option<&[u8]>) -> Vec<Action> {
        let mut actions = Vec::new();
        let text = self.render();
        if current != Some(text.as_bytes()) {
            actions.push(Action::Write { text });
        }
        if self.exclusive {
            let foreign = names.iter().filter(|name| name.as_str() != FILE && is_configuration(name));
            actions.extend(foreign.map(|name| Action::SetAside { name: name.clone() }));
        }
        actions
    }

    /// Looks, plans and does it; returns what was done.
    pub fn ensure(&self) -> Result<Vec<Action>, ConfError> {
        fs::create_dir_all(&self.directory).map_err(error("create", &self.directory))?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(error("list", &self.directory))? {
            let name = entry.map_err(error("list", &self.directory))?.file_name();
            // Names that are not text end in none of the suffixes that runtimes read.
            names.extend(name.into_string());
        }
        names.sort();
        let path = self.path();
        let current = match fs::read(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(ConfError { what: "read", path, source }),
        };
        let actions = self.plan(&names, current.as_deref());
        for action in &actions {
            match action {
                Action::Write { text } => self.write(text)?,
                Action::SetAside { name } => self.set_aside(name)?,
            }
        }
        Ok(actions)
    }

    /// Writes our file's bytes over themselves, so that a runtime that missed it looks again. For an agent that starts
    /// on a node whose file is right already.
    pub fn announce(&self) -> Result<(), ConfError> {
        let path = self.path();
        let text = fs::read(&path).map_err(error("read", &path))?;
        rewrite(&path, &text)
    }

    /// A reader sees the old file or the new one, never half of one: written beside and renamed. A renamed file is not
    /// noticed by containerd 1.6, which ignores "create" and waits for "write"; hence the second write of equal bytes.
    fn write(&self, text: &str) -> Result<(), ConfError> {
        let path = self.path();
        let draft = self.directory.join(format!(".{FILE}.draft"));
        fs::write(&draft, text).map_err(error("write", &draft))?;
        fs::rename(&draft, &path).map_err(error("rename a draft to", &path))?;
        rewrite(&path, text.as_bytes())
    }

    fn set_aside(&self, name: &str) -> Result<(), ConfError> {
        let path = self.directory.join(name);
        match fs::rename(&path, self.directory.join(format!("{name}{BACKUP_SUFFIX}"))) {
            // Its owner took it away in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(error("set aside", &path)),
        }
    }
}

/// Whether a runtime would read a file of this name (libcni: `.conf`, `.conflist`, `.json`).
fn is_configuration(name: &str) -> bool {
    [".conf", ".conflist", ".json"].iter().any(|suffix| name.ends_with(suffix))
}

/// In place and without truncation, so that no reader ever meets an empty file.
fn rewrite(path: &Path, text: &[u8]) -> Result<(), ConfError> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(error("open", path))?;
    file.write_all(text).map_err(error("write", path))
}

fn error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConfError {
    let path = path.to_owned();
    move |source| ConfError { what, path, source }
}

#[cfg(test)]
mod tests;
