//! The operator, put together: election → definitions → watches → plan → actions.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use kube_watch::lease::Election;
use kube_watch::{ApiConfig, Clients, WatchSpec};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::act;
use crate::config::Config;
use crate::definitions;
use crate::health::{self, Health};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::plan::{Action, Planner};
use crate::world::{News, World};

/// The Lease, under Cilium's name, so that of both operators one works.
const LEASE: &str = "cilium-operator-resource-lock";
/// Batches of news that may wait.
const QUEUE: usize = 64;
/// Requests under way at once.
const AT_ONCE: usize = 8;
/// How often the plan is looked at without news: things become due.
const TICK: Duration = Duration::from_secs(1);

/// Runs until `stop` becomes true. The lease is released then.
///
/// # Errors
/// What no later try would change: an address in use, a client configuration that cannot be used.
pub(crate) async fn run(config: Config, mut stop: watch::Receiver<bool>) -> Result<()> {
    let health = Health::new();
    let listener = TcpListener::bind(config.serve)
        .await
        .with_context(|| format!("cannot listen on {} (--operator-api-serve-addr)", config.serve))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(axum::serve(listener, health::routes(health.clone())).into_future());

    let metrics = Metrics::default();
    if let Some(address) = config.metrics {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (--operator-prometheus-serve-addr)"))?;
        tasks.spawn(axum::serve(listener, metrics.routes(health.clone())).into_future());
    }

    let clients = Clients::new(&ApiConfig {
        server: config.api_server.clone(),
        kubeconfig: config.kubeconfig.clone(),
        context: None,
        user_agent: Some(concat!("cilium-operator/", env!("CARGO_PKG_VERSION")).to_owned()),
    })
    .await?;

    metrics.follow(&clients, config.api_server.clone().unwrap_or_default());
    let (lead, leading) = watch::channel(false);
    let election = election(&config).run(&clients, lead, stop.clone());
    let mut election = pin!(election);
    let duties = duties(&clients, &config, &health, &metrics, leading);
    let result = tokio::select! {
        result = duties => result,
        () = &mut election => return Ok(()),
        _ = stop.wait_for(|stop| *stop) => Ok(()),
    };
    // Nothing of ours is under way any more, so somebody else may lead.
    election.await;
    result
}

fn election(config: &Config) -> Election {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    // Unique also among processes of one host: the standard library seeds every hasher at random.
    let unique = RandomState::new().hash_one(std::process::id());
    let mut election =
        Election::new(config.namespace.as_str(), LEASE, format!("{}-{unique:016x}", host.trim()));
    election.lease = config.election.lease;
    election.renew_deadline = config.election.renew_deadline;
    election.retry = config.election.retry;
    election
}

/// Leads whenever elected; when the lease is lost, everything stops where it is.
async fn duties(
    clients: &Clients,
    config: &Config,
    health: &Health,
    metrics: &Metrics,
    mut leading: watch::Receiver<bool>,
) -> Result<()> {
    loop {
        if leading.wait_for(|leading| *leading).await.is_err() {
            return Ok(());
        }
        health.set_leading(true);
        let result = tokio::select! {
            result = serve(clients, config, health, metrics) => result,
            _ = leading.wait_for(|leading| !*leading) => Ok(()),
        };
        health.set_leading(false);
        result?;
    }
}

/// The leader's work, with a memory of its own that begins empty.
async fn serve(clients: &Clients, config: &Config, health: &Health, metrics: &Metrics) -> Result<()> {
    definitions::ensure(clients, config.register_crds).await?;
    let mut watches = JoinSet::new();
    let mut news = observe(clients, &mut watches);
    let mut world = World::default();
    let mut planner = Planner::new(config.plan.clone());
    let mut pace = Pace::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(batch) = news.recv() => {
                world.apply(batch);
                while let Ok(batch) = news.try_recv() {
                    world.apply(batch);
                }
            }
            _ = tick.tick() => {}
        }
        health.beat();
        let now = Timestamp::now();
        let wanted = planner.plan(&world, now);
        metrics.saw(&world, planner.pools());
        act_on(clients, &mut pace, metrics, wanted, now).await;
    }
}

/// Starts the watches; they end with `watches`.
fn observe(clients: &Clients, watches: &mut JoinSet<()>) -> mpsc::Receiver<News> {
    let (queue, news) = mpsc::channel(QUEUE);
    let all = WatchSpec::default;
    watches.spawn(clients.watch(all(), queue.clone(), News::Nodes).1);
    watches.spawn(clients.watch(all(), queue.clone(), News::Pods).1);
    watches.spawn(clients.watch(all(), queue.clone(), News::CiliumNodes).1);
    watches.spawn(clients.watch(all(), queue.clone(), News::Endpoints).1);
    watches.spawn(clients.watch(all(), queue, News::Identities).1);
    news
}

/// Does what is wanted, as far as its turn has come.
async fn act_on(clients: &Clients, pace: &mut Pace, metrics: &Metrics, wanted: Vec<Action>, now: Timestamp) {
    let due: Vec<_> = wanted
        .into_iter()
        .map(|action| (action.to_string(), action))
        .filter(|(text, _)| pace.allows(text, now))
        .collect();
    let mut results = stream::iter(due)
        .map(|(text, action)| async move { (act::perform(clients, &action, now).await, text, action) })
        .buffer_unordered(AT_ONCE);
    while let Some((result, text, action)) = results.next().await {
        let at = Timestamp::now();
        metrics.did(&action, result.is_ok());
        match result {
            Ok(()) => {
                tracing::info!("{text}");
                pace.succeeded(text, at);
            }
            Err(error) if error.is_conflict() => {
                tracing::debug!(error = error.describe(), "not done: {text}");
                pace.conflicted(&text);
            }
            Err(error) => {
                let error = error.describe();
                let failures = pace.failed(text.clone(), at);
                tracing::warn!(failures, %error, "failed, will be tried again: {text}");
            }
        }
    }
    pace.forget(now);
}
