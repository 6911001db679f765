//! The first process of a machine.
//!
//! `lab` starts itself twice to make one: the first process joins the machine's cgroups and network and makes the other
//! namespaces, the second is process 1 of the new process namespace. It mounts what is the machine's own, then starts
//! services on request and buries what dies. As process 1 it takes everything of the machine with it when it goes.

mod mounts;
mod supervisor;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

use crate::cgroup::{self, Hierarchy};

pub(crate) use supervisor::{Program, Reply, Request, ServiceState};

/// Hidden subcommand of the first process.
pub(crate) const STAGE_1: &str = "machine-start";
/// Hidden subcommand of process 1.
pub(crate) const STAGE_2: &str = "machine-init";

/// All that process 1 needs to know; a JSON file in the machine's directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MachineSpec {
    /// Host name.
    pub hostname: String,
    /// The machine's directory on the host.
    pub dir: PathBuf,
    /// File of its network namespace.
    pub netns: PathBuf,
    /// Files to join its cgroups through.
    pub cgroups: Vec<PathBuf>,
    /// The hierarchies to mount again inside.
    pub hierarchies: Vec<Hierarchy>,
    /// `/proc/sys` settings, path below it and value.
    pub sysctls: Vec<(String, String)>,
    /// Directories of the host (first) that the machine has at another place (second).
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Files to write once the mounts stand: path inside, text.
    pub files: Vec<(PathBuf, String)>,
    /// Symbolic links to make: path inside, target.
    pub links: Vec<(PathBuf, PathBuf)>,
}

impl MachineSpec {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not a machine", path.display()))
    }
}

/// Where process 1 listens.
pub(crate) fn socket(dir: &Path) -> PathBuf {
    dir.join("init.sock")
}

/// Where the host's number of process 1 is.
pub(crate) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("init.pid")
}

/// First process: into the machine's cgroups and namespaces, start process 1, leave its number.
pub(crate) fn stage_1(spec_path: &Path) -> Result<()> {
    let spec = MachineSpec::read(spec_path)?;
    nix::unistd::setsid().context("cannot leave the session")?;
    cgroup::join(&spec.cgroups)?;
    let netns = File::open(&spec.netns).with_context(|| format!("cannot open {}", spec.netns.display()))?;
    setns(&netns, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")?;
    let new = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    unshare(new).context("cannot make namespaces: the lab needs root with CAP_SYS_ADMIN")?;
    // Only now, or the cgroup namespace would be rooted at the leaf.
    cgroup::join_leaf(&spec.cgroups)?;
    let log = File::create(spec.dir.join("log/init.log")).context("cannot make init.log")?;
    let child = Command::new(std::env::current_exe()?)
        .arg(STAGE_2)
        .arg(spec_path)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start process 1")?;
    std::fs::write(pid_file(&spec.dir), child.id().to_string()).context("cannot write init.pid")
}

/// Process 1: set the machine up, then serve until killed.
pub(crate) fn stage_2(spec_path: &Path) -> Result<()> {
    let spec = MachineSpec::read(spec_path)?;
    nix::unistd::setsid().context("cannot make a session")?;
    nix::unistd::sethostname(&spec.hostname).context("cannot set the host name")?;
    mounts::set_up(&spec)?;
    for (key, value) in &spec.sysctls {
        let path = Path::new("/proc/sys").join(key);
        std::fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display()))?;
    }
    for (path, text) in &spec.files {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for (path, target) in &spec.links {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(target, path)
            .with_context(|| format!("cannot make the link {}", path.display()))?;
    }
    supervisor::serve(&spec)
}
