use super::*;
use crate::{Config, Observer};
use flow::{Flow as OwnFlow, Verdict};
use futures::StreamExt;
use hubble_pb::observer::observer_server::Observer as _;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse};
use hubble_pb::wkt::Timestamp;
use std::path::Path;
use tonic::Request;

const ROOM: u64 = 1 << 20;

/// At `time` seconds, every third dropped.
fn flow(time: u64) -> OwnFlow {
    let verdict = if time.is_multiple_of(3) { Verdict::Dropped } else { Verdict::Forwarded };
    let uuid = format!("01234567-89ab-8def-8123-{time:012x}");
    OwnFlow {
        time: time * 1_000_000_000,
        verdict,
        uuid,
        node_name: "default/n1".into(),
        ..OwnFlow::default()
    }
}

fn observer(folder: &Path, capacity: usize) -> Observer {
    let config = Config { node_name: "default/n1".into(), version: "test".into(), capacity };
    let observer = Observer::new(config);
    observer.set_history(History::open(folder.to_owned(), ROOM).unwrap());
    observer
}

/// An observer with a ring of seven flows that has seen so many, and kept all of them.
async fn seen(folder: &Path, times: std::ops::RangeInclusive<u64>) -> Observer {
    let observer = observer(folder, 7);
    let history = observer.shared.history.get().unwrap().clone();
    for time in times {
        observer.push(flow(time));
        history.add([flow(time).into()]).unwrap();
    }
    observer
}

async fn ask(observer: &Observer, request: GetFlowsRequest) -> Vec<u64> {
    let answer = observer.get_flows(Request::new(request)).await.unwrap().into_inner();
    let seconds =
        |answer: Result<GetFlowsResponse, _>| answer.unwrap().time.unwrap().unix_nanos() / 1_000_000_000;
    answer.map(seconds).collect().await
}

fn since(seconds: u64) -> GetFlowsRequest {
    let since = Some(Timestamp::from_unix_nanos(seconds * 1_000_000_000));
    GetFlowsRequest { since, number: u64::MAX, ..GetFlowsRequest::default() }
}

#[tokio::test]
async fn a_question_reaches_over_the_end_of_the_ring() {
    let folder = tempfile::tempdir().unwrap();
    let observer = seen(folder.path(), 1..=40).await;
    let all = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
    assert_eq!(ask(&observer, since(5)).await, all(5, 40), "each once and in order");
    assert_eq!(ask(&observer, since(36)).await, all(36, 40), "the ring alone");
    assert_eq!(ask(&observer, GetFlowsRequest { number: 10, ..since(5) }).await, all(31, 40));
    assert_eq!(ask(&observer, GetFlowsRequest { number: 3, ..since(5) }).await, all(38, 40));
    let first = GetFlowsRequest { number: 10, first: true, ..since(5) };
    assert_eq!(ask(&observer, first).await, all(5, 14));
    let first = GetFlowsRequest { number: 36, first: true, ..since(3) };
    assert_eq!(ask(&observer, first).await, all(3, 38), "from both");
    let until = Some(Timestamp::from_unix_nanos(9_000_000_000));
    assert_eq!(ask(&observer, GetFlowsRequest { until, ..since(5) }).await, all(5, 9));
    let dropped = hubble_pb::flow::FlowFilter { verdict: vec![2], ..Default::default() };
    let filtered = GetFlowsRequest { whitelist: vec![dropped], number: 4, ..since(1) };
    assert_eq!(ask(&observer, filtered).await, [30, 33, 36, 39]);
    // Without a time it is the ring that is asked.
    assert_eq!(
        ask(&observer, GetFlowsRequest { number: 100, ..GetFlowsRequest::default() }).await,
        all(34, 40)
    );
}

#[tokio::test]
async fn it_survives_a_restart_and_a_torn_write() {
    let folder = tempfile::tempdir().unwrap();
    seen(folder.path(), 1..=5).await.shared.history.get().unwrap().flush().unwrap();
    let again = seen(folder.path(), 6..=9).await;
    again.shared.history.get().unwrap().flush().unwrap();
    assert_eq!(ask(&again, since(1)).await, (1..=9).collect::<Vec<_>>());
    drop(again);
    // Killed in the middle of the last write: its block is gone, all others are there, and more can be written.
    let file = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let whole = std::fs::read(&file).unwrap();
    for cut in [1, 20, whole.len() / 8] {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(
            ask(&observer(folder.path(), 7), since(1)).await,
            (1..=5).collect::<Vec<_>>(),
            "{cut} bytes"
        );
    }
    let mut damaged = whole.clone();
    let last = damaged.len() - 3;
    damaged[last] ^= 0xff;
    std::fs::write(&file, damaged).unwrap();
    let later = seen(folder.path(), 20..=21).await;
    later.shared.history.get().unwrap().flush().unwrap();
    assert_eq!(ask(&observer(folder.path(), 7), since(1)).await, [1, 2, 3, 4, 5, 20, 21]);
}

#[tokio::test]
async fn the_room_is_bounded_and_the_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let stranger = folder.path().join("notes.flows");
    std::fs::write(&stranger, "mine").unwrap();
    let history = History::open(folder.path().to_owned(), 32 << 10).unwrap();
    for time in 1..=4000 {
        history.add([flow(time).into()]).unwrap();
        if time % 10 == 0 {
            history.flush().unwrap();
            assert!(history.size() <= 32 << 10, "{} bytes", history.size());
        }
    }
    let on_disk: u64 =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(on_disk, history.size() + 4);
    let kept: Vec<Flow> =
        history.parts(0, u64::MAX).into_iter().flat_map(|part| history.read(part)).collect();
    assert!(kept.len() > 300, "{} flows", kept.len());
    assert_eq!(kept.last().unwrap().uuid, flow(4000).uuid);
    // Less room than before: the oldest go at once.
    drop(history);
    let history = History::open(folder.path().to_owned(), 8 << 10).unwrap();
    assert!(history.size() <= 8 << 10 && history.size() > 0);
    assert!(stranger.exists());
}

#[tokio::test]
async fn flows_are_kept_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    let observer = observer(folder.path(), 63);
    let keeper = tokio::spawn({
        let observer = observer.clone();
        async move { observer.keep_history().await }
    });
    let history = observer.shared.history.get().unwrap().clone();
    let mut time = 0;
    while history.size() == 0 {
        time += 1;
        observer.push(flow(time));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(time < 1000, "nothing is written");
    }
    assert!(!keeper.is_finished());
    keeper.abort();
}
