//! Options of the operator: read once, checked once, then passed on as typed values.

mod duration;
mod keys;
mod sources;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ipam::{ClusterPool, Family};
use ipnet::IpNet;

use crate::selector::Selector;

pub(crate) use sources::{Options, gather};

/// The checked configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// API server URL that overrides what the kubeconfig or service account says.
    pub(crate) api_server: Option<String>,
    /// Kubeconfig file.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Namespace of the lease and of the agents.
    pub(crate) namespace: String,
    /// Times of the election.
    pub(crate) election: ElectionTimes,
    /// Where /healthz is served.
    pub(crate) serve: SocketAddr,
    /// Address of the metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// Register the custom resources.
    pub(crate) register_crds: bool,
    /// Log more.
    pub(crate) debug: bool,
    /// What is to be decided, and how.
    pub(crate) plan: PlanConfig,
}

/// Times of the leader election.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ElectionTimes {
    /// A lease that was not renewed for this long is free.
    pub(crate) lease: Duration,
    /// A leader that could not renew for this long steps down.
    pub(crate) renew_deadline: Duration,
    /// Time between tries.
    pub(crate) retry: Duration,
}

/// What the decisions depend on. `None` switches a duty off.
#[derive(Clone, Debug)]
pub(crate) struct PlanConfig {
    /// Empty pools for nodes' pod CIDRs; no pools: somebody else gives them.
    pub(crate) pools: Vec<ClusterPool>,
    /// Collection of unused identities.
    pub(crate) identity_gc: Option<IdentityGc>,
    /// How often endpoints without a pod are looked for.
    pub(crate) endpoint_gc: Option<Duration>,
    /// How often CiliumNodes without a Node are looked for.
    pub(crate) node_gc: Option<Duration>,
    /// Taints and conditions of nodes.
    pub(crate) readiness: Readiness,
    /// Restarts of pods that started before the agent.
    pub(crate) restarts: Option<Restarts>,
}

/// When an identity is collected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdentityGc {
    /// How often to look.
    pub(crate) interval: Duration,
    /// How long an identity must have been unused.
    pub(crate) timeout: Duration,
}

/// What is said about nodes.
#[derive(Clone, Debug)]
pub(crate) struct Readiness {
    /// Labels of the agents' pods.
    pub(crate) agents: Selector,
    /// Namespace of the agents' pods.
    pub(crate) namespace: String,
    /// Key of the taint.
    pub(crate) taint_key: String,
    /// Remove it from ready nodes.
    pub(crate) remove_taint: bool,
    /// Set it on nodes that are not ready.
    pub(crate) set_taint: bool,
    /// Set the condition NetworkUnavailable on ready nodes.
    pub(crate) set_condition: bool,
}

/// Which pods are restarted.
#[derive(Clone, Debug)]
pub(crate) struct Restarts {
    /// How often to look.
    pub(crate) interval: Duration,
    /// Which pods.
    pub(crate) selector: Selector,
}

impl Config {
    /// Checks `options` and turns them into a configuration.
    ///
    /// # Errors
    /// A value that does not parse, or options that contradict each other; the text names option, value and cure.
    pub(crate) fn parse(options: &Options) -> Result<Self> {
        let config = Config {
            api_server: text(options, "k8s-api-server"),
            kubeconfig: text(options, "k8s-kubeconfig-path").map(PathBuf::from),
            namespace: options.get("k8s-namespace").to_owned(),
            election: ElectionTimes {
                lease: duration(options, "leader-election-lease-duration")?,
                renew_deadline: duration(options, "leader-election-renew-deadline")?,
                retry: duration(options, "leader-election-retry-period")?,
            },
            serve: address(options, "operator-api-serve-addr")?,
            metrics: match (flag(options, "enable-metrics")?, options.get("operator-prometheus-serve-addr")) {
                (false, _) | (_, "") => None,
                (true, _) => Some(address(options, "operator-prometheus-serve-addr")?),
            },
            register_crds: !flag(options, "skip-crd-creation")?,
            debug: flag(options, "debug")?,
            plan: PlanConfig {
                pools: pools(options)?,
                identity_gc: identity_gc(options)?,
                endpoint_gc: interval(options, "cilium-endpoint-gc-interval")?,
                node_gc: interval(options, "nodes-gc-interval")?,
                readiness: readiness(options)?,
                restarts: interval(options, "unmanaged-pod-watcher-interval")?
                    .map(|interval| {
                        anyhow::Ok(Restarts { interval, selector: value(options, "pod-restart-selector")? })
                    })
                    .transpose()?,
            },
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let ElectionTimes { lease, renew_deadline, retry } = self.election;
        if retry.is_zero() || retry >= renew_deadline || renew_deadline >= lease {
            bail!(
                "leader election needs retry-period < renew-deadline < lease-duration, but they are {retry:?}, \
                 {renew_deadline:?} and {lease:?}: a leader must have stopped before another one starts"
            );
        }
        let readiness = &self.plan.readiness;
        if readiness.set_taint && !readiness.remove_taint {
            bail!(
                "--set-cilium-node-taints=true with --remove-cilium-node-taints=false would keep pods off every node for \
                 ever: set both or none"
            );
        }
        Ok(())
    }
}

fn text(options: &Options, name: &str) -> Option<String> {
    Some(options.get(name)).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn value<T: FromStr>(options: &Options, name: &str) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let raw = options.get(name);
    raw.parse().with_context(|| format!("option --{name}={raw} cannot be read"))
}

fn flag(options: &Options, name: &str) -> Result<bool> {
    match options.get(name).to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Ok(true),
        "false" | "0" | "f" | "" => Ok(false),
        other => bail!("option --{name}={other} is neither true nor false"),
    }
}

