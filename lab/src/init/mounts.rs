//! What a machine has of its own in the file system: `/etc`, `/opt` and `/var` are the host's with changes kept apart,
//! `/run`, `/proc`, `/sys` with cgroups and bpffs are new. All of it is gone with the machine's last process.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::MachineSpec;

/// Host directories that a machine may change without anybody else seeing it.
const LAYERED: [&str; 3] = ["etc", "opt", "var"];

/// Mounts everything; must run in a new mount namespace, before any thread exists.
pub(super) fn set_up(spec: &MachineSpec) -> Result<()> {
    propagation(MsFlags::MS_PRIVATE)?;
    layers(&spec.dir.join("layers"))?;
    fresh("tmpfs", "/run", "mode=755")?;
    fs::create_dir_all("/run/netns")?;
    fs::create_dir_all("/run/lock")?;
    fresh("proc", "/proc", "")?;
    fresh("sysfs", "/sys", "")?;
    cgroups(spec)?;
    fresh("bpf", "/sys/fs/bpf", "mode=700").context("this kernel has no bpffs")?;
    for (from, to) in &spec.binds {
        fs::create_dir_all(to)?;
        bind(from, to)?;
    }
    // Shared among the machine's own mount namespaces: a mount that a privileged pod makes below a hostPath volume is
    // seen by the node, as kubelet's mountPropagation promises.
    propagation(MsFlags::MS_SHARED)
}

fn propagation(kind: MsFlags) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | kind, None::<&str>)
        .context("cannot set mount propagation")
}

fn layers(place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    fresh("tmpfs", &place.to_string_lossy(), "mode=700")?;
    for name in LAYERED {
        let lower = Path::new("/").join(name);
        let (upper, work) = (place.join(name), place.join(format!("{name}.work")));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), &lower, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("cannot lay an overlay over {}", lower.display()))?;
    }
    Ok(())
}

fn fresh(kind: &str, at: &str, options: &str) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options))
        .with_context(|| format!("cannot mount {kind} at {at}"))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("cannot mount {} at {}", from.display(), to.display()))
}

/// The host's hierarchies again, at the same places, rooted at this machine's groups by the cgroup namespace.
fn cgroups(spec: &MachineSpec) -> Result<()> {
    let base = PathBuf::from("/sys/fs/cgroup");
    if !spec.hierarchies.iter().any(|h| h.mount == base) {
        fresh("tmpfs", "/sys/fs/cgroup", "mode=755")?;
    }
    for h in &spec.hierarchies {
        fs::create_dir_all(&h.mount)?;
        let kind = if h.v2 { "cgroup2" } else { "cgroup" };
        fresh(kind, &h.mount.to_string_lossy(), &h.options)?;
    }
    Ok(())
}
