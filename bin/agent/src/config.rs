//! Options of the agent: read once, checked once, then passed on as typed values.
//!
//! Sources, the later winning: defaults, `--config-dir` (one file per key), environment `CILIUM_*`, flags.
//! Options nobody here knows are ignored with a log line, since a ConfigMap is shared with the operator and with other
//! versions. Options that contradict each other are fatal, with a text that names both.

mod balancing;
pub(crate) mod chaining;
mod hubble;
mod keys;
mod read;
mod refusals;
#[cfg(test)]
mod refused;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use flow::redact::Redaction;
use ipnet::{Ipv4Net, Ipv6Net};
use metrics::Selection;
use policy::CidrMatch;

pub(crate) use chaining::Chaining;

use crate::tasks::drop_events;
pub(crate) use balancing::{Acceleration, Balancing, SocketLb};
pub(crate) use sources::{Options, gather};

use read::{address, flag, list, number, optional, optional_path, path, port, text, value};
use refusals::refusal;

/// Bounds of the tables of connections: less serves no node, more is a slip of the pen.
const TABLES: RangeInclusive<u32> = 1024..=1 << 24;

/// Where pod addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IpamMode {
    /// The operator gives each CiliumNode its pod CIDRs.
    ClusterPool,
    /// `Node.spec.podCIDRs`.
    Kubernetes,
}

impl fmt::Display for IpamMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IpamMode::ClusterPool => "cluster-pool",
            IpamMode::Kubernetes => "kubernetes",
        })
    }
}

/// When a pod's direction is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// When a policy selects it.
    Default,
    /// For every pod.
    Always,
    /// Never.
    Never,
}

/// How packets reach other nodes' pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Routing {
    /// VXLAN to this UDP port.
    Tunnel {
        /// Destination port, host order.
        port: u16,
    },
    /// The network carries pod addresses.
    Native {
        /// Install a route per node through its address.
        direct_routes: bool,
    },
}

/// Files and folders.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// State of the agent; endpoints live in `state/` below it.
    pub run_dir: PathBuf,
    /// Folder with `axoneme.o`.
    pub lib_dir: PathBuf,
    /// BPF file system.
    pub bpf_root: PathBuf,
    /// The agent's API.
    pub socket: PathBuf,
    /// Folder of CNI configurations.
    pub cni_conf_dir: PathBuf,
    /// Our CNI configuration, written when pods can be served.
    pub cni_conf: Option<PathBuf>,
    /// Log of the plugin.
    pub cni_log: PathBuf,
}

/// Flow visibility.
#[derive(Clone, Debug)]
pub(crate) struct Hubble {
    /// Unix socket.
    pub socket: PathBuf,
    /// TCP address.
    pub listen: Option<SocketAddr>,
    /// Certificates for that address; `None`: plain text.
    pub tls: Option<HubbleTls>,
    /// Flows kept.
    pub capacity: usize,
    /// Metrics made of flows.
    pub metrics: Option<HubbleMetrics>,
    /// A file that flows go to.
    pub export: Option<observer::Export>,
    /// File that lists more of those, and may change.
    pub exports: Option<PathBuf>,
    /// Where flows are kept beyond memory, and in how many bytes.
    pub history: Option<(PathBuf, u64)>,
    /// What flows must not say.
    pub redaction: Option<Redaction>,
    /// Which drops become Events.
    pub drop_events: Option<drop_events::Wanted>,
}

/// Metrics made of flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubbleMetrics {
    /// What is counted, as the option says it.
    pub list: Vec<String>,
    /// Where it is served.
    pub listen: SocketAddr,
    /// Also as OpenMetrics, which has exemplars.
    pub open_metrics: bool,
}

/// Certificates of the Hubble server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubbleTls {
    /// The server's own.
    pub identity: grpc::Identity,
    /// Files of the authorities of clients; none: anybody may ask.
    pub clients: Vec<PathBuf>,
}

