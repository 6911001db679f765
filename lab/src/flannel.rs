//! Flannel as the pods' network: `flanneld` as a process of each node, its plugin, and its configuration as its own manifest has
//! it. `tools/setup.sh flannel` builds both programs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use crate::control_plane::{Args, kubectl};
use crate::layout::{Lab, POD_CIDR_V4};
use crate::machine::Handle;
use crate::node::pretty;
use crate::run::output;

/// What `flanneld` reads.
const NET_CONF: &str = "/etc/kube-flannel/net-conf.json";
/// What it writes when its network stands; the plugin reads it.
const SUBNET: &str = "/run/flannel/subnet.env";

/// One of Flannel's programs.
pub(crate) fn tool(name: &str) -> Result<PathBuf> {
    crate::run::tool(name).context("the lab's Flannel is not built: run `tools/setup.sh flannel`")
}

/// A node's configuration: the network, and who makes a pod's interfaces.
pub(crate) fn files(backend: &str) -> [(PathBuf, String); 2] {
    let network = json!({ "Network": POD_CIDR_V4, "Backend": { "Type": backend } });
    let plugins = json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    });
    [(NET_CONF.into(), pretty(&network)), ("/etc/cni/net.d/10-flannel.conflist".into(), pretty(&plugins))]
}

/// Starts `flanneld` on every node, once the node has its pod CIDR.
pub(crate) fn start(lab: &Lab, nodes: &[Handle]) -> Result<()> {
    for node in nodes {
        let cidr = ["get", "node", &node.name, "-o", "jsonpath={.spec.podCIDR}"];
        node.wait("kubelet", Duration::from_secs(60), || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(!output(kubectl(lab)?.args(cidr))?.is_empty())
        })
        .with_context(|| format!("node {} got no pod CIDR", node.name))?;
        let mut argv = Args(vec![tool("flanneld")?.display().to_string()]);
        argv.flag("kubeconfig-file", lab.kubeconfig().display())
            .flag("net-config-path", NET_CONF)
            .flag("subnet-file", SUBNET)
            .flag("ip-masq", true);
        node.start_with("flanneld", &argv.0, &[("NODE_NAME", &node.name)])?;
    }
    for node in nodes {
        node.wait("flanneld", Duration::from_secs(60), || {
            Ok(node.command(lab, crate::run::tool("test")?)?.args(["-e", SUBNET]).status()?.success())
        })?;
    }
    Ok(())
}
