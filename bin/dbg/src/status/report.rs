//! The report: its lines and their order are Cilium's, each there only when its field is.

use super::{Show, details};
use api::GoDuration;
use api::health::HealthStatus;
use api::status::{BigTcp, Controller, Hubble, KubeProxyReplacement, Masquerading, Status};
use api::table;
use std::fmt::Write;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The whole report; `now` in seconds since 1970.
pub(crate) fn report(status: &Status, health: Option<&HealthStatus>, show: Show, now: i64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = environment(status, &mut text);
    let _ = agent(status, show, &mut text);
    let _ = datapath(status, &mut text);
    let _ = background(status, show, now, &mut text);
    let _ = rest(status, health, show, &mut text);
    table::layout(&text)
}

/// What the agent stands on.
fn environment(status: &Status, w: &mut String) -> std::fmt::Result {
    if let Some(state) = &status.kvstore {
        writeln!(w, "KVStore:\t{}\t{}", state.state, state.msg)?;
    }
    if let Some(state) = &status.container_runtime {
        writeln!(w, "ContainerRuntime:\t{}\t{}", state.state, state.msg)?;
    }
    if let Some(kubernetes) = &status.kubernetes {
        writeln!(w, "Kubernetes:\t{}\t{}", kubernetes.state, kubernetes.msg)?;
        if kubernetes.state != "Disabled" {
            let kinds: Vec<String> =
                kubernetes.k8s_api_versions.iter().map(|kind| format!("\"{kind}\"")).collect();
            writeln!(w, "Kubernetes APIs:\t[{}]", kinds.join(", "))?;
        }
    }
    if let Some(kpr) = &status.kube_proxy_replacement {
        writeln!(w, "KubeProxyReplacement:\t{}\t{}", kpr.mode, devices(kpr))?;
        if !kpr.leftovers.is_empty() {
            let leftovers = kpr.leftovers.join("; ");
            writeln!(w, "\tWarning: kube-proxy has left {leftovers} (cilium-dbg kube-proxy cleanup)")?;
        }
    }
    if let Some(firewall) = &status.host_firewall {
        write!(w, "Host firewall:\t{}", firewall.mode)?;
        if firewall.mode != "Disabled" {
            write!(w, "\t[{}]", firewall.devices.join(", "))?;
        }
        writeln!(w)?;
    }
    if let Some(srv6) = &status.srv6 {
        match srv6.enabled {
            true => writeln!(w, "SRv6:\tEnabled\t[encap-mode: {}]", srv6.srv6_encap_mode)?,
            false => writeln!(w, "SRv6:\tDisabled")?,
        }
    }
    if let Some(chaining) = &status.cni_chaining {
        writeln!(w, "CNI Chaining:\t{}", chaining.mode)?;
    }
    if let Some(file) = &status.cni_file {
        writeln!(w, "CNI Config file:\t{}", file.msg)?;
    }
    Ok(())
}

/// The agent itself.
fn agent(status: &Status, show: Show, w: &mut String) -> std::fmt::Result {
    if let Some(state) = &status.cilium {
        writeln!(w, "Cilium:\t{}\t{}", state.state, state.msg)?;
    }
    if !status.stale.is_empty() {
        writeln!(w, "Stale status:")?;
        for (part, since) in &status.stale {
            writeln!(w, "  {part}\t{since}")?;
        }
    }
    match &status.node_monitor {
        Some(monitor) => {
            let (cpus, pages, size) = (monitor.cpus, monitor.npages, monitor.pagesize);
            writeln!(
                w,
                "NodeMonitor:\tListening for events on {cpus} CPUs with {pages}x{size} of shared memory"
            )?;
            if monitor.lost != 0 || monitor.unknown != 0 {
                writeln!(w, "\t{} events lost, {} unknown notifications", monitor.lost, monitor.unknown)?;
            }
        }
        None => writeln!(w, "NodeMonitor:\tDisabled")?,
    }
    if let Some(health) = status.cluster.as_ref().and_then(|cluster| cluster.cilium_health.as_ref()) {
        writeln!(w, "Cilium health daemon:\t{}\t{}", health.state, health.msg)?;
    }
    if let Some(ipam) = &status.ipam {
        writeln!(w, "IPAM:\t{}", ipam.status)?;
        if show.addresses {
            writeln!(w, "Allocated addresses:")?;
            for (address, owner) in &ipam.allocations {
                writeln!(w, "  {address} ({owner})")?;
            }
        }
    }
    Ok(())
}

