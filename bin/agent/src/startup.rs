//! From nothing, or from what the last agent left behind, to a state that can be run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use abi::{Addr, NodeConfig, config as features};
use agent_core::{Attachment, EndpointSpec, Journal, PodKey, Settings, State, prefix_key};
use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use loader::{LoadOptions, Object};
use netlink::Netlink;
use policy::EnforcementMode;
use types::LabelFilter;

use crate::config::{Config, Enforcement, Routing, SocketLb};
use crate::devices::{Devices, HOST_DEVICE};
use crate::kube_proxy;
use crate::node::Own;
use crate::restore::EndpointFiles;

/// The ports that masquerading takes: above what NodePort services use.
const NAT_PORTS: (u32, u32) = (32_768, 65_535);

/// The source with which a pod meets itself through a service (Cilium's `ipv4-service-loopback-address`).
const LOOPBACK_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);
/// The same for IPv6.
const LOOPBACK_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Bytes of the event ring. The reader maps it twice over and all of it counts as this process's memory; 11,000 events
/// are more than come while the reader is away from its CPU.
const EVENT_RING: u32 = 2 << 20;

/// What the kernel must offer, asked before anything is touched.
///
/// # Errors
/// Something is missing; the text says what and how to cure it.
pub(crate) fn preflight(config: &Config) -> Result<()> {
    let report = loader::preflight(&config.paths.bpf_root);
    if !report.is_ok() {
        bail!("this node lacks what the agent needs:\n{report}");
    }
    for feature in report.features.iter().filter(|f| f.problem.is_some()) {
        tracing::warn!(feature = feature.name, problem = feature.problem, "missing, but not needed");
    }
    Ok(())
}

/// The router addresses found on the node, to be kept while they fit.
pub(crate) fn present_routers(netlink: &mut Netlink) -> Result<Vec<IpAddr>> {
    let Some(host) = netlink.find_link(HOST_DEVICE)? else { return Ok(Vec::new()) };
    let addresses = netlink.addresses(Some(host.index))?.into_iter().map(|a| a.net.addr());
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    Ok(addresses.filter(|ip| !link_local(ip)).collect())
}

/// Loads the programs, with this node's facts frozen into them, over the maps that are pinned.
///
/// # Errors
/// The object cannot be read, or the kernel refuses it.
pub(crate) fn load(config: &Config, own: &Own, devices: &Devices) -> Result<Arc<Object>> {
    // Beside kube-proxy too: these programs are still there when the next ones' services are written.
    let takeover = config.replacement().is_none() || kube_proxy::was_here(&config.paths.run_dir);
    let path = config.paths.lib_dir.join("axoneme.o");
    let bytes = std::fs::read(&path).with_context(|| {
        format!("cannot read the kernel programs {}: are they in the image (--lib-dir)?", path.display())
    })?;
    let facts = facts(config, own, devices, takeover);
    let mut sizes = BTreeMap::from([
        (abi::maps::FLOWS.to_owned(), config.sizes.flows),
        (abi::maps::NAT.to_owned(), config.sizes.nat),
        (abi::maps::BACKENDS.to_owned(), abi::maps::size::BACKENDS),
        (abi::maps::EVENTS.to_owned(), EVENT_RING),
    ]);
    sizes.extend(config.balancing.table_sizes());
    let options = LoadOptions { bpffs: &config.paths.bpf_root, config: &facts, sizes };
    let object = Object::load(&bytes, &options).context("the kernel programs cannot be loaded")?;
    for program in object.programs() {
        let stats = program.stats();
        tracing::debug!(program = program.name(), verified = stats.verified, load = ?stats.load, "loaded");
    }
    Ok(Arc::new(object))
}

