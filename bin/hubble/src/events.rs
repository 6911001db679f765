//! `hubble observe agent-events` and `debug-events`.

use crate::cli::{Kind, Observe, Output, Server};
use crate::connect::connect;
use crate::observe::told;
use crate::table;
use anyhow::{Context, ensure};
use flow::format::{TimeFormat, clean};
use hubble_pb::flow::{AgentEvent, AgentEventType, DebugEvent, agent_event::Notification};
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
};
use hubble_pb::wkt::Timestamp;
use std::io::Write;
use std::time::SystemTime;

pub(crate) async fn run(options: &Observe, server: &Server, out: &mut dyn Write) -> anyhow::Result<()> {
    let select = &options.select;
    let filtered =
        !options.filters.0.is_empty() || !select.allowlist.is_empty() || !select.denylist.is_empty();
    ensure!(!filtered, "filters are about flows: leave them out");
    ensure!(select.input_file.is_none(), "--input-file holds flows: leave it out");
    let flows = crate::request::request(options, SystemTime::now())?;
    let mut printer = Printer::new(options)?;
    let mut client = ObserverClient::new(connect(server).await?);
    let (number, first, follow) = (flows.number, flows.first, flows.follow);
    let (since, until) = (flows.since, flows.until);
    if select.kind == Kind::AgentEvents {
        let request = GetAgentEventsRequest { number, first, follow, since, until };
        let mut stream = client.get_agent_events(request).await.map_err(told)?.into_inner();
        while let Some(response) = stream.message().await.map_err(told)? {
            printer.agent(&response, out)?;
            out.flush()?;
        }
    } else {
        let request = GetDebugEventsRequest { number, first, follow, since, until };
        let mut stream = client.get_debug_events(request).await.map_err(told)?.into_inner();
        while let Some(response) = stream.message().await.map_err(told)? {
            printer.debug(&response, out)?;
            out.flush()?;
        }
    }
    Ok(table::write(out, &printer.rows)?)
}

/// Prints events in one format. All of them have a kind and details; JSON has everything.
struct Printer {
    output: Output,
    time: TimeFormat,
    node: bool,
    printed: bool,
    rows: Vec<Vec<String>>,
}

/// One event as it is printed: heads of columns and cells, and the line of the compact format behind the time.
struct Line {
    time: Option<Timestamp>,
    node: String,
    cells: Vec<(&'static str, String)>,
    compact: String,
}

impl Printer {
    fn new(options: &Observe) -> anyhow::Result<Self> {
        let format = &options.format;
        let time = TimeFormat::by_name(&format.time_format);
        Ok(Self {
            output: format.output,
            time: time.with_context(|| format!("--time-format {} is unknown", format.time_format))?,
            node: format.print_node_name,
            printed: false,
            rows: Vec::new(),
        })
    }

