//! A lab with our chart in it, through its command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How packets travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// As they are, over routes.
    Native,
    /// In VXLAN.
    Tunnel,
}

impl Routing {
    /// Name in Helm values.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Routing::Native => "native",
            Routing::Tunnel => "tunnel",
        }
    }

    fn values(self) -> &'static [&'static str] {
        match self {
            Routing::Native => &[
                "routingMode=native",
                "autoDirectNodeRoutes=true",
                "ipv4NativeRoutingCIDR=10.244.0.0/16",
                "ipv6NativeRoutingCIDR=fd00:10:244::/56",
                // The lab's devices have no XDP of their own.
                "loadBalancer.acceleration=testing-only",
            ],
            Routing::Tunnel => &["routingMode=tunnel"],
        }
    }
}

/// A running lab; removed when dropped, unless `AXONEME_KEEP_LAB` is set.
pub(crate) struct Cluster {
    name: String,
}

/// The repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The lab's program; `AXONEME_LAB` names another.
fn lab_binary() -> PathBuf {
    std::env::var_os("AXONEME_LAB").map_or_else(|| root().join("target/debug/lab"), PathBuf::from)
}

/// The test tool on this machine.
pub(crate) fn probe() -> String {
    root().join("target/x86_64-unknown-linux-gnu/release/probe").display().to_string()
}

impl Cluster {
    /// Two dual-stack nodes with the chart.
    pub(crate) fn up(name: &'static str, routing: Routing) -> Result<Cluster> {
        let values = [
            "ipv6.enabled=true",
            "localRedirectPolicies.enabled=true",
            "ipam.operator.clusterPoolIPv4PodCIDRList={10.244.0.0/16}",
            "ipam.operator.clusterPoolIPv6PodCIDRList={fd00:10:244::/104}",
        ];
        Cluster::with(name, &["--nodes", "2", "--ipv6"], &[&values, routing.values()].concat())
    }

    /// Machines and Helm values of one's own.
    pub(crate) fn with(name: &'static str, machines: &[&str], values: &[&str]) -> Result<Cluster> {
        Cluster::start(name, &[&["--no-dns"], machines].concat(), values)
    }

    /// The same, and pods find services by name.
    pub(crate) fn with_dns(name: &'static str, machines: &[&str], values: &[&str]) -> Result<Cluster> {
        Cluster::start(name, machines, values)
    }

    fn start(name: &'static str, machines: &[&str], values: &[&str]) -> Result<Cluster> {
        let name = std::env::var("AXONEME_LAB_NAME").unwrap_or_else(|_| name.to_owned());
        let cluster = Cluster { name };
        if std::env::var_os("AXONEME_KEEP_LAB").is_some() && cluster.lab(&["status"]).is_ok() {
            println!("using the lab {} that is up", cluster.name);
            return Ok(cluster);
        }
        cluster.lab(&["down"]).context("removing what an earlier run left")?;
        let mut up = cluster.command(&["up"]);
        up.args(machines);
        // These labs have no kube-proxy.
        for value in ["kubeProxyReplacement=true"].iter().chain(values) {
            up.args(["--set", value]);
        }
        started(up)?;
        Ok(cluster)
    }

    /// Two nodes without a network, with our images and DNS that waits for one.
    pub(crate) fn bare(name: &'static str, machines: &[&str]) -> Result<Cluster> {
        let name = std::env::var("AXONEME_LAB_NAME").unwrap_or_else(|_| name.to_owned());
        let cluster = Cluster { name };
        cluster.lab(&["down"]).context("removing what an earlier run left")?;
        started(cluster.command(&[&["up", "--nodes", "2", "--no-chart"], machines].concat()))?;
        cluster.lab(&["image", "load"])?;
        Ok(cluster)
    }

