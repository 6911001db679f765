//! Rules that overlap: what the documentation says of each, tried.

use std::process::Stdio;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Scene, Source};
use crate::cluster::{finished, probe, socket};
use crate::manifests::{self, NAMESPACE, WORLD};
use crate::report::{Report, yes};
use crate::rules::until;

pub(super) fn run(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    report.title("Rules that overlap");
    deny_wins(scene, report)?;
    prefixes(scene, report)?;
    both_kinds(scene, report)?;
    entities(scene, report)?;
    icmp(scene, report)?;
    report.flush();
    Ok(())
}

/// Applies objects, checks, and takes them away again.
fn under(scene: &Scene<'_>, objects: &[Value], check: impl FnOnce() -> Result<()>) -> Result<()> {
    scene.cluster.apply(objects)?;
    check()?;
    for object in objects {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        scene.cluster.kubectl(&["delete", &kind, "-n", NAMESPACE, &name, "--wait=false"])?;
    }
    Ok(())
}

fn of(app: &str, rules: Value) -> Value {
    let mut spec = json!({ "endpointSelector": { "matchLabels": { "app": app } } });
    if let (Some(spec), Value::Object(rules)) = (spec.as_object_mut(), rules) {
        spec.extend(rules);
    }
    spec
}

/// "Deny policies take precedence over allow policies", whichever is narrower and whichever came first.
fn deny_wins(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let allow = of("right", json!({ "ingress": [{ "fromEndpoints": [{}] }] }));
    let deny = of(
        "right",
        json!({ "ingressDeny": [{
            "fromEndpoints": [{ "matchLabels": { "app": "left" } }],
            "toPorts": [{ "ports": [{ "port": "80", "protocol": "TCP" }] }],
        }] }),
    );
    let objects = [manifests::policy("fault-allow", &allow), manifests::policy("fault-deny", &deny)];
    under(scene, &objects, || {
        for (from, port, reached) in
            [(scene.left, 80, false), (scene.left, 5000, true), (scene.near, 80, true)]
        {
            for to in scene.right.sockets(port) {
                scene.expect(report, "deny beats allow", Source::Pod(from), &to, reached)?;
            }
        }
        Ok(())
    })
}

/// An exception is no denial: another rule may allow it; a denial holds against both.
fn prefixes(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let world = socket(WORLD[0], 80);
    let api = "172.31.0.10:6443";
    let around = json!({ "toCIDRSet": [{ "cidr": "172.31.0.0/16", "except": ["172.31.0.96/28"] }] });
    let inside = json!({ "toCIDR": ["172.31.0.100/31"] });
    let outer = manifests::policy("fault-outer", &of("left", json!({ "egress": [around] })));
    let inner = manifests::policy("fault-inner", &of("left", json!({ "egress": [inside] })));
    let denied = manifests::policy(
        "fault-cidr-deny",
        &of("left", json!({ "egressDeny": [{ "toCIDR": ["172.31.0.0/24"] }] })),
    );
    let left = Source::Pod(scene.left);
    under(scene, &[outer], || {
        scene.expect(report, "CIDR, in the exception", left, &world, false)?;
        handshake(scene, report, "CIDR, around the exception", api, true)?;
        under(scene, &[inner], || {
            scene.expect(report, "exception allowed by a narrower rule", left, &world, true)?;
            scene.expect(report, "a CIDR never means pods", left, &scene.right.socket(80), false)?;
            under(scene, &[denied], || {
                scene.expect(report, "denied by a wider CIDR", left, &world, false)?;
                handshake(scene, report, "denied by a wider CIDR", api, false)
            })
        })
    })
}

/// To a server that is not ours.
fn handshake(scene: &Scene<'_>, report: &mut Report, name: &str, to: &str, reached: bool) -> Result<()> {
    let tool = probe();
    let ask = [tool.as_str(), "connect", to, "--handshake", "--timeout", super::ATTEMPT];
    let seen = until(
        || {
            let mut command = scene.cluster.command(&[&scene.left.enter(), ask.as_slice()].concat());
            let child =
                command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("starting a client")?;
            Ok(yes(finished(child)?.0).to_owned())
        },
        yes(reached),
    )?;
    report.check(name, &format!("left → {to} reached"), yes(reached), &seen);
    Ok(())
}

