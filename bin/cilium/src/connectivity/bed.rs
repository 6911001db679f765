//! Where tests run: pods on two nodes, services in front of them, and what the cluster is like.

use super::objects::{self, path};
use super::plan::{Facts, Place};
use crate::cli::{BedArgs, TestArgs};
use crate::cluster::{self, Reach};
use crate::output::say;
use crate::status::{Pod, agents};
use crate::version::agent_image;
use anyhow::{Context, Result, anyhow, bail, ensure};
use kube_watch::{Container, Ran};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long pods may take to come up.
const PODS: Duration = Duration::from_secs(120);
/// Who writes the objects.
const MANAGER: &str = "cilium-cli";

/// The bed of a run.
pub(super) struct Bed {
    pub(super) reach: Reach,
    /// The test's own namespace.
    pub(super) namespace: String,
    /// Version of the agents.
    pub(super) version: String,
    /// The agents' pods, by node.
    pub(super) agents: BTreeMap<String, String>,
    /// What `cilium-config` says.
    settings: BTreeMap<String, String>,
    places: BTreeMap<String, Place>,
    services: BTreeMap<String, (Vec<IpAddr>, Option<u16>)>,
    node_addresses: BTreeMap<String, Vec<IpAddr>>,
    dns: bool,
}

impl Bed {
    /// Makes what is not there yet and waits until it runs.
    pub(super) async fn make(reach: Reach, args: &BedArgs, services: bool) -> Result<Self> {
        let namespace = args.test_namespace.clone();
        ensure!(
            namespace != reach.namespace,
            "--test-namespace={namespace} is Cilium's own: name another one"
        );
        let pods = cluster::list(&reach.clients, "/api/v1/pods").await?;
        let agents: BTreeMap<String, String> = agents(&pods, &reach.namespace)
            .into_iter()
            .filter(|pod| pod.is_ready())
            .map(|pod| (pod.node().to_owned(), pod.name().to_owned()))
            .collect();
        ensure!(!agents.is_empty(), "no agent is ready in {}: see `cilium status`", reach.namespace);
        let image = image(&reach, args).await?;
        let config =
            cluster::find(&reach.clients, &crate::config::path(&reach.namespace)).await?.unwrap_or_default();
        let settings = config["data"].as_object().into_iter().flatten();
        let settings =
            settings.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
        let mut bed = Bed {
            namespace,
            version: String::new(),
            agents,
            settings: settings.collect(),
            places: BTreeMap::new(),
            services: BTreeMap::new(),
            node_addresses: BTreeMap::new(),
            dns: cluster::find(&reach.clients, "/api/v1/namespaces/kube-system/services/kube-dns")
                .await?
                .is_some(),
            reach,
        };
        bed.create(&image, services).await?;
        bed.look().await?;
        Ok(bed)
    }

    async fn create(&mut self, image: &str, services: bool) -> Result<()> {
        let nodes: Vec<&String> = self.agents.keys().collect();
        let first = nodes[0];
        let second = nodes.get(1).copied();
        let mut objects = vec![objects::namespace(&self.namespace)];
        let pod = |name: &str, node: &str, host| objects::pod(&self.namespace, name, node, image, host);
        objects.extend([
            pod("echo-a", first, false),
            pod("client-a", first, false),
            pod("client2-a", first, false),
            pod("host-a", first, true),
        ]);
        if let Some(second) = second {
            objects.extend([pod("echo-b", second, false), pod("client-b", second, false)]);
        }
        if services {
            let service =
                |name: &str, server: &str, kind| objects::service(&self.namespace, name, server, kind);
            objects.push(service("echo-a", "echo-a", "ClusterIP"));
            if second.is_some() {
                objects.extend([
                    service("echo-b", "echo-b", "NodePort"),
                    service("echo-b-headless", "echo-b", "Headless"),
                ]);
            }
        }
        if cluster::find(&self.reach.clients, &format!("/api/v1/namespaces/{}", self.namespace))
            .await?
            .is_none()
        {
            say(format!("✨ [{}] Creating namespace for connectivity check...", self.namespace));
        }
        for object in &objects {
            self.apply(object).await?;
        }
        self.wait_account_and_pods().await
    }

    /// Creates or changes an object of the test's namespace.
    pub(super) async fn apply(&self, object: &Value) -> Result<()> {
        let path = path(&self.namespace, object);
        let start = Instant::now();
        loop {
            match self.reach.clients.apply_at(&path, MANAGER, object).await {
                Ok(_) => return Ok(()),
                // A new namespace has no service account for a moment.
                Err(error) if error.is_forbidden() && start.elapsed() < Duration::from_secs(20) => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                Err(error) => return Err(anyhow!("{}", error.describe())),
            }
        }
    }

    /// Removes an object of the test's namespace.
    pub(super) async fn delete(&self, object: &Value) -> Result<()> {
        match self.reach.clients.delete_at(&path(&self.namespace, object)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(anyhow!("{}", error.describe())),
        }
    }

