//! Options of the service load balancer.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use abi::service::MAGLEV_SIZES;
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ipnet::IpNet;
use services::{Algorithm, ForwardingMode, NoBackend, Settings};

use super::{Options, address, flag, value};

/// Bounds of `bpf-lb-map-max`: less serves no cluster, more is a slip of the pen.
const MAP_SIZES: RangeInclusive<u32> = 1024..=1 << 24;

/// Who gets a backend's address already when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SocketLb {
    /// Nobody: packets are translated.
    Off,
    /// Processes in the node's network namespace; pods' packets are translated.
    Host,
    /// All processes of the node.
    All,
}

/// How services are served.
#[derive(Clone, Debug)]
pub(crate) struct Balancing {
    /// All of kube-proxy's work is ours; otherwise kube-proxy serves the node, and pods' connections to cluster IPs are
    /// ours, which pass its rules by.
    pub replaces: bool,
    /// What holds for all services; the node's zone is not known yet.
    pub settings: Settings,
    /// Whose sockets are translated.
    pub socket: SocketLb,
    /// Nobody may bind a node port.
    pub bind_protection: bool,
    /// Whether services are sped up by XDP.
    pub acceleration: Acceleration,
    /// Where kube-proxy's `/healthz` is served.
    pub healthz: Option<SocketAddr>,
    /// `spec.healthCheckNodePort` is served.
    pub health_check_node_port: bool,
    /// Only services with this label `service.kubernetes.io/service-proxy-name` are ours; empty: those without it.
    pub proxy_name: String,
    /// The node's cgroup v2 hierarchy, to attach to.
    pub cgroup_root: PathBuf,
    /// What kube-proxy has left is removed.
    pub cleanup: bool,
    /// Local redirect policies are followed.
    pub redirects: bool,
    /// Entries of each service table, if they were set.
    pub map_max: Option<u32>,
}

impl Balancing {
    /// Tables of the kernel that are to have other sizes than by default. [`Settings`] knows of them where it must.
    pub(crate) fn table_sizes(&self) -> impl Iterator<Item = (String, u32)> {
        let tables = [
            abi::maps::FRONTENDS,
            abi::maps::BACKENDS,
            abi::maps::MEMBERS,
            abi::maps::MAGLEV,
            abi::maps::AFFINITY,
            abi::maps::SOURCE_RANGES,
        ];
        let max = self.map_max;
        tables.into_iter().filter_map(move |table| Some((table.to_owned(), max?)))
    }
}

/// Whether packets that only pass through this node leave it before the stack (XDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Acceleration {
    /// No.
    #[default]
    Disabled,
    /// In the drivers of all native devices, which must be able to.
    Native,
    /// In those drivers that are able to.
    BestEffort,
    /// Behind the driver: slower, but everywhere.
    Generic,
}

/// The load balancer's options.
pub(super) fn parse(options: &Options) -> Result<Balancing> {
    let replaced = flag(options, "kube-proxy-replacement")?;
    let socket = socket(options, replaced)?;
    if !replaced {
        return beside(options);
    }
    let cgroup_root = PathBuf::from(options.get("cgroup-root"));
    if !cgroup_root.is_absolute() {
        bail!(
            "--cgroup-root={} is no absolute path: sockets are translated by programs at the node's cgroup v2 hierarchy; \
             give the folder where it is mounted",
            cgroup_root.display()
        );
    }
    let map_max = map_max(options)?;
    Ok(Balancing {
        replaces: true,
        settings: settings(options, map_max)?,
        socket,
        bind_protection: flag(options, "node-port-bind-protection")?,
        acceleration: acceleration(options)?,
        healthz: address(options, "kube-proxy-replacement-healthz-bind-address")?,
        health_check_node_port: flag(options, "enable-health-check-nodeport")?,
        proxy_name: proxy_name(options)?,
        cgroup_root,
        cleanup: flag(options, "cleanup-kube-proxy")?,
        redirects: flag(options, "enable-local-redirect-policy")?,
        map_max,
    })
}