/// Sizes of kernel tables, entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapSizes {
    /// Answered flows.
    pub flows: u32,
    /// Masquerade entries.
    pub nat: u32,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Name of this node's objects.
    pub node_name: String,
    /// Name of the cluster, part of every pod's labels.
    pub cluster_name: String,
    /// API server URL that overrides what the kubeconfig or service account says.
    pub api_server: Option<String>,
    /// Kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// IPv4 for pods.
    pub ipv4: bool,
    /// IPv6 for pods.
    pub ipv6: bool,
    /// How packets travel between nodes.
    pub routing: Routing,
    /// Destinations that see pods' own IPv4 addresses.
    pub native_v4: Option<Ipv4Net>,
    /// Destinations that see pods' own IPv6 addresses.
    pub native_v6: Option<Ipv6Net>,
    /// Pods' IPv4 packets to the world leave with the node's address.
    pub masquerade_v4: bool,
    /// Pods' IPv6 packets to the world leave with the node's address.
    pub masquerade_v6: bool,
    /// File that lists destinations that see pods' own addresses.
    pub ip_masq_agent: Option<PathBuf>,
    /// Source of pod addresses.
    pub ipam: IpamMode,
    /// When a direction is closed.
    pub enforcement: Enforcement,
    /// Policy drops are reported but pass.
    pub audit: bool,
    /// Whose addresses blocks of policies mean beside those outside.
    pub cidr_match: CidrMatch,
    /// Policies may select nodes by labels.
    pub node_selectors: bool,
    /// The labels by which they may, as patterns; none: all.
    pub node_labels: Vec<String>,
    /// Protocols that have no ports pass, as far as policy allows.
    pub extended_protocols: bool,
    /// A pod's source address is checked.
    pub source_check: bool,
    /// The node has a policy of its own.
    pub host_firewall: bool,
    /// How long a change of that may keep the node from the API server before it is rolled back.
    pub host_firewall_confirm: Duration,
    /// Who is denied is told so by ICMP.
    pub deny_response: bool,
    /// NetworkPolicy objects count.
    pub network_policy: bool,
    /// ClusterNetworkPolicy objects count.
    pub cluster_network_policy: bool,
    /// Folder with policies.
    pub policy_files: Option<PathBuf>,
    /// CiliumEndpoint objects are written.
    pub endpoint_objects: bool,
    /// Native devices; empty = find them.
    pub devices: Vec<String>,
    /// MTU of the underlay; `None` = as found.
    pub mtu: Option<u32>,
    /// Other CNI configurations are set aside.
    pub cni_exclusive: bool,
    /// Other plugins beside ours.
    pub chaining: Chaining,
    /// Packets of pods to elsewhere take the node's IP stack.
    pub host_legacy_routing: bool,
    /// Files and folders.
    pub paths: Paths,
    /// Flow visibility, if on.
    pub hubble: Option<Hubble>,
    /// Every packet is an event.
    pub trace_every_packet: bool,
    /// Table sizes.
    pub sizes: MapSizes,
    /// How services are served.
    pub balancing: Balancing,
    /// Port of /healthz.
    pub health_port: u16,
    /// The agent's own metrics.
    pub metrics: Option<crate::metrics::Wanted>,
    /// Port on which nodes ask each other whether they are there; `None`: they do not.
    pub cluster_health_port: Option<u16>,
    /// Log more.
    pub debug: bool,
}