fn facts(config: &Config, own: &Own, devices: &Devices, takeover: bool) -> NodeConfig {
    let of = |addresses: &[IpAddr], v4: bool| {
        addresses.iter().copied().find(|a| a.is_ipv4() == v4).map_or(Addr::UNSPECIFIED, Addr::from)
    };
    let native_v4 = config.native_v4.map(|c| prefix_key(IpNet::V4(c)));
    let native_v6 = config.native_v6.map(|c| prefix_key(IpNet::V6(c)));
    let world = |v4: bool| match (config.dual_stack(), v4) {
        (false, _) => abi::identity::WORLD,
        (true, true) => abi::identity::WORLD_IPV4,
        (true, false) => abi::identity::WORLD_IPV6,
    };
    let replacement = config.replacement();
    let range = replacement.map(|b| &b.settings.node_port_range);
    // Beside kube-proxy no port is one of these.
    let (first_port, last_port) = range.map_or((1, 0), |range| (*range.start(), *range.end()));
    let socket = config.balancing.socket;
    let switches = [
        (true, features::SERVICES),
        (takeover, features::TAKEOVER),
        // Single services may ask for it whatever the rule is.
        (replacement.is_some() && !config.tunnel(), features::DSR),
        (socket != SocketLb::Off, features::SOCKET_LB),
        (socket == SocketLb::Host, features::SOCKET_LB_HOST_ONLY),
        (config.balancing.bind_protection, features::BIND_PROTECTION),
        (config.tunnel(), features::TUNNEL),
        (config.masquerade_v4, features::MASQUERADE_V4),
        (config.masquerade_v6, features::MASQUERADE_V6),
        (config.audit, features::POLICY_AUDIT),
        (config.source_check, features::SOURCE_CHECK),
        (config.extended_protocols, features::EXTENDED_PROTOCOLS),
        (config.stack_routing(), features::STACK_ROUTING),
        (config.host_firewall, features::HOST_FIREWALL),
        (config.deny_response, features::DENY_RESPONSE),
    ];
    NodeConfig {
        node_v4: of(&own.node.underlay, true),
        node_v6: of(&own.node.underlay, false),
        router_v4: of(&own.node.routers, true),
        router_v6: of(&own.node.routers, false),
        native_v4: native_v4.map_or(Addr::UNSPECIFIED, |k| k.addr),
        native_v6: native_v6.map_or(Addr::UNSPECIFIED, |k| k.addr),
        native_v4_len: native_v4.map_or(0, |k| k.len),
        native_v6_len: native_v6.map_or(0, |k| k.len),
        host_ifindex: devices.host.index,
        tunnel_ifindex: devices.tunnel.as_ref().map_or(0, |l| l.index),
        native_mtu: devices.mtu,
        tunnel_mtu: devices.tunnel_mtu,
        nat_port_min: NAT_PORTS.0,
        nat_port_max: NAT_PORTS.1,
        world_v4: world(true),
        world_v6: world(false),
        tunnel_port: match config.routing {
            Routing::Tunnel { port } => u32::from(port),
            Routing::Native { .. } => 0,
        },
        node_port_min: u32::from(first_port),
        node_port_max: u32::from(last_port),
        loopback_v4: IpAddr::V4(LOOPBACK_V4).into(),
        loopback_v6: IpAddr::V6(LOOPBACK_V6).into(),
        maglev_size: config.balancing.settings.maglev_size,
        host_cookie: netlink::netns_cookie().unwrap_or_default(),
        features: switches.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit),
        host_mac: devices.host.mac.unwrap_or_default(),
        ..NodeConfig::default()
    }
}

/// The control state of this node, with the numbers of prefixes that the kernel knows from the last run.
///
/// # Errors
/// The tables cannot be read.
pub(crate) fn state(config: &Config, own: Own, journal: Journal, object: &Object) -> Result<State> {
    let settings = Settings {
        node: own.node,
        cluster: config.cluster_name.clone(),
        ipv4: config.ipv4,
        ipv6: config.ipv6,
        tunnel: config.tunnel(),
        direct_routes: matches!(config.routing, Routing::Native { direct_routes: true }),
        enforcement: match config.enforcement {
            Enforcement::Default => EnforcementMode::Default,
            Enforcement::Always => EnforcementMode::Always,
            Enforcement::Never => EnforcementMode::Never,
        },
        audit: config.audit,
        cidr_match: config.cidr_match,
        node_selectors: config.node_selectors,
        node_labels: LabelFilter::bare(config.node_labels.iter().map(String::as_str))
            .context("the option node-labels cannot be used")?,
        host_firewall: if config.host_firewall { object.config().host_ifindex } else { 0 },
    };
    let mut state = State::new(settings, LabelFilter::new([])?, own.ipam);
    state.restore_host(journal, own.labels);
    let now = loader::monotonic_ns();
    let prefixes = object.maps.prefixes.dump().context("cannot read the prefixes of the last run")?;
    for (key, entry) in prefixes {
        if let Some(prefix) = agent_core::key_prefix(&key) {
            state.adopt_cidr(prefix, entry.identity, now);
        }
    }
    for (address, entry) in object.maps.hosts.dump().context("cannot read the addresses of the last run")? {
        if abi::identity::is_local_scope(entry.identity) {
            state.adopt_cidr(IpNet::from(IpAddr::from(address)), entry.identity, now);
        }
    }
    Ok(state)
}

/// A pod that the kernel knows and no file tells of; who it is follows from its address once the pods are listed.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    spec: EndpointSpec,
    attachment: Attachment,
    identity: u32,
}

