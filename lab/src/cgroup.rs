//! The lab's own cgroup subtree, in every hierarchy of the host.
//!
//! Each machine has `axlab-NAME/MACHINE` and a cgroup namespace rooted there, so that a kubelet sees a whole machine
//! and never another one's pods. Works with cgroup v2 alone, with v1, and with the hybrid of both. Being in this
//! subtree is also how a process is known to be ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The leaf of the v2 tree where a machine's own processes are: a v2 group that hands controllers down has none.
const LEAF: &str = "init";

/// One mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hierarchy {
    /// Where the host has it.
    pub mount: PathBuf,
    /// cgroup v2, the unified one.
    pub v2: bool,
    /// Mount options that select a v1 hierarchy ("cpu,cpuacct" or "none,name=systemd").
    pub options: String,
}

/// The hierarchies of the host, v2 last.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let found = parse(&fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?);
    if found.is_empty() {
        bail!(
            "no cgroup hierarchy is mounted below /sys/fs/cgroup: mount cgroup2 there, as any container runtime needs it"
        );
    }
    Ok(found)
}

fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = mountinfo.lines().filter_map(parse_line).collect();
    found.sort_by_key(|h| h.v2);
    found.dedup();
    found
}

/// One line of mountinfo: "ID PARENT DEV ROOT MOUNT OPTIONS ... - TYPE SOURCE SUPER-OPTIONS".
fn parse_line(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    if !mount.starts_with("/sys/fs/cgroup") {
        return None;
    }
    match kind {
        "cgroup2" => Some(Hierarchy { mount, v2: true, options: String::new() }),
        "cgroup" => {
            let own = |o: &&str| {
                !matches!(*o, "rw" | "ro" | "xattr" | "clone_children") && !o.starts_with("release_agent=")
            };
            let mut picked: Vec<&str> = options.split(',').filter(own).collect();
            if picked.iter().any(|o| o.starts_with("name=")) {
                picked.insert(0, "none");
            }
            Some(Hierarchy { mount, v2: false, options: picked.join(",") })
        }
        _ => None,
    }
}

/// Makes a machine's groups; returns the files that a process writes itself into to join, in order.
pub(crate) fn create(lab: &str, machine: &str) -> Result<Vec<PathBuf>> {
    let mut join = Vec::new();
    for h in hierarchies()? {
        let top = h.mount.join(lab);
        let own = top.join(machine);
        if h.v2 {
            delegate(&h.mount);
            make(&top)?;
            delegate(&top);
            make(&own)?;
            make(&own.join(LEAF))?;
        } else {
            make(&top)?;
            inherit_cpuset(&h.mount, &top)?;
            make(&own)?;
            inherit_cpuset(&top, &own)?;
        }
        join.push(own.join("cgroup.procs"));
    }
    Ok(join)
}

/// Moves this process into a machine's groups; its children follow.
pub(crate) fn join(procs: &[PathBuf]) -> Result<()> {
    for file in procs {
        fs::write(file, "0").with_context(|| format!("cannot join the cgroup {}", file.display()))?;
    }
    Ok(())
}

/// Moves this process into the leaf of the v2 group; after the cgroup namespace was made.
pub(crate) fn join_leaf(procs: &[PathBuf]) -> Result<()> {
    for file in procs {
        let leaf = file.with_file_name(LEAF).join("cgroup.procs");
        if leaf.exists() {
            fs::write(&leaf, "0").with_context(|| format!("cannot join the cgroup {}", leaf.display()))?;
        }
    }
    Ok(())
}

/// The files of [`create`] for a machine that exists.
pub(crate) fn existing(lab: &str, machine: &str) -> Result<Vec<PathBuf>> {
    let all = hierarchies()?.into_iter().map(|h| {
        let own = h.mount.join(lab).join(machine);
        if own.join(LEAF).is_dir() { own.join(LEAF) } else { own }
    });
    Ok(all.map(|dir| dir.join("cgroup.procs")).collect())
}

/// Every process in the lab's subtrees.
pub(crate) fn processes(lab: &str) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for h in hierarchies()? {
        for dir in tree(&h.mount.join(lab)) {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()).filter(|pid| *pid != 0));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Removes the lab's subtrees; their processes must be gone or going.
pub(crate) fn remove(lab: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    for h in hierarchies()? {
        let top = h.mount.join(lab);
        while top.exists() {
            let left: Vec<_> = tree(&top)
                .into_iter()
                .rev()
                .filter_map(|dir| fs::remove_dir(&dir).err().map(|e| (dir, e)))
                .collect();
            match left.into_iter().next() {
                Some((dir, e)) if Instant::now() > deadline => {
                    return Err(e).with_context(|| format!("cannot remove the cgroup {}", dir.display()));
                }
                Some(_) => std::thread::sleep(Duration::from_millis(50)),
                None => {}
            }
        }
    }
    Ok(())
}

/// A directory and all below it, parents first.
fn tree(top: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(top) else { return Vec::new() };
    let mut all = vec![top.to_owned()];
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            all.extend(tree(&entry.path()));
        }
    }
    all
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make the cgroup {}", dir.display()))
}

/// A new cpuset group is empty, and a process cannot join an empty one.
fn inherit_cpuset(from: &Path, to: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read_to_string(from.join(file)) {
            fs::write(to.join(file), value.trim())
                .with_context(|| format!("cannot set {}", to.join(file).display()))?;
        }
    }
    Ok(())
}

/// Hands all controllers down to children. A controller that cannot be handed down (a v1 hierarchy has it) is left out:
/// kubelet says which one it misses.
fn delegate(dir: &Path) {
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for c in controllers.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{c}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_layout_is_understood() {
        let text = "31 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                    32 23 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n\
                    33 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
                    34 23 0:29 / /proc rw - proc proc rw";
        let options: Vec<_> = parse(text).into_iter().map(|h| (h.options, h.v2)).collect();
        assert_eq!(
            options,
            [("cpu,cpuacct".into(), false), ("none,name=systemd".into(), false), (String::new(), true)]
        );
    }

    #[test]
    fn unified_layout_is_understood() {
        let text = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,memory_recursiveprot";
        let found = parse(text);
        assert_eq!(found, [Hierarchy { mount: "/sys/fs/cgroup".into(), v2: true, options: String::new() }]);
    }
}
