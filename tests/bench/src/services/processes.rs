//! Processes of a lab as the host sees them: by their network namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Ticks of `/proc/PID/stat` in a second; Linux has no other on this architecture.
const TICKS: f64 = 100.0;
/// How long to look whether anybody works.
const LOOK: Duration = Duration::from_secs(2);
/// Processor time in it that counts as rest: watches, leases.
const REST: f64 = 0.25;
/// Looks in a row that must find rest.
const LOOKS: usize = 3;

/// Waits until the processes in all network namespaces whose names begin with `prefix` do next to nothing.
pub(super) fn wait_for_rest(prefix: &str, limit: Duration) -> Result<()> {
    let (start, mut rests) = (Instant::now(), 0);
    let mut before = times(prefix)?;
    while rests < LOOKS {
        ensure!(start.elapsed() < limit, "the lab's processes did not come to rest in {limit:?}");
        sleep(LOOK);
        let now = times(prefix)?;
        let used: f64 = now.iter().filter_map(|(pid, time)| Some(time - before.get(pid)?)).sum();
        rests = if used < REST { rests + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// The process called `name` in a network namespace.
pub(super) fn find(namespace: &str, name: &str) -> Result<u32> {
    let named = |pid: &u32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim() == name
    };
    let all = in_namespaces(&inodes(|file| file == namespace)?)?;
    all.into_iter().find(named).with_context(|| format!("no {name} runs in {namespace}"))
}

/// Resident memory, MiB.
pub(super) fn memory(pid: u32) -> Result<f64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading a process's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib / 1024.0)
}

/// Processor time that a process has used, seconds.
pub(super) fn processor_time(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have anything in it; what follows its bracket has not. User and system time are 14th and 15th.
    let (_, rest) = text.rsplit_once(')')?;
    let mut numbers = rest.split_whitespace().skip(11).map(|word| word.parse::<f64>());
    Some((numbers.next()?.ok()? + numbers.next()?.ok()?) / TICKS)
}

fn times(prefix: &str) -> Result<BTreeMap<u32, f64>> {
    let all = in_namespaces(&inodes(|file| file.starts_with(prefix))?)?;
    Ok(all.into_iter().filter_map(|pid| Some((pid, processor_time(pid)?))).collect())
}

fn inodes(wanted: impl Fn(&str) -> bool) -> Result<BTreeSet<u64>> {
    let files = std::fs::read_dir("/run/netns").context("listing network namespaces")?.flatten();
    let wanted = files.filter(|file| file.file_name().to_str().is_some_and(&wanted));
    Ok(wanted.filter_map(|file| Some(std::fs::metadata(file.path()).ok()?.ino())).collect())
}

fn in_namespaces(inodes: &BTreeSet<u64>) -> Result<Vec<u32>> {
    let entries = std::fs::read_dir("/proc").context("listing processes")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let inside = |pid: &u32| {
        let namespace = std::fs::metadata(Path::new("/proc").join(pid.to_string()).join("ns/net"));
        namespace.is_ok_and(|namespace| inodes.contains(&namespace.ino()))
    };
    Ok(pids.filter(inside).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let me = std::process::id();
        assert!(memory(me).expect("a status") > 1.0);
        assert!(processor_time(me).expect("a stat line") >= 0.0);
        assert_eq!(processor_time(u32::MAX), None);
    }
}
