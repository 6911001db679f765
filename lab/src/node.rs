//! A full node: containerd, its images, kubelet, and kube-proxy where wanted.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::control_plane::{Args, families};
use crate::layout::{Cni, DNS_SERVICE_V4, Lab, Machine, ProxyMode, Role, Spec};
use crate::machine::Handle;
use crate::run::output;

/// Where Debian has the reference CNI plugins.
const CNI_PLUGINS: &str = "/usr/lib/cni";
const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const CONTAINERD_CONFIG: &str = "/etc/containerd/config.toml";

/// Configuration files of a node, as it sees them.
pub(crate) fn files(spec: &Spec, machine: &Machine) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    if machine.role == Role::Node {
        files.push((CONTAINERD_CONFIG.into(), containerd_config()));
    }
    if spec.cni == Cni::Bridge {
        files.push(("/etc/cni/net.d/10-bridge.conflist".into(), pretty(&bridge_conflist(spec, machine))));
    }
    if machine.role == Role::Node
        && let Some(backend) = spec.cni.flannel_backend()
    {
        files.extend(crate::flannel::files(backend));
    }
    files
}

/// The reference plugins in `/opt/cni/bin`: containerd always calls `loopback`, and the baseline needs `bridge`. Flannel's own
/// where it makes the network, which calls `bridge` in turn.
pub(crate) fn cni_links(spec: &Spec) -> Result<Vec<(PathBuf, PathBuf)>> {
    let entries =
        fs::read_dir(CNI_PLUGINS).with_context(|| format!("{CNI_PLUGINS} is not here: run `make tools`"))?;
    let names = entries.flatten().map(|e| e.file_name());
    let mut links: Vec<_> =
        names.map(|n| (Path::new("/opt/cni/bin").join(&n), Path::new(CNI_PLUGINS).join(&n))).collect();
    if spec.cni.flannel_backend().is_some() {
        links.push(("/opt/cni/bin/flannel".into(), crate::flannel::tool("flannel")?));
    }
    Ok(links)
}

/// Starts containerd and waits for its socket.
pub(crate) fn start_containerd(lab: &Lab, node: &Handle) -> Result<()> {
    let mut argv = Args::new("containerd")?;
    argv.flag("config", CONTAINERD_CONFIG);
    node.start("containerd", &argv.0)?;
    node.wait("containerd", Duration::from_secs(60), || {
        Ok(ctr(lab, node)?.arg("version").output()?.status.success())
    })
}

/// Brings image archives into the node's containerd.
pub(crate) fn import_images(lab: &Lab, node: &Handle, archives: &[PathBuf]) -> Result<()> {
    for archive in archives {
        let mut command = ctr(lab, node)?;
        output(command.args(["--namespace", "k8s.io", "images", "import"]).arg(archive))
            .with_context(|| format!("{}: cannot import {}", node.name, archive.display()))?;
    }
    Ok(())
}

/// Starts kubelet; it registers the node by itself.
pub(crate) fn start_kubelet(lab: &Lab, spec: &Spec, machine: &Machine, node: &Handle) -> Result<()> {
    let config = node.dir.join("kubelet.yaml");
    fs::write(&config, pretty(&kubelet_config(lab, machine)))?;
    let mut argv = Args::new("kubelet")?;
    argv.flag("config", config.display())
        .flag("kubeconfig", lab.pki().join(format!("{}.conf", machine.name)).display())
        .flag("hostname-override", &machine.name)
        .flag("node-ip", families(spec, machine.v4(), machine.v6()));
    node.start("kubelet", &argv.0)
}

/// Starts kube-proxy, where wanted.
pub(crate) fn start_kube_proxy(lab: &Lab, mode: ProxyMode, node: &Handle) -> Result<()> {
    let Some(mode) = mode.flag() else { return Ok(()) };
    let mut argv = Args::new("kube-proxy")?;
    argv.flag("kubeconfig", lab.pki().join("kube-proxy.conf").display())
        .flag("hostname-override", &node.name)
        .flag("proxy-mode", mode)
        // The host's limits are not the machine's to change.
        .flag("conntrack-max-per-core", 0)
        .flag("conntrack-tcp-timeout-established", "0s")
        .flag("conntrack-tcp-timeout-close-wait", "0s");
    node.start("kube-proxy", &argv.0)
}

fn ctr(lab: &Lab, node: &Handle) -> Result<std::process::Command> {
    let mut command = node.command(lab, crate::run::tool("ctr")?)?;
    command.args(["--address", CONTAINERD_SOCKET]);
    Ok(command)
}

fn containerd_config() -> String {
    format!(
        r#"version = 2
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{}"
  # A host may withhold CAP_SYS_RESOURCE; then nothing may be made less likely to be killed than we are.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
"#,
        crate::image::PAUSE
    )
}

fn kubelet_config(lab: &Lab, machine: &Machine) -> Value {
    let pki = |name: String| lab.pki().join(name).display().to_string();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki("ca.crt".into())},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki(format!("{}-serving.crt", machine.name)),
        "tlsPrivateKeyFile": pki(format!("{}-serving.key", machine.name)),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "failSwapOn": false,
        "clusterDNS": [DNS_SERVICE_V4.to_string()],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        // The node's packet filter stays empty: only what is under test may touch packets.
        "makeIPTablesUtilChains": false,
        "maxPods": 250,
        "podPidsLimit": 4096,
        "serializeImagePulls": false,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "nodeStatusUpdateFrequency": "5s",
        // Tests kill containers a hundred times in a row; the usual back-off grows to five minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
    })
}

fn bridge_conflist(spec: &Spec, machine: &Machine) -> Value {
    let (v4, v6) = machine.bridge_cidrs();
    let mut ranges = vec![json!([{"subnet": v4}])];
    let mut routes = vec![json!({"dst": "0.0.0.0/0"})];
    if spec.ipv6 {
        ranges.push(json!([{"subnet": v6}]));
        routes.push(json!({"dst": "::/0"}));
    }
    json!({
        "cniVersion": "0.4.0",
        "name": "bridge",
        "plugins": [{
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {"type": "host-local", "ranges": ranges, "routes": routes},
        }],
    })
}

pub(crate) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
