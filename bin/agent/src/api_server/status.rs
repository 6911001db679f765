//! How the agent is.

use api::GoDuration;
use api::health::HealthStatus;
use api::node::Node;
use api::status::{
    BandwidthManager, BigTcp, BpfMap, BpfMaps, ClockSource, Cluster, Encryption, Families, Health,
    HostFirewall, Hubble, HubbleObserver, IdentityRange, Ipam, Kubernetes, Masquerading, Mode, ModulesHealth,
    NodeMonitor, Routing, Srv6, State as Part, Status, Version,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ipam::Family;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Answer, Context, Refused, devices, proxy_replacement};
use crate::config::Config;
use crate::owner::Owner;

/// A watch that is silent for longer is worth a warning.
const SILENCE: Duration = Duration::from_secs(180);

/// Bytes of a page, as the text of the event ring counts.
const PAGE: u32 = 4096;

/// Whether pods can be served.
pub(super) async fn health(State(context): State<Context>) -> Answer<Health> {
    if *context.ready.borrow() {
        return Ok(Json(Health { state: "Ok".to_owned(), msg: String::new() }));
    }
    let waiting = waiting(&context);
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, format!("the agent is starting: {waiting}")))
}

fn waiting(context: &Context) -> String {
    let missing: Vec<String> = context
        .watches
        .iter()
        .map(kube_watch::Watched::health)
        .filter(|h| !h.synced)
        .map(|h| h.kind)
        .collect();
    if missing.is_empty() {
        "writing the kernel's tables".to_owned()
    } else {
        format!("waiting for {}", missing.join(", "))
    }
}

/// What runs.
pub(super) async fn version() -> Json<Version> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: String::new(),
        platform: format!("linux/{arch}"),
    })
}

/// Everything at a glance.
pub(super) async fn status(State(context): State<Context>) -> Answer<Status> {
    let config = context.config.clone();
    let cluster = context.fixed.cluster.clone();
    let own_name = format!("{cluster}/{}", config.node_name);
    let mut status = context.handle.ask(move |owner| of_owner(owner, &config, own_name)).await?;
    let devices = devices::native(&context.handle).await?;
    let mut replacement = proxy_replacement::report(&context.config, &devices);
    if let Some(found) = &context.kube_proxy {
        replacement.leftovers = crate::kube_proxy::phrases(&found.borrow());
    }
    if let Some(support) = &context.support {
        replacement.kernel = support.all().map(proxy_replacement::need).to_vec();
    }
    status.kube_proxy_replacement = Some(replacement);
    status.hubble = Some(hubble(&context));
    status.controllers = context.controllers.list();
    let health = if context.probes.is_some() { "Ok" } else { "Disabled" };
    if let Some(cluster) = &mut status.cluster {
        cluster.cilium_health = Some(part(health, ""));
    }
    status.kubernetes = Some(kubernetes(&context));
    status.cilium = Some(own(&context, &mut status));
    status.cni_file = Some(cni_file(&context.config));
    status.modules_health = Some(modules(&context, &status));
    Ok(Json(status))
}

/// The last round of probes between nodes.
pub(super) async fn cluster_health(State(context): State<Context>) -> Answer<HealthStatus> {
    Ok(Json(HealthStatus::clone(&*probes(&context)?.last())))
}

/// A round that is made for this question.
pub(super) async fn probe_cluster(State(context): State<Context>) -> Answer<HealthStatus> {
    let round = probes(&context)?.round().await;
    let ending = || Refused::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
    Ok(Json(HealthStatus::clone(&*round.ok_or_else(ending)?)))
}

fn probes(context: &Context) -> Result<&crate::probes::Probes, Refused> {
    context.probes.as_ref().ok_or_else(|| {
        Refused::new(StatusCode::NOT_FOUND, "nodes do not ask each other whether they are there")
            .cure("set enable-health-checking=true (Helm: healthChecking)")
    })
}

/// What an agent is made of: watches, jobs, tables, and itself.
fn modules(context: &Context, status: &Status) -> ModulesHealth {
    let now = Instant::now();
    let watches = context.watches.iter().map(kube_watch::Watched::health);
    let silent = watches.filter(|h| !h.connected || h.silence(now).is_some_and(|s| s > SILENCE)).count();
    let failing = status.controllers.iter().filter(|c| c.status.consecutive_failure_count > 0).count();
    let shortages = context.sweeps.borrow().shortages.len();
    let own = status.cilium.as_ref().is_some_and(|own| own.state != "Ok");
    let all = context.watches.len() + status.controllers.len() + shortages + 1;
    let degraded = silent + failing + shortages + usize::from(own);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ModulesHealth { stopped: 0, degraded: number(degraded), ok: number(all.saturating_sub(degraded)) }
}

fn part(state: &str, msg: impl Into<String>) -> Part {
    Part { state: state.to_owned(), msg: msg.into() }
}

