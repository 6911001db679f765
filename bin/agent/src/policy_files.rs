//! Policies from files of a folder (`static-cnp-path`): they hold without an API server, and before it answers.
//!
//! One policy a file, `*.yaml`. The folder is looked at every second, and files that changed are read. A file that cannot be
//! read or applied is refused like an object of the API: its last valid version holds. A folder that is not there when the
//! agent starts holds no policy; later, one that cannot be read changes nothing. Both are told in the agent's status.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agent_core::{Change, Input, PolicyObject, kube};
use anyhow::{Context, Result, bail};
use types::PolicyKind;

use crate::owner::{Handle, Message};

/// The option that names the folder; the agent's status tells of trouble under this name.
const OPTION: &str = "static-cnp-path";
/// How often the folder is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The largest file that is read, bytes.
const LARGEST: u64 = 4 << 20;
/// A file that was written more recently may change once more without another time of change: file systems count it in
/// ticks, some in seconds.
const FRESH: Duration = Duration::from_secs(2);

/// Follows the folder until the owner is gone.
pub(crate) async fn run(path: PathBuf, handle: Handle) {
    let queue = handle.queue();
    let mut folder = Folder::new(path);
    let mut told = None;
    loop {
        // Files may be many, and on a slow disk.
        let looking = tokio::task::spawn_blocking(move || {
            let looked = folder.look();
            (folder, looked)
        });
        let Ok((back, looked)) = looking.await else { return };
        folder = back;
        let (policies, trouble) = match looked {
            Ok(policies) => (policies, None),
            Err(trouble) => (folder.without(&trouble), Some(trouble.text)),
        };
        if trouble != told {
            if let Some(trouble) = &trouble {
                tracing::error!(trouble, "policies from files");
            }
            told.clone_from(&trouble);
            if handle.ask(move |owner| owner.complain(OPTION, trouble)).await.is_err() {
                return;
            }
        }
        if let Some(policies) = policies {
            tracing::info!(folder = %folder.path.display(), files = policies.len(), "policies from files");
            let input = Input::Policies(PolicyKind::File, Change::Reset(policies));
            if queue.send(Message::Learned(vec![input])).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Why the folder cannot be read, and what helps.
#[derive(Debug)]
struct Trouble {
    missing: bool,
    text: String,
}

/// A file as it was read.
#[derive(Debug)]
struct Known {
    /// What it looked like; `None`: it could not be looked at, or may still change without looking different.
    stamp: Option<Stamp>,
    text: Result<String, String>,
}

/// What differs between two versions of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970: of the content, and of the file's own data, which nobody can set back.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether whatever changes the file from now on also changes this.
    fn is_final(&self, now: SystemTime) -> bool {
        let at = self.modified.0.max(self.changed.0);
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(at).is_ok_and(|at| now.saturating_sub(Duration::from_secs(at)) > FRESH)
    }
}

/// The folder, and what is known of its files, by name.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    known: BTreeMap<String, Known>,
    /// Its policies were given out once.
    listed: bool,
}

impl Folder {
    fn new(path: PathBuf) -> Self {
        Self { path, known: BTreeMap::new(), listed: false }
    }

    /// The policies of all files if any of them is another than at the last look, or if there was none.
    fn look(&mut self) -> Result<Option<Vec<PolicyObject>>, Trouble> {
        let names = names(&self.path).map_err(|error| self.trouble(&error))?;
        let now = SystemTime::now();
        let mut before = std::mem::take(&mut self.known);
        let mut changed = !self.listed;
        for name in names {
            let old = before.remove(&name);
            let file = read(&self.path.join(&name), old.as_ref(), now);
            changed |= file.as_ref().is_some_and(|file| old.as_ref().is_none_or(|old| old.text != file.text));
            self.known.extend(file.or(old).map(|file| (name, file)));
        }
        changed |= !before.is_empty();
        self.listed = true;
        Ok(changed.then(|| self.known.iter().map(|(name, file)| policy(name, &file.text)).collect()))
    }

    /// What holds while there is this trouble, if that is to be said anew: a folder that was never there holds nothing.
    fn without(&mut self, trouble: &Trouble) -> Option<Vec<PolicyObject>> {
        let first = trouble.missing && !self.listed;
        self.listed |= trouble.missing;
        first.then(Vec::new)
    }

    fn trouble(&self, error: &std::io::Error) -> Trouble {
        let (folder, count) = (self.path.display(), self.known.len());
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let text = match (missing, self.listed) {
            (true, _) if count == 0 => format!(
                "{OPTION}: the folder {folder} does not exist, so that no policy comes from files: make it on this node, \
                 or unset the option"
            ),
            (true, _) => format!(
                "{OPTION}: the folder {folder} is gone; what its {count} files said holds: put it back, or restart this \
                 agent without it"
            ),
            (false, true) => format!(
                "{OPTION}: {folder} cannot be listed ({error}); what was read from it last holds: make it a folder that \
                 root may list"
            ),
            (false, false) => format!(
                "{OPTION}: {folder} cannot be listed ({error}); no pod is served before its policies are known: make it \
                 a folder that root may list, or unset the option"
            ),
        };
        Trouble { missing, text }
    }
}

/// The names of the policy files.
fn names(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    Ok(names)
}

/// Reads a file, unless it looks as it did. Who replaces one should rename another over it: half a file is refused.
fn read(path: &Path, old: Option<&Known>, now: SystemTime) -> Option<Known> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()));
    let stamp = about.as_ref().ok().map(Stamp::of);
    if stamp.is_some() && old.is_some_and(|old| old.stamp == stamp) {
        return None;
    }
    let text = about.and_then(|about| text(path, &about)).map_err(|error| format!("{error:#}"));
    // Only what was read keeps its stamp: what could not be is tried again.
    Some(Known { stamp: stamp.filter(|stamp| text.is_ok() && stamp.is_final(now)), text })
}