    /// `cilium` as the administrator: whether it succeeded, and all that it said.
    pub(crate) fn cilium(&self, args: &[&str]) -> Result<(bool, String)> {
        let out = self.command(&[&["cilium"], args].concat()).output().context("starting cilium")?;
        let text = [out.stdout, out.stderr].concat();
        Ok((out.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    /// A command of the lab, to be started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(lab_binary());
        command.args(["--name", &self.name]).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command of the lab and gives its output.
    pub(crate) fn lab(&self, args: &[&str]) -> Result<String> {
        let out = self.command(args).output().with_context(|| format!("starting lab {}", args.join(" ")))?;
        if !out.status.success() {
            let (stdout, stderr) =
                (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            bail!("lab {} failed: {}{}", args.join(" "), stdout.trim(), stderr.trim());
        }
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    }

    /// kubectl.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.lab(&[&["kubectl"], args].concat())
    }

    /// Applies objects.
    pub(crate) fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        let path = std::env::temp_dir().join(format!("axoneme-{}-{}.json", self.name, std::process::id()));
        std::fs::write(&path, list).with_context(|| format!("writing {}", path.display()))?;
        let applied = self.kubectl(&["apply", "-f", &path.display().to_string()]);
        let _ = std::fs::remove_file(&path);
        applied.map(drop)
    }

    /// Starts a command in a pod of the test namespace.
    pub(crate) fn in_pod(&self, pod: &str, args: &[&str]) -> Command {
        self.command(&[&["kubectl", "exec", "-n", crate::manifests::NAMESPACE, pod, "--"], args].concat())
    }

    /// Runs a command in the agent's container on a node.
    pub(crate) fn agent(&self, node: &str, args: &[&str]) -> Result<String> {
        let pod = self.agent_pod(node)?;
        self.kubectl(&[&["exec", "-n", "kube-system", &pod, "-c", "cilium-agent", "--"], args].concat())
    }

    /// The agent's log on a node, with that of the container before the one that runs.
    pub(crate) fn agent_log(&self, node: &str) -> Result<String> {
        let pod = self.agent_pod(node)?;
        let args = ["logs", "-n", "kube-system", &pod, "-c", "cilium-agent"];
        let now = self.kubectl(&args)?;
        let before = self.kubectl(&[&args[..], &["--previous"]].concat()).unwrap_or_default();
        Ok(before + &now)
    }

    /// The agent's pod on a node, as `pod/NAME`.
    pub(crate) fn agent_pod(&self, node: &str) -> Result<String> {
        let field = format!("spec.nodeName={node}");
        let args = [
            "get",
            "pods",
            "-n",
            "kube-system",
            "-l",
            "k8s-app=cilium",
            "--field-selector",
            &field,
            "-o",
            "name",
        ];
        Ok(self.kubectl(&args)?.trim().to_owned())
    }

    /// Addresses of a pod: IPv4, then IPv6.
    pub(crate) fn addresses(&self, pod: &str) -> Result<Vec<String>> {
        let args =
            ["get", "pod", "-n", crate::manifests::NAMESPACE, pod, "-o", "jsonpath={.status.podIPs[*].ip}"];
        Ok(self.kubectl(&args)?.split_whitespace().map(str::to_owned).collect())
    }

    /// Host process numbers of the agents, found by their program's name and this lab's directory.
    pub(crate) fn agent_pids(&self, node: &str) -> Result<Vec<i32>> {
        // A machine has processes of its own only: what it shows is what runs in it.
        let out =
            self.lab(&["exec", node, "sh", "-c", "grep -ls '^cilium-agent$' /proc/[0-9]*/comm; true"])?;
        let number = |line: &str| line.split('/').nth(2).and_then(|text| text.parse().ok());
        Ok(out.lines().filter_map(number).collect())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::env::var_os("AXONEME_KEEP_LAB").is_none()
            && let Err(error) = self.lab(&["down"])
        {
            eprintln!("{error}; `make lab-down` removes what is left");
        }
    }
}

fn started(mut up: Command) -> Result<()> {
    let status = up.status().context("starting the lab")?;
    if !status.success() {
        bail!("the lab did not come up");
    }
    Ok(())
}

/// `host:port`, with brackets where IPv6 needs them.
pub(crate) fn socket(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Waits for a child and gives what it printed.
pub(crate) fn finished(child: Child) -> Result<(bool, String)> {
    let out = child.wait_with_output().context("waiting for a client")?;
    Ok((out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned()))
}