/// What is ours beside kube-proxy. The options of its replacement mean nothing then.
fn beside(options: &Options) -> Result<Balancing> {
    let map_max = map_max(options)?;
    let defaults = Settings::new(options.get("k8s-node-name"));
    Ok(Balancing {
        replaces: false,
        settings: Settings {
            v4: flag(options, "enable-ipv4")?,
            v6: flag(options, "enable-ipv6")?,
            only_cluster_ips: true,
            // As kube-proxy has it: clients outside may use them where routes lead here.
            external_cluster_ip: true,
            topology: true,
            redirect_cidrs: redirect_cidrs(options)?,
            backend_slots: map_max.unwrap_or(defaults.backend_slots),
            maglev_slots: map_max.unwrap_or(defaults.maglev_slots),
            ..defaults
        },
        socket: SocketLb::Off,
        bind_protection: false,
        acceleration: Acceleration::Disabled,
        healthz: None,
        health_check_node_port: false,
        proxy_name: proxy_name(options)?,
        cgroup_root: PathBuf::from(options.get("cgroup-root")),
        cleanup: false,
        redirects: flag(options, "enable-local-redirect-policy")?,
        map_max,
    })
}

fn socket(options: &Options, replaced: bool) -> Result<SocketLb> {
    let on = match options.get("bpf-lb-sock").trim() {
        "" => replaced,
        _ => flag(options, "bpf-lb-sock")?,
    };
    let host_only = flag(options, "bpf-lb-sock-hostns-only")?;
    match (on, host_only) {
        (true, _) if !replaced => bail!(
            "--bpf-lb-sock=true cannot be used with --kube-proxy-replacement=false: kube-proxy serves the services, for sockets \
             too; set --kube-proxy-replacement=true or drop --bpf-lb-sock"
        ),
        (false, true) if replaced => bail!(
            "--bpf-lb-sock-hostns-only=true cannot be used with --bpf-lb-sock=false: without socket translation there is none to \
             confine to the host; set --bpf-lb-sock=true or drop --bpf-lb-sock-hostns-only"
        ),
        (false, _) => Ok(SocketLb::Off),
        (true, true) => Ok(SocketLb::Host),
        (true, false) => Ok(SocketLb::All),
    }
}

fn settings(options: &Options, map_max: Option<u32>) -> Result<Settings> {
    let defaults = Settings::new(options.get("k8s-node-name"));
    Ok(Settings {
        v4: flag(options, "enable-ipv4")?,
        v6: flag(options, "enable-ipv6")?,
        node_port_range: node_port_range(options)?,
        algorithm: algorithm(options)?,
        forwarding: forwarding(options)?,
        maglev_seed: maglev_seed(options)?,
        maglev_size: maglev_size(options)?,
        external_cluster_ip: flag(options, "bpf-lb-external-clusterip")?,
        source_ranges_all_types: flag(options, "bpf-lb-source-range-all-types")?,
        no_backend: no_backend(options)?,
        topology: flag(options, "enable-service-topology")?,
        redirect_cidrs: redirect_cidrs(options)?,
        backend_slots: map_max.unwrap_or(defaults.backend_slots),
        maglev_slots: map_max.unwrap_or(defaults.maglev_slots),
        ..defaults
    })
}

fn algorithm(options: &Options) -> Result<Algorithm> {
    match options.get("bpf-lb-algorithm") {
        "random" => Ok(Algorithm::Random),
        "maglev" => Ok(Algorithm::Maglev),
        other => bail!("--bpf-lb-algorithm={other} is unknown: use random or maglev"),
    }
}

fn forwarding(options: &Options) -> Result<ForwardingMode> {
    match options.get("bpf-lb-mode") {
        "snat" => Ok(ForwardingMode::Snat),
        mode @ ("dsr" | "hybrid") if options.get("routing-mode") != "native" => {
            let fields = [("mode", mode), ("routing", options.get("routing-mode"))];
            Err(super::refusals::refusal("load-balancer-mode", &fields))
        }
        "dsr" => Ok(ForwardingMode::Dsr),
        "hybrid" => Ok(ForwardingMode::Hybrid),
        other => bail!("--bpf-lb-mode={other} is unknown: use snat, dsr or hybrid"),
    }
}

