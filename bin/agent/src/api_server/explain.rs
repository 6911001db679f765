//! Why a flow passed or was dropped: the rules of today, read one by one, beside what was recorded.

use std::collections::BTreeMap;
use std::net::IpAddr;

use abi::identity;
use api::policy::{ExplainedSide, Explanation, PolicyRef, RecordedVerdict, RuleRef, RuleStep, TraceEnd};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flow::format::drop_text;
use flow::{Connection, Flow};
use policy::{Direction, Outcome, Packet};
use serde_json::{Value, json};
use types::{NumericIdentity, PolicyKind, PolicyOrigin};

use super::{Answer, Context, Refused, texts};
use crate::owner::Owner;

/// Explains one flow, with or without the envelope that `hubble observe` prints around it.
pub(super) async fn answer(
    State(context): State<Context>,
    Json(mut recorded): Json<Value>,
) -> Answer<Explanation> {
    let inner = recorded.get_mut("flow").map(Value::take).unwrap_or(recorded);
    let flow = read(inner)?;
    context.handle.ask(move |owner| explain(owner, &flow)).await?.map(Json)
}

fn read(value: Value) -> Result<Flow, Refused> {
    let bad = |why: String| {
        Refused::new(StatusCode::BAD_REQUEST, format!("this is no flow: {why}"))
            .cure("give one line of `hubble observe -o json`")
    };
    let message: hubble_pb::flow::Flow = serde_json::from_value(value).map_err(|e| bad(e.to_string()))?;
    Flow::try_from(message).map_err(|e| bad(e.to_string()))
}

fn explain(owner: &Owner, flow: &Flow) -> Result<Explanation, Refused> {
    let connection = flow.connection().map_err(|why| {
        Refused::new(StatusCode::BAD_REQUEST, format!("no policy is asked about this flow: {why}"))
            .cure("choose a flow between two addresses, of TCP, UDP, SCTP or ICMP")
    })?;
    let Connection { client, server, client_address, server_address, protocol, port, .. } = connection;
    let ends = [
        (Direction::Egress, client, client_address, server, server_address),
        (Direction::Ingress, server, server_address, client, client_address),
    ];
    let mut places = Places::default();
    let mut sides = Vec::new();
    let mut elsewhere = Vec::new();
    for (direction, own, address, peer, peer_address) in ends {
        match local(owner, own, address) {
            Some(endpoint) => {
                let peer = peer_identity(owner, peer, peer_address);
                let block = owner.state.block(peer, peer_address);
                let packet = Packet { direction, peer: NumericIdentity(peer), block, protocol, port };
                sides.extend(side(owner, endpoint, &packet, &mut places));
            }
            None => {
                elsewhere.extend(far(owner, own, address).map(|whose| format!("the {direction} {whose}")))
            }
        }
    }
    if sides.is_empty() {
        let own = [client_address, server_address].into_iter().any(|address| is_own(owner, address));
        let (node, cure) = match own {
            true => (", which itself has no policy", "switch on hostFirewall.enabled to give it one, or ask"),
            false => ("", "ask"),
        };
        let message = format!("neither {client_address} nor {server_address} is a pod of this node{node}");
        let cure = format!("{cure} the agent of the node where one of them is: the flow's node_name tells");
        return Err(Refused::new(StatusCode::NOT_FOUND, message).cure(cure));
    }
    let end = |own: &flow::End, address: IpAddr, port: u16| TraceEnd {
        address: address.to_string(),
        port,
        identity: own.identity,
        labels: texts(&own.labels),
        endpoint: local(owner, own, address).unwrap_or_default(),
        found: match (&own.pod, is_own(owner, address)) {
            (Some(pod), _) => format!("{}/{}", pod.namespace, pod.name),
            (None, true) => node_name(owner),
            (None, false) => String::new(),
        },
    };
    Ok(Explanation {
        source: end(client, client_address, 0),
        destination: end(server, server_address, port),
        protocol,
        recorded: recorded(flow),
        sides,
        elsewhere: elsewhere.join("; "),
    })
}

/// The endpoint of this node that an end is: by its pod, else by its address. (Its number may be another node's.) The node
/// itself is one where it has a policy of its own.
fn local(owner: &Owner, end: &flow::End, address: IpAddr) -> Option<u16> {
    let by_pod = end.pod.as_ref().and_then(|pod| {
        let named =
            |e: &&agent_core::Endpoint| e.spec.pod.namespace == pod.namespace && e.spec.pod.name == pod.name;
        owner.state.endpoints().values().find(named)
    });
    let pod = by_pod.or_else(|| owner.state.by_address(address)).map(|endpoint| endpoint.spec.id);
    pod.or_else(|| owner.state.host_endpoint().filter(|_| is_own(owner, address)))
}

/// Whether an address is the node's own.
fn is_own(owner: &Owner, address: IpAddr) -> bool {
    owner.state.ipcache().identity(address) == Some(identity::HOST)
}

/// The node itself, in words.
fn node_name(owner: &Owner) -> String {
    format!("node {}", owner.state.settings().node.name)
}

