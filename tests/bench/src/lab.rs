//! A lab of its own for a measurement, driven through the `lab` program; it goes when dropped.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::root;

/// A running lab.
pub(crate) struct Lab {
    name: &'static str,
}

impl Lab {
    /// Brings up the lab `name`; what an earlier run left under that name goes first.
    pub(crate) fn up(name: &'static str, arguments: &[&str]) -> Result<Lab> {
        let lab = Lab { name };
        eprintln!("lab {name}: {}", arguments.join(" "));
        run(lab.command(&["down"]))?;
        run(lab.command(&[&["up"], arguments].concat()))?;
        Ok(lab)
    }

    /// A `lab` command.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(root().join("target/debug/lab"));
        command.current_dir(root()).args(["--name", self.name]).args(arguments);
        command
    }

    /// Name of the network namespace of a machine; without one, what all of them begin with.
    pub(crate) fn namespace(&self, machine: &str) -> String {
        format!("axlab-{}-{machine}", self.name)
    }

    /// The lab's state: certificates, logs.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        let status = run(self.command(&["status", "-o", "json"]))?;
        let status: Value = serde_json::from_str(&status).context("reading the lab's status")?;
        status["dir"].as_str().map(PathBuf::from).context("the lab has no directory")
    }

    /// Output of kubectl.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.command(&[&["kubectl", "--"], arguments].concat()))
    }

    /// `kubectl apply` of an object or a List.
    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        let mut command = self.command(&["kubectl", "--", "apply", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("no pipe to kubectl")?;
        stdin.write_all(object.to_string().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// First address of a pod.
    pub(crate) fn pod_ip(&self, pod: &str) -> Result<String> {
        let ip = self.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"])?;
        ensure!(!ip.is_empty(), "pod {pod} has no address");
        Ok(ip.trim().to_owned())
    }

    /// Runs our test tool in a pod; its JSON.
    pub(crate) fn probe<T: DeserializeOwned>(&self, pod: &str, arguments: &[&str]) -> Result<T> {
        let words = [&["exec", pod, "--", "probe"], arguments, &["-o", "json"]].concat();
        let text = self.kubectl(&words)?;
        serde_json::from_str(&text).with_context(|| format!("probe {}: {text}", arguments.join(" ")))
    }

    /// Whether our test tool in a pod reports success.
    pub(crate) fn probe_succeeds(&self, pod: &str, arguments: &[&str]) -> Result<bool> {
        let words = [&["kubectl", "--", "exec", pod, "--", "probe"], arguments].concat();
        let status = self.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        Ok(status.success())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = run(self.command(&["down"])) {
            eprintln!(
                "lab {} stays: {error:#}; `target/debug/lab --name {} down` removes it",
                self.name, self.name
            );
        }
    }
}

/// Standard output of a command that succeeds.
pub(crate) fn run(mut command: Command) -> Result<String> {
    let words = || {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    let words = words();
    let output = command.output().with_context(|| {
        format!("cannot start {}; `make binaries` builds it", command.get_program().to_string_lossy())
    })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words}: {}", stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
