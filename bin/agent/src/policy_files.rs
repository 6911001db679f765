//! Policies from files of a folder (`static-cnp-path`): they hold without an API server, and before it answers.
//!
//! One policy a file, `*.yaml`. The folder is looked at every second. A file that cannot be read or applied is refused like
//! an object of the API: its last valid version holds. A folder that cannot be read changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_core::{Change, Input, PolicyObject, kube};
use anyhow::{Context, Result, bail};
use types::PolicyKind;

use crate::owner::{Handle, Message};

/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The largest file that is read, bytes.
const LARGEST: u64 = 4 << 20;

/// What the files of the folder say, by name.
type Texts = BTreeMap<String, Result<String, String>>;

/// Follows the folder until the owner is gone.
pub(crate) async fn run(folder: PathBuf, handle: Handle) {
    let queue = handle.queue();
    let mut known: Option<Texts> = None;
    let mut trouble = None;
    loop {
        match read(&folder) {
            Ok(texts) => {
                trouble = None;
                if known.as_ref() != Some(&texts) {
                    tracing::info!(folder = %folder.display(), files = texts.len(), "policies from files");
                    let policies = texts.iter().map(|(name, text)| policy(name, text)).collect();
                    let input = Input::Policies(PolicyKind::File, Change::Reset(policies));
                    if queue.send(Message::Learned(vec![input])).await.is_err() {
                        return;
                    }
                    known = Some(texts);
                }
            }
            Err(error) => {
                let text = format!("{error:#}");
                if trouble.as_ref() != Some(&text) {
                    tracing::error!(
                        error = text,
                        "the folder with policies (static-cnp-path) cannot be read; what was read from it last holds"
                    );
                    trouble = Some(text);
                }
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// The texts of all policy files. Who replaces a file should rename another over it: half a file is refused.
fn read(folder: &Path) -> Result<Texts> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut texts = Texts::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !name.starts_with('.') {
            texts.insert(name, text(&entry.path()).map_err(|error| format!("{error:#}")));
        }
    }
    Ok(texts)
}

fn text(path: &Path) -> Result<String> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if !about.is_file() || about.len() > LARGEST {
        bail!("{} is no file of at most {LARGEST} bytes", path.display());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn policy(name: &str, text: &Result<String, String>) -> PolicyObject {
    let object = text.clone().and_then(|text| {
        serde_yaml_ng::from_str::<serde_json::Value>(&text).map_err(|error| {
            format!("file {name} is not one YAML document: {error}; write one policy a file")
        })
    });
    kube::file_policy(name, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("axoneme-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn files_are_policies_and_broken_ones_are_refused_alone() {
        let folder = folder("policy-files");
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
        let spec = "spec: {endpointSelector: {}, ingress: [{fromEntities: [host]}]}";
        put("a.yaml", &format!("kind: CiliumNetworkPolicy\nmetadata: {{name: x, namespace: n}}\n{spec}\n"));
        // As Cilium reads it: without a namespace it is about all of them.
        put("b.yaml", &format!("kind: CiliumNetworkPolicy\nmetadata: {{name: x}}\n{spec}\n"));
        put("c.yaml", "kind: CiliumNetwork");
        put("d.yaml", "{");
        put("e.txt", "{");
        put("f.yaml", "kind: NetworkPolicy\nmetadata: {name: x, namespace: n}\nspec: {podSelector: {}}\n");
        put(
            "g.yaml",
            "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: x}\nspec: {endpointSelector: {}}\n",
        );
        let texts = read(&folder).expect("readable");
        let policies: Vec<_> = texts.iter().map(|(name, text)| policy(name, text)).collect();
        std::fs::remove_dir_all(&folder).expect("removable");
        assert!(read(&folder).is_err(), "a folder that is gone is not an empty one");
        let told: Vec<_> = policies
            .iter()
            .map(|one| (one.origin.to_string(), one.rules.len(), one.refused.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(told[..2], [("File a.yaml".to_owned(), 1, ""), ("File b.yaml".to_owned(), 1, "")]);
        for (refused, part) in told[2..].iter().zip(["kind", "one YAML document", "kind", "says nothing"]) {
            assert!(refused.1 == 0 && refused.2.contains(part), "{refused:?} does not tell of {part}");
        }
        assert_eq!(told.len(), 6);
    }
}