impl Config {
    /// Checks `options` and turns them into a configuration.
    ///
    /// # Errors
    /// A value that does not parse, or options that contradict each other; the text names option, value and cure.
    pub(crate) fn parse(options: &Options) -> Result<Self> {
        let config = Config {
            node_name: options.get("k8s-node-name").to_owned(),
            cluster_name: cluster_name(options)?,
            api_server: text(options, "k8s-api-server"),
            kubeconfig: text(options, "k8s-kubeconfig-path").map(PathBuf::from),
            ipv4: flag(options, "enable-ipv4")?,
            ipv6: flag(options, "enable-ipv6")?,
            routing: routing(options)?,
            native_v4: optional(options, "ipv4-native-routing-cidr")?,
            native_v6: optional(options, "ipv6-native-routing-cidr")?,
            masquerade_v4: flag(options, "enable-ipv4")? && flag(options, "enable-ipv4-masquerade")?,
            masquerade_v6: flag(options, "enable-ipv6")? && flag(options, "enable-ipv6-masquerade")?,
            ip_masq_agent: ip_masq_agent(options)?,
            ipam: ipam(options)?,
            enforcement: enforcement(options)?,
            audit: flag(options, "policy-audit-mode")?,
            cidr_match: cidr_match(options)?,
            node_selectors: flag(options, "enable-node-selector-labels")?,
            node_labels: list(options.get("node-labels")),
            extended_protocols: flag(options, "enable-extended-ip-protocols")?,
            source_check: flag(options, "enable-source-ip-verification")?,
            host_firewall: flag(options, "enable-host-firewall")?,
            host_firewall_confirm: value::<api::GoDuration>(options, "host-firewall-confirm-timeout")?.0,
            deny_response: deny_response(options)?,
            network_policy: flag(options, "enable-k8s-networkpolicy")?,
            cluster_network_policy: flag(options, "enable-k8s-cluster-network-policy")?,
            policy_files: optional_path(options, "static-cnp-path")?,
            endpoint_objects: !flag(options, "disable-endpoint-crd")?,
            devices: devices(options)?,
            mtu: Some(value::<u32>(options, "mtu")?).filter(|mtu| *mtu != 0),
            cni_exclusive: flag(options, "cni-exclusive")?,
            chaining: chaining::parse(options)?,
            host_legacy_routing: flag(options, "enable-host-legacy-routing")?,
            paths: paths(options)?,
            hubble: hubble(options)?,
            trace_every_packet: aggregation_is_off(options)?,
            sizes: MapSizes {
                flows: number(options, "bpf-ct-global-tcp-max", TABLES)?,
                nat: number(options, "bpf-nat-global-max", TABLES)?,
            },
            balancing: balancing::parse(options)?,
            health_port: port(options, "agent-health-port")?,
            metrics: metrics(options)?,
            cluster_health_port: match flag(options, "enable-health-checking")? {
                true => Some(port(options, "cluster-health-port")?),
                false => None,
            },
            debug: flag(options, "debug")?,
        };
        config.check()?;
        Ok(config)
    }

    /// What kube-proxy's replacement does; `None`: kube-proxy serves the node.
    pub(crate) fn replacement(&self) -> Option<&Balancing> {
        Some(&self.balancing).filter(|balancing| balancing.replaces)
    }

    /// Whether both families are on; then the world is told apart by family.
    pub(crate) fn dual_stack(&self) -> bool {
        self.ipv4 && self.ipv6
    }

    /// Whether traffic between nodes is encapsulated.
    pub(crate) fn tunnel(&self) -> bool {
        matches!(self.routing, Routing::Tunnel { .. })
    }

    /// Whether packets of pods to elsewhere take the node's IP stack: another plugin's routes and rules are there.
    pub(crate) fn stack_routing(&self) -> bool {
        self.host_legacy_routing || self.chaining.mode.is_behind()
    }

    fn check(&self) -> Result<()> {
        if self.node_name.is_empty() {
            bail!(
                "the node's name is unknown: set the environment variable K8S_NODE_NAME (the chart takes it from spec.nodeName)"
            );
        }
        if !self.ipv4 && !self.ipv6 {
            return Err(refusal("families", &[]));
        }
        if matches!(self.mtu, Some(mtu) if !(1280..=65_535).contains(&mtu)) {
            bail!(
                "--mtu={} is outside 1280..65535, what IPv6 and the kernel allow: write a number in between, or 0 for that of the devices",
                self.mtu.unwrap_or_default()
            );
        }
        if self.host_firewall && self.host_firewall_confirm < Duration::from_secs(5) {
            bail!(
                "--host-firewall-confirm-timeout={} is too short to reach an API server in: use 5s or more",
                api::GoDuration(self.host_firewall_confirm)
            );
        }
        if self.ip_masq_agent.is_some() && !self.masquerade_v4 && !self.masquerade_v6 {
            return Err(refusal("ip-masq-agent", &[]));
        }
        chaining::check(self)?;
        self.check_native_cidr()
    }