/// What any of the kinds allows is allowed; what none does is not.
fn both_kinds(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let kubernetes = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "name": "fault-both", "namespace": NAMESPACE },
        "spec": {
            "podSelector": { "matchLabels": { "app": "right" } }, "policyTypes": ["Ingress"],
            "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "app": "near" } } }], "ports": [{ "port": 80 }] }],
        },
    });
    let ours = of(
        "right",
        json!({ "ingress": [{
            "fromEndpoints": [{ "matchLabels": { "app": "left" } }],
            "toPorts": [{ "ports": [{ "port": "5000", "protocol": "TCP" }] }],
        }] }),
    );
    under(scene, &[kubernetes, manifests::policy("fault-both", &ours)], || {
        for (from, port, reached) in [
            (scene.near, 80, true),
            (scene.near, 5000, false),
            (scene.left, 5000, true),
            (scene.left, 80, false),
        ] {
            let to = scene.right.socket(port);
            scene.expect(report, "NetworkPolicy and Cilium's together", Source::Pod(from), &to, reached)?;
        }
        Ok(())
    })
}

fn entities(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let pod = scene.right.socket(80);
    for (entity, pods, world) in [("cluster", true, false), ("world", false, true), ("all", true, true)] {
        let spec = of("left", json!({ "egress": [{ "toEntities": [entity] }] }));
        let policy = manifests::policy(&format!("fault-{entity}"), &spec);
        under(scene, &[policy], || {
            let name = format!("toEntities {entity}");
            scene.expect(report, &name, Source::Pod(scene.left), &pod, pods)?;
            for address in WORLD {
                scene.expect(report, &name, Source::Pod(scene.left), &socket(address, 80), world)?;
            }
            Ok(())
        })?;
    }
    let spec = of("right", json!({ "ingress": [{ "fromEntities": ["host"] }] }));
    under(scene, &[manifests::policy("fault-host", &spec)], || {
        let from =
            [(Source::Pod(scene.left), false), (Source::Node("n1"), false), (Source::Node("n2"), true)];
        for (from, reached) in from {
            scene.expect(report, "fromEntities host", from, &pod, reached)?;
        }
        Ok(())
    })?;
    let spec = of("right", json!({ "ingress": [{ "fromEntities": ["remote-node"] }] }));
    under(scene, &[manifests::policy("fault-remote", &spec)], || {
        scene.expect(report, "fromEntities remote-node", Source::Node("n1"), &pod, true)?;
        scene.expect(report, "fromEntities remote-node", Source::Pod(scene.left), &pod, false)
    })
}

/// A rule with ICMP types allows these and nothing else.
fn icmp(scene: &Scene<'_>, report: &mut Report) -> Result<()> {
    let echo = |family: &str| json!({ "type": "EchoRequest", "family": family });
    let spec = of("right", json!({ "ingress": [{ "icmps": [{ "fields": [echo("IPv4"), echo("IPv6")] }] }] }));
    under(scene, &[manifests::policy("fault-icmp", &spec)], || {
        scene.expect(report, "ICMP rule: TCP", Source::Pod(scene.left), &scene.right.socket(80), false)?;
        for address in &scene.right.addresses {
            let tool = probe();
            let ask = [tool.as_str(), "ping", address, "--timeout", super::ATTEMPT];
            let ping = || {
                Ok(yes(scene.cluster.lab(&[&scene.left.enter(), ask.as_slice()].concat()).is_ok()).to_owned())
            };
            report.check(
                "ICMP rule: ping",
                &format!("left → {address} answered"),
                "yes",
                &until(ping, "yes")?,
            );
        }
        Ok(())
    })
}
