//! Prints what a server answers.

use crate::cli::{Colour, Format, Output};
use crate::table;
use anyhow::Context;
use flow::format::{self, Options, TimeFormat, clean};
use flow::{Flow, LostEvents};
use hubble_pb::Line;
use hubble_pb::observer::GetFlowsResponse;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::relay::{NodeState, NodeStatusEvent};
use std::io::{IsTerminal, Write};

/// Prints answers in one format.
pub(crate) struct Printer {
    output: Output,
    options: Options,
    /// Tell of nodes that do not answer.
    errors: bool,
    /// Tell of nodes that do.
    debug: bool,
    /// Rows of a table, which cannot be printed before all of them are known.
    rows: Vec<Vec<String>>,
    printed: u64,
}

impl Printer {
    pub(crate) fn new(format: &Format, debug: bool) -> anyhow::Result<Self> {
        let name = &format.time_format;
        let time = TimeFormat::by_name(name).with_context(|| {
            let names = TimeFormat::NAMES.map(|(name, _)| name).join(", ");
            format!("--time-format {name} is unknown: choose from {names}")
        })?;
        let colours = match format.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let options = Options {
            node_name: format.print_node_name,
            policy_names: format.print_policy_names,
            translate: format.ip_translation && !format.numeric,
            colours,
            time,
        };
        let rows = match format.output {
            Output::Table => vec![format::heads(&options).into_iter().map(str::to_owned).collect()],
            _ => Vec::new(),
        };
        Ok(Self { output: format.output, options, errors: !format.silent_errors, debug, rows, printed: 0 })
    }

    /// Prints one answer: flows and losses to `out`, news about nodes to `err`.
    pub(crate) fn print(
        &mut self,
        response: GetFlowsResponse,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let is_news = matches!(response.response_types, Some(ResponseTypes::NodeStatus(_)));
        if matches!(self.output, Output::Json | Output::Jsonpb) && !is_news {
            return Ok(writeln!(out, "{}", serde_json::to_string(&Line(&response))?)?);
        }
        let time = response.time.map_or(0, |time| time.unix_nanos());
        match response.response_types {
            Some(ResponseTypes::Flow(flow)) => {
                let flow = Flow::try_from(flow).context("the server sent a flow that makes no sense")?;
                self.flow(&flow, out)
            }
            Some(ResponseTypes::LostEvents(lost)) => self.lost(&lost.into(), time, &response.node_name, out),
            Some(ResponseTypes::NodeStatus(ref event)) => self.news(event, &response, time, err),
            None => Ok(()),
        }
    }

    /// Prints what had to wait.
    pub(crate) fn finish(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        Ok(table::write(out, &std::mem::take(&mut self.rows))?)
    }

    fn flow(&mut self, flow: &Flow, out: &mut dyn Write) -> anyhow::Result<()> {
        match self.output {
            Output::Dict => {
                self.separate(out)?;
                write!(out, "{}", format::dict(flow, &self.options))?;
            }
            Output::Table => self.rows.push(format::columns(flow, &self.options)),
            _ => writeln!(out, "{}", format::compact(flow, &self.options))?,
        }
        Ok(())
    }

    fn lost(&mut self, lost: &LostEvents, time: u64, node: &str, out: &mut dyn Write) -> anyhow::Result<()> {
        match self.output {
            Output::Dict => {
                self.separate(out)?;
                write!(out, "{}", format::lost_dict(lost, time, node, &self.options))?;
            }
            Output::Table => self.rows.push(format::lost_columns(lost, time, node, &self.options)),
            _ => writeln!(out, "{}", format::lost_compact(lost, time, &self.options))?,
        }
        Ok(())
    }

    fn separate(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.printed > 0 {
            writeln!(out, "{}", format::DICT_SEPARATOR)?;
        }
        self.printed += 1;
        Ok(())
    }

    fn news(
        &self,
        event: &NodeStatusEvent,
        response: &GetFlowsResponse,
        time: u64,
        err: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let state = NodeState::try_from(event.state_change).unwrap_or_default();
        let bad = matches!(state, NodeState::NodeError | NodeState::NodeUnavailable);
        if if bad { !self.errors } else { !self.debug } {
            return Ok(());
        }
        if matches!(self.output, Output::Json | Output::Jsonpb) {
            return Ok(writeln!(err, "{}", serde_json::to_string(&Line(response))?)?);
        }
        let (number, names) = (event.node_names.len(), clip(&event.node_names));
        let text = match state {
            NodeState::NodeConnected => format!("Receiving flows from {number} nodes: {names}"),
            NodeState::NodeUnavailable => format!("{number} nodes are unavailable: {names}"),
            NodeState::NodeGone => format!("{number} nodes removed from cluster: {names}"),
            NodeState::NodeError => format!("Error {:?} on {number} nodes: {names}", clean(&event.message)),
            NodeState::UnknownNodeState => {
                format!("nodes are in a state that this client does not know: {names}")
            }
        };
        Ok(writeln!(err, "{} [{}]: {text}", self.options.time.write(time), clean(&response.node_name))?)
    }
}

/// The first names, as many as fit some 50 characters, and how many more there are.
fn clip(names: &[String]) -> String {
    let mut length = 0;
    let fits = |name: &&String| {
        length += name.len() + 2;
        length <= 50
    };
    let shown = names.iter().take_while(fits).count().max(1).min(names.len());
    let text = names[..shown].iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ");
    match names.len() - shown {
        0 => text,
        more => format!("{text} (and {more} more)"),
    }
}

#[cfg(test)]
mod tests;
