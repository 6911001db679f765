use super::*;
use crate::raw::decode;
use abi::event::{AUDITED, EGRESS};
use abi::{Addr, Event, EventKind, SocketEvent, TracePoint, TraceReason};
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// A node with one pod, `shop/web` (endpoint 7, identity 4711, 10.0.0.1), a pod elsewhere (`shop/db`, 10.0.1.1,
/// identity 4712), and cookie 9 for a policy.
struct Cluster;

fn pod(id: u16, identity: u32, name: &str) -> Arc<Endpoint> {
    let pod =
        Pod { cluster: "default".into(), namespace: "shop".into(), name: name.into(), workloads: vec![] };
    let labels = Labels::parse([format!("k8s:app={name}").as_str()]).unwrap();
    Arc::new(Endpoint { id, identity, labels, pod: Some(Arc::new(pod)) })
}

impl Lookups for Cluster {
    fn node_name(&self) -> Arc<str> {
        "default/n1".into()
    }
    fn endpoint(&self, id: u16) -> Option<Arc<Endpoint>> {
        (id == 7).then(|| pod(7, 4711, "web"))
    }
    fn endpoint_at(&self, address: IpAddr) -> Option<Arc<Endpoint>> {
        (address.to_string() == "10.0.1.1").then(|| pod(0, 4712, "db"))
    }
    fn identity_at(&self, address: IpAddr) -> Option<u32> {
        (address.to_string() == "192.0.2.1").then_some(0x0100_0001)
    }
    fn labels(&self, identity: u32) -> Option<Labels> {
        (identity == 0x0100_0001).then(|| Labels::parse(["cidr:192.0.2.0/24", "reserved:world"]).unwrap())
    }
    fn names(&self, address: IpAddr) -> Option<Arc<[String]>> {
        (address.to_string() == "192.0.2.1").then(|| Arc::from(["example.org".to_owned()]))
    }
    fn policies(&self, cookie: u32) -> Option<Policies> {
        let policy = Policy { kind: "CiliumNetworkPolicy".into(), name: "p".into(), ..Policy::default() };
        (cookie == 9).then(|| Arc::from([policy]))
    }
    fn policy_log(&self, cookie: u32) -> Arc<[String]> {
        if cookie == 9 { Arc::from(["for the auditors".to_owned()]) } else { Arc::default() }
    }
    fn address_in(&self, namespace: u64, v6: bool) -> Option<IpAddr> {
        (namespace == 77 && !v6).then(|| IpAddr::from([10, 0, 1, 1]))
    }
    fn interface(&self, index: u32) -> Option<Arc<str>> {
        (index == 3).then(|| "lxc7".into())
    }
}

fn record(event: &Event, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(source, destination, 64);
    builder.tcp(40_000, 80, 1, 1).syn().write(&mut frame, b"").unwrap();
    let event = Event { captured: u32::try_from(frame.len()).unwrap(), ..*event };
    [event.as_bytes(), &frame].concat()
}

/// From the pod to the other pod.
fn flow(event: Event) -> Flow {
    let record = record(&event, [10, 0, 0, 1], [10, 0, 1, 1]);
    enrich(decode(&record).unwrap(), &Cluster, 1_000)
}

fn trace(point: TracePoint, reason: TraceReason, source: u16, destination: u16) -> Flow {
    flow(Event {
        kind: EventKind::Trace as u8,
        code: point as u8,
        reason: reason as u8,
        source_endpoint: source,
        destination_endpoint: destination,
        ..Event::default()
    })
}

fn verdict(code: u8, flags: u8) -> Flow {
    let kind = EventKind::PolicyVerdict as u8;
    flow(Event { kind, code, flags, matched: 2, cookie: 9, source_endpoint: 7, ..Event::default() })
}

#[test]
fn ends_get_their_names() {
    let flow = flow(Event {
        time: 5,
        kind: EventKind::Trace as u8,
        code: TracePoint::ToOverlay as u8,
        source_endpoint: 7,
        source_identity: 4711,
        ifindex: 3,
        ..Event::default()
    });
    assert_eq!((flow.time, &*flow.node_name), (1_005, "default/n1"));
    assert_eq!(flow.source.pod.as_ref().map(|pod| pod.name.as_str()), Some("web"));
    assert_eq!((flow.source.endpoint, flow.source.identity), (7, 4711));
    assert_eq!(flow.destination.pod.as_ref().map(|pod| pod.name.as_str()), Some("db"));
    assert_eq!((flow.destination.endpoint, flow.destination.identity), (0, 4712), "by its address");
    assert_eq!(flow.destination.labels.to_string(), "k8s:app=db");
    assert_eq!(flow.interface, Some(Interface { index: 3, name: "lxc7".into() }));
    assert_eq!(flow.summary(), "TCP Flags: SYN");
}

