//! `hubble status`.

use crate::cli::{Output, Server, Status};
use crate::connect::connect;
use crate::table;
use anyhow::{Context, bail};
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{ServerStatusRequest, ServerStatusResponse};
use std::io::Write;
use std::time::Duration;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

pub(crate) async fn run(options: &Status, server: &Server, out: &mut dyn Write) -> anyhow::Result<()> {
    let channel = connect(server).await?;
    let mut request = Request::new(HealthCheckRequest { service: "hubble.server.Observer".into() });
    request.set_timeout(server.request_timeout);
    let health = HealthClient::new(channel.clone()).check(request).await;
    let health = health.context("the server does not tell its health")?.into_inner();
    let healthy = health.status == i32::from(ServingStatus::Serving);
    if options.output == Output::Compact {
        let text = if healthy { "Ok" } else { "Unavailable" };
        writeln!(out, "Healthcheck (via {}): {text}", server.server.trim_start_matches("tls://"))?;
    }
    if !healthy {
        bail!("the server at {} says it is not healthy: see the log of its agent", server.server);
    }
    let mut request = Request::new(ServerStatusRequest {});
    request.set_timeout(server.request_timeout);
    let status = ObserverClient::new(channel).server_status(request).await;
    let status = status.context("the server does not tell its status")?.into_inner();
    match options.output {
        Output::Compact => write!(out, "{}", compact(&status))?,
        Output::Dict => write!(out, "{}", dict(&status))?,
        Output::Table => table::write(out, &rows(&status))?,
        Output::Json | Output::Jsonpb => writeln!(out, "{}", serde_json::to_string(&status)?)?,
    }
    Ok(())
}

fn compact(status: &ServerStatusResponse) -> String {
    let mut text = format!("Current/Max Flows: {}/{}", grouped(status.num_flows), grouped(status.max_flows));
    if status.max_flows > 0 {
        let percent = status.num_flows as f64 / status.max_flows as f64 * 100.0;
        text += &format!(" ({percent:.2}%)");
    }
    let uptime = Duration::from_nanos(status.uptime_ns).as_secs_f64();
    let rate = match (status.flows_rate, uptime) {
        (rate, _) if rate > 0.0 => format!("{rate:.2}"),
        (_, uptime) if uptime > 0.0 => format!("{:.2}", status.seen_flows as f64 / uptime),
        _ => "N/A".to_owned(),
    };
    text += &format!("\nFlows/s: {rate}\n");
    let unavailable = status.num_unavailable_nodes.map(|n| n.value);
    if let Some(connected) = status.num_connected_nodes {
        let total = unavailable.map(|n| format!("/{}", u64::from(n) + u64::from(connected.value)));
        text += &format!("Connected Nodes: {}{}\n", connected.value, total.unwrap_or_default());
    }
    if let Some(number) = unavailable.filter(|number| *number > 0) {
        text += &format!("Unavailable Nodes: {number}\n");
        let mut names: Vec<_> = status.unavailable_nodes.iter().map(|n| flow::format::clean(n)).collect();
        names.sort();
        for name in &names {
            text += &format!("  - {name}\n");
        }
        let more = (number as usize).saturating_sub(names.len());
        if more > 0 && !names.is_empty() {
            text += &format!("  - and {more} more...\n");
        }
    }
    text
}

/// Names and values, in the order in which all formats but compact show them.
fn figures(status: &ServerStatusResponse) -> [String; 8] {
    let number = |n: Option<hubble_pb::wkt::UInt32Value>| n.map_or("N/A".to_owned(), |n| n.value.to_string());
    [
        grouped(status.num_flows),
        grouped(status.max_flows),
        grouped(status.seen_flows),
        if status.flows_rate > 0.0 { format!("{:.2}", status.flows_rate) } else { "N/A".to_owned() },
        go_duration(status.uptime_ns),
        number(status.num_connected_nodes),
        number(status.num_unavailable_nodes),
        flow::format::clean(&status.version).into_owned(),
    ]
}

fn dict(status: &ServerStatusResponse) -> String {
    const KEYS: [&str; 8] = [
        "NUM FLOWS",
        "MAX FLOWS",
        "SEEN FLOWS",
        "FLOWS PER SECOND",
        "UPTIME",
        "NUM CONNECTED NODES",
        "NUM UNAVAIL. NODES",
        "VERSION",
    ];
    KEYS.iter().zip(figures(status)).map(|(key, value)| format!("{key:>19}: {value}\n")).collect()
}

fn rows(status: &ServerStatusResponse) -> [Vec<String>; 2] {
    const HEADS: [&str; 8] = [
        "NUM FLOWS",
        "MAX FLOWS",
        "SEEN FLOWS",
        "FLOWS PER SECOND",
        "UPTIME",
        "NUM CONNECTED NODES",
        "NUM UNAVAILABLE NODES",
        "VERSION",
    ];
    [HEADS.map(str::to_owned).to_vec(), figures(status).to_vec()]
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration as Go prints it: `1h2m3.5s`, `350ms`.
pub(crate) fn go_duration(nanos: u64) -> String {
    let trimmed = |value: f64| format!("{value:.9}").trim_end_matches('0').trim_end_matches('.').to_owned();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", trimmed(nanos as f64 / 1e3)),
        1_000_000..1_000_000_000 => format!("{}ms", trimmed(nanos as f64 / 1e6)),
        _ => {
            let seconds = nanos / 1_000_000_000;
            let fraction = trimmed((nanos % 1_000_000_000) as f64 / 1e9 + (seconds % 60) as f64);
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => format!("{fraction}s"),
                (0, m) => format!("{m}m{fraction}s"),
                (h, m) => format!("{h}h{m}m{fraction}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubble_pb::wkt::UInt32Value;

    #[test]
    fn status_reads_as_hubble_prints_it() {
        let mut status = ServerStatusResponse {
            num_flows: 4095,
            max_flows: 4095,
            seen_flows: 1_234_567,
            uptime_ns: 3_723_500_000_000,
            num_connected_nodes: Some(UInt32Value { value: 2 }),
            num_unavailable_nodes: Some(UInt32Value { value: 2 }),
            unavailable_nodes: vec!["n9".into()],
            version: "1.2".into(),
            flows_rate: 12.345,
        };
        assert_eq!(
            compact(&status),
            "Current/Max Flows: 4,095/4,095 (100.00%)\nFlows/s: 12.35\nConnected Nodes: 2/4\n\
             Unavailable Nodes: 2\n  - n9\n  - and 1 more...\n"
        );
        assert!(dict(&status).starts_with("          NUM FLOWS: 4,095\n"));
        assert!(dict(&status).contains("             UPTIME: 1h2m3.5s\n"));
        status.flows_rate = 0.0;
        assert!(compact(&status).contains("Flows/s: 331.56\n"));
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5µs"),
            (2_000_000, "2ms"),
            (61_000_000_000, "1m1s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanos), text);
        }
    }
}