    /// Native routing with masquerading must know which destinations are "inside" (the text is Cilium's); the list of the
    /// ip-masq-agent tells as well.
    fn check_native_cidr(&self) -> Result<()> {
        let native = !self.tunnel() && self.ip_masq_agent.is_none();
        for (missing, masquerade, family) in [
            (self.native_v4.is_none(), self.masquerade_v4, "4"),
            (self.native_v6.is_none(), self.masquerade_v6, "6"),
        ] {
            if native && masquerade && missing {
                let ipam = self.ipam.to_string();
                return Err(refusal("native-cidr", &[("family", family), ("ipam", &ipam)]));
            }
        }
        Ok(())
    }
}

fn routing(options: &Options) -> Result<Routing> {
    let direct_routes = flag(options, "auto-direct-node-routes")?;
    match options.get("routing-mode") {
        "tunnel" if direct_routes => Err(refusal("direct-routes", &[])),
        "tunnel" => match options.get("tunnel-protocol") {
            "vxlan" => Ok(Routing::Tunnel { port: port(options, "tunnel-port")? }),
            other => bail!("--tunnel-protocol={other} is not supported: use vxlan"),
        },
        "native" => Ok(Routing::Native { direct_routes }),
        other => bail!("--routing-mode={other} is unknown: use tunnel or native"),
    }
}

fn ip_masq_agent(options: &Options) -> Result<Option<PathBuf>> {
    if !flag(options, "enable-ip-masq-agent")? {
        return Ok(None);
    }
    let path = PathBuf::from(options.get("ip-masq-agent-config-path"));
    if !path.is_absolute() {
        bail!(
            "--ip-masq-agent-config-path={} is no absolute path: give the file with the list, normally \
             /etc/config/ip-masq-agent",
            path.display()
        );
    }
    Ok(Some(path))
}

fn ipam(options: &Options) -> Result<IpamMode> {
    match options.get("ipam") {
        "cluster-pool" => Ok(IpamMode::ClusterPool),
        "kubernetes" => Ok(IpamMode::Kubernetes),
        other => bail!("--ipam={other} is not supported: use cluster-pool or kubernetes"),
    }
}

fn enforcement(options: &Options) -> Result<Enforcement> {
    match options.get("enable-policy") {
        "default" => Ok(Enforcement::Default),
        "always" => Ok(Enforcement::Always),
        "never" => Ok(Enforcement::Never),
        other => bail!("--enable-policy={other} is unknown: use default, always or never"),
    }
}

fn cidr_match(options: &Options) -> Result<CidrMatch> {
    let mut meant = CidrMatch::default();
    for name in list(options.get("policy-cidr-match-mode")) {
        let Some(more) = meant.with(&name) else {
            bail!("--policy-cidr-match-mode={name} is unknown: use nodes, pods, both or nothing");
        };
        meant = more;
    }
    Ok(meant)
}

fn deny_response(options: &Options) -> Result<bool> {
    match options.get("policy-deny-response") {
        "none" => Ok(false),
        "icmp" => Ok(true),
        other => bail!("--policy-deny-response={other} is unknown: use none or icmp"),
    }
}

fn aggregation_is_off(options: &Options) -> Result<bool> {
    match options.get("monitor-aggregation") {
        "none" | "disabled" => Ok(true),
        "lowest" | "low" | "medium" | "max" | "maximum" => Ok(false),
        other => bail!("--monitor-aggregation={other} is unknown: use none or medium"),
    }
}

fn paths(options: &Options) -> Result<Paths> {
    Ok(Paths {
        run_dir: path(options, "state-dir")?,
        lib_dir: path(options, "lib-dir")?,
        bpf_root: path(options, "bpf-root")?,
        socket: path(options, "socket-path")?,
        cni_conf_dir: path(options, "cni-conf-dir")?,
        cni_conf: optional_path(options, "write-cni-conf-when-ready")?,
        cni_log: path(options, "cni-log-file")?,
    })
}

