//! The server over a real unix socket, with a real client.

use super::*;
use flow::{Flow, Pod, Verdict};
use hubble_pb::flow::{FlowFilter, LostEvent};
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::*;
use hubble_pb::peer::peer_client::PeerClient;
use hubble_pb::peer::{ChangeNotificationType, NotifyRequest};
use hubble_pb::wkt::{FieldMask, Timestamp};
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

/// A served observer. The socket's folder goes with it.
struct Server {
    observer: Observer,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start(capacity: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hubble.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let config = Config { node_name: "default/n1".into(), version: "1.2.3".into(), capacity };
        let observer = Observer::new(config);
        let (stop, stopped) = oneshot::channel();
        let serving = observer.clone();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serving.serve_unix(listener, stopped).await
        });
        let channel =
            Endpoint::from_shared(format!("unix://{}", path.display())).unwrap().connect().await.unwrap();
        Self { observer, channel, stop: Some(stop), task, _folder: folder }
    }

    fn client(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel.clone())
    }

    async fn flows(&self, request: GetFlowsRequest) -> Streaming<GetFlowsResponse> {
        self.client().get_flows(request).await.unwrap().into_inner()
    }

    /// The times of all flows that the request gives.
    async fn times(&self, request: GetFlowsRequest) -> Vec<u64> {
        let mut stream = self.flows(request).await;
        let mut times = Vec::new();
        while let Some(response) = stream.next().await {
            times.push(response.unwrap().time.unwrap().unix_nanos());
        }
        times
    }
}

fn at(time: u64) -> Flow {
    let verdict = if time.is_multiple_of(2) { Verdict::Dropped } else { Verdict::Forwarded };
    Flow { time, verdict, node_name: "default/n1".into(), ..Flow::default() }
}

async fn next(stream: &mut Streaming<GetFlowsResponse>) -> GetFlowsResponse {
    tokio::time::timeout(Duration::from_secs(10), stream.next()).await.unwrap().unwrap().unwrap()
}

fn mask(path: &str) -> FieldMask {
    FieldMask { paths: vec![path.to_owned()] }
}

fn lost(response: &GetFlowsResponse) -> Option<&LostEvent> {
    match response.response_types.as_ref().unwrap() {
        ResponseTypes::LostEvents(lost) => Some(lost),
        _ => None,
    }
}