/// How packets travel.
fn datapath(status: &Status, w: &mut String) -> std::fmt::Result {
    for (name, state) in [("IPv4", &status.ipv4_big_tcp), ("IPv6", &status.ipv6_big_tcp)] {
        if let Some(state) = state {
            writeln!(w, "{name} BIG TCP:\t{}", big_tcp(state))?;
        }
    }
    if let Some(manager) = &status.bandwidth_manager {
        match manager.enabled {
            true => writeln!(
                w,
                "BandwidthManager:\tEDT with BPF [{}] [{}]",
                manager.congestion_control.to_uppercase(),
                manager.devices.join(", ")
            )?,
            false => writeln!(w, "BandwidthManager:\tDisabled")?,
        }
    }
    if let Some(routing) = &status.routing {
        write!(w, "Routing:\tNetwork: {}", routing.inter_host_routing_mode)?;
        if !routing.tunnel_protocol.is_empty() {
            write!(w, " [{}]", routing.tunnel_protocol)?;
        }
        writeln!(w, "\tHost: {}", routing.intra_host_routing_mode)?;
    }
    if !status.attach_mode.is_empty() {
        writeln!(w, "Attach Mode:\t{}", status.attach_mode)?;
    }
    if !status.datapath_mode.is_empty() {
        writeln!(w, "Device Mode:\t{}", status.datapath_mode)?;
    }
    if let Some(masquerading) = &status.masquerading {
        writeln!(w, "Masquerading:\t{}", masquerading_words(masquerading))?;
    }
    Ok(())
}

/// Jobs, proxy, identities, flows.
fn background(status: &Status, show: Show, now: i64, w: &mut String) -> std::fmt::Result {
    if let Some(clock) = status.clock_source.as_ref().filter(|_| show.details) {
        match clock.mode.as_str() {
            "jiffies" => writeln!(w, "Clock Source for BPF:\tjiffies\t[{} Hz]", clock.hertz)?,
            mode => writeln!(w, "Clock Source for BPF:\t{mode}")?,
        }
    }
    if !status.controllers.is_empty() {
        controllers(&status.controllers, show.controllers, now, w)?;
    }
    match &status.proxy {
        Some(proxy) => {
            writeln!(
                w,
                "Proxy Status:\tOK, ip {}, {} redirects active on ports {}, Envoy: {}",
                proxy.ip, proxy.total_redirects, proxy.port_range, proxy.envoy_deployment_mode
            )?;
            if show.redirects && !proxy.redirects.is_empty() {
                writeln!(w, "  Protocol\tRedirect\tProxy Port")?;
                for redirect in &proxy.redirects {
                    writeln!(w, "  {}\t{}\t{}", redirect.proxy, redirect.name, redirect.proxy_port)?;
                }
            }
        }
        None => writeln!(w, "Proxy Status:\tNo managed proxy redirect")?,
    }
    match &status.identity_range {
        Some(range) => {
            writeln!(w, "Global Identity Range:\tmin {}, max {}", range.min_identity, range.max_identity)?;
        }
        None => writeln!(w, "Global Identity Range:\tUnknown")?,
    }
    if let Some(hubble) = &status.hubble {
        writeln!(w, "Hubble:\t{}", hubble_words(hubble))?;
    }
    Ok(())
}

/// The long blocks, and what is left.
fn rest(status: &Status, health: Option<&HealthStatus>, show: Show, w: &mut String) -> std::fmt::Result {
    if show.details {
        if let Some(kpr) = &status.kube_proxy_replacement {
            details::kube_proxy_replacement(kpr, w)?;
        }
        if let Some(maps) = &status.bpf_maps {
            details::bpf_maps(maps, w)?;
        }
    }
    if let Some(encryption) = &status.encryption {
        writeln!(w, "Encryption:\t{}\t{}", encryption.mode, encryption.msg)?;
    }
    match (health, &status.cluster) {
        (Some(health), _) => crate::health::summary(health, show.nodes, w)?,
        (None, Some(_)) => writeln!(w, "Cluster health:\tProbe disabled")?,
        (None, None) => {}
    }
    if let Some(modules) = &status.modules_health {
        let (stopped, degraded, ok) = (modules.stopped, modules.degraded, modules.ok);
        writeln!(w, "Modules Health:\tStopped({stopped}) Degraded({degraded}) OK({ok})")?;
    }
    Ok(())
}

