//! Local redirect policies: a cache on the node answers for a service of the cluster, as a node-local DNS does, and for an
//! address that is nobody's. What others have is not to be had.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::{BACKENDS, From, ask, cluster_ips};
use crate::cluster::{Cluster, socket};
use crate::connectivity::wait_for_pods;
use crate::manifests::{NAMESPACE, pod};
use crate::report::Report;

const CACHE: &str = "cache-1";
/// An address that nobody has.
const NAMED: &str = "169.254.20.10";
/// Agents hear of an object, write their tables, and then new connections follow.
const PATIENCE: Duration = Duration::from_secs(10);

fn policy(name: &str, frontend: &Value, skip: bool) -> Value {
    let port =
        |port: &str, name: &str, protocol: &str| json!({ "port": port, "name": name, "protocol": protocol });
    json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumLocalRedirectPolicy",
        "metadata": { "name": name, "namespace": NAMESPACE },
        "spec": {
            "redirectFrontend": frontend,
            "redirectBackend": {
                "localEndpointSelector": { "matchLabels": { "app": CACHE } },
                "toPorts": [port("80", "web", "TCP"), port("53", "dns", "UDP")],
            },
            "skipRedirectFromBackend": skip,
        },
    })
}

fn address(ip: &str) -> Value {
    json!({ "addressMatcher": { "ip": ip, "toPorts": [{ "port": "8000", "name": "web", "protocol": "TCP" }] } })
}

/// Who answers in the end: `expected`, or another after all patience.
fn settles(cluster: &Cluster, from: From, how: &str, to: &str, expected: &[&str]) -> Result<String> {
    let start = Instant::now();
    loop {
        let (answered, _) = ask(cluster, from, how, to)?;
        if expected.contains(&answered.as_str()) {
            return Ok(expected.join(" or "));
        }
        if start.elapsed() > PATIENCE {
            return Ok(answered);
        }
    }
}

/// Makes policies and follows who answers.
pub(super) fn run(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Local redirect policies");
    let mut cache = pod(CACHE, "n1", &[80]);
    cache["spec"]["containers"][0]["ports"] =
        json!([{ "containerPort": 80 }, { "containerPort": 53, "protocol": "UDP" }]);
    let service = json!({ "serviceMatcher": { "serviceName": "web", "namespace": NAMESPACE } });
    cluster.apply(&[
        cache.clone(),
        policy("to-cache", &service, true),
        policy("named", &address(NAMED), false),
    ])?;
    wait_for_pods(cluster)?;
    let vips = cluster_ips(cluster, "web")?;
    let sticky = cluster_ips(cluster, "web-sticky")?.remove(0);
    let mut check = |what: &str, from: From, how: &str, to: &str, expected: &[&str]| -> Result<()> {
        let seen = settles(cluster, from, how, to, expected)?;
        report.check(what, &format!("{} {how} {to}", from.name()), &expected.join(" or "), &seen);
        Ok(())
    };
    for vip in &vips {
        for (how, port) in [("connect", 8000), ("udp", 53)] {
            let to = socket(vip, port);
            check("redirected service", From::Pod, how, &to, &[CACHE])?;
            check("redirected service, the node itself", From::Machine("n1"), how, &to, &[CACHE])?;
            check("a node without the cache", From::Machine("n2"), how, &to, &BACKENDS)?;
            check("the cache itself is spared", From::Other(CACHE), how, &to, &BACKENDS)?;
        }
    }
    check("redirected address", From::Pod, "connect", &socket(NAMED, 8000), &[CACHE])?;

    // The address of another service, of a node, and another namespace's service: refused, and nothing is broken.
    let foreign = json!({ "serviceMatcher": { "serviceName": "kubernetes", "namespace": "default" } });
    cluster.apply(&[
        policy("takes-service", &address(&sticky), false),
        policy("takes-node", &address("172.31.0.12"), false),
        policy("takes-foreign", &foreign, false),
    ])?;
    let start = Instant::now();
    let refusals = [
        "which no policy may take by its address",
        "is an address of a node, which no policy may take",
        "is not the policy's own namespace",
    ];
    let mut told = 0;
    while told < refusals.len() && start.elapsed() < PATIENCE {
        let log = cluster.agent_log("n1")?;
        told = refusals.iter().filter(|text| log.contains(**text)).count();
    }
    report.check("hijacks are refused", "texts in the agent's log", "3", &told.to_string());
    let (answered, _) = ask(cluster, From::Pod, "connect", &socket(&sticky, 8000))?;
    let is_own = if BACKENDS.contains(&answered.as_str()) { "its own" } else { &answered };
    report.check("hijacks are refused", "who answers for the service", "its own", is_own);
    let list = cluster.agent("n1", &["cilium-dbg", "service", "list"])?;
    let lines = list.lines().filter(|line| line.contains("LocalRedirect")).count();
    // Two ports of two families, and the address.
    report.check("cilium-dbg service list", "lines of LocalRedirect", "5", &lines.to_string());
    report.show(&cluster.agent("n1", &["cilium-dbg", "lrp", "list"])?);

    cluster.kubectl(&["delete", "-n", NAMESPACE, "pod", CACHE, "--wait=false"])?;
    for (how, port) in [("connect", 8000), ("udp", 53)] {
        let seen = settles(cluster, From::Pod, how, &socket(&vips[0], port), &BACKENDS)?;
        report.check("the cache is gone", &format!("pod {how}"), &BACKENDS.join(" or "), &seen);
    }
    for name in ["to-cache", "named", "takes-service", "takes-node", "takes-foreign"] {
        cluster.kubectl(&["delete", "-n", NAMESPACE, "ciliumlocalredirectpolicy", name])?;
    }
    report.flush();
    Ok(())
}
