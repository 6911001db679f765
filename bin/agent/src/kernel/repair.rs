//! What somebody took from under us, found and put back: router addresses, routes, links of programs.
//!
//! Routes and addresses are looked at when the kernel says that they changed. Of pins nobody tells, so links are looked at
//! from time to time; while one is missing, its device has no program.

use std::collections::BTreeSet;
use std::time::Duration;

use agent_core::State;
use anyhow::Result;
use ipnet::IpNet;
use loader::{Change, Hook, Links};

use super::Kernel;
use super::targets::RouteTarget;
use crate::config::Acceleration;

/// A program of somebody else on a hook of ours: device, hook, number of the program.
pub(super) type ForeignKey = (u32, Hook, u32);

impl Kernel {
    /// Whether a route to `prefix` is one that we set.
    pub(crate) fn wants_route(&self, prefix: &IpNet) -> bool {
        self.routes.desired().contains_key(prefix)
    }

    /// Puts back missing addresses of the routers and missing or changed routes.
    pub(crate) fn repair_network(&mut self, now: Duration) {
        if !self.primed {
            return;
        }
        match self.devices.repair(&mut self.netlink) {
            Ok(repaired) if repaired.is_empty() => {}
            Ok(repaired) => {
                tracing::warn!(repaired = repaired.join(", "), "somebody changed cilium_host; put back")
            }
            Err(error) => tracing::error!(error = format!("{error:#}"), "cilium_host cannot be put right"),
        }
        match self.routes.compare(&mut RouteTarget(&mut self.netlink), |_, _| true) {
            Ok(drift) if drift.total() == 0 => {}
            Ok(drift) => {
                tracing::warn!(?drift, "somebody changed our routes; putting them back");
                self.write(now);
                self.bump_epoch();
            }
            Err(error) => tracing::error!(error = crate::text(&error), "our routes cannot be read"),
        }
    }

    /// Makes every link that is missing or does not run this agent's program, and tells of programs of others beside ours.
    pub(crate) fn repair_links(&mut self, state: &State) {
        if !self.primed {
            return;
        }
        let mut hooks = Vec::new();
        for endpoint in state.endpoints().values() {
            let Some(attachment) = &endpoint.attachment else { continue };
            let (id, ifindex) = (endpoint.spec.id, attachment.host_ifindex);
            let result = self.attach_pod(id, ifindex);
            if result.is_err() && matches!(self.netlink.find_link_by_index(ifindex), Ok(None)) {
                // The pod is on its way out; the message of the kernel takes its endpoint along.
                continue;
            }
            report(&format!("endpoint {id}"), result);
            hooks.push((endpoint.spec.host_ifname.clone(), ifindex, Hook::Ingress));
        }
        for (device, program, hook) in self.node_places() {
            let result = self.attach_device(&device.name, program, device.index, hook);
            if hook == Hook::XdpNative && self.acceleration == Acceleration::BestEffort && result.is_err() {
                // Told of at start.
                continue;
            }
            report(&device.name, result);
            hooks.push((device.name.clone(), device.index, hook));
        }
        self.look_for_others(&hooks);
    }

    fn look_for_others(&mut self, hooks: &[(String, u32, Hook)]) {
        let ours: BTreeSet<u32> = self.object.programs().iter().map(loader::Program::id).collect();
        let mut seen = BTreeSet::new();
        for (device, ifindex, hook) in hooks {
            // A device that went away in the meantime has no programs.
            let Ok(attached) = Links::attached(*ifindex, *hook) else { continue };
            let own = attached.iter().position(|program| ours.contains(&program.id));
            for (place, program) in attached.iter().enumerate().filter(|(_, p)| !ours.contains(&p.id)) {
                let key = (*ifindex, *hook, program.id);
                if !self.foreign.contains(&key) {
                    let before = own.is_none_or(|own| place < own);
                    tracing::warn!(device, %hook, program = program.name, id = program.id, before_ours = before,
                        "a program of somebody else runs beside ours; one that runs before ours can keep packets from it");
                }
                seen.insert(key);
            }
        }
        self.foreign = seen;
    }
}

fn report(owner: &str, result: Result<Change>) {
    match result {
        Ok(Change::Nothing) => {}
        Ok(change) => tracing::warn!(owner, ?change, "somebody removed or changed a link of ours; put back"),
        Err(error) => tracing::error!(
            owner,
            error = format!("{error:#}"),
            "a program is missing on its device and cannot be attached"
        ),
    }
}
