//! Endpoints on disk: `<state-dir>/state/<id>/ep_config.json`, one file a pod, replaced atomically.
//!
//! The files only bridge a restart of the agent: addresses, link and last known identity of each pod, so that nothing is
//! taken away from a pod while the watches are filling. A file that cannot be read is set aside as `<id>.corrupt` with a
//! log line; its pod is then found again through the kernel's tables and its Kubernetes object.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use agent_core::{Attachment, EndpointSpec, PodKey};
use anyhow::{Context, Result};
use api::Mac;
use serde::{Deserialize, Serialize};
use types::Labels;

use crate::host_firewall::JournalFile;

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    id: u16,
    container_id: String,
    ifname: String,
    netns: String,
    host_ifname: String,
    namespace: String,
    pod_name: String,
    #[serde(default)]
    pod_uid: String,
    ipv4: Option<std::net::Ipv4Addr>,
    ipv6: Option<std::net::Ipv6Addr>,
    /// Another plugin gave the addresses.
    #[serde(default)]
    foreign: bool,
    link: Option<Link>,
    /// Last known identity; 0 = none.
    #[serde(default)]
    identity: u32,
    /// Labels of that identity, each as `source:key=value`.
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    host_ifindex: u32,
    host_mac: Mac,
    mac: Mac,
}

impl Stored {
    /// What is worth keeping of an endpoint.
    pub(crate) fn of(endpoint: &agent_core::Endpoint) -> Self {
        let spec = &endpoint.spec;
        Self {
            id: spec.id,
            container_id: spec.container_id.clone(),
            ifname: spec.ifname.clone(),
            netns: spec.netns.clone(),
            host_ifname: spec.host_ifname.clone(),
            namespace: spec.pod.namespace.clone(),
            pod_name: spec.pod.name.clone(),
            pod_uid: spec.pod_uid.clone(),
            ipv4: spec.v4,
            ipv6: spec.v6,
            foreign: spec.foreign,
            link: endpoint.attachment.as_ref().map(|a| Link {
                host_ifindex: a.host_ifindex,
                host_mac: Mac(a.host_mac),
                mac: Mac(a.mac),
            }),
            identity: endpoint.identity,
            labels: endpoint.labels.iter().map(ToString::to_string).collect(),
        }
    }

    /// The endpoint's fixed part, its link, its last identity and labels.
    pub(crate) fn into_parts(self) -> (EndpointSpec, Option<Attachment>, u32, Labels) {
        let spec = EndpointSpec {
            id: self.id,
            container_id: self.container_id,
            ifname: self.ifname,
            netns: self.netns,
            host_ifname: self.host_ifname,
            pod: PodKey::new(self.namespace, self.pod_name),
            pod_uid: self.pod_uid,
            v4: self.ipv4,
            v6: self.ipv6,
            foreign: self.foreign,
        };
        let link = self.link.map(|l| Attachment {
            host_ifindex: l.host_ifindex,
            host_mac: l.host_mac.0,
            mac: l.mac.0,
        });
        // Labels only tell which identity this was; unreadable ones are found again through the pod's object.
        let labels = Labels::parse(self.labels.iter().map(String::as_str)).unwrap_or_default();
        (spec, link, self.identity, labels)
    }
}

/// The folder of all endpoints.
#[derive(Clone, Debug)]
pub(crate) struct EndpointFiles {
    folder: PathBuf,
}

/// What was found at start.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Readable files.
    pub endpoints: Vec<Stored>,
    /// Files that were set aside, and why.
    pub corrupt: Vec<(PathBuf, String)>,
}

impl EndpointFiles {
    /// The files below the agent's run directory.
    pub(crate) fn new(run_dir: &Path) -> Self {
        Self { folder: run_dir.join("state") }
    }

    /// The journal of the node's own policy, beside them.
    pub(crate) fn journal(&self) -> JournalFile {
        JournalFile::new(&self.folder)
    }

