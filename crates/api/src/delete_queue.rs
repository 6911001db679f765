//! Releases that the agent missed because it was away: small files it reads when it is back.
//!
//! No lock is needed. The plugin writes the file, then tries the socket once more and removes the file when that works;
//! the agent drains *after* it listens. Whoever failed to reach the socket has written before the drain.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the files are.
pub const DIRECTORY: &str = "/var/run/cilium/deleteQueue";
/// Most files that are kept; with more, releases are refused so that the runtime tries again later.
pub const MAX_FILES: usize = 256;
/// Suffix of a complete file.
const SUFFIX: &str = ".delete";

/// An attachment that is to be released.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Release {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// The queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The limit is reached.
    #[error("{} holds {MAX_FILES} releases already: start the cilium-agent of this node, it works them off", directory.display())]
    Full {
        /// Where.
        directory: PathBuf,
    },
    /// The file system refuses.
    #[error("cannot {what} {}: is the file system writable?", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Notes a release; noting it again changes nothing. Returns the file, to be removed when the agent was told after all.
pub fn push(directory: &Path, release: &Release) -> Result<PathBuf, QueueError> {
    let io = |what, path: &Path| {
        let path = path.to_owned();
        move |source| QueueError::Io { what, path, source }
    };
    fs::create_dir_all(directory).map_err(io("create", directory))?;
    let name = format!(
        "{}-{}{SUFFIX}",
        crate::paths::escape(&release.container_id),
        crate::paths::escape(&release.ifname)
    );
    let file = directory.join(name);
    if !file.exists() && files(directory).map_err(io("list", directory))?.len() >= MAX_FILES {
        return Err(QueueError::Full { directory: directory.to_owned() });
    }
    // Complete or not there: the agent may read at any moment.
    let text = serde_json::to_vec(release).unwrap_or_default();
    let draft = file.with_extension(format!("draft-{}", std::process::id()));
    fs::write(&draft, text).map_err(io("write", &draft))?;
    fs::rename(&draft, &file).map_err(io("rename to", &file))?;
    Ok(file)
}

/// Reads what is queued, in order of names. Each comes with its file, to be removed once it is done.
/// A file that makes no sense comes without a release, so that the caller can report and remove it.
pub fn read(directory: &Path) -> Result<Vec<(PathBuf, Option<Release>)>, QueueError> {
    let files = match files(directory) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(QueueError::Io { what: "list", path: directory.to_owned(), source }),
    };
    let mut queue = Vec::new();
    for file in files {
        match fs::read(&file) {
            Ok(text) => queue.push((file, serde_json::from_slice(&text).ok())),
            // The plugin took it back in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(QueueError::Io { what: "read", path: file, source }),
        }
    }
    Ok(queue)
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.as_os_str().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read_once_and_bounded() {
        let directory = std::env::temp_dir().join(format!("axt-queue-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        assert_eq!(read(&directory).expect("no directory is an empty queue"), []);
        let release = |n: usize| Release { container_id: format!("c{n:03}"), ifname: "eth0".into() };
        for n in 0..MAX_FILES {
            push(&directory, &release(n)).expect("room");
        }
        push(&directory, &release(3)).expect("the same again needs no room");
        assert!(matches!(push(&directory, &release(999)), Err(QueueError::Full { .. })));
        fs::write(directory.join("zzz.delete"), b"{").expect("write");
        let queue = read(&directory).expect("read");
        assert_eq!(queue.len(), MAX_FILES + 1);
        assert_eq!(queue[3].1, Some(release(3)));
        assert_eq!(queue[MAX_FILES].1, None);
        fs::remove_dir_all(&directory).expect("clean up");
    }
}