    fn agent(&mut self, response: &GetAgentEventsResponse, out: &mut dyn Write) -> anyhow::Result<()> {
        if matches!(self.output, Output::Json | Output::Jsonpb) {
            return Ok(writeln!(out, "{}", serde_json::to_string(response)?)?);
        }
        let event = response.agent_event.clone().unwrap_or_default();
        let kind = AgentEventType::try_from(event.r#type).unwrap_or_default().as_str_name().to_owned();
        let details = clean(&details(&event, self.time)).into_owned();
        let line = Line {
            time: response.time,
            node: response.node_name.clone(),
            compact: format!("{kind} ({details})"),
            cells: vec![("TYPE", kind), ("DETAILS", details)],
        };
        self.print(line, out)
    }

    fn debug(&mut self, response: &GetDebugEventsResponse, out: &mut dyn Write) -> anyhow::Result<()> {
        if matches!(self.output, Output::Json | Output::Jsonpb) {
            return Ok(writeln!(out, "{}", serde_json::to_string(response)?)?);
        }
        let event = response.debug_event.clone().unwrap_or_default();
        let kind = event.r#type().as_str_name().to_owned();
        let from = clean(&endpoint(&event)).into_owned();
        let mark = event.hash.map_or_else(|| "N/A".to_owned(), |hash| format!("{:#x}", hash.value));
        let cpu = event.cpu.map_or_else(|| "N/A".to_owned(), |cpu| format!("{:02}", cpu.value));
        let message = clean(&event.message).into_owned();
        let line = Line {
            time: response.time,
            node: response.node_name.clone(),
            compact: format!("{from} {kind} MARK: {mark} CPU: {cpu} ({message})"),
            cells: vec![("TYPE", kind), ("FROM", from), ("MARK", mark), ("CPU", cpu), ("MESSAGE", message)],
        };
        self.print(line, out)
    }

    fn print(&mut self, line: Line, out: &mut dyn Write) -> anyhow::Result<()> {
        let time = line.time.map_or_else(|| "N/A".to_owned(), |time| self.time.write(time.unix_nanos()));
        let node = clean(&line.node).into_owned();
        let mut cells = vec![("TIMESTAMP", time.clone())];
        if self.node {
            cells.push(("NODE", node.clone()));
        }
        cells.extend(line.cells);
        match self.output {
            Output::Table => {
                if self.rows.is_empty() {
                    self.rows.push(cells.iter().map(|(head, _)| (*head).to_owned()).collect());
                }
                self.rows.push(cells.into_iter().map(|(_, cell)| cell).collect());
            }
            Output::Dict => {
                if std::mem::replace(&mut self.printed, true) {
                    writeln!(out, "{}", flow::format::DICT_SEPARATOR)?;
                }
                for (head, cell) in cells {
                    writeln!(out, "{head:>11}: {cell}")?;
                }
            }
            _ => {
                let node = if self.node { format!(" [{node}]") } else { String::new() };
                writeln!(out, "{time}{node}: {}", line.compact)?;
            }
        }
        Ok(())
    }
}

/// What an event of the agent says, in the words of Hubble.
fn details(event: &AgentEvent, time: TimeFormat) -> String {
    let list = |labels: &[String]| format!("[{}]", labels.join(","));
    let joined = |parts: Vec<(&str, String)>| {
        let there = parts.into_iter().filter(|(_, value)| !value.is_empty());
        there.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(", ")
    };
    match &event.notification {
        Some(Notification::AgentStart(start)) => {
            let at = start.time.map_or_else(|| "N/A".to_owned(), |at| time.write(at.unix_nanos()));
            format!("start time: {at}")
        }
        Some(Notification::PolicyUpdate(update)) => joined(vec![
            ("labels", list(&update.labels)),
            ("revision", update.revision.to_string()),
            ("count", update.rule_count.to_string()),
        ]),
        Some(Notification::EndpointRegenerate(done)) => joined(vec![
            ("id", done.id.to_string()),
            ("labels", list(&done.labels)),
            ("error", done.error.clone()),
        ]),
        Some(Notification::EndpointUpdate(update)) => joined(vec![
            ("id", update.id.to_string()),
            ("namespace", update.namespace.clone()),
            ("pod name", update.pod_name.clone()),
        ]),
        Some(Notification::IpcacheUpdate(update)) => joined(vec![
            ("cidr", update.cidr.clone()),
            ("identity", update.identity.to_string()),
            ("old identity", update.old_identity.map(|old| old.value.to_string()).unwrap_or_default()),
            ("host ip", update.host_ip.clone()),
            ("old host ip", update.old_host_ip.clone()),
            ("encrypt key", update.encrypt_key.to_string()),
        ]),
        Some(Notification::Unknown(unknown)) => {
            format!("type: {}, notification: {}", unknown.r#type, unknown.notification)
        }
        _ => "UNKNOWN".to_owned(),
    }
}

fn endpoint(event: &DebugEvent) -> String {
    let Some(source) = &event.source else { return "N/A".to_owned() };
    let id = format!("ID: {}", source.id);
    match (source.namespace.as_str(), source.pod_name.as_str(), source.labels.as_slice()) {
        ("", _, [label]) | (_, "", [label]) if label.starts_with("reserved:") => format!("{label} ({id})"),
        ("", ..) | (_, "", _) => id,
        (namespace, pod, _) => format!("{namespace}/{pod} ({id})"),
    }
}

#[cfg(test)]
mod tests;