fn acceleration(options: &Options) -> Result<Acceleration> {
    match options.get("bpf-lb-acceleration") {
        "disabled" => Ok(Acceleration::Disabled),
        "native" => Ok(Acceleration::Native),
        "best-effort" => Ok(Acceleration::BestEffort),
        "testing-only" => Ok(Acceleration::Generic),
        other => bail!(
            "--bpf-lb-acceleration={other} is unknown: use disabled, native, best-effort or testing-only"
        ),
    }
}

fn no_backend(options: &Options) -> Result<NoBackend> {
    match options.get("service-no-backend-response") {
        "reject" => Ok(NoBackend::Reject),
        "drop" => Ok(NoBackend::Drop),
        other => bail!("--service-no-backend-response={other} is unknown: use reject or drop"),
    }
}

/// "30000,32767", as Cilium has it; a range written with a hyphen, as kube-apiserver has it, is taken as well.
fn node_port_range(options: &Options) -> Result<RangeInclusive<u16>> {
    let raw = options.get("node-port-range").trim();
    let parts = raw.split_once([',', '-']).map(|(low, high)| (low.trim().parse(), high.trim().parse()));
    match parts {
        Some((Ok(low), Ok(high))) if 0 < low && low <= high => Ok(low..=high),
        _ => bail!(
            "--node-port-range={raw} is no range of ports: give the first and the last, such as 30000,32767"
        ),
    }
}

fn maglev_size(options: &Options) -> Result<u32> {
    let size: u32 = value(options, "bpf-lb-maglev-table-size")?;
    if !MAGLEV_SIZES.contains(&size) {
        bail!(
            "--bpf-lb-maglev-table-size={size} is no size of a table: use one of {}, about a hundred times the backends of the \
             largest service",
            MAGLEV_SIZES.map(|size| size.to_string()).join(", ")
        );
    }
    Ok(size)
}

/// A list that is set and cannot be read opens nothing.
fn redirect_cidrs(options: &Options) -> Result<Vec<IpNet>> {
    let raw = options.get("lrp-address-matcher-cidrs");
    let parts = raw.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            part.parse().map(|net: IpNet| net.trunc()).with_context(|| {
                format!("--lrp-address-matcher-cidrs: {part} is no prefix: write a list such as 169.254.0.0/16,192.0.2.7/32")
            })
        })
        .collect()
}

/// 12 bytes in base64, all of which count.
fn maglev_seed(options: &Options) -> Result<u64> {
    let raw = options.get("bpf-lb-maglev-hash-seed").trim();
    let refusal = || {
        format!(
            "--bpf-lb-maglev-hash-seed={raw} is not base64 of 12 bytes: make one with \
             head -c12 /dev/urandom | base64 -w0, the same for all nodes"
        )
    };
    let bytes = BASE64_STANDARD.decode(raw).with_context(refusal)?;
    let bytes: [u8; 12] = bytes.try_into().ok().with_context(refusal)?;
    Ok(bytes.iter().enumerate().fold(0, |seed, (i, byte)| seed ^ (u64::from(*byte) << (8 * (i % 8)))))
}

fn proxy_name(options: &Options) -> Result<String> {
    let name = options.get("k8s-service-proxy-name").trim();
    let letter = |c: char| c.is_ascii_alphanumeric();
    let any = |c: char| letter(c) || matches!(c, '-' | '_' | '.');
    let is_label =
        name.len() <= 63 && name.starts_with(letter) && name.ends_with(letter) && name.chars().all(any);
    if !name.is_empty() && !is_label {
        bail!(
            "--k8s-service-proxy-name={name} cannot be the value of a label: use at most 63 letters, digits, '-', '_' and '.', the \
             first and the last a letter or a digit"
        );
    }
    Ok(name.to_owned())
}

fn map_max(options: &Options) -> Result<Option<u32>> {
    let max = value(options, "bpf-lb-map-max")?;
    if max != 0 && !MAP_SIZES.contains(&max) {
        bail!(
            "--bpf-lb-map-max={max} is outside {}..{}: write a number in between, or 0 for the default size of each table",
            MAP_SIZES.start(),
            MAP_SIZES.end()
        );
    }
    Ok(Some(max).filter(|max| *max != 0))
}
