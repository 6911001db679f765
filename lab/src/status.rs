//! `lab status`: machines, services, nodes.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::control_plane::kubectl;
use crate::init::{Request, ServiceState};
use crate::layout::{Lab, Role, Spec};
use crate::machine::Handle;
use crate::report::say;
use crate::run::output;

#[derive(Serialize)]
struct Status {
    name: String,
    dir: String,
    kubeconfig: String,
    spec: Spec,
    machines: Vec<MachineStatus>,
}

#[derive(Serialize)]
struct MachineStatus {
    name: String,
    role: Role,
    ipv4: String,
    ipv6: Option<String>,
    netns: String,
    cgroup: String,
    running: bool,
    init_pid: Option<u32>,
    services: BTreeMap<String, ServiceState>,
}

/// Prints the state; true if every machine and service runs.
pub(crate) fn status(lab: &Lab, json: bool) -> Result<bool> {
    let status = collect(lab)?;
    let well = status.machines.iter().all(|m| m.running && m.services.values().all(|s| s.ended.is_none()));
    if json {
        say(serde_json::to_string_pretty(&status)?);
        return Ok(well);
    }
    say(format!(
        "lab {} in {}\nkubeconfig {} (inside: lab exec cp)",
        status.name, status.dir, status.kubeconfig
    ));
    for m in &status.machines {
        let services: Vec<String> = m
            .services
            .iter()
            .map(|(name, s)| {
                s.ended.as_ref().map_or_else(|| name.clone(), |how| format!("{name} ENDED ({how})"))
            })
            .collect();
        let state = if m.running { services.join(", ") } else { "DOWN".into() };
        say(format!("{:<6} {:<13} {:<12} {state}", m.name, m.ipv4, m.ipv6.as_deref().unwrap_or("")));
    }
    if let Ok(nodes) = kubectl(lab).and_then(|mut k| output(k.args(["get", "nodes"]))) {
        say(nodes.trim_end());
    }
    Ok(well)
}

fn collect(lab: &Lab) -> Result<Status> {
    let spec = lab.spec()?;
    let machines = spec.machines().into_iter().map(|m| {
        let handle = Handle { name: m.name.clone(), dir: lab.machine_dir(&m.name) };
        let reply = handle.ask(&Request::List).ok();
        MachineStatus {
            ipv4: m.v4().to_string(),
            ipv6: spec.ipv6.then(|| m.v6().to_string()),
            netns: lab.netns(&m.name),
            cgroup: format!("{}/{}", lab.cgroup(), m.name),
            running: reply.is_some(),
            init_pid: handle.init_pid(lab).ok(),
            services: reply.map(|r| r.services).unwrap_or_default(),
            name: m.name,
            role: m.role,
        }
    });
    Ok(Status {
        name: lab.name.clone(),
        dir: lab.dir.display().to_string(),
        kubeconfig: lab.kubeconfig().display().to_string(),
        machines: machines.collect(),
        spec: spec.clone(),
    })
}
