//! Pods of thin nodes: a network namespace with our test server in it, connected by the real CNI plugin, and a Pod
//! object that says so. What kubelet and containerd do for a full node's pod, without them.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::control_plane::kubectl;
use crate::init::Request;
use crate::layout::{Lab, Role};
use crate::machine::{Handle, own_binary};
use crate::run::{feed, output, tool};

/// A pod of a thin node.
pub(crate) struct Pod<'a> {
    lab: &'a Lab,
    node: Handle,
    namespace: String,
    name: String,
}

impl<'a> Pod<'a> {
    /// The pod NAMESPACE/NAME (or NAME in `default`) on a node, which must be thin.
    pub(crate) fn new(lab: &'a Lab, node: &str, name: &str) -> Result<Self> {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        let thin = lab.spec()?.machines().into_iter().any(|m| m.name == node && m.role == Role::Thin);
        ensure!(thin, "{node} is no thin node: pods of the others are made with `lab kubectl`");
        let node = Handle::open(lab, node)?;
        Ok(Self { lab, node, namespace: namespace.into(), name: name.into() })
    }

    /// Makes the pod; returns its addresses once its server runs.
    pub(crate) fn add(&self, labels: &[String]) -> Result<Vec<IpAddr>> {
        let uid = self.create_object(labels)?;
        fs::create_dir_all(self.node.dir.join("pods"))?;
        fs::write(self.uid_file(), &uid)?;
        self.inside(&["ip", "netns", "add", &self.netns()])?;
        self.inside(&["ip", "-n", &self.netns(), "link", "set", "lo", "up"])?;
        let result = self.cni("ADD", &uid)?;
        let addresses = addresses(&result)?;
        self.serve()?;
        self.report(&addresses)?;
        Ok(addresses)
    }

    /// Removes the pod; what is not there any more is no error.
    pub(crate) fn delete(&self) -> Result<()> {
        let services = self.node.ask(&Request::List)?.services;
        if services.get(&self.service()).is_some_and(|s| s.ended.is_none()) {
            self.node.ask(&Request::Signal { name: self.service(), signal: 9 })?;
        }
        // The namespace may be gone already; DEL has to manage.
        let uid = fs::read_to_string(self.uid_file()).unwrap_or_default();
        let deleted = self.cni("DEL", &uid);
        let _ = self.inside(&["ip", "netns", "delete", &self.netns()]);
        let args = [
            "-n",
            &self.namespace,
            "delete",
            "pod",
            &self.name,
            "--ignore-not-found",
            "--force",
            "--grace-period=0",
        ];
        output(kubectl(self.lab)?.args(args))?;
        let _ = fs::remove_file(self.uid_file());
        deleted.map(drop)
    }

    /// A command in the pod's network namespace.
    pub(crate) fn command(&self, program: &std::ffi::OsStr) -> Result<std::process::Command> {
        let mut command = self.node.command(self.lab, tool("nsenter")?)?;
        command.arg(format!("--net=/run/netns/{}", self.netns())).arg("--").arg(program);
        Ok(command)
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node.name
    }

    fn netns(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    fn service(&self) -> String {
        format!("pod-{}.{}", self.namespace, self.name)
    }

    /// The API object's uid, for the plugin's DEL when the object is gone.
    fn uid_file(&self) -> PathBuf {
        self.node.dir.join("pods").join(self.netns())
    }

    fn create_object(&self, labels: &[String]) -> Result<String> {
        let mut map = serde_json::Map::new();
        for label in labels {
            let (key, value) =
                label.split_once('=').with_context(|| format!("--label {label}: not KEY=VALUE"))?;
            map.insert(key.into(), value.into());
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": map},
            "spec": {
                "nodeName": self.node.name,
                "automountServiceAccountToken": false,
                // Nobody may evict it: no kubelet would notice.
                "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "probe", "image": crate::image::TEST}],
            },
        });
        let args = ["create", "-f", "-", "-o", "jsonpath={.metadata.uid}"];
        feed(kubectl(self.lab)?.args(args), pod.to_string().as_bytes())
    }