#[tokio::test]
async fn flows_of_the_past() {
    let server = Server::start(7).await;
    server.observer.extend((1..=10).map(at));
    let request = GetFlowsRequest::default();
    assert_eq!(server.times(request.clone()).await, [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(server.times(GetFlowsRequest { number: 2, ..request.clone() }).await, [9, 10]);
    assert_eq!(server.times(GetFlowsRequest { number: 2, first: true, ..request.clone() }).await, [4, 5]);
    let time = |time| Some(Timestamp::from_unix_nanos(time));
    let span = GetFlowsRequest { since: time(6), until: time(8), ..request.clone() };
    assert_eq!(server.times(span).await, [6, 7, 8]);
    let dropped = vec![FlowFilter { verdict: vec![Verdict::Dropped.number()], ..Default::default() }];
    let only = GetFlowsRequest { whitelist: dropped.clone(), number: 2, ..request.clone() };
    assert_eq!(server.times(only).await, [8, 10]);
    assert_eq!(server.times(GetFlowsRequest { blacklist: dropped, ..request }).await, [5, 7, 9]);
}

#[tokio::test]
async fn bad_requests_say_why() {
    let server = Server::start(7).await;
    let filter = FlowFilter { source_ip: vec!["10.0.0".into()], ..Default::default() };
    let cases = [
        (GetFlowsRequest { first: true, follow: true, ..Default::default() }, "first and follow"),
        (GetFlowsRequest { whitelist: vec![filter], ..Default::default() }, "source_ip"),
        (
            GetFlowsRequest { field_mask: Some(mask("source.nothing")), ..Default::default() },
            "source.nothing",
        ),
    ];
    for (request, text) in cases {
        let status = server.client().get_flows(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(text), "{status}");
    }
    let events = GetAgentEventsRequest { first: true, follow: true, ..Default::default() };
    let status = server.client().get_agent_events(events).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn events_of_the_agent_and_of_the_datapath() {
    let mut server = Server::start(7).await;
    let policy = |revision| AgentNews::Policy { deleted: false, labels: vec![], revision, rules: 1 };
    (1..=5).for_each(|revision| server.observer.note(policy(revision)));
    server.observer.extend((1..=100).map(at));
    let mut client = server.client();
    let revision = |response: GetAgentEventsResponse| {
        use hubble_pb::flow::agent_event::Notification;
        assert_eq!(response.node_name, "default/n1");
        match response.agent_event.unwrap().notification.unwrap() {
            Notification::PolicyUpdate(update) => update.revision,
            other => panic!("{other:?}"),
        }
    };
    let mut told = async |request: GetAgentEventsRequest| {
        let stream = client.get_agent_events(request).await.unwrap().into_inner();
        stream.map(|event| revision(event.unwrap())).collect::<Vec<_>>().await
    };
    let request = GetAgentEventsRequest::default;
    assert_eq!(told(request()).await, [1, 2, 3, 4, 5]);
    assert_eq!(told(GetAgentEventsRequest { number: 2, ..request() }).await, [4, 5]);
    assert_eq!(told(GetAgentEventsRequest { number: 2, first: true, ..request() }).await, [1, 2]);
    let past = Some(Timestamp::from_unix_nanos(1));
    assert!(told(GetAgentEventsRequest { until: past, ..request() }).await.is_empty());
    let follow = GetAgentEventsRequest { follow: true, ..request() };
    let mut following = server.client().get_agent_events(follow).await.unwrap().into_inner();
    let debug = |follow| GetDebugEventsRequest { follow, ..Default::default() };
    let mut debugging = server.client().get_debug_events(debug(true)).await.unwrap().into_inner();
    assert!(
        server.client().get_debug_events(debug(false)).await.unwrap().into_inner().next().await.is_none()
    );
    server.observer.note(policy(6));
    assert_eq!(revision(following.next().await.unwrap().unwrap()), 6);
    server.stop.take().unwrap().send(()).unwrap();
    assert!(following.next().await.is_none() && debugging.next().await.is_none());
}

#[tokio::test]
async fn only_the_fields_asked_for() {
    let server = Server::start(7).await;
    server.observer.push(at(2));
    let request = GetFlowsRequest { field_mask: Some(mask("verdict")), ..Default::default() };
    let response = next(&mut server.flows(request).await).await;
    assert_eq!((&*response.node_name, response.time.map(|t| t.unix_nanos())), ("default/n1", Some(2)));
    let only = hubble_pb::flow::Flow { verdict: Verdict::Dropped.number(), ..Default::default() };
    assert_eq!(response.response_types, Some(ResponseTypes::Flow(only)));
}

#[tokio::test]
async fn following_tells_what_comes_and_ends_with_the_server() {
    let mut server = Server::start(7).await;
    server.observer.extend((1..=3).map(at));
    let mut all = server.flows(GetFlowsRequest { number: 1, follow: true, ..Default::default() }).await;
    let even = FlowFilter { verdict: vec![Verdict::Dropped.number()], ..Default::default() };
    let mut some =
        server.flows(GetFlowsRequest { follow: true, whitelist: vec![even], ..Default::default() }).await;
    assert_eq!(next(&mut all).await.time.unwrap().unix_nanos(), 3);
    for time in 4..=40 {
        server.observer.push(at(time));
        assert_eq!(next(&mut all).await.time.unwrap().unix_nanos(), time);
        if time % 2 == 0 {
            assert_eq!(next(&mut some).await.time.unwrap().unix_nanos(), time);
        }
    }
    server.stop.take().unwrap().send(()).unwrap();
    assert!(all.next().await.is_none());
    drop((all, some));
    tokio::time::timeout(Duration::from_secs(10), &mut server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_reader_learns_what_it_missed() {
    let server = Server::start(63).await;
    let mut slow = server.flows(GetFlowsRequest { follow: true, ..Default::default() }).await;
    // Far more than socket, HTTP/2 window and ring can hold, while nobody reads.
    const SENT: u64 = 100_000;
    for burst in 0..SENT / 100 {
        server.observer.extend((burst * 100..(burst + 1) * 100).map(at));
        tokio::task::yield_now().await;
    }
    let (mut seen, mut missed, mut last) = (0, 0, None);
    while seen + missed < SENT {
        let response = next(&mut slow).await;
        match lost(&response) {
            Some(lost) => {
                assert_eq!(lost.source, LostSource::FlowRing.number());
                missed += lost.num_events_lost;
            }
            None => {
                let time = response.time.unwrap().unix_nanos();
                assert!(last.is_none_or(|last| last < time), "in order, each once");
                last = Some(time);
                seen += 1;
            }
        }
    }
    assert_eq!((seen + missed, last), (SENT, Some(SENT - 1)));
    assert!(missed > 0, "the test must overrun the reader");
}

#[tokio::test]
async fn losses_before_the_ring_are_told_as_one() {
    let server = Server::start(7).await;
    server.observer.push(at(1));
    (0..1000).for_each(|_| server.observer.lost(LostSource::KernelRing, 2, None));
    server.observer.lost(LostSource::Queue, 0, None);
    let mut stream = server.flows(GetFlowsRequest::default()).await;
    assert!(lost(&next(&mut stream).await).is_none());
    let response = next(&mut stream).await;
    assert_eq!(lost(&response).unwrap().num_events_lost, 2000);
    assert_eq!(response.node_name, "default/n1");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn status_nodes_and_namespaces() {
    let server = Server::start(4095).await;
    let mut flow = at(1);
    let pod = Pod { cluster: "default".into(), namespace: "shop".into(), ..Pod::default() };
    flow.destination.pod = Some(Arc::new(pod));
    server.observer.extend([flow, at(2)]);
    let mut client = server.client();
    let status = client.server_status(ServerStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (2, 4095, 2));
    assert_eq!(status.version, "1.2.3");
    assert!(status.uptime_ns > 0 && status.flows_rate > 0.0);
    let nodes = client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes[0].name, "default/n1");
    let namespaces = client.get_namespaces(GetNamespacesRequest {}).await.unwrap().into_inner().namespaces;
    assert_eq!(namespaces, [Namespace { cluster: "default".into(), namespace: "shop".into() }]);
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: "hubble.server.Observer".into() };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status, i32::from(tonic_health::pb::health_check_response::ServingStatus::Serving));
}

#[tokio::test]
async fn peers_are_told_and_every_change() {
    let server = Server::start(7).await;
    let peer = |name: &str, address: &str| Peer {
        name: name.into(),
        address: address.into(),
        tls_server_name: None,
    };
    server.observer.set_peers(vec![peer("default/n1", "10.0.0.1:4244")]);
    let mut client = PeerClient::new(server.channel.clone());
    let mut changes = client.notify(NotifyRequest {}).await.unwrap().into_inner();
    let mut told = async || {
        let change =
            tokio::time::timeout(Duration::from_secs(10), changes.next()).await.unwrap().unwrap().unwrap();
        (change.name, change.address, ChangeNotificationType::try_from(change.r#type).unwrap())
    };
    use ChangeNotificationType::*;
    assert_eq!(told().await, ("default/n1".into(), "10.0.0.1:4244".into(), PeerAdded));
    server.observer.set_peers(vec![peer("default/n1", "10.0.0.9:4244"), peer("default/n2", "10.0.0.2:4244")]);
    assert_eq!(told().await, ("default/n1".into(), "10.0.0.9:4244".into(), PeerUpdated));
    assert_eq!(told().await, ("default/n2".into(), "10.0.0.2:4244".into(), PeerAdded));
    server.observer.set_peers(vec![peer("default/n2", "10.0.0.2:4244")]);
    assert_eq!(told().await, ("default/n1".into(), "10.0.0.9:4244".into(), PeerDeleted));
}
