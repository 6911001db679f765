//! What would become of a packet: the datapath's own code over a copy of the live maps. The owner is only asked who is
//! who; the maps are read beside it, and none is written.

use std::net::IpAddr;
use std::sync::Arc;

use abi::Addr;
use agent_core::PodKey;
use anyhow::Context as _;
use api::policy::{Party, Trace, TraceRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use loader::Object;
use mirror::{Flows, dump};
use netlink::Netlink;
use trace::{Node, Question, RouteEntry, Surroundings, TraceError};
use types::Labels;

use super::{Answer, Context, Refused, bpf, texts};
use crate::owner::Owner;

/// Prefix length of a single address in the 128-bit space.
const WHOLE: u32 = 128;

/// One end, as far as the agent knows it.
struct End {
    name: String,
    /// Endpoint of this node, 0 if it is none that was asked for.
    endpoint: u16,
    wanted: Wanted,
}

enum Wanted {
    /// One of these, as the families fit.
    Addresses(Vec<IpAddr>),
    /// Any address that has it.
    Identity(u32),
}

/// Runs a packet through the datapath's code over the live tables.
pub(super) async fn answer(
    State(context): State<Context>,
    Json(request): Json<TraceRequest>,
) -> Answer<Trace> {
    let parties = (request.source.clone(), request.destination.clone());
    let known = context.handle.ask(move |owner| {
        let ends = (end(owner, &parties.0)?, end(owner, &parties.1)?);
        let native = owner.kernel.devices().native.iter().map(|device| device.index).collect();
        Ok::<_, Refused>((ends, owner.kernel.object().clone(), native))
    });
    let ((source, destination), object, native) = known.await??;
    let around = Surroundings { native, ..Surroundings::default() };
    let traced = tokio::task::spawn_blocking(move || run(&request, &source, &destination, &object, around));
    let traced = traced.await.context("a trace broke off").map_err(Refused::from)??;
    Ok(Json(context.handle.ask(move |owner| explained(owner, traced)).await?))
}

fn bad(message: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, message)
}

impl From<TraceError> for Refused {
    fn from(error: TraceError) -> Self {
        bad(error.to_string())
    }
}

fn run(
    request: &TraceRequest,
    source: &End,
    destination: &End,
    object: &Arc<Object>,
    mut around: Surroundings,
) -> Result<Trace, Refused> {
    let flows = if request.existing { Flows::With } else { Flows::Without };
    let copied = dump(&object.maps, object.config(), flows);
    let mut node = copied.context("cannot read the live maps").map_err(Refused::from)?;
    let of = (addresses(&node, source)?, addresses(&node, destination)?);
    let Some((from, to)) = trace::choose(&of.0, &of.1, request.protocol, request.ipv6) else {
        let wanted = if request.ipv6 { " (IPv6 was asked for)" } else { "" };
        let (source_name, destination_name) = (source.name.clone(), destination.name.clone());
        return Err(TraceError::Families { source_name, destination_name, wanted }.into());
    };
    surround(&mut node, &mut around, to);
    let question = Question {
        source: from,
        destination: to,
        protocol: request.protocol,
        port: request.port,
        source_port: request.source_port,
    };
    let prepared = trace::prepare(&node, &question, &around)?;
    Ok(trace::trace(&mut node, &prepared, &around))
}

/// Asks the kernel for what is in no map: names of devices, and the way to the destination. Where it does not tell, the
/// answer has numbers, and what leaves is said to be left to the stack.
fn surround(node: &mut Node, around: &mut Surroundings, to: IpAddr) {
    let asked = Netlink::open().and_then(|mut netlink| Ok((netlink.links()?, netlink.lookup(to)?)));
    match asked {
        Ok((links, way)) => {
            around.names = links.into_iter().map(|link| (link.index, link.name)).collect();
            node.routes.extend(way.map(|way| RouteEntry {
                base: to.into(),
                len: WHOLE,
                ifindex: way.link,
                gateway: way.gateway.map_or(Addr::UNSPECIFIED, Addr::from),
            }));
        }
        Err(error) => {
            tracing::warn!(error = crate::text(&error), "a trace goes on without the node's routes")
        }
    }
}

