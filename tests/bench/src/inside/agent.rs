//! The agent of this node: its memory, and how long it takes to be back.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use api::{Client, paths, status::Health};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::lab::run;

/// As the kernel cuts it.
const NAME: &str = "cilium-agent";
/// Time for an agent to come to rest.
const REST: Duration = Duration::from_secs(5);

/// Resident memory of the agent, MiB, after a while without work.
pub(super) fn memory() -> Result<f64> {
    sleep(REST);
    let text = std::fs::read_to_string(directory(process()?).join("status")).context("the agent's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib / 1024.0)
}

/// Numbers of the programs that the agent holds or that are attached to this node's devices. A number is never given
/// twice, so a program loaded for a pod or a policy would be a new one.
pub(super) fn programs() -> Result<BTreeSet<u64>> {
    let infos = std::fs::read_dir(directory(process()?).join("fdinfo")).context("the agent's descriptors")?;
    let mut programs: BTreeSet<u64> = infos
        .flatten()
        .filter_map(|info| {
            let text = std::fs::read_to_string(info.path()).ok()?;
            text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect();
    let held = programs.len();
    for link in pinned_links(Path::new("/sys/fs/bpf/cilium"))? {
        let mut command = Command::new("bpftool");
        command.args(["-j", "link", "show", "pinned"]).arg(&link);
        let link: Value =
            serde_json::from_str(&run(command)?).context("reading what bpftool says of a link")?;
        programs.insert(link["prog_id"].as_u64().context("a link without a program")?);
    }
    ensure!(held > 0, "the agent holds no program");
    Ok(programs)
}

/// Links pinned below `folder`.
fn pinned_links(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            links.extend(pinned_links(&path)?);
        } else {
            links.push(path);
        }
    }
    Ok(links)
}

/// Kills the agent, starts it again as it was, and waits until it is reconciled: it says so on its socket.
pub(super) fn restart() -> Result<Duration> {
    let old = process()?;
    let words = |name: &str| -> Result<Vec<OsString>> {
        let bytes =
            std::fs::read(directory(old).join(name)).with_context(|| format!("the agent's {name}"))?;
        let words = bytes.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        Ok(words.map(|word| OsString::from_vec(word.to_vec())).collect())
    };
    let (arguments, environment) = (words("cmdline")?, words("environ")?);
    let pid = Pid::from_raw(old as i32).context("the agent's number")?;
    kill_process(pid, Signal::KILL).context("killing the agent")?;
    wait(Duration::from_secs(5), "the old agent to end", || !running(old))?;
    let log = std::fs::File::options().create(true).append(true).open("/tmp/bench-agent.log")?;
    let start = Instant::now();
    let mut command = Command::new(arguments.first().context("an agent without a name")?);
    command.args(&arguments[1..]).env_clear().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    for variable in environment.iter().filter_map(|word| word.to_str()?.split_once('=')) {
        command.env(variable.0, variable.1);
    }
    let mut child = command.spawn().context("starting the agent")?;
    let client = Client::default().with_timeout(Duration::from_secs(2));
    let mut ended = false;
    wait(Duration::from_secs(60), "the agent to be reconciled", || {
        ended = child.try_wait().is_ok_and(|status| status.is_some());
        ended || client.get::<Health>(paths::HEALTH).is_ok_and(|health| health.state == "Ok")
    })?;
    let time = start.elapsed();
    ensure!(!ended, "the agent ended; its log is /tmp/bench-agent.log");
    // It stays until the node goes; nobody waits for it any more.
    std::thread::spawn(move || child.wait());
    sleep(REST);
    Ok(time)
}

fn wait(limit: Duration, what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !so() {
        ensure!(start.elapsed() < limit, "waited {limit:?} for {what}");
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn directory(process: u32) -> PathBuf {
    Path::new("/proc").join(process.to_string())
}

/// Whether a process is there. It goes when it was reaped, and only then all of its threads have closed their files, the
/// lock among them: a corpse may still hold it.
fn running(process: u32) -> bool {
    directory(process).exists()
}

/// The only running agent of this node.
fn process() -> Result<u32> {
    let entries = std::fs::read_dir("/proc").context("listing processes")?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut agents = numbers.filter(|number| {
        let name = std::fs::read_to_string(directory(*number).join("comm")).unwrap_or_default();
        name.trim() == NAME
    });
    let agent = agents.next().context("no agent runs on this node")?;
    ensure!(agents.next().is_none(), "several agents run on this node");
    Ok(agent)
}
