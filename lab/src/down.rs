//! `lab down`: find everything that carries this lab's mark and remove it, whatever state it is in.
//!
//! Marks are the cgroup subtree, the network namespaces' names and the state directory; each is enough to find what
//! the others miss, so a lab whose `up` was killed at any moment goes away completely. Running it twice is harmless.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::layout::Lab;
use crate::machine::same_namespace;
use crate::report::say;
use crate::{cgroup, net, up};

/// Removes the lab.
pub(crate) fn down(lab: &Lab) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "the lab's namespaces can only be removed by root");
    let start = Instant::now();
    let known = lab.dir.exists()
        || !net::namespaces(lab)?.is_empty()
        || !cgroup::processes(&lab.cgroup())?.is_empty();
    let lock_file = lab.dir.with_extension("lock");
    let _lock = lock_file.parent().is_some_and(Path::exists).then(|| up::lock(lab)).transpose()?;
    let mut killed = sweep(lab)?;
    // A child of a killed `lab up` may have been about to make something: look again when it had time to.
    std::thread::sleep(Duration::from_millis(50));
    killed += sweep(lab)?;
    let _ = fs::remove_file(&lock_file);
    if let Some(base) = lab.dir.parent() {
        // Stays if other labs are in it.
        let _ = fs::remove_dir(base);
    }
    match known {
        true => say(format!(
            "lab {} is gone after {:.1} s ({killed} processes ended)",
            lab.name,
            start.elapsed().as_secs_f32()
        )),
        false => say(format!("no lab {} here", lab.name)),
    }
    Ok(())
}

/// Removes all there is; the number of processes that were ended.
fn sweep(lab: &Lab) -> Result<usize> {
    let killed = kill_all(lab)?;
    net::remove(lab)?;
    cgroup::remove(&lab.cgroup())?;
    unmount(&lab.dir)?;
    remove_dir(lab)?;
    Ok(killed)
}

/// Ends all processes of the lab. Process 1 of each machine takes the rest of its process namespace along.
fn kill_all(lab: &Lab) -> Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(15);
    let mut most = 0;
    loop {
        let pids = processes(lab)?;
        most = most.max(pids.len());
        if pids.is_empty() {
            return Ok(most);
        }
        ensure!(Instant::now() < deadline, "processes {pids:?} of lab {} do not end", lab.name);
        for pid in pids {
            match kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(e) => bail!("cannot end process {pid}: {e}"),
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes in the lab's cgroups or in one of its network namespaces, but for this one.
fn processes(lab: &Lab) -> Result<Vec<u32>> {
    let mut pids = cgroup::processes(&lab.cgroup())?;
    let files: Vec<PathBuf> = net::namespaces(lab)?.iter().map(|n| Path::new("/run/netns").join(n)).collect();
    if !files.is_empty() {
        let all =
            fs::read_dir("/proc")?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        pids.extend(all.filter(|pid| files.iter().any(|f| same_namespace(*pid, f))));
    }
    pids.retain(|pid| *pid != std::process::id() && !is_zombie(*pid));
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// A dead process whose parent has not looked yet: nothing left to end.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Nothing should be mounted below the directory outside of the machines; a crash may prove otherwise.
fn unmount(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let mut below: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|p| p.starts_with(dir))
        .collect();
    below.sort_unstable_by(|a, b| b.cmp(a));
    for path in below {
        nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", path.display()))?;
    }
    Ok(())
}

fn remove_dir(lab: &Lab) -> Result<()> {
    if !lab.dir.exists() {
        return Ok(());
    }
    let empty = fs::read_dir(&lab.dir)?.next().is_none();
    ensure!(empty || lab.spec_path().exists(), "{} is not a lab's directory; it stays", lab.dir.display());
    // The mark goes last, so that an interrupted removal can be taken up again.
    for entry in fs::read_dir(&lab.dir)?.flatten() {
        let path = entry.path();
        if path == lab.spec_path() {
            continue;
        }
        let removed =
            if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::remove_dir_all(&lab.dir).with_context(|| format!("cannot remove {}", lab.dir.display()))
}
