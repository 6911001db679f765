//! Runs a network plugin as a container runtime does.

use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::PodObject;

/// A plugin and its configuration.
pub(super) struct Plugin {
    binary: PathBuf,
    configuration: String,
}

/// A pod's network namespace, and the names a runtime gives.
pub(super) struct Attachment {
    pub(super) netns: String,
    container: String,
    arguments: String,
}

impl Plugin {
    /// Ours, as the agent configured it.
    pub(super) fn ours() -> Result<Plugin> {
        let path = Path::new("/etc/cni/net.d/05-cilium.conflist");
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let list: Value = serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        let mut configuration = list["plugins"][0].clone();
        configuration["name"] = list["name"].clone();
        configuration["cniVersion"] = list["cniVersion"].clone();
        let kind = configuration["type"].as_str().context("the configuration names no plugin")?;
        Ok(Plugin { binary: Path::new("/opt/cni/bin").join(kind), configuration: configuration.to_string() })
    }

    /// The reference plugin for a point-to-point link, with addresses from a file.
    pub(super) fn ptp() -> Result<Plugin> {
        let binary = PathBuf::from("/usr/lib/cni/ptp");
        ensure!(binary.exists(), "{} is missing: install containernetworking-plugins", binary.display());
        let configuration = json!({
            "cniVersion": "1.0.0",
            "name": "reference",
            "type": "ptp",
            "ipam": {"type": "host-local", "subnet": "10.251.0.0/16"},
        });
        Ok(Plugin { binary, configuration: configuration.to_string() })
    }

    /// ADD; the pod's first address.
    pub(super) fn add(&self, attachment: &Attachment) -> Result<IpAddr> {
        let result: Value =
            serde_json::from_slice(&self.run("ADD", attachment)?).context("the plugin's result")?;
        let address = result["ips"][0]["address"].as_str().context("the plugin gave no address")?;
        let address = address.split('/').next().unwrap_or(address);
        address.parse().with_context(|| format!("{address} is no address"))
    }

    /// DEL, and the namespace is gone too.
    pub(super) fn delete(&self, attachment: &Attachment) -> Result<()> {
        let deleted = self.run("DEL", attachment);
        attachment.remove();
        deleted.map(drop)
    }

    fn run(&self, command: &str, attachment: &Attachment) -> Result<Vec<u8>> {
        let mut child = Command::new(&self.binary)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &attachment.container)
            .env("CNI_NETNS", format!("/run/netns/{}", attachment.netns))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/usr/lib/cni")
            .env("CNI_ARGS", &attachment.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        // A plugin that needs no configuration may close its end at once.
        let _ = child.stdin.take().context("no pipe to the plugin")?.write_all(self.configuration.as_bytes());
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let (said, more) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("{} {command}: {} {}", self.binary.display(), said.trim(), more.trim());
        }
        Ok(output.stdout)
    }
}

impl Attachment {
    /// A fresh namespace for `pod`; `number` makes the container's name another each time.
    pub(super) fn prepare(pod: &PodObject, number: usize) -> Result<Attachment> {
        let netns = format!("bench-{number}");
        let attachment = Attachment {
            container: format!("{number:064x}"),
            arguments: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={number:064x};K8S_POD_UID={}",
                pod.name, pod.uid
            ),
            netns,
        };
        attachment.remove();
        ip(&["netns", "add", &attachment.netns])?;
        ip(&["-n", &attachment.netns, "link", "set", "lo", "up"])?;
        Ok(attachment)
    }

    /// The namespace's file.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.netns)
    }

    fn remove(&self) {
        if self.path().exists() {
            let _ = ip(&["netns", "delete", &self.netns]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("starting ip(8)")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), stderr.trim());
    Ok(())
}
