//! The agent, put together. Read from top to bottom: this is the order in which a node comes up.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::future::BoxFuture;
use kube_watch::{ApiConfig, Clients, Watched};
use loader::{CgroupLinks, Links, Object};
use netlink::{Netlink, Subscription};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api_server::{self, Context as ApiContext};
use crate::config::Config;
use crate::controllers::Controllers;
use crate::devices::Devices;
use crate::kernel::Kernel;
use crate::metrics::{self, Counts, Sweeps};
use crate::names::Fixed;
use crate::news::News;
use crate::outbox::Outboxes;
use crate::owner::Owner;
use crate::probes::{self, Probes};
use crate::restore::EndpointFiles;
use crate::services::{self, Services};
use crate::tasks::events::{Events, Monitors};
use crate::tasks::{cni_conf, garbage, hubble, links, watches, writers};
use crate::{health, host_firewall, ip_masq, kube_proxy, lock, node, startup, support};

/// How often the API server is asked what it is, until it says so.
const VERSION_INTERVAL: Duration = Duration::from_secs(10);

/// Runs the agent until it is told to stop. What is in the kernel then stays there.
///
/// # Errors
/// The node cannot be served; the text says why and what helps.
pub(crate) async fn run(config: Config) -> Result<()> {
    let config = Arc::new(config);
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let outcome = tokio::select! {
        outcome = start(&config, &mut tasks, &stop) => outcome,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    // Held until the end, so that two agents never write the same tables.
    let _lock = outcome?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.join_next() => ended,
    };
    stop.cancel();
    tasks.shutdown().await;
    match ended {
        None => {
            tracing::info!("stopping; the kernel goes on serving the pods");
            Ok(())
        }
        Some(Ok((name, Ok(())))) => Err(anyhow!("the task {name} has ended, which it must not")),
        Some(Ok((name, Err(error)))) => Err(error.context(format!("the task {name} has failed"))),
        Some(Err(error)) => Err(anyhow!(error).context("a task has panicked")),
    }
}

