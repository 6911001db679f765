//! The wires: one bridge in a namespace of its own, and a veth pair from it to each machine. No way leads out.

use std::path::Path;

use anyhow::{Context, Result};

use crate::layout::{
    GATEWAY_V4, GATEWAY_V6, Lab, Machine, OUTSIDE_V4, OUTSIDE_V6, PREFIX, Role, Spec, UNDERLAY_V4_BITS,
    UNDERLAY_V6_BITS,
};
use crate::run::ip;

/// The namespace that holds the bridge.
const FABRIC: &str = "fabric";

/// Makes the bridge and connects all machines.
pub(crate) fn create(lab: &Lab, spec: &Spec) -> Result<()> {
    let fabric = lab.netns(FABRIC);
    add_namespace(&fabric)?;
    in_namespace(&fabric, "link add br0 type bridge mcast_snooping 0")?;
    in_namespace(&fabric, "link set br0 up")?;
    for machine in spec.machines() {
        connect(lab, spec, &machine)
            .with_context(|| format!("cannot connect {} to the underlay", machine.name))?;
    }
    Ok(())
}

fn connect(lab: &Lab, spec: &Spec, machine: &Machine) -> Result<()> {
    let (fabric, ns) = (lab.netns(FABRIC), lab.netns(&machine.name));
    add_namespace(&ns)?;
    let port = &machine.name;
    ip(format!("link add eth0 mtu 1500 netns {ns} type veth peer name {port} mtu 1500 netns {fabric}")
        .split(' '))?;
    in_namespace(&fabric, &format!("link set {port} master br0 up"))?;
    in_namespace(&ns, &format!("addr add {}/{UNDERLAY_V4_BITS} dev eth0", machine.v4()))?;
    if spec.ipv6 {
        in_namespace(&ns, &format!("addr add {}/{UNDERLAY_V6_BITS} dev eth0 nodad", machine.v6()))?;
    }
    in_namespace(&ns, "link set lo up")?;
    in_namespace(&ns, "link set eth0 up")?;
    if machine.role == Role::World {
        return be_the_outside(&ns, spec.ipv6);
    }
    in_namespace(&ns, &format!("route add default via {GATEWAY_V4}"))?;
    if spec.ipv6 {
        in_namespace(&ns, &format!("-6 route add default via {GATEWAY_V6}"))?;
    }
    Ok(())
}

/// `world` is everybody's gateway and has an address that only the default route leads to.
fn be_the_outside(ns: &str, ipv6: bool) -> Result<()> {
    in_namespace(ns, &format!("addr add {GATEWAY_V4}/{UNDERLAY_V4_BITS} dev eth0"))?;
    in_namespace(ns, &format!("addr add {OUTSIDE_V4}/32 dev lo"))?;
    if ipv6 {
        in_namespace(ns, &format!("addr add {GATEWAY_V6}/{UNDERLAY_V6_BITS} dev eth0 nodad"))?;
        in_namespace(ns, &format!("addr add {OUTSIDE_V6}/128 dev lo nodad"))?;
    }
    Ok(())
}

/// Routes for `--cni bridge`: every machine but the outside knows each node's pods.
pub(crate) fn bridge_routes(lab: &Lab, spec: &Spec) -> Result<()> {
    for machine in spec.machines().iter().filter(|m| m.role != Role::World) {
        for node in spec.nodes().iter().filter(|n| n.name != machine.name) {
            let ns = lab.netns(&machine.name);
            let (v4, v6) = node.bridge_cidrs();
            in_namespace(&ns, &format!("route replace {v4} via {}", node.v4()))?;
            if spec.ipv6 {
                in_namespace(&ns, &format!("-6 route replace {v6} via {}", node.v6()))?;
            }
        }
    }
    Ok(())
}

/// Removes the lab's namespaces, also ones that a crash left half made.
pub(crate) fn remove(lab: &Lab) -> Result<()> {
    for name in namespaces(lab)? {
        if ip(["netns", "delete", &name]).is_err() {
            let file = Path::new("/run/netns").join(&name);
            std::fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        }
    }
    Ok(())
}

/// Names of the lab's namespaces that exist.
pub(crate) fn namespaces(lab: &Lab) -> Result<Vec<String>> {
    let prefix = format!("{PREFIX}{}-", lab.name);
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(Vec::new()) };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(&prefix)).collect())
}

fn add_namespace(name: &str) -> Result<()> {
    ip(["netns", "add", name]).map(drop)
}

fn in_namespace(ns: &str, command: &str) -> Result<()> {
    ip(["-n", ns].into_iter().chain(command.split(' '))).map(drop)
}
