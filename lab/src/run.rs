//! Runs other programs and says clearly what went wrong with them.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of this project's source tree, where `target/` and `charts/` are.
pub(crate) fn root() -> PathBuf {
    std::env::var_os("AXONEME_ROOT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned(),
        PathBuf::from,
    )
}

/// Finds a program that the lab needs: `target/tools/bin`, then PATH, then the system directories.
pub(crate) fn tool(name: &str) -> Result<PathBuf> {
    let own = root().join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::iter::once(own)
        .chain(std::env::split_paths(&path))
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not here: run `make tools`"))
}

/// Runs a command to its end; its output is in the error if it fails, else returned.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
    finish(command, &out)
}

/// Like [`output`], with `input` on its standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A program that ends early tells why in its own words below.
        let _ = pipe.write_all(input);
    }
    let out = child.wait_with_output()?;
    finish(command, &out)
}

/// Runs `ip` with the given words.
pub(crate) fn ip<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<String> {
    output(Command::new(tool("ip")?).args(args))
}

fn finish(command: &Command, out: &std::process::Output) -> Result<String> {
    if !out.status.success() {
        bail!("{} ({})\n{}", words(command), out.status, String::from_utf8_lossy(&out.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args());
    all.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
