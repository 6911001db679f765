//! A relay in front of real servers, on unix sockets.

use super::*;
use flow::{Flow, Verdict};
use futures::StreamExt;
use hubble_pb::flow::FlowFilter;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::*;
use hubble_pb::relay::NodeState;
use observer::{Observer, Peer};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};

/// Servers of nodes, a relay in front of them, and a client of it.
struct World {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    first: Observer,
    client: ObserverClient<Channel>,
}

fn dial() -> Dial {
    Arc::new(|address, _| {
        Box::pin(async move {
            let endpoint = Endpoint::from_shared(address).map_err(|error| error.to_string())?;
            endpoint.connect().await.map_err(|error| error.to_string())
        })
    })
}

fn peer(folder: &Path, name: &str) -> Peer {
    let address = format!("unix://{}", folder.join(name).display());
    Peer { name: format!("default/{name}"), address, tls_server_name: None }
}

fn server(folder: &Path, name: &str, stop: &CancellationToken) -> Observer {
    let config =
        observer::Config { node_name: format!("default/{name}"), version: "v1".into(), capacity: 1023 };
    let observer = Observer::new(config);
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    let (serving, stop) = (observer.clone(), stop.clone().cancelled_owned());
    tokio::spawn(async move { serving.serve_unix(listener, stop).await });
    observer
}

impl World {
    /// Node `n1` tells of all of `names`.
    async fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let first = server(folder.path(), "n1", &stop);
        first.set_peers(names.iter().map(|name| peer(folder.path(), name)).collect());
        let (pool, keep) = Pool::new(peer(folder.path(), "n1").address, None, dial(), stop.clone());
        tokio::spawn(keep);
        let window = Window { items: 100, time: Duration::from_millis(200) };
        let relay = Relay::new(Config { name: "relay".into(), version: "v2".into(), window }, pool);
        let socket = folder.path().join("relay");
        let listener = UnixListener::bind(&socket).unwrap();
        let ended = stop.clone().cancelled_owned();
        tokio::spawn(async move { relay.serve(UnixListenerStream::new(listener), ended).await });
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let client = ObserverClient::new(channel.connect().await.unwrap());
        Self { folder, stop, first, client }
    }

    fn server(&self, name: &str) -> Observer {
        server(self.folder.path(), name, &self.stop)
    }

    async fn status(&mut self) -> ServerStatusResponse {
        self.client.server_status(ServerStatusRequest {}).await.unwrap().into_inner()
    }

    /// Waits until as many nodes answer, and as many do not.
    async fn until(&mut self, connected: u32, unavailable: u32) {
        for _ in 0..200 {
            let status = self.status().await;
            let numbers = (status.num_connected_nodes.unwrap(), status.num_unavailable_nodes.unwrap());
            if (numbers.0.value, numbers.1.value) == (connected, unavailable) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never {connected} connected and {unavailable} unavailable: {:?}", self.status().await);
    }

    async fn flows(&mut self, request: GetFlowsRequest) -> Streaming<GetFlowsResponse> {
        self.client.get_flows(request).await.unwrap().into_inner()
    }
}

fn at(time: u64, node: &str) -> Flow {
    let verdict = if time.is_multiple_of(2) { Verdict::Dropped } else { Verdict::Forwarded };
    Flow { time, verdict, node_name: format!("default/{node}").into(), ..Flow::default() }
}

/// What is told: times of flows, and news about nodes.
#[derive(Debug, PartialEq)]
enum Told {
    Flow(u64),
    News(NodeState, Vec<String>),
}

async fn next(stream: &mut Streaming<GetFlowsResponse>) -> Option<Told> {
    let response = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.unwrap()?.unwrap();
    Some(match response.response_types.unwrap() {
        ResponseTypes::NodeStatus(event) => Told::News(event.state_change(), event.node_names),
        _ => Told::Flow(response.time.unwrap().unix_nanos()),
    })
}

async fn rest(mut stream: Streaming<GetFlowsResponse>) -> Vec<Told> {
    let mut all = Vec::new();
    while let Some(told) = next(&mut stream).await {
        all.push(told);
    }
    all
}

fn news(state: NodeState, names: &[&str]) -> Told {
    Told::News(state, names.iter().map(|name| (*name).to_owned()).collect())
}

