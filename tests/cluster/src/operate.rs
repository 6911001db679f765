//! The operator's day, on a cluster without a network: everything by the command `cilium`.

mod canary;

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cluster::Cluster;
use crate::manifests::WORLD;
use crate::report::Report;

/// The lab's images.
pub(crate) const IMAGES: &str =
    "image.override=localhost/axoneme/cilium:dev,operator.image.override=localhost/axoneme/cilium:dev";
/// And both families.
const VALUES: [&str; 4] = ["--set", IMAGES, "--set", "ipv6.enabled=true,localRedirectPolicies.enabled=true"];

/// All of it, checked.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    let cluster = Cluster::bare("operate", &["--ipv6"])?;
    refusals(&cluster, report)?;
    install(&cluster, report)?;
    let (refused, told) = cluster.cilium(&[&["install"], &VALUES[..]].concat())?;
    let said = told.contains("is installed in kube-system already (revision 1, chart cilium-");
    report.check(
        "install over an installation",
        "cilium install",
        "refused",
        word(!refused && said, "refused", &told),
    );
    health(&cluster, report)?;
    connectivity(&cluster, report, &[])?;
    upgrade(&cluster, report)?;
    sysdump(&cluster, report)?;
    let (gone, told) = cluster.cilium(&["uninstall", "--wait"])?;
    report.show(&told);
    report.check("uninstall", "cilium uninstall --wait", "gone", word(gone, "gone", &told));
    let left = cluster.kubectl(&[
        "get",
        "pods",
        "-n",
        "kube-system",
        "-l",
        "app.kubernetes.io/part-of=cilium",
        "-o",
        "name",
    ])?;
    report.check("uninstall", "pods of Cilium", "none", word(left.trim().is_empty(), "none", &left));
    report.flush();
    Ok(())
}

/// What `make demo` shows of it.
pub(crate) fn demo(report: &mut Report) -> Result<()> {
    report.title("A cluster without a network");
    let cluster = Cluster::bare("demo", &["--ipv6"])?;
    install(&cluster, report)?;
    health(&cluster, report)?;
    connectivity(&cluster, report, &[])
}

/// Contradictory values: helm and the command say the same sentence, and nothing is installed.
fn refusals(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("Values that contradict each other");
    for (set, sentence) in [
        ("routingMode=native", "native routing cidr must be configured with option ipv4-native-routing-cidr"),
        ("autoDirectNodeRoutes=true", "autoDirectNodeRoutes=true cannot be used with routingMode=tunnel"),
        ("loadBalancer.mode=dsr", "loadBalancer.mode=dsr cannot be used with routingMode=tunnel"),
    ] {
        let (done, told) = cluster.cilium(&[&["install", "--set", set], &VALUES[..]].concat())?;
        let refused = !done && told.contains(&format!("Error: {sentence}"));
        report.check("cilium install", set, "refused", word(refused, "refused", &told));
    }
    let left = cluster.kubectl(&["get", "daemonsets", "-n", "kube-system", "-o", "name"])?;
    report.check("nothing was installed", "DaemonSets", "none", word(left.trim().is_empty(), "none", &left));
    report.flush();
    Ok(())
}

fn install(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("cilium install --wait");
    let start = Instant::now();
    let (done, told) =
        cluster.cilium(&[&["install", "--wait", "--wait-duration", "90s"], &VALUES[..]].concat())?;
    report.show(&told);
    report.show(&format!("after {:.1} s", start.elapsed().as_secs_f64()));
    for line in [
        "ℹ️  Using Cilium version",
        "🔮 Auto-detected cluster name:",
        "🔮 Auto-detected kube-proxy has not been installed",
    ] {
        report.check("cilium install says", line, "said", word(told.contains(line), "said", "not said"));
    }
    report.check("cilium install --wait", "exit code", "well", word(done, "well", "not well"));
    ensure!(done, "without an installation nothing else can be tried");
    report.title("cilium status");
    let (well, told) = cluster.cilium(&["status", "--wait", "--wait-duration", "60s"])?;
    report.show(&told);
    for line in ["Cilium:             OK", "Operator:           OK", "Desired: 2, Ready: 2/2, Available: 2/2"]
    {
        report.check("cilium status", line, "there", word(told.contains(line), "there", "missing"));
    }
    report.check("cilium status --wait", "exit code", "well", word(well, "well", "not well"));
    report.flush();
    Ok(())
}