    async fn wait_account_and_pods(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace);
        say(format!("⌛ [{}] Waiting for pods to become ready...", self.namespace));
        let start = Instant::now();
        loop {
            let pods = cluster::list(&self.reach.clients, &path).await?;
            let waiting: Vec<String> = pods
                .iter()
                .map(Pod)
                .filter(|pod| !pod.is_ready())
                .map(|pod| {
                    format!("{} ({})", pod.name(), pod.trouble().unwrap_or_else(|| pod.phase().to_owned()))
                })
                .collect();
            if waiting.is_empty() && !pods.is_empty() {
                return Ok(());
            }
            if start.elapsed() > PODS {
                bail!("pods of {} do not become ready: {}", self.namespace, waiting.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Reads the addresses of everything.
    async fn look(&mut self) -> Result<()> {
        let of = |kind: &str| format!("/api/v1/namespaces/{}/{kind}", self.namespace);
        let pods = cluster::list(&self.reach.clients, &of("pods")).await?;
        for pod in pods.iter().map(Pod) {
            let place = Place { node: pod.node().to_owned(), addresses: pod.addresses() };
            self.places.insert(pod.name().to_owned(), place);
        }
        for service in cluster::list(&self.reach.clients, &of("services")).await? {
            let list = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
            let addresses = list.into_iter().flatten().filter_map(|one| one.as_str()?.parse().ok()).collect();
            let port = service.pointer("/spec/ports/0/nodePort").and_then(Value::as_u64);
            let port = port.and_then(|port| u16::try_from(port).ok());
            self.services.insert(Pod(&service).name().to_owned(), (addresses, port));
        }
        for node in cluster::list(&self.reach.clients, "/api/v1/nodes").await? {
            let list = node.pointer("/status/addresses").and_then(Value::as_array);
            let internal = list.into_iter().flatten().filter(|one| one["type"] == "InternalIP");
            let addresses = internal.filter_map(|one| one["address"].as_str()?.parse().ok()).collect();
            self.node_addresses.insert(Pod(&node).name().to_owned(), addresses);
        }
        let (_, agent) = self.agents.first_key_value().context("no agent")?;
        let ran = self.agent(agent, &["cilium-dbg", "version", "-o", "json"]).await?;
        let version: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
        let told = ["/Daemon/version", "/daemon/version", "/version"];
        let told = told.iter().find_map(|path| version.pointer(path)?.as_str());
        self.version = told.unwrap_or("unknown").to_owned();
        Ok(())
    }

    /// What a plan is made of.
    pub(super) fn facts<'a>(&'a self, args: &'a TestArgs) -> Facts<'a> {
        Facts {
            namespace: &self.namespace,
            places: &self.places,
            services: &self.services,
            node_addresses: &self.node_addresses,
            settings: &self.settings,
            dns: self.dns,
            external: &args.external_target,
            external_port: args.external_port,
        }
    }

    /// The pods, by name.
    pub(super) fn places(&self) -> &BTreeMap<String, Place> {
        &self.places
    }

    /// Runs a command in one of the test's pods.
    pub(super) async fn in_pod(&self, pod: &str, argv: &[&str], limit: Duration) -> Result<Ran> {
        let container = Container { namespace: &self.namespace, pod, name: None };
        let ran = self.reach.clients.exec(container, argv, limit).await;
        ran.map_err(|error| anyhow!("{}", error.describe()))
    }

    /// Runs a command in an agent's container.
    pub(super) async fn agent(&self, pod: &str, argv: &[&str]) -> Result<Ran> {
        let container = Container { namespace: &self.reach.namespace, pod, name: Some("cilium-agent") };
        let ran = self.reach.clients.exec(container, argv, Duration::from_secs(20)).await;
        ran.map_err(|error| anyhow!("{}", error.describe()))
    }

    /// Removes the namespace.
    pub(super) async fn remove(&self) -> Result<()> {
        say(format!("🔥 Deleting {} namespace...", self.namespace));
        self.delete(&objects::namespace(&self.namespace)).await
    }
}

/// The image with the test tool: what was said, or the agent's neighbour.
async fn image(reach: &Reach, args: &BedArgs) -> Result<String> {
    if let Some(image) = &args.test_image {
        return Ok(image.clone());
    }
    let path = format!("/apis/apps/v1/namespaces/{}/daemonsets/cilium", reach.namespace);
    let agent = cluster::find(&reach.clients, &path).await?.as_ref().and_then(agent_image);
    agent.as_deref().and_then(neighbour).context(
        "which image has the test tool? The agent's is not called …/cilium:TAG, so name it with --test-image",
    )
}

/// `a/cilium:x` → `a/test:x`.
fn neighbour(image: &str) -> Option<String> {
    let name = image.split('@').next()?;
    let (folder, last) = name.rsplit_once('/')?;
    let (name, tag) = last.split_once(':')?;
    (name == "cilium").then(|| format!("{folder}/test:{tag}"))
}

#[cfg(test)]
mod tests {
    use super::neighbour;

    #[test]
    fn the_test_image_stands_beside_the_agent_s() {
        assert_eq!(
            neighbour("localhost:5000/axoneme/cilium:dev").as_deref(),
            Some("localhost:5000/axoneme/test:dev")
        );
        assert_eq!(neighbour("a/cilium:v1@sha256:0").as_deref(), Some("a/test:v1"));
        assert_eq!(neighbour("a/agent:v1"), None);
    }
}