/// Part of every pod's labels, and of the names under which nodes are known.
fn cluster_name(options: &Options) -> Result<String> {
    let name = options.get("cluster-name").trim();
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (1..=32).contains(&name.len()) && name.starts_with(letter) && name.ends_with(letter);
    ensure!(
        fits && name.chars().all(|c| letter(c) || c == '-'),
        "--cluster-name={name} is no name of a cluster: use at most 32 of a-z, 0-9 and '-', the first and the last no '-'"
    );
    Ok(name.to_owned())
}

fn devices(options: &Options) -> Result<Vec<String>> {
    let names = list(options.get("devices"));
    for name in &names {
        ensure!(
            name.len() <= 15 && !name.contains('/'),
            "--devices={name}: the kernel has no device of such a name; use names as `ip link` shows them, such as eth0"
        );
    }
    Ok(names)
}

fn metrics(options: &Options) -> Result<Option<crate::metrics::Wanted>> {
    let Some(listen) = address(options, "prometheus-serve-addr")? else { return Ok(None) };
    let selection = Selection::parse(options.get("metrics").split_whitespace()).map_err(|word| {
        anyhow!("option --metrics: {word} begins with neither + nor -: write -{word} to leave a metric out")
    })?;
    Ok(Some(crate::metrics::Wanted { listen, selection }))
}

fn hubble(options: &Options) -> Result<Option<Hubble>> {
    if !flag(options, "enable-hubble")? {
        return Ok(None);
    }
    let listen = address(options, "hubble-listen-address")?;
    Ok(Some(Hubble {
        socket: path(options, "hubble-socket-path")?,
        tls: if listen.is_some() { hubble_tls(options)? } else { None },
        listen,
        capacity: number(options, "hubble-event-buffer-capacity", 1..=65_535)?,
        metrics: hubble_metrics(options)?,
        export: hubble_export(options)?,
        exports: optional_path(options, "hubble-flowlogs-config-path")?,
        history: hubble::history(options)?,
        redaction: hubble::redaction(options)?,
        drop_events: hubble::drop_events(options)?,
    }))
}

fn hubble_export(options: &Options) -> Result<Option<observer::Export>> {
    let name = "hubble-export-file-path";
    let file = match options.get(name) {
        "" => return Ok(None),
        "stdout" => PathBuf::from("stdout"),
        _ => path(options, name)?,
    };
    let filters =
        |name: &str| crate::exports::filters(options.get(name)).with_context(|| format!("option --{name}"));
    let allow = filters("hubble-export-allowlist")?;
    let deny = filters("hubble-export-denylist")?;
    let mask = list(options.get("hubble-export-fieldmask"));
    let megabytes: u64 = number(options, "hubble-export-file-max-size-mb", 1..=1 << 20)?;
    let backups = value(options, "hubble-export-file-max-backups")?;
    let export = crate::exports::export(file, allow, deny, mask, megabytes, backups, None);
    export.map(Some).context("options --hubble-export-*")
}

fn hubble_metrics(options: &Options) -> Result<Option<HubbleMetrics>> {
    let Some(listen) = address(options, "hubble-metrics-server")? else { return Ok(None) };
    let list: Vec<String> = options.get("hubble-metrics").split_whitespace().map(str::to_owned).collect();
    flow_metrics::Metrics::parse(list.iter().map(String::as_str)).context("option --hubble-metrics")?;
    Ok(Some(HubbleMetrics { list, listen, open_metrics: flag(options, "enable-hubble-open-metrics")? }))
}

/// Flows tell much about a cluster: in plain text only where somebody asked for that.
fn hubble_tls(options: &Options) -> Result<Option<HubbleTls>> {
    if flag(options, "hubble-disable-tls")? {
        return Ok(None);
    }
    let file = |name: &str| {
        text(options, name).map(PathBuf::from).with_context(|| {
            format!(
                "--hubble-listen-address={} needs --{name}: give the file, or set --hubble-disable-tls=true to serve \
                 flows in plain text to everybody who reaches that port",
                options.get("hubble-listen-address")
            )
        })
    };
    let identity =
        grpc::Identity { certificate: file("hubble-tls-cert-file")?, key: file("hubble-tls-key-file")? };
    let clients = list(options.get("hubble-tls-client-ca-files")).into_iter().map(PathBuf::from).collect();
    Ok(Some(HubbleTls { identity, clients }))
}
