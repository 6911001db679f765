use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::channel::mpsc as feed;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::mock::{Answer, Seen, Server, event, node, nodes, status};
use crate::{Change, Key, WatchHealth, WatchSpec, Watched};

/// A watch of nodes under test, with what comes out of it.
struct Rig {
    server: Server,
    queue: mpsc::Receiver<Vec<Change<Node>>>,
    watched: Watched,
    _task: JoinSet<()>,
}

impl Rig {
    fn new(answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(WatchSpec::default(), 16, answer)
    }

    fn with(
        spec: WatchSpec,
        room: usize,
        answer: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (clients, server) = Server::new(answer);
        let (sender, queue) = mpsc::channel(room);
        let (watched, run) = clients.watch::<Node, _, _>(spec, sender, |batch| batch);
        let mut task = JoinSet::new();
        task.spawn(run);
        Self { server, queue, watched, _task: task }
    }

    /// The next batch, as text.
    async fn batch(&mut self) -> String {
        let batch =
            timeout(Duration::from_secs(3600), self.queue.recv()).await.expect("a batch").expect("a watch");
        let show = |change: &Change<Node>| match change {
            Change::Apply(node) => format!("apply {}@{}", node.name_any(), node.resource_version().unwrap()),
            Change::Delete(key) => format!("delete {key}"),
            Change::Reset(all) => {
                format!("reset [{}]", all.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(" "))
            }
            Change::Invalid(invalid) => format!("invalid {}", invalid.key),
        };
        batch.iter().map(show).collect::<Vec<_>>().join(", ")
    }

    async fn nothing_for(&mut self, time: Duration) {
        assert!(timeout(time, self.queue.recv()).await.is_err(), "something came");
    }

    fn health(&self) -> WatchHealth {
        self.watched.health()
    }

    /// The versions from which was watched; `list` for each list.
    fn requests(&self) -> Vec<String> {
        let version = |uri: &str| {
            uri.split(['?', '&']).find_map(|part| part.strip_prefix("resourceVersion=").map(str::to_owned))
        };
        let text = |seen: &Seen| {
            if seen.uri.contains("watch=true") { version(&seen.uri).unwrap() } else { "list".to_owned() }
        };
        self.server.seen().iter().map(text).collect()
    }
}

/// Streams for the watches of a test: each watch takes the next.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<Vec<feed::UnboundedReceiver<String>>>>);

impl Streams {
    fn new(count: usize) -> (Self, Vec<feed::UnboundedSender<String>>) {
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| feed::unbounded()).unzip();
        receivers.reverse();
        (Self(Arc::new(Mutex::new(receivers))), senders)
    }

    fn next(&self) -> Answer {
        self.0.lock().unwrap().pop().map_or(Answer::Silence, Answer::Stream)
    }
}

fn send(stream: &feed::UnboundedSender<String>, kind: &str, name: &str, version: &str) {
    stream.unbounded_send(event(kind, &node(name, version))).unwrap();
}

fn is_watch(seen: &Seen) -> bool {
    seen.uri.contains("watch=true")
}

#[tokio::test(start_paused = true)]
async fn a_list_is_one_reset_and_changes_come_in_batches() {
    let (streams, feeds) = Streams::new(1);
    let mut rig =
        Rig::new(move |_, seen| if is_watch(seen) { streams.next() } else { nodes("7", &["a", "b"]) });
    assert!(!rig.health().synced);
    assert_eq!(rig.batch().await, "reset [a b]");
    assert!(rig.watched.synced().await);
    send(&feeds[0], "ADDED", "c", "8");
    send(&feeds[0], "MODIFIED", "a", "9");
    send(&feeds[0], "DELETED", "b", "10");
    let started = Instant::now();
    assert_eq!(rig.batch().await, "apply c@8, apply a@9, delete b");
    assert!(started.elapsed() <= Duration::from_millis(10), "{:?}", started.elapsed());
    let health = rig.health();
    assert_eq!((health.objects, health.resets, health.connected), (2, 1, true));
    assert_eq!(rig.requests(), ["list", "7"]);
}