#[test]
fn the_enforced_identity_counts() {
    let event =
        Event { kind: EventKind::Trace as u8, source_endpoint: 7, source_identity: 2, ..Event::default() };
    let flow = flow(event);
    assert_eq!(flow.source.identity, 2, "not the one that the endpoint has by now");
    assert_eq!(flow.source.labels.to_string(), "reserved:world");
    let event = Event { kind: EventKind::Trace as u8, ..Event::default() };
    let flow = enrich(decode(&record(&event, [10, 9, 9, 9], [192, 0, 2, 1])).unwrap(), &Cluster, 0);
    assert_eq!((flow.source.identity, flow.destination.identity), (0, 0x0100_0001));
    assert_eq!(flow.destination.labels.len(), 2);
    assert_eq!(*flow.destination.names, ["example.org".to_owned()]);
}

#[test]
fn traces_point_the_way_of_their_connection() {
    use {Direction::*, TracePoint::*, TraceReason as R};
    let check = |flow: Flow, direction, is_reply| {
        assert_eq!((flow.direction, flow.is_reply, flow.verdict), (direction, is_reply, Verdict::Forwarded));
    };
    check(trace(ToStack, R::New, 7, 0), Egress, Some(false));
    check(trace(ToStack, R::Established, 7, 0), Egress, Some(false));
    check(trace(ToNetwork, R::Reply, 7, 0), Ingress, Some(true));
    check(trace(ToEndpoint, R::New, 0, 7), Ingress, Some(false));
    check(trace(ToEndpoint, R::Reply, 0, 7), Egress, Some(true));
    check(trace(ToEndpoint, R::New, 7, 7), Ingress, Some(false));
    check(trace(ToEndpoint, R::Related, 0, 7), Ingress, Some(false));
    check(trace(ToEndpoint, R::Unknown, 0, 7), Unknown, None);
    check(trace(FromNetwork, R::New, 0, 0), Unknown, Some(false));
    let flow = trace(ToEndpoint, R::New, 0, 7);
    assert_eq!((flow.event_type, flow.event_subtype, flow.point), (4, 0, Some(Point::ToEndpoint)));
}

#[test]
fn drops_have_reasons() {
    let drop = |flags, source_endpoint, destination_endpoint| {
        let kind = EventKind::Drop as u8;
        flow(Event { kind, code: 133, flags, source_endpoint, destination_endpoint, ..Event::default() })
    };
    let flow = drop(EGRESS, 7, 0);
    assert_eq!((flow.verdict, flow.drop_reason, flow.event_subtype), (Verdict::Dropped, 133, 133));
    assert_eq!((flow.direction, flow.is_reply), (Direction::Egress, None));
    assert_eq!(drop(0, 7, 7).direction, Direction::Ingress);
    assert_eq!(drop(0, 0, 0).direction, Direction::Unknown);
}

#[test]
fn verdicts_name_their_policies() {
    let allowed = verdict(0, EGRESS);
    assert_eq!(
        (allowed.verdict, allowed.direction, allowed.policy_match),
        (Verdict::Forwarded, Direction::Egress, 2)
    );
    assert_eq!((allowed.egress_allowed_by.len(), allowed.egress_denied_by.len()), (1, 0));
    assert_eq!(allowed.is_reply, Some(false));
    assert_eq!(*allowed.policy_log, ["for the auditors".to_owned()]);
    let denied = verdict(133, 0);
    assert_eq!((denied.verdict, denied.drop_reason), (Verdict::Dropped, 133));
    assert_eq!((denied.ingress_denied_by.len(), denied.ingress_allowed_by.len()), (1, 0));
    assert_eq!(denied.is_reply, None);
    assert_eq!(denied.policy_log.len(), 1, "denials, too");
    let audited = verdict(133, AUDITED | EGRESS);
    assert_eq!((audited.verdict, audited.drop_reason), (Verdict::Audit, 0));
    assert_eq!(audited.egress_denied_by.len(), 1, "they would have denied it");
}