fn health(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("cilium-health status, cilium-dbg status");
    let told = cluster.agent("n1", &["cilium-health", "status", "--probe"])?;
    report.show(&told);
    // Two nodes, two ends, two families, two kinds of probe.
    report.check("cilium-health", "probes answered", "16", &told.matches("OK, RTT=").count().to_string());
    let told = cluster.agent("n1", &["cilium-dbg", "status", "--all-nodes"])?;
    report.show(&told);
    let all = told.contains("Cluster health:") && told.contains("2/2 reachable");
    report.check(
        "cilium-dbg status",
        "Cluster health: 2/2 reachable",
        "there",
        word(all, "there", "missing"),
    );
    report.flush();
    Ok(())
}

fn connectivity(cluster: &Cluster, report: &mut Report, more: &[&str]) -> Result<()> {
    report.title("cilium connectivity test");
    let world = WORLD.join(",");
    let args = [&["connectivity", "test", "--external-target", &world], more].concat();
    let (good, told) = cluster.cilium(&args)?;
    report.show(&told);
    report.check("cilium connectivity test", "exit code", "passed", word(good, "passed", "failed"));
    report.flush();
    Ok(())
}

/// The archive holds what helps, and no secret: not those that were put where secrets should not be, either.
fn sysdump(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("cilium sysdump");
    cluster.apply(&canary::objects())?;
    let folder = std::env::temp_dir().join(format!("axoneme-sysdump-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let name = folder.join("dump").display().to_string();
    let (done, told) = cluster.cilium(&["sysdump", "--output-filename", &name])?;
    report.show(&told);
    let bytes = std::fs::read(format!("{name}.tar")).unwrap_or_default();
    let _ = std::fs::remove_dir_all(&folder);
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let missing: Vec<&str> = ["Cluster health:", "\"kind\": \"CiliumNode\"", canary::HOLDER, canary::POLICY]
        .into_iter()
        .filter(|text| !done || !holds(text))
        .collect();
    report.check("cilium sysdump", "status, objects", "", &missing.join(", "));
    report.check("cilium sysdump", "Secrets", "none", word(!holds("\"kind\": \"Secret\""), "none", "some"));
    let leaked: Vec<&str> = canary::CANARIES.into_iter().filter(|text| holds(text)).collect();
    report.check("cilium sysdump", "canaries that came through", "", &leaked.join(", "));
    report.flush();
    Ok(())
}

fn upgrade(cluster: &Cluster, report: &mut Report) -> Result<()> {
    report.title("cilium upgrade, cilium config");
    let values = format!("debug.enabled=true,rollOutCiliumPods=true,{}", canary::values());
    let (done, told) = cluster.cilium(&["upgrade", "--wait", "--set", &values])?;
    report.show(&told);
    report.check("cilium upgrade --wait", "exit code", "well", word(done, "well", "not well"));
    let (_, told) = cluster.cilium(&["config", "view"])?;
    for (key, value) in [("debug", "true"), ("enable-ipv6", "true"), ("kube-proxy-replacement", "true")] {
        let has = told.lines().any(|line| line.split_whitespace().eq([key, value]));
        report.check("cilium config view", key, value, word(has, value, "something else"));
    }
    report.flush();
    Ok(())
}

/// `yes` if it is so.
pub(crate) fn word<'a>(so: bool, yes: &'a str, no: &'a str) -> &'a str {
    if so { yes } else { no.trim() }
}