#[tokio::test]
async fn flows_of_all_nodes_in_order() {
    let mut world = World::new(&["n1", "n2", "n3"]).await;
    let second = world.server("n2");
    world.first.extend((1..=10).map(|n| at(n * 2, "n1")));
    second.extend((1..=10).map(|n| at(n * 3, "n2")));
    world.until(2, 1).await;
    let mut expected: Vec<_> = (1..=10).flat_map(|n| [n * 2, n * 3]).collect();
    expected.sort_unstable();
    let told = rest(world.flows(GetFlowsRequest::default()).await).await;
    assert_eq!(told[0], news(NodeState::NodeConnected, &["default/n1", "default/n2"]));
    assert_eq!(told[1], news(NodeState::NodeUnavailable, &["default/n3"]));
    let flows: Vec<_> = expected.into_iter().map(Told::Flow).collect();
    assert_eq!(told[2..], flows);
    let last = rest(world.flows(GetFlowsRequest { number: 1, ..Default::default() }).await).await;
    assert_eq!(last[2..], [Told::Flow(20), Told::Flow(30)], "the last one of each node");
}

#[tokio::test]
async fn one_answer_for_all() {
    let mut world = World::new(&["n1", "n2", "n3"]).await;
    let second = world.server("n2");
    world.first.push(at(1, "n1"));
    second.extend([at(1, "n2"), at(2, "n2")]);
    world.until(2, 1).await;
    let status = world.status().await;
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (3, 2046, 3));
    assert_eq!(
        (status.version.as_str(), &status.unavailable_nodes[..]),
        ("v2", &["default/n3".to_owned()][..])
    );
    let nodes = world.client.get_nodes(GetNodesRequest {}).await.unwrap().into_inner().nodes;
    let states: Vec<_> =
        nodes.iter().map(|node| (node.name.as_str(), node.state(), node.num_flows)).collect();
    use NodeState::*;
    assert_eq!(
        states,
        [
            ("default/n1", NodeConnected, 1),
            ("default/n2", NodeConnected, 2),
            ("default/n3", NodeUnavailable, 0)
        ]
    );
}

#[tokio::test]
async fn nodes_come_and_go_while_somebody_follows() {
    let mut world = World::new(&["n1"]).await;
    world.until(1, 0).await;
    let mut stream = world.flows(GetFlowsRequest { follow: true, ..Default::default() }).await;
    assert_eq!(next(&mut stream).await, Some(news(NodeState::NodeConnected, &["default/n1"])));
    let second = world.server("n2");
    let peers = |names: &[&str]| names.iter().map(|name| peer(world.folder.path(), name)).collect();
    world.first.set_peers(peers(&["n1", "n2"]));
    let mut told = next(&mut stream).await;
    if told == Some(news(NodeState::NodeUnavailable, &["default/n2"])) {
        told = next(&mut stream).await;
    }
    assert_eq!(told, Some(news(NodeState::NodeConnected, &["default/n2"])));
    // Time enough for the question to reach the node.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let future = u64::MAX / 4;
    second.push(at(future, "n2"));
    assert_eq!(next(&mut stream).await, Some(Told::Flow(future)));
    world.first.set_peers(peers(&["n1"]));
    assert_eq!(next(&mut stream).await, Some(news(NodeState::NodeGone, &["default/n2"])));
    world.first.push(at(future + 1, "n1"));
    assert_eq!(next(&mut stream).await, Some(Told::Flow(future + 1)));
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let mut world = World::new(&["n1"]).await;
    world.until(1, 0).await;
    let both = GetFlowsRequest { first: true, follow: true, ..Default::default() };
    assert_eq!(world.client.get_flows(both).await.unwrap_err().code(), Code::InvalidArgument);
    let filter = FlowFilter { source_ip: vec!["10.0.0".into()], ..Default::default() };
    let request = GetFlowsRequest { whitelist: vec![filter], follow: true, ..Default::default() };
    let mut stream = world.flows(request).await;
    assert_eq!(next(&mut stream).await, Some(news(NodeState::NodeConnected, &["default/n1"])));
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("source_ip"), "{status}");
    assert!(stream.next().await.is_none());
}
