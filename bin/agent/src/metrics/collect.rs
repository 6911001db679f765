//! What is known when somebody asks.

use std::collections::BTreeMap;

use agent_core::Phase;
use anyhow::Result;
use ipam::Family;
use metrics::{Kind, Page, Selection};

use super::{Sources, health, tables};
use crate::owner::Owner;

/// The whole page.
///
/// # Errors
/// The agent is stopping.
pub(super) async fn page(sources: &Sources, selection: Selection) -> Result<String> {
    let mut page = Page::new(selection);
    let mut version = page.metric("cilium_version", Kind::Gauge, "What runs");
    version.add(
        &[("version", env!("CARGO_PKG_VERSION")), ("revision", ""), ("arch", std::env::consts::ARCH)],
        1.0,
    );
    metrics::write_process(&mut page, "cilium");
    let bootstrap = *sources.bootstrap.borrow();
    if let Some(took) = bootstrap {
        let help = "Seconds from the agent's start until pods could be served";
        let mut samples = page.metric("cilium_agent_bootstrap_seconds", Kind::Gauge, help);
        samples.add(&[("scope", "overall"), ("outcome", "success")], took.as_secs_f64());
    }
    let counts = &sources.counts;
    for counters in [&counts.regenerations, &counts.policy_changes] {
        counters.write(&mut page);
    }
    counts.regeneration_time.write(&mut page);
    counts.policy_delay.write(&mut page);
    counts.api_calls.write(&mut page);
    counts.api_time.write(&mut page);
    health::write(&mut page, sources);
    tables::packets(&mut page, &sources.object);
    let mut page = sources
        .handle
        .ask(move |owner| {
            of_owner(&mut page, owner);
            page
        })
        .await?;
    let of_services =
        |s: &mut crate::services::Services| (s.written(), s.frontends(), s.balancer.service_count());
    let (written, frontends, served) = sources.services.ask(of_services).await?;
    let sweep = sources.sweeps.borrow().clone();
    let own = sources.handle.ask(|owner| (owner.kernel.written().clone(), owner.kernel.fill())).await?;
    let (mut operations, mut fill) = own;
    operations.extend(written);
    fill.push(("AX_FRONTENDS", frontends, sources.object.maps.frontends.map().spec().max_entries as usize));
    tables::write(&mut page, &operations, &fill, &sweep);
    page.gauge("cilium_services", "Services that this node serves", served as f64);
    Ok(page.finish())
}

fn of_owner(page: &mut Page, owner: &Owner) {
    let state = &owner.state;
    let mut phases: BTreeMap<&str, u32> = [
        Phase::WaitingForIdentity,
        Phase::WaitingToRegenerate,
        Phase::Regenerating,
        Phase::Ready,
        Phase::Restoring,
        Phase::Disconnecting,
    ]
    .map(|phase| (phase.name(), 0))
    .into();
    let mut enforcement = BTreeMap::from([("none", 0), ("ingress", 0), ("egress", 0), ("both", 0)]);
    for endpoint in state.endpoints().values() {
        *phases.entry(endpoint.phase.name()).or_default() += 1;
        let table = state.policy_of(endpoint.spec.id).map(|(_, table)| table);
        let closed = table.map_or((false, false), |t| (t.enforced_ingress, t.enforced_egress));
        let name = match closed {
            (false, false) => "none",
            (true, false) => "ingress",
            (false, true) => "egress",
            (true, true) => "both",
        };
        *enforcement.entry(name).or_default() += 1;
    }
    page.gauge("cilium_endpoint", "Endpoints of this node", state.endpoints().len() as f64);
    by_label(page, "cilium_endpoint_state", "Endpoints by state", "endpoint_state", &phases);
    let help = "Endpoints by the directions that policy closes";
    by_label(page, "cilium_policy_endpoint_enforcement_status", help, "enforcement", &enforcement);
    policies(page, owner);
    addresses(page, owner);
    let identities = state.identities();
    let mut kinds: BTreeMap<&str, u32> =
        ["reserved", "cluster_local", "node_local"].map(|kind| (kind, 0)).into();
    for number in identities.keys() {
        let kind = match *number {
            n if n < abi::identity::CLUSTER_MIN => "reserved",
            n if n <= abi::identity::CLUSTER_MAX => "cluster_local",
            _ => "node_local",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    by_label(page, "cilium_identity", "Identities by kind", "type", &kinds);
    page.gauge("cilium_nodes_all_num", "Nodes of the cluster", state.nodes().count() as f64);
    let entries = state.ipcache().hosts().rows().len() + state.ipcache().prefixes().rows().len();
    page.gauge("cilium_ipcache_entries", "Addresses and prefixes with an identity", entries as f64);
    let failing = owner.kernel.failures().len();
    page.gauge("cilium_controllers_failing", "Things that do not work and are tried again", failing as f64);
    let help = "Entries of the ipcache that could not be written, as of now";
    let mut errors = page.metric("cilium_ipcache_errors_total", Kind::Counter, help);
    errors.add(&[("type", "write"), ("error", "kernel")], owner.kernel.ipcache_errors() as f64);
}

fn policies(page: &mut Page, owner: &Owner) {
    let state = &owner.state;
    page.gauge("cilium_policy", "Policy objects", state.policies().count() as f64);
    let revision = state.realized_policy_revision() as f64;
    page.gauge("cilium_policy_max_revision", "Newest revision of policy that holds", revision);
    let (mut selectors, mut most) = (0, 0);
    for (_, _, identities) in state.engine().selectors() {
        selectors += 1;
        most = most.max(identities.len());
    }
    page.gauge("cilium_policy_selectors", "Selectors of peers in policies", f64::from(selectors));
    let help = "Identities that the widest selector selects";
    page.gauge("cilium_policy_selector_match_count_max", help, most as f64);
    let (proxies, names) =
        ("Ports redirected to a proxy; there is none yet", "DNS names in policies; none yet");
    page.gauge("cilium_proxy_redirects", proxies, 0.0);
    page.gauge("cilium_fqdn_selectors", names, 0.0);
}

fn addresses(page: &mut Page, owner: &Owner) {
    let allocator = owner.state.ipam();
    let families = [(Family::V4, "ipv4"), (Family::V6, "ipv6")];
    let has = allocator.families();
    let of = |(family, name)| has.contains(&family).then(|| (name, allocator.usage(family)));
    let usage: Vec<_> = families.into_iter().filter_map(of).collect();
    let mut used = page.metric("cilium_ip_addresses", Kind::Gauge, "Addresses that pods have");
    for (family, usage) in &usage {
        used.add(&[("family", family)], usage.used as f64);
    }
    let mut room = page.metric("cilium_ipam_capacity", Kind::Gauge, "Addresses that there are for pods");
    for (family, usage) in &usage {
        room.add(&[("family", family)], usage.total as f64);
    }
}

fn by_label(page: &mut Page, name: &str, help: &str, label: &str, values: &BTreeMap<&str, u32>) {
    let mut samples = page.metric(name, Kind::Gauge, help);
    for (value, count) in values {
        samples.add(&[(label, value)], f64::from(*count));
    }
}
