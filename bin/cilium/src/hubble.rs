//! `cilium hubble`: the relay and the page at a port of this machine, through the API server.

use crate::cli::HubbleCommand;
use crate::cluster::{self, Reach};
use crate::output::{Answer, say};
use crate::status::Pod;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Stdio;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn run(command: &HubbleCommand) -> Result<Answer> {
    match command {
        HubbleCommand::PortForward { port, reach } => {
            let way =
                Way::find(cluster::reach(reach).await?, "hubble-relay", "hubble.relay.enabled=true").await?;
            let ends = Ends::listen(*port).await?;
            say(format!("Hubble Relay is available at 127.0.0.1:{}", ends.port));
            ends.serve(way).await
        }
        HubbleCommand::Ui { port, open_browser, reach } => {
            let values = "hubble.relay.enabled=true,hubble.ui.enabled=true";
            let way = Way::find(cluster::reach(reach).await?, "hubble-ui", values).await?;
            let ends = Ends::listen(*port).await?;
            let url = format!("http://localhost:{}{}", ends.port, way.base);
            say(match *open_browser && browse(&url) {
                true => format!("Opening {url} in your browser"),
                false => format!("Hubble UI is available at {url}"),
            });
            ends.serve(way).await
        }
    }
}

/// Whether a browser was asked to open a page; what it makes of it is its own.
fn browse(url: &str) -> bool {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = std::process::Command::new(program);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
}

/// To the pods of a service.
struct Way {
    reach: Reach,
    service: &'static str,
    /// Labels of its pods.
    selector: Vec<(String, String)>,
    /// Their port, by number or by name.
    target: Value,
    /// Path below which they serve the page, if that is what they serve.
    base: String,
}

/// What all containers of a pod have of a list.
fn each<'a>(pod: &'a Value, list: &'a str) -> impl Iterator<Item = &'a Value> {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().filter_map(move |container| container[list].as_array()).flatten()
}

impl Way {
    /// Finds a service that the chart makes with these values.
    async fn find(reach: Reach, service: &'static str, values: &str) -> Result<Self> {
        let namespace = &reach.namespace;
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
        let Some(object) = cluster::find(&reach.clients, &path).await? else {
            bail!(
                "there is no service {service} in namespace {namespace}: switch it on with `cilium upgrade --reuse-values --set \
                 {values}`, or name its namespace with --namespace"
            );
        };
        let labels = object.pointer("/spec/selector").and_then(Value::as_object);
        let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        let selector: Vec<_> = labels.into_iter().flatten().filter_map(text).collect();
        let port = object.pointer("/spec/ports/0").filter(|_| !selector.is_empty());
        let port =
            port.with_context(|| format!("service {namespace}/{service} has no selector or no port"))?;
        let target = port.get("targetPort").or_else(|| port.get("port")).cloned().unwrap_or_default();
        let mut way = Self { selector, target, service, reach, base: String::new() };
        // Better said now than to the first who connects.
        let pod = way.pod().await?;
        let variables = each(&pod, "env").find(|variable| variable["name"] == "BASE_URL");
        way.base = variables.and_then(|variable| variable["value"].as_str()).unwrap_or("/").to_owned();
        Ok(way)
    }

    /// A pod that is ready.
    async fn pod(&self) -> Result<Value> {
        let (namespace, service) = (&self.reach.namespace, self.service);
        let pods =
            cluster::list(&self.reach.clients, &format!("/api/v1/namespaces/{namespace}/pods")).await?;
        let wanted = |pod: &Value| {
            let labels = &pod["metadata"]["labels"];
            Pod(pod).is_ready() && self.selector.iter().all(|(key, value)| labels[key] == value.as_str())
        };
        pods.into_iter().find(wanted).with_context(|| {
            format!("no pod of service {namespace}/{service} is ready: `cilium status` tells what is wrong")
        })
    }

    fn port(&self, pod: &Value) -> Option<u16> {
        let number = match &self.target {
            Value::Number(number) => number.as_u64(),
            name => each(pod, "ports")
                .filter(|port| port["name"] == *name)
                .find_map(|port| port["containerPort"].as_u64()),
        };
        number.and_then(|number| u16::try_from(number).ok())
    }

    /// Leads a connection to a pod of now: pods come and go.
    async fn lead(&self, connection: TcpStream) -> Result<()> {
        let (pod, namespace) = (self.pod().await?, &self.reach.namespace);
        let name = Pod(&pod).name();
        let port = self.port(&pod).with_context(|| {
            format!("pod {namespace}/{name} has no port {}, which its service names", self.target)
        })?;
        let forwarded = self.reach.clients.forward(namespace, name, port, connection).await;
        forwarded.map_err(|error| anyhow!("{}", error.describe()))
    }
}

/// Where this machine listens: at its loopback addresses alone.
struct Ends {
    v4: TcpListener,
    v6: Option<TcpListener>,
    port: u16,
}

impl Ends {
    async fn listen(port: u16) -> Result<Self> {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| {
            format!("cannot listen on port {port} of this machine: name another one with --port-forward")
        })?;
        let port = v4.local_addr().context("a listener without an address")?.port();
        // `localhost` may mean this one first; a machine without IPv6 has none.
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await.ok();
        Ok(Self { v4, v6, port })
    }

    /// Runs until the command is ended.
    async fn serve(self, way: Way) -> Result<Answer> {
        let way = Arc::new(way);
        loop {
            let other = async {
                match &self.v6 {
                    Some(listener) => listener.accept().await,
                    None => std::future::pending().await,
                }
            };
            let accepted = tokio::select! {
                accepted = self.v4.accept() => accepted,
                accepted = other => accepted,
            };
            let (connection, _) = accepted.context("cannot take a connection")?;
            let way = Arc::clone(&way);
            tokio::spawn(async move {
                if let Err(error) = way.lead(connection).await {
                    // Whoever connected sees that the connection has ended.
                    let _ = writeln!(std::io::stderr(), "Error: a connection to {}: {error:#}", way.service);
                }
            });
        }
    }
}
