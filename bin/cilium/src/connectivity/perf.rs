//! `cilium connectivity perf`: latency, new connections and throughput, on one node and between two.

use super::bed::Bed;
use super::objects::{INLINE, TCP};
use crate::cli::PerfArgs;
use crate::cluster;
use crate::output::{Answer, say};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

/// One measurement.
struct Row {
    node: &'static str,
    test: &'static str,
    figures: Value,
}

pub(super) async fn run(args: &PerfArgs) -> Result<Answer> {
    let reach = cluster::reach(&args.bed.reach).await?;
    let bed = Bed::make(reach, &args.bed, false).await?;
    let mut rows = Vec::new();
    for (node, client) in [("same-node", "client-b"), ("other-node", "client-a")] {
        // With one node there is echo-a alone.
        let (client, server) = match bed.places().contains_key("echo-b") {
            true => (client, "echo-b"),
            false if node == "other-node" => continue,
            false => ("client-a", "echo-a"),
        };
        for (test, verb, port) in
            [("TCP_RR", "rr", TCP), ("TCP_CRR", "crr", INLINE), ("TCP_STREAM", "stream", TCP)]
        {
            say(format!("🏃[{}] {test} {node}: {client} -> {server}", bed.namespace));
            let figures = measure(&bed, client, server, verb, port, args.duration).await?;
            rows.push(Row { node, test, figures });
        }
    }
    if args.bed.cleanup {
        bed.remove().await?;
    }
    Ok(Answer::text(summary(&rows, args.duration, &bed.namespace)))
}

async fn measure(
    bed: &Bed,
    client: &str,
    server: &str,
    verb: &str,
    port: u16,
    seconds: u32,
) -> Result<Value> {
    let place = bed.places().get(server).with_context(|| format!("no pod {server}"))?;
    let ip = place.addresses.first().with_context(|| format!("{server} has no address"))?;
    let limit = Duration::from_secs(u64::from(seconds) + 30);
    let (to, seconds) = (SocketAddr::new(*ip, port).to_string(), seconds.to_string());
    let argv = ["probe", verb, &to, "--seconds", &seconds, "-o", "json"];
    let ran = bed.in_pod(client, &argv, limit).await?;
    if ran.code != 0 {
        bail!("{verb} from {client} to {server}: {}", String::from_utf8_lossy(&ran.stderr).trim());
    }
    serde_json::from_slice(&ran.stdout).with_context(|| format!("the figures of {verb} are no JSON"))
}

fn summary(rows: &[Row], seconds: u32, namespace: &str) -> String {
    let line = "-".repeat(103);
    let mut text = format!("🔥 Network Performance Test Summary [{namespace}]:\n{line}\n");
    let titles = ["Node", "Test", "Duration", "p50", "p90", "p99", "Rate"];
    let _ = writeln!(text, "📋 {}", cells(&titles.map(str::to_owned)));
    let _ = writeln!(text, "{line}");
    for Row { node, test, figures } in rows {
        let micros = |name: &str| figures[name].as_f64().map_or_else(String::new, |v| format!("{v:.1}µs"));
        let rate = match figures["gbit_per_second"].as_f64() {
            Some(rate) => format!("{:.2} Mb/s", rate * 1000.0),
            None => format!("{:.2} OP/s", figures["per_second"].as_f64().unwrap_or_default()),
        };
        let row = [
            (*node).to_owned(),
            (*test).to_owned(),
            format!("{seconds}s"),
            micros("p50_us"),
            micros("p90_us"),
            micros("p99_us"),
            rate,
        ];
        let _ = writeln!(text, "📋 {}", cells(&row));
    }
    text + &line + "\n"
}

fn cells(row: &[String; 7]) -> String {
    let widths = [10, 10, 8, 12, 12, 12, 18];
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_stand_in_columns() {
        let rows = [
            Row {
                node: "same-node",
                test: "TCP_RR",
                figures: json!({ "per_second": 41000.5, "p50_us": 22.04, "p90_us": 30.0, "p99_us": 41.2 }),
            },
            Row {
                node: "other-node",
                test: "TCP_STREAM",
                figures: json!({ "per_second": 1.0, "gbit_per_second": 9.5 }),
            },
        ];
        let text = summary(&rows, 5, "cilium-test-1");
        assert!(text.contains("📋 same-node  | TCP_RR     | 5s       | 22.0µs       | 30.0µs       | 41.2µs       | 41000.50 OP/s"), "{text}");
        assert!(text.contains("| 9500.00 Mb/s"), "{text}");
    }
}
