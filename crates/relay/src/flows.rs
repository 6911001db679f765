//! `GetFlows` of all nodes.

use crate::merge::{Merge, Mode, Timed, Told};
use crate::pool::Node;
use crate::service::Shared;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes};
use hubble_pb::relay::{NodeState, NodeStatusEvent};
use hubble_pb::wkt::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tonic::{Code, Status};

/// Flows are masked and may carry long label lists.
const LARGEST_MESSAGE: usize = 64 << 20;

impl Timed for GetFlowsResponse {
    fn time(&self) -> u64 {
        self.time.map_or(0, |time| time.unix_nanos())
    }
}

/// What of a node is merged: what it said, or why it stopped.
struct FromNode(Result<GetFlowsResponse, Status>, u64);

impl Timed for FromNode {
    fn time(&self) -> u64 {
        self.1
    }
}

/// One client's stream.
struct Reader {
    shared: Arc<Shared>,
    request: GetFlowsRequest,
    merge: Merge<String, FromNode>,
    nodes: watch::Receiver<BTreeMap<String, Node>>,
    /// Nodes that were told of, and whether they answered then.
    told: BTreeMap<String, bool>,
    /// Nodes that stopped in the middle: asked again when they are found anew.
    broken: Vec<String>,
    /// When each node was last heard, ns since the Unix epoch.
    heard: BTreeMap<String, u64>,
    ready: VecDeque<Result<GetFlowsResponse, Status>>,
    begun: bool,
}

/// What the nodes say, ordered by time, with news about the nodes in between.
pub(crate) fn stream(
    shared: Arc<Shared>,
    request: GetFlowsRequest,
) -> impl Stream<Item = Result<GetFlowsResponse, Status>> + Send {
    let nodes = shared.pool.watch();
    let mode = if request.follow { Mode::Present } else { Mode::Past };
    let merge = Merge::new(shared.config.window, mode);
    let reader = Reader {
        shared,
        request,
        merge,
        nodes,
        told: BTreeMap::new(),
        broken: Vec::new(),
        heard: BTreeMap::new(),
        ready: VecDeque::new(),
        begun: false,
    };
    futures::stream::unfold(reader, |mut reader| async move {
        let response = reader.next().await?;
        Some((response, reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Result<GetFlowsResponse, Status>> {
        if !self.begun {
            self.look();
            self.begun = true;
        }
        let closing = self.shared.closing.clone();
        loop {
            if let Some(response) = self.ready.pop_front() {
                return Some(response);
            }
            let follow = self.request.follow;
            let told = tokio::select! {
                told = self.merge.next() => told,
                changed = self.nodes.changed(), if follow => {
                    changed.ok()?;
                    self.look();
                    continue;
                }
                () = closing.cancelled() => return None,
            };
            match told {
                Some(Told::Item(FromNode(Ok(response), time))) => {
                    self.heard.insert(response.node_name.clone(), time);
                    return Some(Ok(response));
                }
                Some(Told::Item(FromNode(Err(status), _))) => self.refused(&status)?,
                Some(Told::Ended(name)) => self.broken.push(name),
                None if follow => {
                    tokio::select! {
                        changed = self.nodes.changed() => changed.ok()?,
                        () = closing.cancelled() => return None,
                    }
                    self.look();
                }
                None => return None,
            }
        }
    }

    /// A node that cannot follow the request ends it; any other trouble is news about that node.
    fn refused(&mut self, status: &Status) -> Option<()> {
        let name = status.metadata().get(NODE).and_then(|name| name.to_str().ok()).unwrap_or_default();
        if status.code() == Code::InvalidArgument {
            self.ready.push_back(Err(Status::invalid_argument(status.message())));
            self.request.follow = false;
            self.merge = Merge::new(self.shared.config.window, Mode::Past);
            return Some(());
        }
        let event = NodeStatusEvent {
            state_change: NodeState::NodeError.into(),
            node_names: vec![name.to_owned()],
            message: status.message().to_owned(),
        };
        self.tell(event);
        Some(())
    }

    /// Asks nodes that are new or back, and tells of those that came or went.
    fn look(&mut self) {
        let nodes = self.nodes.borrow_and_update().clone();
        let mut news: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        let mut note = |state: NodeState, name: &str| {
            news.entry(state.into()).or_default().push(name.to_owned());
        };
        let gone: Vec<_> = self.told.keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
        for name in gone {
            note(NodeState::NodeGone, &name);
            self.told.remove(&name);
            self.merge.remove(&name);
        }
        for (name, node) in &nodes {
            let before = self.told.insert(name.clone(), node.channel.is_ok());
            match &node.channel {
                Ok(channel) => {
                    if before != Some(true) {
                        note(NodeState::NodeConnected, name);
                    }
                    if !self.merge.has(name) && (before != Some(true) || self.broken.contains(name)) {
                        self.broken.retain(|broken| broken != name);
                        let client = ObserverClient::new(channel.clone());
                        let client = client.max_decoding_message_size(LARGEST_MESSAGE);
                        self.merge.add(name.clone(), ask(name.clone(), client, self.request_for(name)));
                    }
                }
                Err(_) if before != Some(false) => note(NodeState::NodeUnavailable, name),
                Err(_) => {}
            }
        }
        for (state_change, node_names) in news {
            self.tell(NodeStatusEvent { state_change, node_names, message: String::new() });
        }
    }

    /// Who joins later tells what comes, and who is back what it has not told yet.
    fn request_for(&self, name: &str) -> GetFlowsRequest {
        let mut request = self.request.clone();
        if self.begun {
            request.number = 0;
            let since = self.heard.get(name).map_or_else(now, |heard| heard + 1);
            request.since = Some(Timestamp::from_unix_nanos(since));
        }
        request
    }

    fn tell(&mut self, event: NodeStatusEvent) {
        self.ready.push_back(Ok(GetFlowsResponse {
            node_name: self.shared.config.name.clone(),
            time: Some(Timestamp::from_unix_nanos(now())),
            response_types: Some(ResponseTypes::NodeStatus(event)),
        }));
    }
}

/// Where an error carries the name of its node.
const NODE: &str = "node-name";

/// What a node says, and at the end why it stopped, if it did not just end.
fn ask(
    name: String,
    mut client: ObserverClient<tonic::transport::Channel>,
    request: GetFlowsRequest,
) -> BoxStream<'static, FromNode> {
    let named = move |mut status: Status| {
        if let Ok(name) = name.parse() {
            status.metadata_mut().insert(NODE, name);
        }
        FromNode(Err(status), now())
    };
    let opening = async move {
        match client.get_flows(request).await {
            Ok(response) => response
                .into_inner()
                .map(move |response| match response {
                    Ok(response) => {
                        let time = response.time();
                        FromNode(Ok(response), time)
                    }
                    Err(status) => named(status),
                })
                // A broken stream may complain more than once; once is enough.
                .scan(false, |broken, told| {
                    let over = std::mem::replace(broken, told.0.is_err());
                    std::future::ready((!over).then_some(told))
                })
                .left_stream(),
            Err(status) => futures::stream::iter([named(status)]).right_stream(),
        }
    };
    futures::stream::once(opening).flatten().boxed()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
