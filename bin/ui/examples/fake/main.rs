//! A cluster that is not there, for the page's tests: a server of Hubble's API with made-up flows at a rate, and as much of
//! an API server as the page asks for. `POST /flow` on the second address sends one denied flow and says when.
//!
//! `fake --hubble 127.0.0.1:4245 --api 127.0.0.1:4246 --rate 5000 --nodes 50 --workloads 30 --hostile`
#![forbid(unsafe_code)]

mod objects;
mod scene;

use anyhow::Context;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use observer::{Config, Observer};
use scene::Scene;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;

#[derive(Debug, Parser)]
struct Options {
    /// Where to serve Hubble's API
    #[arg(long)]
    hubble: SocketAddr,
    /// Where to play the API server
    #[arg(long)]
    api: SocketAddr,
    /// Flows a second
    #[arg(long, default_value_t = 40)]
    rate: u64,
    /// Nodes that see them
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Workloads beside those of the shop
    #[arg(long, default_value_t = 0)]
    workloads: usize,
    /// Also flows with names that try to be more than names
    #[arg(long)]
    hostile: bool,
}

/// How often flows are made.
const BEAT: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let config = Config { node_name: "default/n1".into(), version: "fake".into(), capacity: 4095 };
    let observer = Observer::new(config);
    let scene = Arc::new(Mutex::new(Scene::new(options.nodes, options.workloads, options.hostile)));
    let hubble = TcpListener::bind(options.hubble).await.context("--hubble")?;
    let api = TcpListener::bind(options.api).await.context("--api")?;
    let shared = (observer.clone(), scene.clone());
    let app = Router::new()
        .route("/flow", post(denied))
        .route("/api/v1/{kind}", get(|Path(kind): Path<String>| async move { objects::list(&kind) }))
        .route("/apis/{group}/{version}/{kind}", get(kinds))
        .route("/api/v1/namespaces/kube-system/configmaps/cilium-config", get(settings))
        .with_state(shared);
    let beat = async {
        let mut beats = tokio::time::interval(BEAT);
        let (mut owed, mut last) = (0.0, tokio::time::Instant::now());
        loop {
            beats.tick().await;
            owed += last.elapsed().as_secs_f64() * options.rate as f64;
            last = tokio::time::Instant::now();
            let flows = scene.lock().map(|mut scene| scene.flows(owed as usize, now())).unwrap_or_default();
            owed -= owed.floor();
            observer.extend(flows);
        }
    };
    tokio::select! {
        served = observer.serve_tcp(hubble, std::future::pending()) => served.context("Hubble's API"),
        served = axum::serve(api, app).into_future() => served.context("the API server"),
        () = beat => Ok(()),
    }
}

/// ns since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

async fn denied(State((observer, scene)): State<(Observer, Arc<Mutex<Scene>>)>) -> Json<Value> {
    let now = now();
    if let Ok(scene) = scene.lock() {
        observer.push(scene.intruder(now));
    }
    Json(json!({ "time": now / 1_000_000 }))
}

async fn kinds(Path((_, _, kind)): Path<(String, String, String)>) -> objects::Answer {
    objects::list(&kind)
}

async fn settings() -> Json<Value> {
    Json(json!({ "kind": "ConfigMap", "data": { "cluster-name": "default", "enable-policy": "default" } }))
}