/// The agent itself: the worst of its parts.
fn own(context: &Context, status: &mut Status) -> Part {
    let version = env!("CARGO_PKG_VERSION");
    if !*context.ready.borrow() {
        let trouble = status.cilium.take().map(|failing| format!("; {}", failing.msg)).unwrap_or_default();
        return part("Failure", format!("{version} starting: {}{trouble}", waiting(context)));
    }
    let sweeps = context.sweeps.borrow();
    match status.cilium.take() {
        Some(failing) => failing,
        None if !sweeps.shortages.is_empty() => {
            part("Warning", format!("{version} {}", sweeps.shortages.join("; ")))
        }
        None => part("Ok", version),
    }
}

fn kubernetes(context: &Context) -> Kubernetes {
    let now = Instant::now();
    let healths: Vec<_> = context.watches.iter().map(kube_watch::Watched::health).collect();
    let silent = healths.iter().find(|h| !h.connected || h.silence(now).is_some_and(|s| s > SILENCE));
    let waiting = context.outboxes.endpoints.len()
        + context.outboxes.conditions.len()
        + context.outboxes.identities.len();
    let (state, msg) = match silent {
        None if waiting > 100 => ("Warning", format!("{waiting} objects wait to be written")),
        None => ("Ok", context.version.get().map(kubernetes_version).unwrap_or_default()),
        Some(health) => {
            let error = health.last_error.clone().unwrap_or_else(|| "no answer yet".to_owned());
            ("Failure", format!("{} cannot be watched: {error}", health.kind))
        }
    };
    Kubernetes {
        state: state.to_owned(),
        msg,
        k8s_api_versions: api_versions(healths.iter().map(|health| health.kind.as_str())),
    }
}

/// What is watched, as Cilium writes it (`core/v1::Pods`), each once and in order.
fn api_versions<'a>(kinds: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name = |kind: &str| match kind {
        "Pod" => "core/v1::Pods".to_owned(),
        "Namespace" | "Node" | "Service" => format!("core/v1::{kind}"),
        "EndpointSlice" => format!("discovery/v1::{kind}"),
        "NetworkPolicy" => format!("networking.k8s.io/v1::{kind}"),
        _ if kind.starts_with("Cilium") => format!("cilium/v2::{kind}"),
        other => other.to_owned(),
    };
    kinds.map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// `1.34 (v1.34.0) [linux/amd64]`; nothing if the server did not say.
fn kubernetes_version(told: &serde_json::Value) -> String {
    let text = |field: &str| told[field].as_str().unwrap_or_default();
    match text("gitVersion") {
        "" => String::new(),
        version => format!("{}.{} ({version}) [{}]", text("major"), text("minor"), text("platform")),
    }
}

fn cni_file(config: &Config) -> Part {
    match &config.paths.cni_conf {
        None => part("Disabled", "the agent writes no CNI configuration"),
        Some(path) if path.exists() => {
            part("Ok", format!("successfully wrote CNI configuration file to {}", path.display()))
        }
        Some(path) => part("Warning", format!("{} is not written yet", path.display())),
    }
}

fn host_firewall(owner: &Owner, config: &Config) -> HostFirewall {
    if !config.host_firewall {
        return HostFirewall { mode: "Disabled".to_owned(), devices: Vec::new() };
    }
    let devices = owner.kernel.devices().native.iter().map(|device| device.name.clone());
    HostFirewall { mode: "Enabled".to_owned(), devices: devices.collect() }
}

fn of_owner(owner: &mut Owner, config: &Config, own_name: String) -> Status {
    let mut failures = owner.kernel.failures();
    failures.extend(owner.complaints.values().cloned());
    let nodes: Vec<Node> = super::endpoints::node_models(owner);
    let maps = &owner.kernel.object().maps;
    let map = |name: &str, size: u32| BpfMap { name: name.to_owned(), size: u64::from(size) };
    let sizes = vec![
        map("Conntrack", maps.flows.map().spec().max_entries),
        map("Conntrack, half open", maps.half_open.map().spec().max_entries),
        map("NAT", maps.nat.map().spec().max_entries),
        map("IP cache", maps.hosts.map().spec().max_entries),
        map("Endpoint policy", maps.policies.spec().max_entries),
        map("Endpoints", maps.pods.map().spec().max_entries),
        map("Service", maps.frontends.map().spec().max_entries),
        map("Service backend", maps.backends.map().spec().max_entries),
        map("Sock reverse NAT", maps.sockets.map().spec().max_entries),
    ];
    Status {
        attach_mode: "TCX".to_owned(),
        bandwidth_manager: Some(BandwidthManager::default()),
        encryption: Some(Encryption { mode: "Disabled".to_owned(), msg: String::new() }),
        ipv4_big_tcp: Some(BigTcp::default()),
        ipv6_big_tcp: Some(BigTcp::default()),
        kvstore: Some(part("Disabled", "")),
        srv6: Some(Srv6::default()),
        bpf_maps: Some(BpfMaps { dynamic_size_ratio: 0.0, maps: sizes }),
        // What is wrong, if anything; the caller adds what it knows.
        cilium: (!failures.is_empty()).then(|| part("Warning", failures.join("; "))),
        clock_source: Some(ClockSource { mode: "ktime".to_owned(), hertz: 0 }),
        cluster: Some(Cluster { cilium_health: None, nodes, own_name }),
        cni_chaining: Some(Mode { mode: config.chaining.mode.name().to_owned() }),
        datapath_mode: "veth".to_owned(),
        host_firewall: Some(host_firewall(owner, config)),
        identity_range: Some(IdentityRange {
            min_identity: abi::identity::CLUSTER_MIN,
            max_identity: abi::identity::CLUSTER_MAX,
        }),
        ipam: Some(ipam(owner, config)),
        masquerading: Some(masquerading(owner, config)),
        node_monitor: Some(NodeMonitor {
            cpus: std::thread::available_parallelism()
                .map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            npages: maps.events.spec().max_entries / PAGE,
            pagesize: PAGE,
            lost: maps.lost.sum(0).unwrap_or_default(),
            unknown: 0,
        }),
        routing: Some(Routing {
            intra_host_routing_mode: "BPF".to_owned(),
            inter_host_routing_mode: if config.tunnel() { "Tunnel" } else { "Native" }.to_owned(),
            tunnel_protocol: if config.tunnel() { "vxlan" } else { "" }.to_owned(),
        }),
        ..Status::default()
    }
}

