//! `policy trace`: what would become of a packet.
//!
//! The seam for the datapath's own code over a dump of the live maps. Until that is there, the answer comes from the
//! live policy tables of the kernel, looked up as the programs look them up.

use std::net::IpAddr;

use abi::tables::{EGRESS, INGRESS};
use agent_core::PodKey;
use anyhow::{Context, Result, bail};
use api::policy::{Decision, Party, Trace, TraceRequest};
use policy::{Direction, Matched, PolicyTable};
use types::{Labels, NumericIdentity};

use crate::owner::Owner;

/// One end, as far as it is known.
struct Side {
    /// Endpoint on this node, 0 if it is none.
    endpoint: u16,
    identity: u32,
    name: String,
}

/// Answers a request.
///
/// # Errors
/// An end that nobody knows.
pub(crate) fn run(owner: &mut Owner, request: &TraceRequest) -> Result<Trace> {
    let source = side(owner, &request.source).context("source")?;
    let destination = side(owner, &request.destination).context("destination")?;
    let mut trace = Trace {
        steps: vec![
            format!("from {} (identity {})", source.name, source.identity),
            format!("to {} (identity {}), protocol {}, port {}", destination.name, destination.identity, request.protocol, request.port),
        ],
        verdict: "ALLOWED".to_owned(),
        ..Trace::default()
    };
    for (own, peer, direction) in [(&source, &destination, EGRESS), (&destination, &source, INGRESS)] {
        let decision = decide(owner, own, peer.identity, direction, request)?;
        trace.steps.push(format!("{} policy of {}: {}", decision.direction, own.name, decision.verdict));
        let stop = decision.verdict == "DENIED";
        if decision.verdict == "AUDIT" {
            trace.verdict = "AUDIT".to_owned();
        }
        if stop {
            let explicit = decision.matched != "none";
            let reason = if explicit { abi::DropReason::PolicyDeny } else { abi::DropReason::PolicyDenied };
            trace.verdict = "DENIED".to_owned();
            trace.reason = reason.text().to_owned();
        }
        trace.decisions.push(decision);
        if stop {
            break;
        }
    }
    Ok(trace)
}

fn decide(owner: &Owner, own: &Side, peer: u32, direction: u8, request: &TraceRequest) -> Result<Decision> {
    let name = if direction == EGRESS { "egress" } else { "ingress" };
    let mut decision = Decision { direction: name.to_owned(), verdict: "NOT ENFORCED".to_owned(), ..Decision::default() };
    let Some((id, table)) = owner.state.policy_of(own.endpoint) else { return Ok(decision) };
    decision.endpoint = own.endpoint;
    let slot = owner.kernel.slot(id).context("the policy table is not in the kernel yet")?;
    let live = live_table(owner, slot, &table)?;
    let direction = if direction == EGRESS { Direction::Egress } else { Direction::Ingress };
    let audit = owner.state.settings().audit || owner.state.endpoint(own.endpoint).is_some_and(|e| e.audit);
    let denied = if audit { "AUDIT" } else { "DENIED" };
    match live.lookup(NumericIdentity(peer), direction, request.protocol, request.port) {
        None => {
            decision.verdict = denied.to_owned();
            decision.matched = "none".to_owned();
            decision.cookie = live.deny_cookie(direction);
        }
        Some(hit) => {
            decision.cookie = hit.entry.cookie;
            decision.matched = matched(hit.matched).to_owned();
            decision.verdict = if hit.denies() {
                denied
            } else if hit.audited() {
                "AUDIT"
            } else if hit.entry.flags & abi::tables::POLICY_UNENFORCED != 0 {
                "NOT ENFORCED"
            } else {
                "ALLOWED"
            }
            .to_owned();
        }
    }
    decision.policies = crate::api_server::policies_behind(owner, decision.cookie);
    Ok(decision)
}

/// What lies in the kernel, with the cookies of the default deny from the pod's row.
fn live_table(owner: &Owner, slot: u32, wanted: &PolicyTable) -> Result<PolicyTable> {
    let content = owner.kernel.read_table(slot)?;
    let entries = content
        .into_iter()
        .filter_map(|(key, entry)| Some((policy::TableKey::from_abi(key.len, &key.key)?, entry)))
        .collect();
    Ok(PolicyTable { entries, ..wanted.clone() })
}

fn matched(matched: Matched) -> &'static str {
    match matched {
        Matched::L3Only => "L3-Only",
        Matched::L3L4 => "L3-L4",
        Matched::L4Only => "L4-Only",
        Matched::All => "all",
        Matched::L3Proto => "L3-Proto",
        Matched::ProtoOnly => "Proto-Only",
    }
}

fn side(owner: &Owner, party: &Party) -> Result<Side> {
    let of_endpoint = |e: &agent_core::Endpoint| Side {
        endpoint: e.spec.id,
        identity: e.identity,
        name: format!("pod {}", e.spec.pod),
    };
    Ok(match party {
        Party::Endpoint(id) => {
            of_endpoint(owner.state.endpoint(*id).with_context(|| format!("endpoint {id} is not known on this node"))?)
        }
        Party::Pod { namespace, name } => pod(owner, &PodKey::new(namespace, name))?,
        Party::Address(address) => address_side(owner, *address),
        Party::Identity(identity) => Side { endpoint: 0, identity: *identity, name: format!("identity {identity}") },
        Party::Labels(labels) => {
            let labels = Labels::parse(labels.iter().map(String::as_str))?;
            let found = owner.state.identities().into_iter().find(|(_, known)| *known == labels);
            let Some((identity, _)) = found else { bail!("no identity has exactly the labels {labels}") };
            Side { endpoint: 0, identity, name: labels.to_string() }
        }
    })
}

fn pod(owner: &Owner, key: &PodKey) -> Result<Side> {
    if let Some(endpoint) = owner.state.endpoints().values().find(|e| e.spec.pod == *key) {
        return Ok(Side { endpoint: endpoint.spec.id, identity: endpoint.identity, name: format!("pod {key}") });
    }
    let identity = owner.state.remote_identity(key).with_context(|| format!("pod {key} is not known"))?;
    Ok(Side { endpoint: 0, identity, name: format!("pod {key}") })
}

fn address_side(owner: &Owner, address: IpAddr) -> Side {
    match owner.state.by_address(address) {
        Some(endpoint) => Side { endpoint: endpoint.spec.id, identity: endpoint.identity, name: address.to_string() },
        None => {
            let identity = owner.state.ipcache().identity(address);
            let identity = identity.unwrap_or_else(|| owner.state.settings().world_identity(address));
            Side { endpoint: 0, identity, name: address.to_string() }
        }
    }
}
