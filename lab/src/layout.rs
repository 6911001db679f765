//! Where everything is: names, addresses, files. Nothing here touches the system.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Prefix of every network namespace and cgroup that belongs to a lab.
pub(crate) const PREFIX: &str = "axlab-";
/// IPv4 prefix length of the underlay, 172.31.0.0/24.
pub(crate) const UNDERLAY_V4_BITS: u8 = 24;
/// IPv6 prefix length of the underlay, fd00:31::/64.
pub(crate) const UNDERLAY_V6_BITS: u8 = 64;
/// The gateway of the underlay; the machine `world` answers there.
pub(crate) const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
/// The IPv6 gateway of the underlay.
pub(crate) const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, 1);
/// An address of `world` outside the underlay (TEST-NET-3), for tests of "a host on the internet".
pub(crate) const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The same for IPv6 (documentation prefix).
pub(crate) const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;
/// The whole pod network.
pub(crate) const POD_CIDR_V4: &str = "10.244.0.0/16";
/// The whole IPv6 pod network.
pub(crate) const POD_CIDR_V6: &str = "fd00:10:244::/56";
/// Service addresses; the first is the API server's, the tenth the DNS server's.
pub(crate) const SERVICE_CIDR_V4: &str = "10.96.0.0/16";
/// IPv6 service addresses.
pub(crate) const SERVICE_CIDR_V6: &str = "fd00:10:96::/112";
/// The first service address: `kubernetes.default`.
pub(crate) const API_SERVICE_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The service address of the cluster's DNS.
pub(crate) const DNS_SERVICE_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// What makes the pods' network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cni {
    /// Our Helm chart.
    Chart,
    /// The reference `bridge` plugin and routes between nodes: the baseline, without any filter.
    Bridge,
    /// Flannel, with a route to each node's pods; our chart may be chained behind it later.
    Flannel,
    /// The same, with VXLAN between the nodes.
    #[value(name = "flannel-vxlan")]
    FlannelVxlan,
    /// Nothing: nodes stay NotReady until somebody installs a network.
    None,
}

impl Cni {
    /// The type of Flannel's backend, if Flannel makes the network.
    pub(crate) fn flannel_backend(self) -> Option<&'static str> {
        match self {
            Self::Flannel => Some("host-gw"),
            Self::FlannelVxlan => Some("vxlan"),
            Self::Chart | Self::Bridge | Self::None => None,
        }
    }

    /// Whether nodes need the images of our chart.
    pub(crate) fn takes_chart(self) -> bool {
        self == Self::Chart || self.flannel_backend().is_some()
    }
}

/// How kube-proxy programs services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProxyMode {
    /// It does not run.
    Off,
    /// nftables.
    Nftables,
    /// iptables.
    Iptables,
}

impl ProxyMode {
    /// The value of kube-proxy's `--proxy-mode`, if it runs.
    pub(crate) fn flag(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Nftables => Some("nftables"),
            Self::Iptables => Some("iptables"),
        }
    }
}

/// What was asked for; kept as `lab.json` so that every later command knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    /// Name of the lab.
    pub name: String,
    /// Number of nodes with kubelet and containerd.
    pub nodes: u8,
    /// Number of nodes without them.
    pub thin: u8,
    /// Dual stack instead of IPv4 alone.
    pub ipv6: bool,
    /// The pods' network.
    pub cni: Cni,
    /// Helm values for the chart, later files win.
    pub chart_values: Vec<PathBuf>,
    /// `key=value` for the chart, stronger than the files.
    pub chart_set: Vec<String>,
    /// kube-proxy on every node.
    pub kube_proxy: ProxyMode,
    /// CoreDNS as a Deployment.
    pub dns: bool,
    /// Let the controller-manager give each node a pod CIDR.
    pub node_cidrs: bool,
}

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// etcd, API server, controller-manager, scheduler. Not a node of the cluster.
    ControlPlane,
    /// A node with kubelet and containerd.
    Node,
    /// A node whose pods are namespaces that the lab makes itself.
    Thin,
    /// Everything that is not the cluster.
    World,
}

/// A namespace that plays a machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Short name, also its host name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Last number of its addresses.
    pub host: u8,
}

impl Machine {
    /// Address on the underlay.
    pub(crate) fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, 0, self.host)
    }

    /// IPv6 address on the underlay: the same decimal digits as the IPv4 one's last number.
    pub(crate) fn v6(&self) -> Ipv6Addr {
        let digits = u16::from_str_radix(&self.host.to_string(), 16).unwrap_or(u16::from(self.host));
        Ipv6Addr::new(0xfd00, 0x31, 0, 0, 0, 0, 0, digits)
    }

    /// The node's own pod CIDRs with `--cni bridge` (third number or fourth group is the host number).
    pub(crate) fn bridge_cidrs(&self) -> (String, String) {
        (format!("10.244.{}.0/24", self.host), format!("fd00:10:244:{}::/64", self.host))
    }
}