impl Orphan {
    /// Gives the endpoint back to the state, as the pod that has its address.
    pub(crate) fn adopt(mut self, state: &mut State) {
        let addresses: Vec<IpAddr> = self.spec.addresses().collect();
        let pod = state.pods().find(|p| !p.host_network && p.addresses.iter().any(|a| addresses.contains(a)));
        let Some(pod) = pod else {
            tracing::warn!(
                endpoint = self.spec.id,
                ?addresses,
                "no pod has the address of a link without a file; leaving it to the runtime"
            );
            return;
        };
        self.spec.pod = pod.key.clone();
        self.spec.pod_uid = pod.uid.clone();
        let labels = state.labels_of(self.identity).unwrap_or_default();
        tracing::info!(endpoint = self.spec.id, pod = %self.spec.pod, "adopted a pod through its address");
        if let Err(error) = state.restore(self.spec, Some(self.attachment), self.identity, labels) {
            tracing::warn!(error = %error, "the address of an adopted pod");
        }
    }
}

/// Takes back the endpoints of the last run: from files, and from the kernel where there is none.
///
/// # Errors
/// Files or tables cannot be read at all.
pub(crate) fn restore(
    state: &mut State,
    files: &EndpointFiles,
    object: &Object,
    netlink: &mut Netlink,
) -> Result<Vec<Orphan>> {
    let found = files.read()?;
    for (path, reason) in &found.corrupt {
        tracing::error!(set_aside = %path.display(), reason, "the state of an endpoint cannot be read; looking for the pod in the kernel's tables");
    }
    let mut known = BTreeSet::new();
    for stored in found.endpoints {
        let (spec, attachment, identity, labels) = stored.into_parts();
        let id = spec.id;
        let Some(attachment) = still_there(netlink, &spec, attachment)? else {
            tracing::info!(endpoint = id, pod = %spec.pod, "its link is gone, and with it the endpoint");
            files.remove(id)?;
            continue;
        };
        known.insert(id);
        if let Err(error) = state.restore(spec, Some(attachment), identity, labels) {
            tracing::warn!(endpoint = id, error = %error, "a restored pod keeps its address, which is not one to give out");
        }
    }
    orphans(&known, object, netlink)
}

/// The link as it is now: indexes change when a node starts anew, names do not.
fn still_there(
    netlink: &mut Netlink,
    spec: &EndpointSpec,
    attachment: Option<Attachment>,
) -> Result<Option<Attachment>> {
    let Some(attachment) = attachment else { return Ok(None) };
    let link = netlink.find_link(&spec.host_ifname).context("cannot look for the link of a pod")?;
    Ok(link.map(|link| Attachment { host_ifindex: link.index, ..attachment }))
}

fn orphans(known: &BTreeSet<u16>, object: &Object, netlink: &mut Netlink) -> Result<Vec<Orphan>> {
    let mut orphans = Vec::new();
    for (ifindex, row) in object.maps.pods.dump().context("cannot read the pods of the last run")? {
        // The node itself is no pod.
        if known.contains(&row.endpoint) || row.endpoint == 0 || row.identity == abi::identity::HOST {
            continue;
        }
        let Some(link) = netlink.find_link_by_index(ifindex)? else { continue };
        let v4 = (!row.v4.is_unspecified()).then(|| IpAddr::from(row.v4));
        let v6 = (!row.v6.is_unspecified()).then(|| IpAddr::from(row.v6));
        let name_is_ours = link.name.starts_with("lxc");
        let spec = EndpointSpec {
            id: row.endpoint,
            // The runtime's number is lost; the endpoint goes when its link goes.
            container_id: format!("adopted-{}", row.endpoint),
            ifname: "eth0".to_owned(),
            netns: String::new(),
            host_ifname: link.name,
            pod: PodKey::default(),
            pod_uid: String::new(),
            v4: v4.and_then(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None }),
            v6: v6.and_then(|ip| if let IpAddr::V6(v6) = ip { Some(v6) } else { None }),
            // Ours have names of our own.
            foreign: !name_is_ours,
        };
        let attachment = Attachment { host_ifindex: ifindex, host_mac: row.host_mac, mac: row.mac };
        orphans.push(Orphan { spec, attachment, identity: row.identity });
    }
    Ok(orphans)
}

/// Works off the releases that came while no agent listened.
pub(crate) fn drain_releases(run_dir: &Path, state: &mut State) {
    let folder = run_dir.join("deleteQueue");
    let queue = match api::delete_queue::read(&folder) {
        Ok(queue) => queue,
        Err(error) => return tracing::error!(error = crate::text(&error), "missed releases cannot be read"),
    };
    for (file, release) in queue {
        match release {
            Some(release) => {
                let id = state.remove(&release.container_id, &release.ifname);
                tracing::info!(
                    container = release.container_id,
                    endpoint = id,
                    "released a pod that went while no agent listened"
                );
            }
            None => tracing::warn!(file = %file.display(), "a missed release makes no sense and is dropped"),
        }
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(file = %file.display(), %error, "a worked-off release cannot be removed");
        }
    }
}
