//! From the ring to readers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flow::Flow;
use futures::StreamExt;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::observer_server::Observer as _;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse};
use observer::{Config, Observer};
use tonic::{Request, Status};

use crate::figure::{Figure, Figures};
use crate::stats::{median, thread_time};

/// Flows a second.
const RATE: usize = 100_000;
/// Flows that the agent hands over in one go.
const BATCH: usize = 1000;
/// The largest ring that the chart lets one choose.
const CAPACITY: usize = 65_535;

pub(super) fn figures() -> Vec<Figure> {
    vec![
        Figure::lower("readers.lost", "of 100,000 flows/s").goal(0.0),
        Figure::higher("readers.rate", "flows/s").goal(0.99 * RATE as f64),
        Figure::lower("readers.uncounted", "flows").goal(0.0),
        Figure::lower("readers.stuck.cost", "%").goal(1.0).peer("pushing without a reader"),
        Figure::lower("readers.stuck.memory", "MiB").goal(1.0),
    ]
}

pub(super) fn measure(figures: &mut Figures, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        live(figures, if quick { 3 } else { 60 }).await?;
        flooded(figures, if quick { 200_000 } else { 3_000_000 }).await
    })?;
    // On a thread of its own: what it costs is what this thread is on the processor.
    stuck(figures, &runtime, quick)
}

fn observer() -> Observer {
    Observer::new(Config { node_name: "default/n1".into(), version: String::new(), capacity: CAPACITY })
}

fn batch(from: usize) -> Vec<Flow> {
    let flow = |n: usize| Flow { time: n as u64 + 1, node_name: Arc::clone(&NODE), ..Flow::default() };
    (from..from + BATCH).map(flow).collect()
}

static NODE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "default/n1".into());

type Stream = futures::stream::BoxStream<'static, Result<GetFlowsResponse, Status>>;

async fn follow(observer: &Observer) -> Result<Stream> {
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    Ok(observer.get_flows(Request::new(request)).await.context("asking for flows")?.into_inner())
}

/// Reads until so many flows were seen or told of as lost, or nothing has come for a while: seen, lost.
async fn read(mut stream: Stream, all: u64) -> Result<(u64, u64)> {
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < all {
        let Ok(answer) = tokio::time::timeout(Duration::from_secs(5), stream.next()).await else { break };
        match answer.context("the stream has ended")?.context("the stream is broken")?.response_types {
            Some(ResponseTypes::Flow(_)) => seen += 1,
            Some(ResponseTypes::LostEvents(events)) => lost += events.num_events_lost,
            _ => {}
        }
    }
    Ok((seen, lost))
}

/// So many a second, and a reader that goes along.
async fn live(figures: &mut Figures, seconds: usize) -> Result<()> {
    let observer = observer();
    let all = seconds * RATE;
    let reader = tokio::spawn(read(follow(&observer).await?, all as u64));
    let start = Instant::now();
    for number in 0..all / BATCH {
        let due = start + Duration::from_secs_f64((number * BATCH) as f64 / RATE as f64);
        tokio::time::sleep_until(due.into()).await;
        observer.extend(batch(number * BATCH));
    }
    let took = start.elapsed().as_secs_f64();
    let (seen, lost) = reader.await.context("the reader has panicked")??;
    anyhow::ensure!(seen + lost == all as u64, "{seen} flows were seen and {lost} lost, of {all}");
    figures.set("readers.lost", lost as f64, all)?;
    figures.set("readers.rate", all as f64 / took, 1)
}

/// As fast as can be: the reader loses most, and is told of each.
async fn flooded(figures: &mut Figures, all: usize) -> Result<()> {
    let observer = observer();
    let reader = tokio::spawn(read(follow(&observer).await?, all as u64));
    for number in 0..all / BATCH {
        observer.extend(batch(number * BATCH));
    }
    let (seen, lost) = reader.await.context("the reader has panicked")??;
    figures.set("readers.uncounted", (all as u64).abs_diff(seen + lost) as f64, all)
}

/// Pushing with and without a reader that has taken one flow and then nothing more.
fn stuck(figures: &mut Figures, runtime: &tokio::runtime::Runtime, quick: bool) -> Result<()> {
    let (rounds, batches) = if quick { (5, 100) } else { (41, 500) };
    let push = |observer: &Observer| -> f64 {
        let flows: Vec<Vec<Flow>> = (0..batches).map(|number| batch(number * BATCH)).collect();
        let start = thread_time();
        flows.into_iter().for_each(|flows| observer.extend(flows));
        (thread_time() - start).as_secs_f64()
    };
    let (with, without) = (observer(), observer());
    let mut stream = runtime.block_on(follow(&with))?;
    with.extend(batch(0));
    runtime.block_on(stream.next());
    // Both rings are full before anything is compared.
    push(&with);
    push(&without);
    let before = resident()?;
    let (mut ratios, mut turn) = (Vec::new(), false);
    for _ in 0..rounds {
        turn = !turn;
        let (a, b) = if turn {
            let a = push(&with);
            (a, push(&without))
        } else {
            let b = push(&without);
            (push(&with), b)
        };
        ratios.push(a / b);
    }
    figures.set("readers.stuck.cost", (median(&ratios) - 1.0) * 100.0, rounds)?;
    let grown = resident()? - before;
    drop(stream);
    figures.set("readers.stuck.memory", grown.max(0.0), rounds * batches * BATCH)
}

/// Resident memory of this process, MiB.
fn resident() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("/proc/self/status has no VmRSS")? / 1024.0)
}