fn text(path: &Path, about: &Metadata) -> Result<String> {
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

    const SPEC: &str = "spec: {endpointSelector: {}, ingress: [{fromEntities: [host]}]}";

    /// A folder of its own, gone at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("axoneme-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn put(&self, name: &str, text: &str) {
            std::fs::write(self.0.join(name), text).expect("a file");
        }

        /// The file was last written long ago.
        fn age(&self, name: &str) {
            let file = std::fs::File::options().write(true).open(self.0.join(name)).expect("a file");
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).expect("a time");
        }

        fn remove(&self) {
            std::fs::remove_dir_all(&self.0).expect("removable");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            // It may be gone already.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn looked(folder: &mut Folder) -> Option<Vec<(String, usize, String)>> {
        let policies = folder.look().expect("readable")?;
        let told =
            |one: PolicyObject| (one.origin.to_string(), one.rules.len(), one.refused.unwrap_or_default());
        Some(policies.into_iter().map(told).collect())
    }

    #[test]
    fn files_are_policies_and_broken_ones_are_refused_alone() {
        let scratch = Scratch::new("policy-files");
        scratch.put(
            "a.yaml",
            &format!("kind: CiliumNetworkPolicy\nmetadata: {{name: x, namespace: n}}\n{SPEC}\n"),
        );
        // As Cilium reads it: without a namespace it is about all of them.
        scratch.put("b.yaml", &format!("kind: CiliumNetworkPolicy\nmetadata: {{name: x}}\n{SPEC}\n"));
        scratch.put("c.yaml", "kind: CiliumNetwork");
        scratch.put("d.yaml", "{");
        scratch.put("e.txt", "{");
        scratch.put(
            "f.yaml",
            "kind: NetworkPolicy\nmetadata: {name: x, namespace: n}\nspec: {podSelector: {}}\n",
        );
        scratch.put(
            "g.yaml",
            "kind: CiliumClusterwideNetworkPolicy\nmetadata: {name: x}\nspec: {endpointSelector: {}}\n",
        );
        let mut folder = Folder::new(scratch.0.clone());
        let told = looked(&mut folder).expect("the first look tells");
        assert_eq!(told[..2], [("File a.yaml".into(), 1, "".into()), ("File b.yaml".into(), 1, "".into())]);
        for (refused, part) in told[2..].iter().zip(["kind", "one YAML document", "kind", "says nothing"]) {
            assert!(refused.1 == 0 && refused.2.contains(part), "{refused:?} does not tell of {part}");
        }
        assert_eq!(told.len(), 6);
    }

    #[test]
    fn only_what_has_changed_is_told() {
        let scratch = Scratch::new("policy-files-again");
        let web = |name: &str| format!("kind: CiliumNetworkPolicy\nmetadata: {{name: {name}}}\n{SPEC}\n");
        scratch.put("a.yaml", &web("x"));
        let mut folder = Folder::new(scratch.0.clone());
        assert_eq!(looked(&mut folder).map(|all| all.len()), Some(1));
        assert_eq!(looked(&mut folder), None, "nothing new");
        // Of the same length, and in the same tick of the clock.
        scratch.put("a.yaml", &web("z"));
        assert_eq!(looked(&mut folder).map(|all| all.len()), Some(1), "it differs");
        scratch.put("b.yaml", &web("y"));
        assert_eq!(looked(&mut folder).map(|all| all.len()), Some(2));
        std::fs::remove_file(scratch.0.join("a.yaml")).expect("removable");
        assert_eq!(looked(&mut folder).map(|all| all.len()), Some(1));
    }

    #[test]
    fn a_file_that_looks_as_it_did_is_not_read_again() {
        let scratch = Scratch::new("policy-files-stamp");
        scratch.put("a.yaml", "{");
        scratch.age("a.yaml");
        let path = scratch.0.join("a.yaml");
        let fresh = SystemTime::now();
        let known = read(&path, None, fresh).expect("read");
        assert!(known.stamp.is_none(), "its own data was changed a moment ago");
        assert!(read(&path, Some(&known), fresh).is_some(), "so it is read again");
        let later = fresh + Duration::from_secs(60);
        let known = read(&path, Some(&known), later).expect("read");
        assert!(read(&path, Some(&known), later).is_none(), "now it is not");
        scratch.put("a.yaml", "}");
        scratch.age("a.yaml");
        assert!(read(&path, Some(&known), later).is_some(), "same size and time, but written");
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_policy_and_one_that_goes_changes_nothing() {
        let scratch = Scratch::new("policy-files-gone");
        scratch.remove();
        let mut folder = Folder::new(scratch.0.clone());
        let trouble = folder.look().expect_err("no folder");
        assert!(trouble.text.contains("does not exist") && trouble.text.contains("make it"), "{trouble:?}");
        assert_eq!(folder.without(&trouble).map(|none| none.len()), Some(0), "the agent need not wait");
        assert!(folder.without(&trouble).is_none(), "once is enough");

        std::fs::create_dir_all(&scratch.0).expect("a folder");
        scratch.put("a.yaml", "{");
        assert_eq!(looked(&mut folder).map(|all| all.len()), Some(1), "it is found when it appears");
        scratch.remove();
        let trouble = folder.look().expect_err("no folder");
        assert!(trouble.text.contains("is gone") && trouble.text.contains("1 files"), "{trouble:?}");
        assert!(folder.without(&trouble).is_none(), "what was read holds");

        std::fs::write(&scratch.0, "").expect("a file");
        let mut folder = Folder::new(scratch.0.clone());
        let trouble = folder.look().expect_err("no folder");
        std::fs::remove_file(&scratch.0).expect("removable");
        assert!(trouble.text.contains("no pod is served"), "{trouble:?}");
        assert!(folder.without(&trouble).is_none(), "who cannot know the policies does not begin");
    }
}
