//! Blocks of the verbose report.

use api::status::{BpfMaps, Device, KprFeatures, KubeProxyReplacement, Switch};
use std::fmt::{Result, Write};

/// What of the service implementation is on.
pub(crate) fn kube_proxy_replacement(kpr: &KubeProxyReplacement, w: &mut String) -> Result {
    writeln!(w, "KubeProxyReplacement Details:")?;
    writeln!(w, "  Status:\t{}", kpr.mode)?;
    let Some(features) = &kpr.features else { return Ok(()) };
    let on = |switch: &Switch| if switch.enabled { "Enabled" } else { "Disabled" };
    writeln!(w, "  Socket LB:\t{}", on(&features.socket_lb))?;
    writeln!(w, "  Socket LB Tracing:\t{}", on(&features.socket_lb_tracing))?;
    if features.socket_lb.enabled {
        let coverage = if features.host_namespace_only { "Hostns-only" } else { "Full" };
        writeln!(w, "  Socket LB Coverage:\t{coverage}")?;
    }
    if !kpr.device_list.is_empty() {
        writeln!(w, "  Devices:\t{}", device_words(kpr))?;
    }
    if features.node_port.enabled {
        node_port(features, w)?;
    }
    writeln!(w, "  Session Affinity:\t{}", on(&features.session_affinity))?;
    writeln!(w, "  NAT46/64 Support:\t{}", on(&features.nat46_x64))?;
    if features.node_port.enabled && !features.node_port.acceleration.is_empty() {
        writeln!(w, "  XDP Acceleration:\t{}", features.node_port.acceleration)?;
    }
    services(features, w)?;
    if !kpr.kernel.is_empty() {
        writeln!(w, "  Kernel:")?;
    }
    for need in &kpr.kernel {
        let state = if need.problem.is_empty() { "Ok" } else { &need.problem };
        writeln!(w, "  - {}:\t{state}", need.name)?;
    }
    Ok(())
}

/// `eth0 10.0.0.1 fd00::1 (Direct Routing), eth1 …`.
pub(crate) fn device_words(kpr: &KubeProxyReplacement) -> String {
    let device = |device: &Device| {
        let direct = if device.name == kpr.direct_routing_device { " (Direct Routing)" } else { "" };
        let addresses: String = device.ip.iter().map(|ip| format!(" {ip}")).collect();
        format!("{}{addresses}{direct}", device.name)
    };
    kpr.device_list.iter().map(device).collect::<Vec<_>>().join(", ")
}

fn node_port(features: &KprFeatures, w: &mut String) -> Result {
    let port = &features.node_port;
    writeln!(w, "  Mode:\t{}", port.mode)?;
    if !port.dsr_mode.is_empty() {
        writeln!(w, "    DSR Dispatch Mode:\t{}", port.dsr_mode)?;
    }
    match port.algorithm.as_str() {
        "Maglev" => writeln!(w, "  Backend Selection:\tMaglev (Table Size: {})", port.lut_size),
        algorithm => writeln!(w, "  Backend Selection:\t{algorithm}"),
    }
}

fn services(features: &KprFeatures, w: &mut String) -> Result {
    let on = |enabled: bool| if enabled { "Enabled" } else { "Disabled" };
    let port = &features.node_port;
    writeln!(w, "  Services:")?;
    writeln!(w, "  - ClusterIP:\tEnabled")?;
    match port.enabled {
        true => writeln!(w, "  - NodePort:\tEnabled (Range: {}-{})", port.port_min, port.port_max)?,
        false => writeln!(w, "  - NodePort:\tDisabled")?,
    }
    writeln!(w, "  - LoadBalancer:\t{}", on(port.enabled))?;
    writeln!(w, "  - externalIPs:\t{}", on(features.external_ips.enabled))?;
    writeln!(w, "  - HostPort:\t{}", on(features.host_port.enabled))?;
    if !features.annotations.is_empty() {
        writeln!(w, "  Annotations:")?;
        for annotation in &features.annotations {
            writeln!(w, "  - {annotation}")?;
        }
    }
    Ok(())
}

/// Sizes of the maps.
pub(crate) fn bpf_maps(maps: &BpfMaps, w: &mut String) -> Result {
    match maps.dynamic_size_ratio {
        ratio if ratio > 0.0 => writeln!(w, "BPF Maps:\tdynamic sizing: on (ratio: {ratio:.6})")?,
        _ => writeln!(w, "BPF Maps:\tdynamic sizing: off")?,
    }
    writeln!(w, "  Name\tSize")?;
    for map in &maps.maps {
        writeln!(w, "  {}\t{}", map.name, map.size)?;
    }
    Ok(())
}