fn hubble(context: &Context) -> Hubble {
    let Some(observer) = &context.observer else {
        return Hubble { state: "Disabled".to_owned(), ..Hubble::default() };
    };
    let (current_flows, max_flows, seen_flows, uptime) = observer.figures();
    let metrics = context.config.hubble.as_ref().is_some_and(|hubble| hubble.metrics.is_some());
    Hubble {
        state: "Ok".to_owned(),
        msg: String::new(),
        observer: Some(HubbleObserver { current_flows, max_flows, seen_flows, uptime: GoDuration(uptime) }),
        metrics: Some(part(if metrics { "Ok" } else { "Disabled" }, "")),
    }
}

fn ipam(owner: &Owner, config: &Config) -> Ipam {
    let allocator = owner.state.ipam();
    let cidrs = &owner.state.settings().node.pod_cidrs;
    let families = [(config.ipv4, Family::V4, "IPv4"), (config.ipv6, Family::V6, "IPv6")];
    let texts: Vec<String> = families
        .into_iter()
        .filter(|(on, _, _)| *on)
        .map(|(_, family, name)| {
            let usage = allocator.usage(family);
            let of_family = cidrs.iter().filter(|c| Family::of(c.addr()) == family);
            let list: Vec<String> = of_family.map(ToString::to_string).collect();
            format!("{name}: {}/{} allocated from {}", usage.used, usage.total, list.join(", "))
        })
        .collect();
    let held = |v4: bool| {
        allocator.allocations().map(|(a, _)| a).filter(|a| a.is_ipv4() == v4).map(|a| a.to_string()).collect()
    };
    Ipam {
        status: texts.join(", "),
        allocations: allocator.allocations().map(|(a, owner)| (a.to_string(), owner.to_owned())).collect(),
        ipv4: held(true),
        ipv6: held(false),
    }
}

fn masquerading(owner: &Owner, config: &Config) -> Masquerading {
    let devices = owner.kernel.devices().native.iter().map(|l| l.name.clone()).collect();
    Masquerading {
        enabled: config.masquerade_v4 || config.masquerade_v6,
        enabled_protocols: Families { ipv4: config.masquerade_v4, ipv6: config.masquerade_v6 },
        mode: "BPF".to_owned(),
        snat_exclusion_cidr_v4: config.native_v4.map(|c| c.to_string()).unwrap_or_default(),
        snat_exclusion_cidr_v6: config.native_v6.map(|c| c.to_string()).unwrap_or_default(),
        ip_masq_agent: config.ip_masq_agent.is_some(),
        devices,
    }
}

#[cfg(test)]
mod tests {
    use super::{api_versions, kubernetes_version};

    #[test]
    fn what_is_watched_is_named_once_and_in_order() {
        let kinds = ["Pod", "EndpointSlice", "CiliumNode", "Pod", "EndpointSlice", "Service"];
        let wanted =
            ["cilium/v2::CiliumNode", "core/v1::Pods", "core/v1::Service", "discovery/v1::EndpointSlice"];
        assert_eq!(api_versions(kinds.into_iter()), wanted);
    }

    #[test]
    fn the_server_s_version_as_cilium_writes_it() {
        let told = serde_json::json!({ "major": "1", "minor": "34", "gitVersion": "v1.34.4", "platform": "linux/amd64" });
        assert_eq!(kubernetes_version(&told), "1.34 (v1.34.4) [linux/amd64]");
        assert_eq!(kubernetes_version(&serde_json::Value::Null), "");
    }
}