#[tokio::test(start_paused = true)]
async fn selectors_reach_the_server() {
    let spec = WatchSpec { fields: Some("spec.nodeName=n".into()), labels: Some("app=web".into()) };
    let (streams, _feeds) = Streams::new(1);
    let answer = move |_, seen: &Seen| if is_watch(seen) { streams.next() } else { nodes("7", &["a"]) };
    let mut rig = Rig::with(spec, 1, answer);
    rig.batch().await;
    sleep(Duration::from_millis(1)).await;
    for seen in rig.server.seen() {
        assert!(seen.uri.contains("fieldSelector=spec.nodeName%3Dn"), "{}", seen.uri);
        assert!(seen.uri.contains("labelSelector=app%3Dweb"), "{}", seen.uri);
    }
    assert_eq!(rig.server.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pages_make_one_reset() {
    let mut rig = Rig::new(|number, seen| match number {
        _ if is_watch(seen) => Answer::Silence,
        0 => Answer::Json(
            200,
            serde_json::json!({
                "metadata": { "resourceVersion": "5", "continue": "more" }, "items": [node("a", "5")],
            }),
        ),
        _ => {
            assert!(seen.uri.contains("continue=more"), "{}", seen.uri);
            nodes("5", &["b"])
        }
    });
    assert_eq!(rig.batch().await, "reset [a b]");
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_where_it_was() {
    let (streams, mut feeds) = Streams::new(3);
    let mut rig = Rig::new(move |_, seen| if is_watch(seen) { streams.next() } else { nodes("7", &["a"]) });
    rig.batch().await;
    send(&feeds[0], "MODIFIED", "a", "8");
    assert_eq!(rig.batch().await, "apply a@8");
    // A bookmark moves on without a change.
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Node","apiVersion":"v1","metadata":{"resourceVersion":"20"}}}"#;
    feeds[0].unbounded_send(bookmark.to_owned()).unwrap();
    sleep(Duration::from_secs(2)).await;
    drop(feeds.remove(0));
    send(&feeds[0], "MODIFIED", "a", "21");
    assert_eq!(rig.batch().await, "apply a@21");
    // Half a line, and the connection breaks.
    feeds[0].unbounded_send(r#"{"type":"MODI"#.to_owned()).unwrap();
    drop(feeds.remove(0));
    send(&feeds[0], "MODIFIED", "a", "22");
    assert_eq!(rig.batch().await, "apply a@22");
    assert_eq!(rig.requests(), ["list", "7", "20", "21"]);
    assert_eq!(rig.health().resets, 1);
}

/// 410 as an event, and 410 as the answer to the watch: the second would loop for ever if only the first were known.
#[tokio::test(start_paused = true)]
async fn a_forgotten_version_is_a_new_reset() {
    let (streams, feeds) = Streams::new(1);
    let mut rig = Rig::new(move |number, seen| match number {
        0 => nodes("7", &["a"]),
        1 => streams.next(),
        2 => nodes("30", &["a", "b"]),
        3 => Answer::Json(410, status(410, "Expired")),
        4 => nodes("40", &["c"]),
        _ => {
            assert!(is_watch(seen));
            Answer::Silence
        }
    });
    assert_eq!(rig.batch().await, "reset [a]");
    send(&feeds[0], "ADDED", "x", "8");
    feeds[0].unbounded_send(event("ERROR", &status(410, "Expired"))).unwrap();
    assert_eq!(rig.batch().await, "apply x@8");
    assert_eq!(rig.batch().await, "reset [a b]");
    assert_eq!(rig.batch().await, "reset [c]");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.requests(), ["list", "7", "list", "30", "list", "40"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_believed_when_it_comes_twice() {
    let (streams, feeds) = Streams::new(1);
    let mut rig = Rig::new(move |number, _| match number {
        0 => nodes("7", &["a", "b"]),
        1 => streams.next(),
        // The server has lost its storage, and finds it again.
        2 => nodes("1", &[]),
        3 => nodes("8", &["a", "b"]),
        4 => Answer::Json(410, status(410, "Gone")),
        // This time all are gone.
        5 | 6 => nodes("50", &[]),
        _ => Answer::Silence,
    });
    assert_eq!(rig.batch().await, "reset [a b]");
    feeds[0].unbounded_send(event("ERROR", &status(410, "Expired"))).unwrap();
    assert_eq!(rig.batch().await, "reset [a b]");
    assert_eq!(rig.health().refuted_empty_lists, 1);
    assert_eq!(rig.batch().await, "reset []");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(rig.requests(), ["list", "7", "list", "list", "8", "list", "list", "50"]);
    assert_eq!(rig.health().objects, 0);
}

/// At start, what was pinned by the last run hangs on the first list.
#[tokio::test(start_paused = true)]
async fn the_first_empty_list_is_asked_for_again_at_once() {
    let started = Instant::now();
    let mut rig = Rig::new(|number, _| match number {
        0 => nodes("1", &[]),
        1 => nodes("2", &["a"]),
        _ => Answer::Silence,
    });
    assert_eq!(rig.batch().await, "reset [a]");
    assert!(started.elapsed() < Duration::from_millis(10));
}

/// The second of the two lists fails: nothing is deleted, and the next two decide.
#[tokio::test(start_paused = true)]
async fn an_empty_list_that_cannot_be_confirmed_deletes_nothing() {
    let mut rig = Rig::new(|number, _| match number {
        0 => nodes("1", &[]),
        1 => Answer::Refused,
        2 => nodes("3", &["a"]),
        _ => Answer::Silence,
    });
    assert_eq!(rig.batch().await, "reset [a]");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_changes_nothing_and_ends_by_itself() {
    let (streams, mut feeds) = Streams::new(2);
    let down = Arc::new(Mutex::new(false));
    let is_down = down.clone();
    let mut rig = Rig::new(move |_, seen| match *is_down.lock().unwrap() {
        true => Answer::Refused,
        false if is_watch(seen) => streams.next(),
        false => nodes("7", &["a"]),
    });
    rig.batch().await;
    *down.lock().unwrap() = true;
    drop(feeds.remove(0));
    rig.nothing_for(Duration::from_secs(600)).await;
    let health = rig.health();
    assert!(health.synced && !health.connected && health.failures > 50, "{health:?}");
    assert!(health.last_error.as_ref().unwrap().contains("refused"), "{health:?}");
    // Tries are paced: at most one in 5 s once the wait has grown.
    assert!(rig.server.seen().len() < 140, "{} requests", rig.server.seen().len());
    *down.lock().unwrap() = false;
    send(&feeds[0], "MODIFIED", "a", "8");
    let started = Instant::now();
    assert_eq!(rig.batch().await, "apply a@8");
    assert!(started.elapsed() <= Duration::from_secs(11), "{:?}", started.elapsed());
    assert_eq!((rig.health().connected, rig.health().failures, rig.health().resets), (true, 0, 1));
    let requests = rig.requests();
    assert_eq!(requests.iter().filter(|request| *request == "list").count(), 1, "the version was kept");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_falls_silent_is_begun_again() {
    let (streams, feeds) = Streams::new(2);
    let mut rig = Rig::new(move |_, seen| if is_watch(seen) { streams.next() } else { nodes("7", &["a"]) });
    rig.batch().await;
    send(&feeds[1], "MODIFIED", "a", "8");
    let started = Instant::now();
    assert_eq!(rig.batch().await, "apply a@8");
    assert!(started.elapsed() < Duration::from_secs(180), "{:?}", started.elapsed());
    drop(feeds);
}

/// A server that was restored from a backup refuses our version, without saying that it has forgotten it.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_again_and_again_is_given_up() {
    let mut rig = Rig::new(|number, seen| match (number, is_watch(seen)) {
        (0, false) => nodes("900", &["a"]),
        (_, false) => nodes("5", &["b"]),
        (_, true) if seen.uri.contains("resourceVersion=900") => Answer::Json(504, status(504, "Timeout")),
        (_, true) => Answer::Silence,
    });
    assert_eq!(rig.batch().await, "reset [a]");
    assert_eq!(rig.batch().await, "reset [b]");
    assert_eq!(rig.requests().iter().filter(|request| *request == "900").count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_bad_object_spoils_only_itself() {
    let (streams, feeds) = Streams::new(1);
    let mut bad = node("bad", "7");
    bad["spec"] = serde_json::json!({ "podCIDRs": 5 });
    let listed = bad.clone();
    let mut rig = Rig::new(move |_, seen| {
        if is_watch(seen) {
            return streams.next();
        }
        let items = [node("a", "7"), listed.clone()];
        Answer::Json(200, serde_json::json!({ "metadata": { "resourceVersion": "7" }, "items": items }))
    });
    assert_eq!(rig.batch().await, "reset [a], invalid bad");
    feeds[0].unbounded_send(event("MODIFIED", &bad)).unwrap();
    send(&feeds[0], "MODIFIED", "a", "9");
    assert_eq!(rig.batch().await, "invalid bad, apply a@9");
    // A deletion needs no more than the name.
    feeds[0].unbounded_send(event("DELETED", &bad)).unwrap();
    assert_eq!(rig.batch().await, "delete bad");
    assert_eq!((rig.health().invalid, rig.health().objects), (2, 1));
}

/// A reader that does not read slows the watch down; nothing is lost, and what waits is bounded.
#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_watch_back() {
    let (streams, feeds) = Streams::new(1);
    let answer = move |_, seen: &Seen| if is_watch(seen) { streams.next() } else { nodes("7", &["a"]) };
    let mut rig = Rig::with(WatchSpec::default(), 1, answer);
    for number in 0..5000 {
        send(&feeds[0], "MODIFIED", "a", &(8 + number).to_string());
    }
    sleep(Duration::from_secs(5)).await;
    let (mut batches, mut changes) = (Vec::new(), 0);
    while changes < 5001 {
        let batch = rig.queue.recv().await.unwrap();
        changes += batch.len();
        batches.push(batch.len());
    }
    assert_eq!(changes, 5001);
    assert!(batches.iter().all(|size| *size <= crate::outlet::BATCH), "{batches:?}");
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_with_its_reader() {
    let (clients, _server) =
        Server::new(|_, seen| if is_watch(seen) { Answer::Silence } else { nodes("7", &["a"]) });
    let (sender, queue) = mpsc::channel::<Vec<Change<Node>>>(1);
    let (mut watched, run) = clients.watch(WatchSpec::default(), sender, |batch| batch);
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    assert!(watched.synced().await);
    drop(queue);
    timeout(Duration::from_secs(1), tasks.join_next()).await.expect("the end").unwrap().unwrap();
}

#[test]
fn keys_read_like_kubectl() {
    assert_eq!(Key::new("n", "a").to_string(), "n/a");
    assert_eq!(Key::new("", "a").to_string(), "a");
}