    /// Writes an endpoint's file; a crash leaves the old or the new one, never a part.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write(&self, stored: &Stored) -> Result<()> {
        let folder = self.folder.join(stored.id.to_string());
        let path = folder.join("ep_config.json");
        let writing = || format!("cannot write the state of endpoint {} to {}", stored.id, path.display());
        fs::create_dir_all(&folder).with_context(writing)?;
        let draft = folder.join("ep_config.json.new");
        let text = serde_json::to_vec_pretty(stored).with_context(writing)?;
        let mut file = fs::File::create(&draft).with_context(writing)?;
        file.write_all(&text).with_context(writing)?;
        // The folder lies in memory (/var/run); a sync would cost a CNI call and protect nothing.
        fs::rename(&draft, &path).with_context(writing)
    }

    /// Removes an endpoint's file; a missing one is no error.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn remove(&self, id: u16) -> Result<()> {
        let folder = self.folder.join(id.to_string());
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
                .with_context(|| format!("cannot remove the state of endpoint {id} in {}", folder.display())),
            _ => Ok(()),
        }
    }

    /// Reads all files. What makes no sense is set aside and reported, and never keeps the others from being read.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub(crate) fn read(&self) -> Result<Found> {
        let mut found = Found::default();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot list the endpoints in {}", self.folder.display()));
            }
        };
        for entry in entries.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u16>().ok()) else {
                continue;
            };
            match read_one(&entry.path(), id) {
                Ok(Some(stored)) => found.endpoints.push(stored),
                Ok(None) => {}
                Err(error) => found.corrupt.push((set_aside(&entry.path()), format!("{error:#}"))),
            }
        }
        found.endpoints.sort_by_key(|e| e.id);
        Ok(found)
    }
}

fn read_one(folder: &Path, id: u16) -> Result<Option<Stored>> {
    let path = folder.join("ep_config.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        // A crash before the first rename: the plugin never got an answer.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let _ = fs::remove_dir_all(folder);
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let stored: Stored = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not an endpoint's state", path.display()))?;
    anyhow::ensure!(stored.id == id && id != 0, "{} says it is endpoint {}", path.display(), stored.id);
    Ok(Some(stored))
}

fn set_aside(folder: &Path) -> PathBuf {
    let aside = folder.with_extension("corrupt");
    let _ = fs::remove_dir_all(&aside);
    let _ = fs::rename(folder, &aside);
    aside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(id: u16) -> Stored {
        Stored {
            id,
            container_id: format!("c{id}"),
            ifname: "eth0".into(),
            netns: "/run/netns/x".into(),
            host_ifname: "lxc1".into(),
            namespace: "default".into(),
            pod_name: "web".into(),
            pod_uid: "u".into(),
            ipv4: Some([10, 0, 0, 5].into()),
            ipv6: None,
            foreign: id % 2 == 1,
            link: Some(Link {
                host_ifindex: 7,
                host_mac: Mac([2, 0, 0, 0, 0, 1]),
                mac: Mac([2, 0, 0, 0, 0, 2]),
            }),
            identity: 300,
            labels: vec!["k8s:app=web".into()],
        }
    }

    #[test]
    fn a_corrupt_file_is_set_aside_and_the_others_are_read() {
        let run_dir = std::env::temp_dir().join(format!("axoneme-restore-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run_dir);
        let files = EndpointFiles::new(&run_dir);
        assert!(files.read().expect("no folder is no endpoint").endpoints.is_empty());
        for id in [5, 6, 7] {
            files.write(&stored(id)).expect("written");
        }
        fs::write(run_dir.join("state/6/ep_config.json"), b"{\"id\": 6,").expect("damaged");
        fs::create_dir_all(run_dir.join("state/9")).expect("half made");

        let found = files.read().expect("readable");
        assert_eq!(found.endpoints, [stored(5), stored(7)]);
        assert_eq!(found.corrupt.len(), 1);
        assert!(found.corrupt[0].1.contains("state/6/ep_config.json"), "{}", found.corrupt[0].1);
        assert!(run_dir.join("state/6.corrupt/ep_config.json").exists() && !run_dir.join("state/9").exists());

        files.remove(5).expect("removed");
        files.remove(5).expect("twice is fine");
        let found = files.read().expect("readable");
        assert_eq!((found.endpoints, found.corrupt.len()), (vec![stored(7)], 0));
        fs::remove_dir_all(&run_dir).expect("clean up");
    }
}
