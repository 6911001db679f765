//! Commit-confirm of the node's own policy: a change of it stays only if the node reaches the API server under it.
//!
//! [`confirm`] asks the API server over a new connection once a change is in the kernel, and has it rolled back when no answer
//! comes in time. What was good, what was rolled back and what is on trial lies in a file ([`JournalFile`]), written before the
//! tables are. An agent that finds a trial there and cannot reach the API server in the same time takes the node's row out of
//! the kernel, which opens the node ([`begin`]), and refuses what was on trial.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use abi::{PodFacts, identity, maps};
use agent_core::{Journal, Kept};
use anyhow::{Context, Result};
use kube_api::CiliumNode;
use kube_watch::Key;
use loader::{Scalar, Table, globals};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::owner::Handle;
use crate::restore::EndpointFiles;

/// How often the API server is asked during a trial, and how long one answer may take.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// A journal as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    trying: bool,
    policies: Vec<WrittenPolicy>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenPolicy {
    name: String,
    uid: String,
    good: Option<WrittenVersion>,
    refused: Option<WrittenVersion>,
    tried: Option<i64>,
}

/// A generation with its specification, or with the reason why it is refused.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenVersion {
    generation: i64,
    text: String,
}

impl From<(i64, String)> for WrittenVersion {
    fn from((generation, text): (i64, String)) -> Self {
        Self { generation, text }
    }
}

impl From<WrittenVersion> for (i64, String) {
    fn from(version: WrittenVersion) -> Self {
        (version.generation, version.text)
    }
}

/// The journal on disk.
#[derive(Clone, Debug)]
pub(crate) struct JournalFile(PathBuf);

impl JournalFile {
    /// The one in the folder of the agent's state.
    pub(crate) fn new(folder: &Path) -> Self {
        Self(folder.join("host-policies.json"))
    }

    /// Writes it; a crash leaves the old or the new one.
    ///
    /// # Errors
    /// The file system refuses.
    pub(crate) fn write(&self, journal: &Journal) -> Result<()> {
        let policies = journal.policies.iter().cloned().map(|kept| WrittenPolicy {
            name: kept.name,
            uid: kept.uid,
            good: kept.good.map(Into::into),
            refused: kept.refused.map(Into::into),
            tried: kept.tried,
        });
        let written = Written { trying: journal.trying, policies: policies.collect() };
        let writing = || format!("cannot write {}", self.0.display());
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder).with_context(writing)?;
        }
        let draft = self.0.with_extension("json.new");
        fs::write(&draft, serde_json::to_vec_pretty(&written).with_context(writing)?)
            .with_context(writing)?;
        fs::rename(&draft, &self.0).with_context(writing)
    }

    /// Reads it; a missing one is empty, and so is one that makes no sense: then every policy is tried again.
    pub(crate) fn read(&self) -> Journal {
        let Ok(text) = fs::read(&self.0) else { return Journal::default() };
        let written: Written = match serde_json::from_slice(&text) {
            Ok(written) => written,
            Err(error) => {
                tracing::error!(file = %self.0.display(), %error, "the journal of the node's own policy cannot be read; policies are tried again");
                return Journal { trying: true, ..Journal::default() };
            }
        };
        let policies = written.policies.into_iter().map(|policy| Kept {
            name: policy.name,
            uid: policy.uid,
            good: policy.good.map(Into::into),
            refused: policy.refused.map(Into::into),
            tried: policy.tried,
        });
        Journal { policies: policies.collect(), trying: written.trying }
    }
}

/// An agent that starts in the middle of a trial.
pub(crate) struct Start {
    journal: Journal,
    opened: Arc<AtomicBool>,
    opening: Option<JoinHandle<()>>,
}

