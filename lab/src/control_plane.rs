//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler on the machine `cp`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::layout::{API_PORT, Lab, POD_CIDR_V4, POD_CIDR_V6, SERVICE_CIDR_V4, SERVICE_CIDR_V6, Spec};
use crate::machine::{Handle, own_binary};
use crate::report::Progress;
use crate::run::{output, tool};

const ETCD_URL: &str = "http://127.0.0.1:2379";

/// Starts all four, in order; returns when the API server is ready and the other two run.
pub(crate) fn start(lab: &Lab, spec: &Spec, cp: &Handle, progress: &Progress) -> Result<()> {
    progress.step("etcd", || etcd(cp))?;
    progress.step("kube-apiserver ready", || apiserver(lab, spec, cp))?;
    progress.step("kube-controller-manager, kube-scheduler", || {
        controller_manager(lab, spec, cp)?;
        scheduler(lab, cp)
    })
}

/// Joins values of both families with a comma, or gives the IPv4 one alone.
pub(crate) fn families(spec: &Spec, v4: impl ToString, v6: impl ToString) -> String {
    if spec.ipv6 { format!("{},{}", v4.to_string(), v6.to_string()) } else { v4.to_string() }
}

/// `kubectl` as the administrator, inside `cp`.
pub(crate) fn kubectl(lab: &Lab) -> Result<Command> {
    administrator(lab, tool("kubectl")?)
}

/// `cilium` as the administrator, inside `cp`.
pub(crate) fn cilium(lab: &Lab) -> Result<Command> {
    let mut command = administrator(lab, own_binary("cilium")?)?;
    command.env("HELM", tool("helm")?);
    Ok(command)
}

fn administrator(lab: &Lab, program: PathBuf) -> Result<Command> {
    let cp = Handle::open(lab, "cp")?;
    let mut command = cp.command(lab, program)?;
    command.env("KUBECONFIG", lab.kubeconfig());
    Ok(command)
}

fn etcd(cp: &Handle) -> Result<()> {
    let mut argv = Args::new("etcd")?;
    argv.flag("data-dir", cp.dir.join("etcd").display());
    argv.flag("listen-client-urls", ETCD_URL).flag("advertise-client-urls", ETCD_URL);
    argv.flag("listen-peer-urls", "http://127.0.0.1:2380");
    cp.start("etcd", &argv.0)?;
    // 3.4 writes the first text, 3.5 and later the second.
    let ready = ["serving insecure client requests", "serving client traffic"];
    cp.wait("etcd", Duration::from_secs(30), || {
        let log = std::fs::read_to_string(cp.log("etcd")).unwrap_or_default();
        Ok(ready.iter().any(|text| log.contains(text)))
    })
}

fn apiserver(lab: &Lab, spec: &Spec, cp: &Handle) -> Result<()> {
    let pki = |name: &str| lab.pki().join(name).display().to_string();
    let mut argv = Args::new("kube-apiserver")?;
    argv.flag("etcd-servers", ETCD_URL)
        .flag("advertise-address", "172.31.0.10")
        .flag("secure-port", API_PORT)
        .flag("client-ca-file", pki("ca.crt"))
        .flag("tls-cert-file", pki("apiserver.crt"))
        .flag("tls-private-key-file", pki("apiserver.key"))
        .flag("kubelet-certificate-authority", pki("ca.crt"))
        .flag("kubelet-client-certificate", pki("apiserver-kubelet.crt"))
        .flag("kubelet-client-key", pki("apiserver-kubelet.key"))
        .flag("kubelet-preferred-address-types", "InternalIP")
        .flag("requestheader-client-ca-file", pki("front-proxy-ca.crt"))
        .flag("requestheader-allowed-names", "front-proxy-client")
        .flag("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .flag("requestheader-group-headers", "X-Remote-Group")
        .flag("requestheader-username-headers", "X-Remote-User")
        .flag("proxy-client-cert-file", pki("front-proxy-client.crt"))
        .flag("proxy-client-key-file", pki("front-proxy-client.key"))
        .flag("service-account-key-file", pki("sa.pub"))
        .flag("service-account-signing-key-file", pki("sa.key"))
        .flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .flag("service-cluster-ip-range", families(spec, SERVICE_CIDR_V4, SERVICE_CIDR_V6))
        .flag("authorization-mode", "Node,RBAC")
        .flag("enable-admission-plugins", "NodeRestriction")
        .flag("allow-privileged", true)
        .flag("enable-aggregator-routing", true)
        // Dozens of agents in one process space must not wait for each other at the server.
        .flag("max-requests-inflight", 2000)
        .flag("max-mutating-requests-inflight", 1000);
    cp.start("kube-apiserver", &argv.0)?;
    cp.wait("kube-apiserver", Duration::from_secs(120), || {
        std::thread::sleep(Duration::from_millis(200));
        Ok(output(kubectl(lab)?.args(["get", "--raw", "/readyz"])).is_ok())
    })
    .context("the API server did not become ready")
}

fn controller_manager(lab: &Lab, spec: &Spec, cp: &Handle) -> Result<()> {
    let pki = |name: &str| lab.pki().join(name).display().to_string();
    let conf = pki("controller-manager.conf");
    let mut argv = Args::new("kube-controller-manager")?;
    argv.flag("kubeconfig", &conf)
        .flag("authentication-kubeconfig", &conf)
        .flag("authorization-kubeconfig", &conf)
        .flag("cert-dir", cp.dir.join("kcm").display())
        .flag("root-ca-file", pki("ca.crt"))
        .flag("client-ca-file", pki("ca.crt"))
        .flag("service-account-private-key-file", pki("sa.key"))
        .flag("cluster-signing-cert-file", pki("ca.crt"))
        .flag("cluster-signing-key-file", pki("ca.key"))
        .flag("use-service-account-credentials", true)
        .flag("leader-elect", false)
        .flag("service-cluster-ip-range", families(spec, SERVICE_CIDR_V4, SERVICE_CIDR_V6))
        .flag("allocate-node-cidrs", spec.node_cidrs)
        .flag("node-monitor-grace-period", "20s");
    if spec.node_cidrs {
        argv.flag("cluster-cidr", families(spec, POD_CIDR_V4, POD_CIDR_V6));
    }
    cp.start("kube-controller-manager", &argv.0)
}

fn scheduler(lab: &Lab, cp: &Handle) -> Result<()> {
    let conf = lab.pki().join("scheduler.conf").display().to_string();
    let mut argv = Args::new("kube-scheduler")?;
    argv.flag("kubeconfig", &conf)
        .flag("authentication-kubeconfig", &conf)
        .flag("authorization-kubeconfig", &conf)
        .flag("cert-dir", cp.dir.join("scheduler").display())
        .flag("leader-elect", false);
    cp.start("kube-scheduler", &argv.0)
}

/// A command line in the making.
pub(crate) struct Args(pub Vec<String>);

impl Args {
    /// Starts with one of the lab's tools.
    pub(crate) fn new(program: &str) -> Result<Self> {
        Ok(Self(vec![tool(program)?.display().to_string()]))
    }

    /// Adds `--name=value`.
    pub(crate) fn flag(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push(format!("--{name}={value}"));
        self
    }
}