    /// Runs the plugin as a container runtime would.
    fn cni(&self, command: &str, uid: &str) -> Result<Value> {
        let (plugin, conf) = self.configuration()?;
        let container = format!("{:0>64}", format!("{}{}", uid.replace('-', ""), self.node.name));
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={uid}",
            self.namespace, self.name
        );
        let mut run = self.node.command(self.lab, format!("/opt/cni/bin/{plugin}"))?;
        run.env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", format!("/var/run/netns/{}", self.netns()))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/opt/cni/bin")
            .env("CNI_ARGS", args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = run.spawn().context("cannot run the CNI plugin")?;
        serde_json::to_writer(child.stdin.take().context("no pipe to the plugin")?, &conf)?;
        let out = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&out.stdout);
        if !out.status.success() {
            bail!("CNI {command} of {}/{} on {}: {}", self.namespace, self.name, self.node.name, text.trim());
        }
        if text.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// The first plugin of the node's first configuration: its name, and what it gets on standard input.
    fn configuration(&self) -> Result<(String, Value)> {
        let dir = self.node.dir.join("cni/net.d");
        let mut files: Vec<PathBuf> = fs::read_dir(&dir)?.flatten().map(|e| e.path()).collect();
        files.retain(|f| f.extension().is_some_and(|e| e == "conflist"));
        files.sort();
        let file = files
            .first()
            .with_context(|| format!("no network on {} yet ({})", self.node.name, dir.display()))?;
        let list: Value =
            serde_json::from_slice(&fs::read(file)?).with_context(|| format!("{}", file.display()))?;
        let mut conf = list["plugins"][0].clone();
        conf["name"] = list["name"].clone();
        conf["cniVersion"] = list["cniVersion"].clone();
        let plugin =
            conf["type"].as_str().with_context(|| format!("{} names no plugin", file.display()))?.to_owned();
        Ok((plugin, conf))
    }

    fn serve(&self) -> Result<()> {
        let words = [
            tool("nsenter")?.display().to_string(),
            format!("--net=/run/netns/{}", self.netns()),
            own_binary("probe")?.display().to_string(),
        ];
        let serve = ["serve", "--tcp", "80,8080", "--udp", "53", "--inline", "7000"].map(str::to_owned);
        self.node.start(&self.service(), &[&words[..], &serve[..]].concat())
    }

    fn report(&self, addresses: &[IpAddr]) -> Result<()> {
        let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
        let ready = |kind: &str| json!({"type": kind, "status": "True"});
        let conditions = ["Initialized", "PodScheduled", "ContainersReady", "Ready"].map(ready);
        let status = json!({"status": {
            "phase": "Running",
            "podIP": addresses.first(),
            "podIPs": ips,
            "conditions": conditions,
            "containerStatuses": [{"name": "probe", "image": crate::image::TEST, "imageID": "", "ready": true,
                "started": true, "restartCount": 0, "state": {"running": {"startedAt": jiff::Timestamp::now().to_string()}}}],
        }});
        let patch = status.to_string();
        let args = [
            "-n",
            &self.namespace,
            "patch",
            "pod",
            &self.name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        output(kubectl(self.lab)?.args(args)).map(drop)
    }

    fn inside(&self, words: &[&str]) -> Result<()> {
        output(self.node.command(self.lab, words[0])?.args(&words[1..])).map(drop)
    }
}

fn addresses(result: &Value) -> Result<Vec<IpAddr>> {
    let entries = result["ips"].as_array().context("the plugin gave no addresses")?;
    let parse = |entry: &Value| {
        let text =
            entry["address"].as_str().and_then(|a| a.split('/').next()).context("an address is no text")?;
        text.parse().with_context(|| format!("{text} is no address"))
    };
    entries.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_masks() {
        let result = json!({"ips": [{"address": "10.0.0.5/32"}, {"address": "fd00::5/128"}]});
        let wanted: Vec<IpAddr> = vec!["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
        assert_eq!(addresses(&result).unwrap(), wanted);
        assert!(addresses(&json!({})).is_err());
    }
}
