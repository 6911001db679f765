//! One agent a node: an exclusive lock on the state folder, held for the life of the process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The held lock; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock in `run_dir`.
///
/// # Errors
/// Another agent holds it (the text names its process), or the folder cannot be written.
pub(crate) fn take(run_dir: &Path) -> Result<Lock> {
    std::fs::create_dir_all(run_dir)
        .with_context(|| format!("cannot create the state folder {} (--state-dir)", run_dir.display()))?;
    let path = run_dir.join("cilium-agent.lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another agent (process {}) already serves this node: it holds {}; stop it, or give this one another --state-dir",
                if holder.trim().is_empty() { "unknown" } else { holder.trim() },
                path.display()
            );
        }
        Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .context("cannot write the lock")?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_agent_is_refused_until_the_first_is_gone() {
        let folder = std::env::temp_dir().join(format!("axoneme-lock-{}", std::process::id()));
        let first = take(&folder).expect("free");
        let text = take(&folder).expect_err("held").to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        drop(first);
        take(&folder).expect("free again");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