/// A record about a socket in this namespace that speaks to 192.0.2.1:80.
fn socket(code: u8, namespace: u64, protocol: u8) -> Vec<u8> {
    let addr = Addr::from(IpAddr::from([192, 0, 2, 1]));
    let (cookie, cgroup, port) = (5, 6, 80_u16.to_be());
    let socket = SocketEvent { cookie, cgroup, namespace, addr, port, protocol, ..SocketEvent::default() };
    let event = Event { kind: EventKind::TraceSock as u8, code, time: 5, captured: 48, ..Event::default() };
    [event.as_bytes(), socket.as_bytes()].concat()
}

#[test]
fn a_translation_at_a_socket_is_the_pods_of_its_namespace() {
    let line = |code, namespace, protocol| {
        let flow = enrich(decode(&socket(code, namespace, protocol)).unwrap(), &Cluster, 1_000);
        assert_eq!((flow.kind, flow.event_type, flow.event_subtype), (FlowKind::Sock, 7, i32::from(code)));
        assert_eq!((flow.direction, flow.is_reply, flow.time), (Direction::Unknown, None, 1_005));
        let rare = flow.rare.as_deref().unwrap();
        assert_eq!((rare.socket_point, rare.socket_cookie, rare.cgroup), (i32::from(code), 5, 6));
        let options = crate::format::Options { translate: true, ..crate::format::Options::default() };
        let line = crate::format::compact(&flow, &options);
        line.split_once(": ").unwrap().1.to_owned()
    };
    let other = "example.org:80 (ID:16777217)";
    assert_eq!(line(1, 77, 6), format!("shop/db (ID:4712) <> {other} pre-xlate-fwd TRACED (TCP)"));
    assert_eq!(line(2, 77, 17), format!("shop/db (ID:4712) <> {other} post-xlate-fwd TRANSLATED (UDP)"));
    assert_eq!(line(3, 77, 6), format!("{other} <> shop/db (ID:4712) pre-xlate-rev TRACED (TCP)"));
    assert_eq!(line(4, 77, 6), format!("{other} <> shop/db (ID:4712) post-xlate-rev TRANSLATED (TCP)"));
    assert_eq!(line(1, 78, 6), format!("0.0.0.0 (unknown) <> {other} pre-xlate-fwd TRACED (TCP)"));
    assert_eq!(crate::namespace(&socket(1, 77, 6)), Some(77));
    assert_eq!(crate::namespace(&record(&Event::default(), [10, 0, 0, 1], [10, 0, 0, 2])), None);
}

#[test]
fn uuids_name_events() {
    let event = Event { kind: EventKind::Trace as u8, time: 1, ..Event::default() };
    let (one, again) = (flow(event), flow(event));
    assert_eq!(one.uuid, again.uuid);
    assert_ne!(one.uuid, flow(Event { time: 2, ..event }).uuid);
    assert_eq!(one.uuid.len(), 36);
    assert_eq!((&one.uuid[14..15], "89ab".contains(&one.uuid[19..20])), ("8", true), "RFC 9562 version 8");
}

#[test]
fn what_is_no_record_is_refused() {
    use crate::DecodeError::*;
    assert_eq!(decode(&[0; 47]), Err(Short { len: 47 }));
    assert_eq!(decode(Event { kind: 77, ..Event::default() }.as_bytes()), Err(UnknownKind { kind: 77 }));
    let trace = Event { kind: EventKind::Trace as u8, code: 14, ..Event::default() };
    assert_eq!(decode(trace.as_bytes()), Err(UnknownPoint { point: 14 }));
    assert_eq!(decode(&socket(5, 77, 6)), Err(UnknownSocketPoint { point: 5 }));
    assert_eq!(decode(&socket(1, 77, 6)[..95]), Err(Short { len: 95 }));
    // More captured than there is: as far as it goes.
    let trace = Event { kind: EventKind::Trace as u8, captured: u32::MAX, ..Event::default() };
    assert!(decode(trace.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn no_record_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..8_u8) {
        let mut bytes = bytes;
        if let Some(place) = bytes.get_mut(std::mem::offset_of!(Event, kind)) {
            *place = kind;
        }
        if let Ok(raw) = decode(&bytes) {
            let flow = enrich(raw, &Cluster, u64::MAX);
            crate::format::compact(&flow, &crate::format::Options::default());
        }
    }
}
