//! `cilium sysdump`: one archive with what helps to find a fault. No Secret is read, and what looks like one is masked.

mod mask;

use crate::cli::SysdumpArgs;
use crate::cluster::{self, Reach};
use crate::output::{Answer, say};
use crate::status::{self, Pod};
use anyhow::{Context, Result};
use kube_watch::Container;
use serde_json::Value;
use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long one command in an agent may take.
const COMMAND: Duration = Duration::from_secs(30);

/// File and path of what is asked of the API server. Never Secrets.
const LISTS: [(&str, &str); 14] = [
    ("nodes", "/api/v1/nodes"),
    ("namespaces", "/api/v1/namespaces"),
    ("pods", "/api/v1/pods"),
    ("services", "/api/v1/services"),
    ("events", "/api/v1/events"),
    ("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices"),
    ("networkpolicies", "/apis/networking.k8s.io/v1/networkpolicies"),
    ("ciliumnetworkpolicies", "/apis/cilium.io/v2/ciliumnetworkpolicies"),
    ("ciliumclusterwidenetworkpolicies", "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies"),
    ("ciliumendpoints", "/apis/cilium.io/v2/ciliumendpoints"),
    ("ciliumidentities", "/apis/cilium.io/v2/ciliumidentities"),
    ("ciliumnodes", "/apis/cilium.io/v2/ciliumnodes"),
    ("daemonsets", "/apis/apps/v1/daemonsets"),
    ("deployments", "/apis/apps/v1/deployments"),
];

/// What each agent is asked.
const COMMANDS: [&[&str]; 14] = [
    &["cilium-dbg", "status", "--verbose"],
    &["cilium-dbg", "status", "-o", "json"],
    &["cilium-dbg", "version"],
    &["cilium-dbg", "endpoint", "list", "-o", "json"],
    &["cilium-dbg", "identity", "list"],
    &["cilium-dbg", "service", "list"],
    &["cilium-dbg", "policy", "get"],
    &["cilium-dbg", "policy", "selectors"],
    &["cilium-dbg", "ip", "list"],
    &["cilium-dbg", "node", "list"],
    &["cilium-dbg", "bpf", "metrics", "list"],
    &["cilium-dbg", "bpf", "ipcache", "list"],
    &["cilium-dbg", "bpf", "lb", "list"],
    &["hubble", "observe", "--last", "1000", "-o", "jsonpb"],
];

/// The archive being written.
struct Archive {
    tar: tar::Builder<BufWriter<File>>,
    /// Folder inside the archive.
    name: String,
    now: u64,
}

impl Archive {
    /// Adds a file, with secrets masked.
    fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let text = mask::text(text);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.now);
        self.tar
            .append_data(&mut header, format!("{}/{file}", self.name), text.as_bytes())
            .with_context(|| format!("cannot write {file} to the archive"))
    }

    /// Adds an answer, or in its place why there is none.
    fn add_or_why(&mut self, file: &str, answer: Result<String>) -> Result<()> {
        match answer {
            Ok(text) => self.add(file, &text),
            Err(error) => self.add(&format!("{file}.error"), &format!("{error:#}\n")),
        }
    }
}

pub(crate) async fn run(args: &SysdumpArgs) -> Result<Answer> {
    let reach = cluster::reach(&args.reach).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let name = args.output_filename.replace("<ts>", &now.to_string());
    let path = format!("{name}.tar");
    let file = File::options().write(true).create_new(true).open(&path);
    let file = file.with_context(|| format!("cannot make {path} (--output-filename)"))?;
    let inside = name.rsplit('/').next().unwrap_or("cilium-sysdump").to_owned();
    let mut archive = Archive { tar: tar::Builder::new(BufWriter::new(file)), name: inside, now };
    say("🔍 Collecting objects of the API server");
    let mut pods = Vec::new();
    for (file, path) in LISTS {
        let list = cluster::list(&reach.clients, path).await;
        if let (Ok(list), "pods") = (&list, file) {
            pods = list.clone();
        }
        archive.add_or_why(&format!("{file}.json"), list.and_then(pretty))?;
    }
    let config = cluster::find(&reach.clients, &crate::config::path(&reach.namespace)).await;
    archive.add_or_why(
        "cilium-config.json",
        config.and_then(|config| pretty(vec![config.unwrap_or_default()])),
    )?;
    say("🔍 Collecting logs of Cilium's pods");
    for pod in pods.iter().map(Pod).filter(|pod| pod.namespace() == reach.namespace && pod.part().is_some()) {
        logs(&reach, &mut archive, pod, args.logs_limit_lines).await?;
    }
    for pod in status::agents(&pods, &reach.namespace).into_iter().filter(|pod| pod.phase() == "Running") {
        say(format!("🔍 Asking the agent of {}", pod.node()));
        for argv in COMMANDS {
            let file = format!("{}/{}.txt", pod.name(), argv.join("-").replace("--", "-"));
            archive.add_or_why(&file, ask(&reach, pod.name(), argv).await)?;
        }
    }
    let mut out = archive.tar.into_inner().context("cannot finish the archive")?;
    std::io::Write::flush(&mut out).context("cannot finish the archive")?;
    say(format!("🗳 Compiled sysdump: {path}"));
    Ok(Answer::text(""))
}

fn pretty(mut list: Vec<Value>) -> Result<String> {
    list.iter_mut().for_each(mask::object);
    serde_json::to_string_pretty(&list).context("cannot write JSON")
}

async fn logs(reach: &Reach, archive: &mut Archive, pod: Pod<'_>, lines: u32) -> Result<()> {
    let containers = pod.0.pointer("/spec/containers").and_then(Value::as_array);
    for name in containers.into_iter().flatten().filter_map(|container| container["name"].as_str()) {
        for (end, previous) in [("log", ""), ("previous.log", "&previous=true")] {
            let (namespace, pod) = (pod.namespace(), pod.name());
            let path = format!(
                "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={name}&tailLines={lines}&timestamps=true{previous}"
            );
            // Most containers had none before them.
            match reach.clients.read_text(&path).await {
                Ok(text) => archive.add(&format!("{pod}/{name}.{end}"), &text)?,
                Err(error) if previous.is_empty() => {
                    archive.add(&format!("{pod}/{name}.{end}.error"), &error.describe())?;
                }
                Err(_) => {}
            }
        }
    }
    Ok(())
}

async fn ask(reach: &Reach, pod: &str, argv: &[&str]) -> Result<String> {
    let container = Container { namespace: &reach.namespace, pod, name: Some("cilium-agent") };
    let ran = reach.clients.exec(container, argv, COMMAND).await;
    let ran = ran.map_err(|error| anyhow::anyhow!("{}", error.describe()))?;
    let mut text = String::from_utf8_lossy(&ran.stdout).into_owned();
    if ran.code != 0 {
        text.push_str(&format!("\nexit code {}: {}", ran.code, String::from_utf8_lossy(&ran.stderr)));
    }
    Ok(text)
}