/// Reads the journal. If a change is on trial, the node is opened unless [`Start::reached`] is called in time.
pub(crate) fn begin(config: &Config) -> Start {
    let journal = EndpointFiles::new(&config.paths.run_dir).journal().read();
    let opened = Arc::new(AtomicBool::new(false));
    let opening = journal.trying.then(|| {
        let (bpf_root, wait, opened) =
            (config.paths.bpf_root.clone(), config.host_firewall_confirm, Arc::clone(&opened));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            tracing::error!("the API server cannot be reached under a policy of this node that is on trial: opening the node");
            opened.store(true, Ordering::Relaxed);
            if let Err(error) = open_node(&bpf_root) {
                tracing::error!(error = format!("{error:#}"), "the node cannot be opened");
            }
        })
    });
    Start { journal, opened, opening }
}

impl Start {
    /// The API server was reached. Gives the journal, in which what had to be taken out of force is refused.
    pub(crate) fn reached(mut self, config: &Config) -> Journal {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
        if self.opened.load(Ordering::Relaxed) {
            self.journal.refuse_tried(&reason(config));
        }
        if config.host_firewall { self.journal } else { Journal::default() }
    }
}

/// Why something is rolled back, behind the name of its version.
fn reason(config: &Config) -> String {
    let wait = api::GoDuration(config.host_firewall_confirm);
    format!("was rolled back: under it node {} did not reach the API server for {wait}", config.node_name)
}

/// Takes the node's row out of the kernel, without which nothing of the node's is held back.
fn open_node(bpf_root: &Path) -> Result<()> {
    let pods: Table<u32, PodFacts> =
        Table::open(&globals(bpf_root).join(maps::PODS)).context("cannot open the table of pods")?;
    for (ifindex, row) in pods.dump().context("cannot read the table of pods")? {
        if row.identity == identity::HOST {
            pods.delete(&ifindex).context("cannot remove the node's row")?;
        }
    }
    let epoch = Scalar::open(&globals(bpf_root).join(maps::EPOCH)).context("cannot open the generation")?;
    epoch.bump().map(drop).context("cannot raise the generation")
}

/// Confirms or rolls back changes of the node's own policy, for ever.
///
/// # Errors
/// The owner is gone.
pub(crate) async fn confirm(config: Arc<Config>, handle: Handle) -> Result<()> {
    let mut current: Option<(u64, Instant)> = None;
    loop {
        tokio::time::sleep(PROBE_INTERVAL).await;
        let trial = handle.ask(|owner| owner.state.host_trial()).await?;
        current = trial.map(|number| match current {
            Some((known, since)) if known == number => (known, since),
            _ => (number, Instant::now()),
        });
        let Some((number, since)) = current else { continue };
        if reaches_api_server(&config).await {
            handle.ask(move |owner| owner.state.host_confirm(number)).await?;
            tracing::info!("the API server is reached under the node's new policy, which stays");
        } else if since.elapsed() >= config.host_firewall_confirm {
            let why = reason(&config);
            let at = loader::monotonic_ns();
            let blamed = handle.ask(move |owner| owner.state.host_roll_back(number, &why, at)).await?;
            for origin in blamed {
                tracing::error!(policy = %origin, "rolled back on this node: under it the API server was not reached");
            }
        }
    }
}

/// Whether the API server answers over a connection of its own.
async fn reaches_api_server(config: &Config) -> bool {
    let ask = async {
        let clients = crate::app::clients(config).await.ok()?;
        clients.get::<CiliumNode>(&Key::new("", &config.node_name)).await.ok()
    };
    matches!(tokio::time::timeout(PROBE_TIMEOUT, ask).await, Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let run_dir = std::env::temp_dir().join(format!("axoneme-journal-{}", std::process::id()));
        let _ = fs::remove_dir_all(&run_dir);
        let file = JournalFile::new(&run_dir);
        assert_eq!(file.read(), Journal::default(), "none yet");
        let kept = Kept {
            name: "lock-down".into(),
            uid: "u".into(),
            good: Some((1, "[]".into())),
            refused: Some((2, "was rolled back".into())),
            tried: Some(3),
        };
        let journal = Journal { policies: vec![kept], trying: true };
        file.write(&journal).expect("written");
        assert_eq!(file.read(), journal);
        fs::write(&file.0, b"{").expect("damaged");
        assert!(file.read().trying, "whatever was tried may have to be taken back");
        fs::remove_dir_all(&run_dir).expect("clean up");
    }
}