impl Spec {
    /// All machines, control plane first.
    pub(crate) fn machines(&self) -> Vec<Machine> {
        let one = |name: String, role, host| Machine { name, role, host };
        let mut all = vec![one("cp".into(), Role::ControlPlane, 10), one("world".into(), Role::World, 100)];
        all.extend(self.nodes());
        all.extend(self.thin_nodes());
        all
    }

    /// The nodes without a kubelet.
    pub(crate) fn thin_nodes(&self) -> Vec<Machine> {
        (1..=self.thin).map(|i| Machine { name: format!("t{i}"), role: Role::Thin, host: 100 + i }).collect()
    }

    /// The nodes with a kubelet.
    pub(crate) fn nodes(&self) -> Vec<Machine> {
        (1..=self.nodes).map(|i| Machine { name: format!("n{i}"), role: Role::Node, host: 10 + i }).collect()
    }

    /// Refuses what the address plan has no room for.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.nodes <= 80, "--nodes {}: the address plan has room for 80", self.nodes);
        ensure!(self.thin <= 150, "--thin {}: the address plan has room for 150", self.thin);
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        ensure!(
            !self.name.is_empty() && self.name.len() <= 20 && self.name.chars().all(fits),
            "--name {:?}: 1 to 20 lower-case letters and digits",
            self.name
        );
        Ok(())
    }
}

/// A lab's place on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    /// Its name.
    pub name: String,
    /// Its state directory.
    pub dir: PathBuf,
}

impl Lab {
    /// The lab `name` below the directory `base`.
    pub(crate) fn new(base: &Path, name: &str) -> Result<Self> {
        let base = std::path::absolute(base).with_context(|| format!("directory {}", base.display()))?;
        for hidden in ["/etc", "/opt", "/var", "/run", "/proc", "/sys", "/dev"] {
            ensure!(
                !base.starts_with(hidden),
                "--dir {}: each machine has its own {hidden}, so the lab cannot live there; take a directory like /tmp/axoneme-lab",
                base.display()
            );
        }
        // Unix socket paths end at 107 bytes; the longest below this directory has 30.
        ensure!(base.as_os_str().len() + name.len() < 70, "--dir {}: too long a path", base.display());
        Ok(Self { name: name.to_owned(), dir: base.join(name) })
    }

    /// The stored specification.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let path = self.spec_path();
        let text = std::fs::read(&path).with_context(|| {
            format!("no lab {:?} here ({} cannot be read): `lab up` makes one", self.name, path.display())
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged: `lab down`, then `lab up`", path.display()))
    }

    /// File of [`Spec`]; its presence says that the directory is a lab's.
    pub(crate) fn spec_path(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// Name of a machine's network namespace.
    pub(crate) fn netns(&self, machine: &str) -> String {
        format!("{PREFIX}{}-{machine}", self.name)
    }

    /// File of a machine's network namespace.
    pub(crate) fn netns_path(&self, machine: &str) -> PathBuf {
        Path::new("/run/netns").join(self.netns(machine))
    }

    /// Name of the lab's cgroup in every hierarchy.
    pub(crate) fn cgroup(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    /// Certificates, keys, kubeconfigs.
    pub(crate) fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.conf")
    }

    /// State of one machine.
    pub(crate) fn machine_dir(&self, machine: &str) -> PathBuf {
        self.dir.join(machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> Spec {
        Spec {
            name: name.into(),
            nodes: 2,
            thin: 3,
            ipv6: true,
            cni: Cni::None,
            chart_values: vec![],
            chart_set: vec![],
            kube_proxy: ProxyMode::Off,
            dns: true,
            node_cidrs: false,
        }
    }

    #[test]
    fn addresses_do_not_collide() {
        let mut all: Vec<_> =
            Spec { nodes: 80, thin: 150, ..spec("x") }.machines().iter().map(Machine::v4).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((count, all.len()), (232, 232));
    }

    #[test]
    fn ipv6_reads_like_ipv4() {
        let n2 = &spec("x").nodes()[1];
        assert_eq!((n2.v4().to_string(), n2.v6().to_string()), ("172.31.0.12".into(), "fd00:31::12".into()));
    }

    #[test]
    fn bad_names_and_places_are_refused() {
        assert!(spec("a-b").check().is_err());
        assert!(spec("").check().is_err());
        assert!(spec("main").check().is_ok());
        assert!(Lab::new(Path::new("/run/lab"), "main").is_err());
        assert!(Lab::new(Path::new("/tmp/lab"), "main").is_ok());
    }
}