/// Who knows the policy of an end that is not this node's; nothing if the end has none.
fn far(owner: &Owner, end: &flow::End, address: IpAddr) -> Option<String> {
    // A pod in its node's network has no policy but the node's.
    let node = matches!(
        owner.state.ipcache().identity(address),
        Some(identity::REMOTE_NODE | identity::KUBE_APISERVER)
    );
    if is_own(owner, address) {
        return None;
    }
    if node {
        let guarded = owner.state.host_endpoint().is_some();
        return guarded.then(|| format!("policy of the node {address} is known to its own agent"));
    }
    let pod = end.pod.as_ref()?;
    Some(format!("policy of {}/{} is known to the agent of its node", pod.namespace, pod.name))
}

/// Numbers of prefixes mean something on their own node only, and so do those of nodes: this one is the host here and a
/// remote node there. Those of the cluster are the same everywhere.
fn peer_identity(owner: &Owner, end: &flow::End, address: IpAddr) -> u32 {
    let relative = matches!(end.identity, identity::HOST | identity::REMOTE_NODE | identity::KUBE_APISERVER);
    let known = end.identity != 0
        && !relative
        && !identity::is_local_scope(end.identity)
        && owner.state.labels_of(end.identity).is_some();
    if known {
        return end.identity;
    }
    let found = owner.state.ipcache().identity(address);
    found.unwrap_or_else(|| owner.state.settings().world_identity(address))
}

fn side(owner: &Owner, id: u16, packet: &Packet, places: &mut Places) -> Option<ExplainedSide> {
    let engine = owner.state.engine();
    let (subject, name) = match owner.state.host_endpoint() == Some(id) {
        true => (owner.state.host_subject()?, node_name(owner)),
        false => (engine.subject(u64::from(id))?, owner.state.endpoint(id)?.spec.pod.to_string()),
    };
    let told = engine.explain(subject, packet);
    // A dry run of the whole node is the programs' matter; rules do not know of it.
    let audit = owner.state.settings().audit && !told.outcome.passes();
    let verdict = match told.outcome {
        _ if audit => "AUDIT",
        Outcome::Unenforced => "NOT ENFORCED",
        Outcome::Allowed => "ALLOWED",
        Outcome::Redirected(_) => "REDIRECTED",
        Outcome::Denied | Outcome::DefaultDenied => "DENIED",
        Outcome::Audited => "AUDIT",
    };
    let text =
        if audit { format!("{}, but the node only audits", told.outcome) } else { told.outcome.to_string() };
    let mut reference = |rule: &policy::RuleRef| RuleRef {
        kind: rule.origin.kind.name().to_owned(),
        namespace: rule.origin.namespace.clone(),
        name: rule.origin.name.clone(),
        place: places.of(owner, rule),
    };
    Some(ExplainedSide {
        direction: packet.direction.to_string(),
        endpoint: id,
        pod: name,
        peer: packet.peer.get(),
        peer_labels: texts(&told.peer),
        verdict: verdict.to_owned(),
        text,
        because: told.because.iter().map(&mut reference).collect(),
        rules: told
            .rules
            .iter()
            .map(|step| RuleStep {
                rule: reference(&step.rule),
                verdict: step.verdict.to_string(),
                tier: step.tier.to_string(),
                priority: step.priority,
                audit: step.audit,
                peer_matches: step.peer_matches,
                port_matches: step.port_matches,
            })
            .collect(),
    })
}

fn recorded(flow: &Flow) -> RecordedVerdict {
    let named = |lists: [&flow::Policies; 2]| {
        let all = lists.into_iter().flat_map(|list| list.iter());
        all.map(|policy| PolicyRef {
            kind: policy.kind.clone(),
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
        })
        .collect()
    };
    let reason = flow.drop_reason;
    RecordedVerdict {
        verdict: flow.verdict.text().to_owned(),
        reason: if reason == 0 { String::new() } else { drop_text(i32::from(reason)) },
        allowed_by: named([&flow.egress_allowed_by, &flow.ingress_allowed_by]),
        denied_by: named([&flow.egress_denied_by, &flow.ingress_denied_by]),
    }
}

/// Where the rules of a policy stand in its object, read once a policy.
#[derive(Default)]
struct Places(BTreeMap<PolicyOrigin, Vec<String>>);

impl Places {
    fn of(&mut self, owner: &Owner, rule: &policy::RuleRef) -> String {
        let places = self.0.entry((*rule.origin).clone()).or_insert_with(|| read_places(owner, &rule.origin));
        let index = usize::try_from(rule.index).unwrap_or(usize::MAX);
        places.get(index).cloned().unwrap_or_default()
    }
}

fn read_places(owner: &Owner, origin: &PolicyOrigin) -> Vec<String> {
    let mut known = owner.state.policies().map(|(_, object)| object);
    // One that is refused by now has other text than the rules that stay in force.
    let found = known.find(|object| object.origin == *origin && object.refused.is_none());
    let Some(spec) = found.and_then(|object| serde_json::from_str::<Value>(&object.text).ok()) else {
        return Vec::new();
    };
    let metadata = json!({ "namespace": origin.namespace, "name": origin.name });
    let mut object = json!({ "kind": origin.kind.name(), "metadata": metadata });
    match (origin.kind, spec) {
        // The text is the list of both fields; one alone is nearly always `spec`.
        (PolicyKind::Cnp | PolicyKind::Ccnp, Value::Array(mut specs)) if specs.len() == 1 => {
            object["spec"] = specs.remove(0);
        }
        (PolicyKind::Cnp | PolicyKind::Ccnp, specs) => object["specs"] = specs,
        (_, spec) => object["spec"] = spec,
    }
    kube_api::rule_places(&object)
}
