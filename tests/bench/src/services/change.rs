//! From a change of an EndpointSlice to the first connection to the new backend.
//!
//! A pod connects to a service every fraction of a millisecond; the backend tells which one it is. The slice's one
//! endpoint alternates between two ports of another pod. Three times are taken on one clock: before the request; when
//! the watch event arrives at a watch of our own, by the client that the agent uses (the API server sends the event to
//! both watches within a fraction of a millisecond; the agent itself tells nobody when it got its own); and when the
//! first connection that reached the new backend was begun.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube_watch::{Change, Clients, Key, WatchSpec};
use rustix::net::sockopt::set_socket_linger;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

use super::objects;

/// Ports of the two backends; which one answered is told by the place here.
pub(super) const PORTS: [u16; 2] = [9001, 9002];
/// Between connections.
const PACE: Duration = Duration::from_micros(200);
/// A change that has not been seen by then failed.
const LIMIT: Duration = Duration::from_secs(10);
/// Between changes, so that each finds everybody waiting.
const PAUSE: Duration = Duration::from_millis(100);

/// What to change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Name of the service, which has one slice.
    pub(super) service: String,
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Names of the pods' network namespaces.
    pub(super) client: String,
    pub(super) server: String,
    pub(super) changes: usize,
}

/// What was seen; seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    /// From the request to the first connection.
    pub(super) from_write: Vec<f64>,
    /// From the watch event to the first connection; below zero where the agent was quicker than our watch.
    pub(super) from_event: Vec<f64>,
    /// From the request to the API server's answer.
    pub(super) acknowledged: Vec<f64>,
    pub(super) connections: usize,
    pub(super) failed: usize,
}

/// A connection: when it was begun, and the place of its backend in [`PORTS`].
type Attempt = (Instant, Option<u8>);

/// Makes all changes; prints what was seen.
pub(super) async fn run(clients: &Clients, plan: &Plan) -> Result<()> {
    for (place, port) in (0u8..).zip(PORTS) {
        serve(&namespace(&plan.server), port, place)?;
    }
    let name = objects::slice_name(&plan.service);
    let (queue, mut events) = mpsc::channel(64);
    let (_watched, watch) = clients.watch::<EndpointSlice, _, _>(
        WatchSpec::fields(format!("metadata.name={name}")),
        queue,
        arrivals,
    );
    tokio::spawn(watch);
    let client = Client::start(&namespace(&plan.client), plan.address)?;
    let (key, mut seen) = (Key::new("default", name), Seen::default());
    for number in 0..plan.changes {
        let place = (number % 2) as u8;
        client.wait(Instant::now(), 1 - place).await.with_context(|| format!("before change {number}"))?;
        tokio::time::sleep(PAUSE).await;
        while events.try_recv().is_ok() {}
        let port = PORTS[usize::from(place)];
        let patch = json!({"ports": [{"name": "", "port": port, "protocol": "TCP"}]});
        let start = Instant::now();
        clients.merge::<EndpointSlice>(&key, &patch).await?;
        let acknowledged = start.elapsed();
        let event = async {
            loop {
                let batch: Vec<(Instant, i32)> = events.recv().await.context("the watch ended")?;
                if let Some((at, _)) = batch.into_iter().find(|(_, seen)| *seen == i32::from(port)) {
                    return anyhow::Ok(at);
                }
            }
        };
        let event = tokio::time::timeout(LIMIT, event).await.context("no watch event came")??;
        let first = client.wait(start, place).await.with_context(|| format!("change {number}"))?;
        seen.from_write.push(seconds(first, start));
        seen.from_event.push(seconds(first, event));
        seen.acknowledged.push(acknowledged.as_secs_f64());
    }
    (seen.connections, seen.failed) = client.account();
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

/// When a batch of our watch came, and which ports it says.
fn arrivals(batch: Vec<Change<EndpointSlice>>) -> Vec<(Instant, i32)> {
    let now = Instant::now();
    let port = |slice: EndpointSlice| slice.ports?.first()?.port;
    let applied = batch.into_iter().filter_map(|change| match change {
        Change::Apply(slice) => port(slice),
        _ => None,
    });
    applied.map(|port| (now, port)).collect()
}

fn seconds(later: Instant, earlier: Instant) -> f64 {
    later
        .checked_duration_since(earlier)
        .map_or_else(|| -(earlier - later).as_secs_f64(), |d| d.as_secs_f64())
}

fn namespace(pod: &str) -> PathBuf {
    Path::new("/run/netns").join(pod)
}

/// Enters a network namespace with this thread, for good.
fn enter(namespace: &Path) -> Result<()> {
    let file = std::fs::File::open(namespace).with_context(|| format!("opening {}", namespace.display()))?;
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)
        .with_context(|| format!("entering {}", namespace.display()))
}

/// Tells everybody who connects to this port of a pod the backend's place.
fn serve(namespace: &Path, port: u16, place: u8) -> Result<()> {
    let listener = thread::scope(|scope| {
        let bound = scope.spawn(|| {
            enter(namespace)?;
            TcpListener::bind((IpAddr::from([0, 0, 0, 0]), port))
                .with_context(|| format!("serving port {port}"))
        });
        bound.join().map_err(|_| anyhow!("a thread panicked"))?
    })?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The client ends it by a reset, so that no port waits.
            let _ = stream.write_all(&[place]).and_then(|()| stream.read(&mut [0]));
        }
    });
    Ok(())
}

/// The pod that connects.
struct Client {
    attempts: Arc<Mutex<Vec<Attempt>>>,
    stop: Arc<AtomicBool>,
}

impl Client {
    fn start(namespace: &Path, to: SocketAddr) -> Result<Client> {
        let client = Client { attempts: Arc::default(), stop: Arc::default() };
        let (attempts, stop) = (Arc::clone(&client.attempts), Arc::clone(&client.stop));
        let namespace = namespace.to_owned();
        let (entered, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let inside = enter(&namespace);
            let failed = inside.is_err();
            let _ = entered.send(inside);
            while !failed && !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                let place = ask(to).ok();
                attempts.lock().unwrap_or_else(PoisonError::into_inner).push((start, place));
                thread::sleep(PACE);
            }
        });
        wait.recv().context("the client's thread ended")??;
        Ok(client)
    }

    /// Waits for the first connection begun after `since` that reached the backend at `place`.
    async fn wait(&self, since: Instant, place: u8) -> Result<Instant> {
        let start = Instant::now();
        loop {
            let first = {
                let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
                let late = attempts.partition_point(|(at, _)| *at < since);
                attempts[late..].iter().find(|(_, seen)| *seen == Some(place)).map(|(at, _)| *at)
            };
            if let Some(first) = first {
                return Ok(first);
            }
            ensure!(start.elapsed() < LIMIT, "no connection reached port {}", PORTS[usize::from(place)]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// All connections, and those that failed since the first that did not.
    fn account(&self) -> (usize, usize) {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let good = attempts.iter().position(|(_, place)| place.is_some()).unwrap_or(attempts.len());
        (attempts.len(), attempts[good..].iter().filter(|(_, place)| place.is_none()).count())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn ask(to: SocketAddr) -> std::io::Result<u8> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    let mut place = [0];
    stream.read_exact(&mut place)?;
    Ok(place[0])
}