/// The devices in brackets, if there are any.
fn devices(kpr: &KubeProxyReplacement) -> String {
    if kpr.device_list.is_empty() { String::new() } else { format!("[{}]", details::device_words(kpr)) }
}

fn big_tcp(state: &BigTcp) -> String {
    match state {
        BigTcp { enabled: false, .. } => "Disabled".to_owned(),
        BigTcp { max_gro, max_gso, .. } if max_gro == max_gso => format!("Enabled\t[{max_gso}]"),
        BigTcp { max_gro, max_gso, .. } => format!("Enabled\t[{max_gro}, {max_gso}]"),
    }
}

fn masquerading_words(masquerading: &Masquerading) -> String {
    if !masquerading.enabled {
        return "Disabled".to_owned();
    }
    let family = |on: bool| if on { "Enabled" } else { "Disabled" };
    let families = &masquerading.enabled_protocols;
    let families = format!("[IPv4: {}, IPv6: {}]", family(families.ipv4), family(families.ipv6));
    if masquerading.mode != "BPF" {
        return format!("IPTables {families}");
    }
    let spared: String = [&masquerading.snat_exclusion_cidr_v4, &masquerading.snat_exclusion_cidr_v6]
        .into_iter()
        .filter(|cidr| !cidr.is_empty())
        .map(|cidr| format!("{cidr} "))
        .collect();
    let agent = if masquerading.ip_masq_agent { " (ip-masq-agent)" } else { "" };
    format!("BPF{agent}\t[{}]\t{spared}{families}", masquerading.devices.join(", "))
}

fn hubble_words(hubble: &Hubble) -> String {
    let mut text = hubble.state.clone();
    if !hubble.msg.is_empty() {
        let _ = write!(text, "\t{}", hubble.msg);
    }
    if let Some(observer) = &hubble.observer {
        let share = if observer.max_flows == 0 {
            0.0
        } else {
            observer.current_flows as f64 / observer.max_flows as f64
        };
        let (current, max) = (observer.current_flows, observer.max_flows);
        let _ = write!(text, "\tCurrent/Max Flows: {current}/{max} ({:.2}%)", share * 100.0);
        let uptime = observer.uptime.0.as_secs_f64();
        if uptime > 0.0 {
            let _ = write!(text, ", Flows/s: {:.2}", observer.seen_flows as f64 / uptime);
        }
    }
    if let Some(metrics) = &hubble.metrics {
        let _ = write!(text, "\tMetrics: {}", metrics.state);
        if !metrics.msg.is_empty() {
            let _ = write!(text, " {}", metrics.msg);
        }
    }
    text
}

/// A count, then those that fail, or all.
fn controllers(all: &[Controller], show_all: bool, now: i64, w: &mut String) -> std::fmt::Result {
    let fails = |controller: &&Controller| controller.status.consecutive_failure_count > 0;
    let healthy = all.len() - all.iter().filter(fails).count();
    writeln!(w, "Controller Status:\t{healthy}/{} healthy", all.len())?;
    let mut shown: Vec<&Controller> = all.iter().filter(|controller| show_all || fails(controller)).collect();
    if shown.is_empty() {
        return Ok(());
    }
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    writeln!(w, "  Name\tLast success\tLast error\tCount\tMessage")?;
    for Controller { name, status } in shown {
        let message =
            if status.consecutive_failure_count > 0 { &status.last_failure_msg } else { "no error" };
        writeln!(
            w,
            "  {name}\t{}\t{}\t{}\t{message}\t",
            ago(&status.last_success_timestamp, now),
            ago(&status.last_failure_timestamp, now),
            status.consecutive_failure_count
        )?;
    }
    Ok(())
}

/// `2m5s ago`, or `never`.
fn ago(timestamp: &str, now: i64) -> String {
    let Ok(then) = OffsetDateTime::parse(timestamp, &Rfc3339) else { return "never".to_owned() };
    // Go's zero time means never.
    if then.year() <= 1 {
        return "never".to_owned();
    }
    let seconds = now.saturating_sub(then.unix_timestamp()).max(0).cast_unsigned();
    format!("{} ago", GoDuration(Duration::from_secs(seconds)))
}
