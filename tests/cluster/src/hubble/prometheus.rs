//! A real Prometheus on a node: it scrapes what the chart's annotations name, and answers the dashboards' queries.
//!
//! Debian's Prometheus cannot ask an API server, so the annotations are read here.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{eventually, yes};
use crate::cluster::{Cluster, root, socket};
use crate::report::Report;

/// Where it runs: a node reaches nodes and pods.
const NODE: &str = "n1";
const LISTEN: &str = "127.0.0.1:19090";
/// Two agents, each with its own metrics and those of flows, two operators, and the relay.
const TARGETS: usize = 7;
/// Runs it until standard input ends: a signal would reach the command that leads into the node, not what runs there.
const RUN: &str = "prometheus \"$@\" & cat; kill $!; wait $!";
/// Where the chart keeps its dashboards.
const FOLDERS: [&str; 3] = ["cilium-agent", "cilium-operator", "hubble"];

/// Runs as long as this lives.
pub(super) struct Prometheus {
    child: Child,
    folder: PathBuf,
}

impl Prometheus {
    pub(super) fn start(cluster: &Cluster) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("axoneme-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join("prometheus.yml");
        // JSON is YAML.
        std::fs::write(&file, configuration(&targets(cluster)?).to_string())
            .context("writing a configuration")?;
        let arguments = [
            "exec".to_owned(),
            NODE.to_owned(),
            "sh".to_owned(),
            "-c".to_owned(),
            RUN.to_owned(),
            "prometheus".to_owned(),
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={LISTEN}"),
            "--enable-feature=exemplar-storage".to_owned(),
        ];
        let log = std::fs::File::create(folder.join("log")).context("making a log")?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let child = cluster
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting prometheus")?;
        Ok(Self { child, folder })
    }

    /// The answer to a query: the vector, empty if there is no data.
    fn ask(&self, cluster: &Cluster, query: &str) -> Result<Vec<Value>> {
        let url = format!("http://{LISTEN}");
        let text = cluster.lab(&["exec", NODE, "promtool", "query", "instant", "-o", "json", &url, query])?;
        let answer: Value = serde_json::from_str(&text).with_context(|| format!("{query}: {text}"))?;
        match answer {
            Value::Array(rows) => Ok(rows),
            Value::Null => Ok(Vec::new()),
            other => bail!("{query} gives no vector but {other}"),
        }
    }

    /// All targets answer, and every query of every dashboard has data.
    pub(super) fn run(
        &self,
        cluster: &Cluster,
        talk: &dyn Fn() -> Result<()>,
        report: &mut Report,
    ) -> Result<()> {
        report.title("Metrics in a real Prometheus");
        let up = eventually(60, || {
            let up = self.ask(cluster, "up == 1")?;
            Ok((up.len() == TARGETS && self.ask(cluster, "up == 0")?.is_empty()).then_some(up))
        });
        if !matches!(up, Ok(Some(_))) {
            report.show(&std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
            report.show(&format!("{:?}", self.ask(cluster, "up")));
        }
        let up = up?.unwrap_or_default();
        for row in &up {
            report.show(&row["metric"].to_string());
        }
        report.check("targets", "all answer", &TARGETS.to_string(), &up.len().to_string());
        let nodes = self.ask(cluster, "hubble_relay_pool_peer_connection_status{status=\"READY\"}")?;
        let nodes = nodes.first().and_then(|row| row["value"][1].as_str()).unwrap_or("no data").to_owned();
        report.check("the relay", "says how many nodes it reaches", "2", &nodes);
        // Rates need a past.
        for _ in 0..6 {
            talk()?;
            std::thread::sleep(std::time::Duration::from_secs(2));
        }
        for dashboard in dashboards()? {
            self.dashboard(cluster, &dashboard, report)?;
        }
        report.flush();
        Ok(())
    }

    fn dashboard(&self, cluster: &Cluster, path: &Path, report: &mut Report) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| format!("{name} is no JSON"))?;
        let queries = queries(&dashboard);
        report.check(&name, "has queries", "yes", yes(!queries.is_empty()));
        for (panel, query) in queries {
            let rows = eventually(20, || {
                let rows = self.ask(cluster, &filled(&query))?;
                Ok((!rows.is_empty()).then_some(rows))
            })
            .with_context(|| format!("{name}: {panel}"))?;
            report.check(
                &name,
                &format!("{panel}: {query}"),
                "data",
                if rows.is_some() { "data" } else { "none" },
            );
        }
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It may have ended by itself.
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Scrapes these.
fn configuration(targets: &[Value]) -> Value {
    json!({
        "global": { "scrape_interval": "2s", "scrape_timeout": "2s" },
        "scrape_configs": [{ "job_name": "annotated", "static_configs": targets }],
    })
}

/// Pods, and ends of services, whose annotations say that they are to be scraped, and where.
fn targets(cluster: &Cluster) -> Result<Vec<Value>> {
    let list = |kind: &str| -> Result<Vec<Value>> {
        let text = cluster.kubectl(&["get", kind, "-n", "kube-system", "-o", "json"])?;
        let mut list: Value = serde_json::from_str(&text).with_context(|| format!("the list of {kind}"))?;
        Ok(list["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
    };
    let port = |object: &Value| {
        let annotations = &object["metadata"]["annotations"];
        let wanted = annotations["prometheus.io/scrape"] == "true";
        annotations["prometheus.io/port"].as_str().filter(|_| wanted)?.parse::<u16>().ok()
    };
    let target = |address: &Value, port: u16, pod: &Value, node: &Value| {
        let address = address.as_str().with_context(|| format!("{pod} has no address yet"))?;
        Ok::<_, anyhow::Error>(
            json!({ "targets": [socket(address, port)], "labels": { "pod": pod, "node": node } }),
        )
    };
    let mut targets = Vec::new();
    for pod in list("pods")? {
        if let Some(port) = port(&pod) {
            let (address, name) = (&pod["status"]["podIP"], &pod["metadata"]["name"]);
            targets.push(target(address, port, name, &pod["spec"]["nodeName"])?);
        }
    }
    let ends = list("endpoints")?;
    for service in list("services")? {
        let Some(port) = port(&service) else { continue };
        let name = &service["metadata"]["name"];
        let ends = ends.iter().filter(|ends| &ends["metadata"]["name"] == name);
        let subsets = ends.flat_map(|ends| ends["subsets"].as_array().into_iter().flatten());
        for end in subsets.flat_map(|subset| subset["addresses"].as_array().into_iter().flatten()) {
            targets.push(target(&end["ip"], port, &end["targetRef"]["name"], &end["nodeName"])?);
        }
    }
    Ok(targets)
}

fn dashboards() -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in FOLDERS {
        let folder = root().join("charts/cilium/files").join(folder).join("dashboards");
        let files = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for file in files {
            paths.push(file.context("reading a folder of dashboards")?.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Every query with the title of its panel.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or("?").to_owned();
        let targets = panel["targets"].as_array().into_iter().flatten();
        found.extend(targets.filter_map(|t| Some((title.clone(), t["expr"].as_str()?.to_owned()))));
        found.extend(queries(panel));
    }
    found
}

/// The query with Grafana's variables as they are when everything is chosen.
fn filled(query: &str) -> String {
    query.replace("$__rate_interval", "1m").replace("$instance", ".*")
}
