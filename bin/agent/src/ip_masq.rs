//! Destinations that see the pods' own addresses: the list of the ip-masq-agent, read from a file that may change.
//!
//! A file that cannot be read or understood changes nothing: the last good list holds, after a start the one that the
//! kernel still has.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde::Deserialize;

use crate::config::Config;
use crate::owner::Handle;

/// How often the file is looked at. The kubelet itself takes up to a minute to bring a changed ConfigMap.
const INTERVAL: Duration = Duration::from_secs(5);

/// What holds when nobody wrote a list: ranges that the Internet does not route, those of the upstream ip-masq-agent.
const DEFAULTS: [&str; 11] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
];
const LINK_LOCAL_V4: &str = "169.254.0.0/16";
const LINK_LOCAL_V6: &str = "fe80::/10";

/// The file, as upstream has it. Other keys (`resyncInterval`) mean nothing here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(rename = "nonMasqueradeCIDRs")]
    non_masquerade_cidrs: Option<Vec<String>>,
    masq_link_local: Option<bool>,
    #[serde(rename = "masqLinkLocalIPv6")]
    masq_link_local_ipv6: Option<bool>,
}

/// The list that the text of a file asks for. An empty file is as good as none and takes the defaults; one that has
/// anything means exactly what it lists, be it nothing.
///
/// # Errors
/// The text is neither YAML nor JSON of this form, or lists something that is no CIDR.
fn parse(text: &str) -> Result<BTreeSet<IpNet>> {
    // JSON may be indented by tabs, which YAML has not.
    let file: Option<File> = serde_json::from_str(text)
        .or_else(|_| serde_yaml_ng::from_str(text))
        .context("it is no YAML or JSON as the ip-masq-agent reads it")?;
    let listed = match &file {
        None => DEFAULTS.map(str::to_owned).to_vec(),
        Some(file) => file.non_masquerade_cidrs.clone().unwrap_or_default(),
    };
    let file = file.unwrap_or_default();
    let link_local = [(LINK_LOCAL_V4, file.masq_link_local), (LINK_LOCAL_V6, file.masq_link_local_ipv6)]
        .into_iter()
        .filter(|(_, masqueraded)| *masqueraded != Some(true))
        .map(|(prefix, _)| prefix.to_owned());
    let prefix = |text: String| {
        text.parse::<IpNet>()
            .map(|prefix| prefix.trunc())
            .with_context(|| format!("nonMasqueradeCIDRs lists {text}, which is no CIDR such as 10.0.0.0/8"))
    };
    listed.into_iter().chain(link_local).map(prefix).collect()
}

/// The file, and what was last made of it.
pub(crate) struct Watcher {
    path: PathBuf,
    families: (bool, bool),
    /// What was read last: the text, nothing where there is no file, or why neither.
    last: Option<Result<Option<String>, String>>,
}

impl Watcher {
    /// A watcher that has not looked yet; `None` if there is nothing to watch.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let path = config.ip_masq_agent.clone()?;
        Some(Self { path, families: (config.masquerade_v4, config.masquerade_v6), last: None })
    }

    /// Looks at the file; gives the list if it is new and good.
    pub(crate) fn look(&mut self) -> Option<BTreeSet<IpNet>> {
        let found = read(&self.path);
        if self.last.as_ref() == Some(&found) {
            return None;
        }
        let list = match &found {
            Ok(text) => parse(text.as_deref().unwrap_or_default()).map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.clone()),
        };
        let there = matches!(found, Ok(Some(_)));
        self.last = Some(found);
        let file = self.path.display();
        match list {
            Ok(mut list) => {
                let (v4, v6) = self.families;
                list.retain(|prefix| if prefix.addr().is_ipv4() { v4 } else { v6 });
                tracing::info!(
                    %file, there, list = ?list.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "destinations that see pods' own addresses"
                );
                Some(list)
            }
            Err(error) => {
                tracing::error!(
                    %file, error,
                    "the list of the ip-masq-agent cannot be used: the last good one holds until the file is put right"
                );
                None
            }
        }
    }

    /// Looks for ever.
    ///
    /// # Errors
    /// Never but when the agent stops.
    pub(crate) async fn run(mut self, owner: Handle) -> Result<()> {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if let Some(list) = self.look() {
                owner.ask(move |owner| owner.kernel.set_no_masquerade(&list)).await?;
            }
        }
    }
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