/// The addresses of an end; those of an endpoint only if the programs know it.
fn addresses(node: &Node, end: &End) -> Result<Vec<IpAddr>, Refused> {
    let known = |ip: &IpAddr| node.local.contains_key(&Addr::from(*ip));
    match &end.wanted {
        Wanted::Addresses(addresses) if end.endpoint != 0 && !addresses.iter().any(known) => {
            let refused =
                Refused::new(StatusCode::CONFLICT, "the programs do not know it yet").about(&end.name);
            Err(refused.cure("wait until `cilium-dbg endpoint list` shows it as ready"))
        }
        Wanted::Addresses(addresses) => Ok(addresses.clone()),
        Wanted::Identity(identity) => match trace::representative(node, *identity) {
            none if none.is_empty() => Err(bad("this node knows no address that has it")
                .about(&end.name)
                .cure("name a pod or an address")),
            found => Ok(found),
        },
    }
}

fn end(owner: &Owner, party: &Party) -> Result<End, Refused> {
    let identity = |number, name| End { name, endpoint: 0, wanted: Wanted::Identity(number) };
    match party {
        Party::Endpoint(id) if owner.state.host_endpoint() == Some(*id) => {
            let addresses = owner.state.settings().node.underlay.clone();
            let name = format!("endpoint {id}, this node");
            Ok(End { name, endpoint: 0, wanted: Wanted::Addresses(addresses) })
        }
        Party::Endpoint(id) => {
            let found =
                owner.state.endpoint(*id).ok_or_else(|| Refused::not_found(format_args!("endpoint {id}")))?;
            Ok(local(found, format!("endpoint {id}")))
        }
        Party::Pod { namespace, name } => pod(owner, &PodKey::new(namespace, name)),
        Party::Address(ip) => {
            Ok(End { name: ip.to_string(), endpoint: 0, wanted: Wanted::Addresses(vec![*ip]) })
        }
        Party::Identity(number) => Ok(identity(*number, format!("identity {number}"))),
        Party::Labels(labels) => {
            let labels =
                Labels::parse(labels.iter().map(String::as_str)).map_err(|error| bad(error.to_string()))?;
            let found = owner.state.identities().into_iter().find(|(_, known)| *known == labels);
            let unknown = || bad(format!("no identity has exactly the labels {labels}"));
            let (number, _) = found.ok_or_else(|| unknown().cure("see `cilium-dbg identity list`"))?;
            Ok(identity(number, labels.to_string()))
        }
    }
}

fn local(endpoint: &agent_core::Endpoint, name: String) -> End {
    let addresses = endpoint.spec.addresses().collect();
    End { name, endpoint: endpoint.spec.id, wanted: Wanted::Addresses(addresses) }
}

/// A pod of this node, of this node's own network, or of another node.
fn pod(owner: &Owner, key: &PodKey) -> Result<End, Refused> {
    let name = format!("pod {key}");
    if let Some(endpoint) = owner.state.endpoints().values().find(|e| e.spec.pod == *key) {
        return Ok(local(endpoint, name));
    }
    let addresses: Vec<IpAddr> = match owner.state.pod(key) {
        Some(pod) => pod.addresses.clone(),
        None => {
            let hosts = owner.state.ipcache().hosts().rows().keys().map(|addr| IpAddr::from(*addr));
            hosts.filter(|ip| owner.state.remote_pod(*ip) == Some(key)).collect()
        }
    };
    if addresses.is_empty() {
        let refused =
            Refused::new(StatusCode::NOT_FOUND, "no such pod is known, or it has no address yet").about(name);
        return Err(refused.cure("a pod in the network of another node is traced by that node's address"));
    }
    Ok(End { name, endpoint: 0, wanted: Wanted::Addresses(addresses) })
}

/// Adds what only the owner knows: labels, and the policies behind the verdicts.
fn explained(owner: &Owner, mut trace: Trace) -> Trace {
    for end in [&mut trace.source, &mut trace.destination] {
        end.labels = owner.state.labels_of(end.identity).map(|labels| texts(&labels)).unwrap_or_default();
    }
    for decision in &mut trace.decisions {
        decision.policies = bpf::references(owner, decision.cookie);
    }
    trace
}