fn duration(options: &Options, name: &str) -> Result<Duration> {
    let raw = options.get(name);
    duration::parse(raw)
        .ok_or_else(|| anyhow!("option --{name}={raw} is no duration: write 90s, 15m or 1h30m"))
}

/// A duration of which zero means never.
fn interval(options: &Options, name: &str) -> Result<Option<Duration>> {
    duration(options, name).map(|interval| Some(interval).filter(|interval| !interval.is_zero()))
}

/// `localhost:9234`, `127.0.0.1:9234`, `[::1]:9234` or `:9234`.
fn address(options: &Options, name: &str) -> Result<SocketAddr> {
    let raw = options.get(name);
    let full = if raw.starts_with(':') { format!("[::]{raw}") } else { raw.to_owned() };
    let unusable = || format!("option --{name}={raw} is no address and port");
    full.to_socket_addrs().with_context(unusable)?.next().with_context(unusable)
}

fn pools(options: &Options) -> Result<Vec<ClusterPool>> {
    let enabled = [(Family::V4, flag(options, "enable-ipv4")?), (Family::V6, flag(options, "enable-ipv6")?)];
    if enabled.iter().all(|(_, on)| !on) {
        bail!("neither --enable-ipv4 nor --enable-ipv6 is set: pods need at least one address family");
    }
    match options.get("ipam") {
        "kubernetes" => return Ok(Vec::new()),
        "cluster-pool" => {}
        other => bail!("--ipam={other} is not supported: use cluster-pool or kubernetes"),
    }
    enabled.into_iter().filter(|(_, on)| *on).map(|(family, _)| pool(options, family)).collect()
}

fn pool(options: &Options, family: Family) -> Result<ClusterPool> {
    let name = family.to_string().to_lowercase();
    let (cidr, mask) = (format!("cluster-pool-{name}-cidr"), format!("cluster-pool-{name}-mask-size"));
    let cidrs = options
        .get(&cidr)
        .split([',', ' ', '\n'])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse::<IpNet>().with_context(|| format!("option --{cidr}: {part} is no CIDR")))
        .collect::<Result<Vec<_>>>()?;
    if let Some(other) = cidrs.iter().find(|net| Family::of_net(net) != family) {
        bail!("option --{cidr}: {other} is not {family}");
    }
    ClusterPool::new(&cidrs, value(options, &mask)?).with_context(|| format!("options --{cidr} and --{mask}"))
}

fn identity_gc(options: &Options) -> Result<Option<IdentityGc>> {
    let timeout = duration(options, "identity-heartbeat-timeout")?;
    let interval = interval(options, "identity-gc-interval")?;
    // Without CiliumEndpoints every identity would look unused.
    let known = !flag(options, "disable-endpoint-crd")?;
    Ok(interval.filter(|_| known).map(|interval| IdentityGc { interval, timeout }))
}

fn readiness(options: &Options) -> Result<Readiness> {
    Ok(Readiness {
        agents: value(options, "cilium-pod-labels")?,
        namespace: options.get("k8s-namespace").to_owned(),
        taint_key: options.get("agent-not-ready-taint-key").to_owned(),
        remove_taint: flag(options, "remove-cilium-node-taints")?,
        set_taint: flag(options, "set-cilium-node-taints")?,
        set_condition: flag(options, "set-cilium-is-up-condition")?,
    })
}