type Outcome = (&'static str, Result<()>);

async fn start(
    config: &Arc<Config>,
    tasks: &mut JoinSet<Outcome>,
    stop: &CancellationToken,
) -> Result<lock::Lock> {
    let lock = lock::take(&config.paths.run_dir)?;
    startup::preflight(config)?;
    let trial = host_firewall::begin(config);
    let support = config.replacement().map(support::probe).transpose()?;
    let start = Instant::now();
    let (ready, is_ready) = watch::channel(false);
    let probes = health::serve(config.health_port, is_ready.clone()).await?;
    spawn(tasks, "health probes", Box::pin(probes));
    let controllers = Controllers::default();

    let clients = clients(config).await?;
    let counts = Counts::default();
    counts.follow(&clients, config.api_server.clone().unwrap_or_default());
    let subscription = Subscription::open().context("cannot watch the network")?;
    let mut netlink = Netlink::open().context("cannot talk to the kernel's network")?;
    let present = startup::present_routers(&mut netlink)?;
    let own = node::discover(&clients, config, &present).await?;
    let journal = trial.reached(config);
    let address = own.node.primary().map(|a| a.to_string()).unwrap_or_default();
    let devices = Devices::prepare(&mut netlink, config, &own.node.routers, &own.node.underlay)?;
    tracing::info!(
        node = config.node_name,
        underlay = ?own.node.underlay,
        routers = ?own.node.routers,
        pod_cidrs = ?own.node.pod_cidrs,
        devices = ?devices.native.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(),
        mtu = devices.mtu,
        pod_route_mtu = devices.pod_route_mtu(),
        "this node"
    );

    let object = startup::load(config, &own, &devices)?;
    let labels = own.labels.clone();
    if config.node_selectors {
        let node = own.node.clone();
        for future in node::follow_labels(&clients, Arc::clone(config), node, labels.clone()) {
            spawn(tasks, "labels of this node", future);
        }
    }
    let own_addresses = [own.node.underlay.as_slice(), own.node.routers.as_slice()].concat();
    let mut state = startup::state(config, own, journal, &object)?;
    let files = EndpointFiles::new(&config.paths.run_dir);
    let orphans = startup::restore(&mut state, &files, &object, &mut netlink)?;
    let addresses = links::node_addresses(&mut netlink)?;
    state.apply(agent_core::Input::NodeAddresses(addresses), loader::monotonic_ns());
    let own_devices = devices.all().map(|device| device.index).collect();
    let for_kernel = Netlink::open().context("cannot talk to the kernel's network")?;
    let acceleration = config.balancing.acceleration;
    let links = Links::new(&config.paths.bpf_root);
    let mut kernel = Kernel::adopt(Arc::clone(&object), links, devices, for_kernel, acceleration)?;
    let mut spared = ip_masq::Watcher::new(config);
    match &mut spared {
        Some(watcher) => drop(watcher.look().map(|list| kernel.set_no_masquerade(&list))),
        None => kernel.set_no_masquerade(&BTreeSet::new()),
    }

    let outboxes = Outboxes::default();
    let fixed = Fixed::new(&config.cluster_name, &config.node_name, &labels);
    let observer = config.hubble.as_ref().map(|wanted| hubble::observer(wanted, &fixed));
    let news = News::new(observer.clone(), &state);
    let (owner, handle, messages) =
        Owner::new(state, kernel, files, outboxes.clone(), news, counts.clone(), orphans, ready);
    let owner = owner.run(messages, stop.clone());
    spawn(tasks, "owner", Box::pin(owner));
    let watching = watches::all(&clients, config, &handle);
    for future in watching.futures {
        spawn(tasks, "watch", future);
    }
    for future in
        writers::all(&clients, &outboxes, &handle, address, &config.node_name, config.endpoint_objects)
    {
        spawn(tasks, "writer", future);
    }
    let (swept, sweeps) = watch::channel(Sweeps::default());
    spawn(
        tasks,
        "garbage collection",
        Box::pin(garbage::run(Arc::clone(&object), swept, controllers.clone())),
    );
    spawn_fallible(
        tasks,
        "network watch",
        Box::pin(links::run(subscription, netlink, handle.clone(), own_devices)),
    );

    if config.host_firewall {
        let confirming = host_firewall::confirm(Arc::clone(config), handle.clone());
        spawn_fallible(tasks, "host firewall", Box::pin(confirming));
    }
    if let Some(watcher) = spared {
        spawn_fallible(tasks, "ip-masq-agent", Box::pin(watcher.run(handle.clone())));
    }

    let mut views = watching.views;
    let serving = serve(config, &object, &clients, handle.clone(), tasks, stop)?;
    views.extend(serving.views);

    let views = Arc::new(views);
    if let Some(wanted) = &config.metrics {
        let (tell, bootstrap) = watch::channel(None);
        let mut pods = is_ready.clone();
        spawn(
            tasks,
            "start",
            Box::pin(async move {
                // Its other end is gone only when the agent stops.
                let _ = pods.wait_for(|ready| *ready).await;
                tell.send_replace(Some(start.elapsed()));
                std::future::pending().await
            }),
        );
        let sources = metrics::Sources {
            handle: handle.clone(),
            services: serving.handle.clone(),
            object: Arc::clone(&object),
            counts,
            sweeps: sweeps.clone(),
            watches: Arc::clone(&views),
            outboxes: outboxes.clone(),
            bootstrap,
        };
        spawn_fallible(tasks, "metrics", Box::pin(metrics::start(wanted, sources).await?));
    }

    let monitors = Monitors::default();
    let for_status = observer.clone();
    let mut sink = None;
    if let Some((wanted, observer)) = config.hubble.as_ref().zip(observer) {
        let server = hubble::start(wanted, observer, &handle, &clients, stop).await?;
        for future in server.futures {
            spawn_fallible(tasks, "Hubble", future);
        }
        sink = Some(server.sink);
    }
    let events = Events {
        bpf_root: config.paths.bpf_root.clone(),
        object,
        handle: handle.clone(),
        fixed: fixed.clone(),
        services: serving.handle.clone(),
        monitors: monitors.clone(),
        sink,
        every_packet: config.trace_every_packet,
    };
    spawn_fallible(tasks, "events", Box::pin(events.run()));

    let probes = config.cluster_health_port.map(|port| {
        for address in own_addresses {
            let answering = probes::answer((address, port).into(), controllers.clone());
            spawn(tasks, "answers to other nodes", Box::pin(answering));
        }
        Probes::new(handle.clone(), port, controllers.clone())
    });
    if let Some(probes) = probes.clone() {
        spawn(tasks, "probes of other nodes", Box::pin(probes.run()));
    }

    let version = Arc::new(OnceLock::new());
    spawn(tasks, "version of Kubernetes", Box::pin(learn_version(clients.clone(), Arc::clone(&version))));

    let context = ApiContext {
        controllers: controllers.clone(),
        probes,
        observer: for_status,
        version,
        handle: handle.clone(),
        services: serving.handle,
        kube_proxy: serving.leftovers,
        support: support.map(Arc::new),
        config: Arc::clone(config),
        fixed,
        ready: is_ready.clone(),
        sweeps,
        watches: views,
        outboxes,
        monitors,
    };
    let listener = api_server::listen(&config.paths.socket)?;
    let serving = async move {
        axum::serve(listener, api_server::router(context)).await.context("the agent's socket fails")
    };
    spawn_fallible(tasks, "socket", Box::pin(serving));
    // Only now: whoever could not reach the socket has written its file before.
    let run_dir = config.paths.run_dir.clone();
    handle.ask(move |owner| startup::drain_releases(&run_dir, &mut owner.state)).await?;
    spawn(tasks, "CNI configuration", Box::pin(cni_conf::keep(Arc::clone(config), is_ready, controllers)));
    Ok(lock)
}

/// What answers for services.
struct Serving {
    /// Its watches.
    views: Vec<Watched>,
    /// The way to ask it.
    handle: services::Handle,
    /// What kube-proxy has left, if it is to have ended.
    leftovers: Option<Arc<kube_proxy::Found>>,
}

/// Starts what answers for services.
fn serve(
    config: &Config,
    object: &Arc<Object>,
    clients: &Clients,
    pods: crate::owner::Handle,
    tasks: &mut JoinSet<Outcome>,
    stop: &CancellationToken,
) -> Result<Serving> {
    let balancing = Arc::new(config.balancing.clone());
    let (ready, is_ready) = watch::channel(false);
    let links = CgroupLinks::new(&config.paths.bpf_root);
    let (sender, removed) = tokio::sync::mpsc::unbounded_channel();
    let closing = services::close_sockets(removed, Arc::clone(object), pods);
    spawn_fallible(tasks, "socket closing", Box::pin(closing));
    let (owner, handle, messages) =
        Services::adopt(Arc::clone(object), links, Arc::clone(&balancing), ready, sender)?;
    spawn(tasks, "services", Box::pin(owner.run(messages, stop.clone())));
    let (views, futures) = services::watches(clients, &config.node_name, &balancing, &handle);
    for future in futures {
        spawn(tasks, "watch", future);
    }
    let (healthz, ports) = (balancing.healthz, balancing.health_check_node_port);
    let health = services::serve_health(handle.clone(), is_ready.clone(), healthz, ports);
    spawn_fallible(tasks, "health checks of services", Box::pin(health));
    let leftovers = balancing.replaces.then(|| Arc::new(kube_proxy::Found::default()));
    if let Some(found) = &leftovers {
        let looking =
            kube_proxy::run(balancing.cleanup, config.paths.run_dir.clone(), is_ready, Arc::clone(found));
        spawn(tasks, "leftovers of kube-proxy", Box::pin(looking));
    }
    Ok(Serving { views, handle, leftovers })
}

fn spawn(tasks: &mut JoinSet<Outcome>, name: &'static str, future: BoxFuture<'static, ()>) {
    tasks.spawn(async move {
        future.await;
        (name, Ok(()))
    });
}

fn spawn_fallible(tasks: &mut JoinSet<Outcome>, name: &'static str, future: BoxFuture<'static, Result<()>>) {
    tasks.spawn(async move { (name, future.await) });
}

/// Asks the API server what it is until it says so, for `status`.
async fn learn_version(clients: Clients, version: Arc<OnceLock<serde_json::Value>>) {
    loop {
        match clients.read("/version").await {
            // Nobody else sets it.
            Ok(told) => drop(version.set(told)),
            Err(error) => {
                tracing::debug!(error = crate::text(&error), "the API server's version is not known yet")
            }
        }
        if version.get().is_some() {
            return std::future::pending().await;
        }
        tokio::time::sleep(VERSION_INTERVAL).await;
    }
}

pub(crate) async fn clients(config: &Config) -> Result<Clients> {
    let api = ApiConfig {
        server: config.api_server.clone(),
        kubeconfig: config.kubeconfig.clone(),
        context: None,
        user_agent: Some(concat!("cilium-agent/", env!("CARGO_PKG_VERSION")).to_owned()),
    };
    Clients::new(&api).await.context("cannot set up the connection to the API server")
}
