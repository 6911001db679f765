//! `hubble observe`.

use crate::cli::{Observe, Output, Server};
use crate::connect::connect;
use crate::input;
use crate::output::Printer;
use crate::request::request;
use anyhow::{Context, anyhow, ensure};
use hubble_pb::flow::FlowFilter;
use hubble_pb::observer::observer_client::ObserverClient;
use std::io::{BufWriter, Write};
use std::time::SystemTime;
use tonic::Code;

pub(crate) async fn run(
    options: &Observe,
    server: &Server,
    debug: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let follow = options.select.follow;
    ensure!(
        !(follow && options.format.output == Output::Table),
        "--output table waits for the last flow to know its columns; with --follow use compact or json"
    );
    let request = request(options, SystemTime::now())?;
    if options.select.print_raw_filters {
        print_filters("allowlist", &request.whitelist, out)?;
        return print_filters("denylist", &request.blacklist, out);
    }
    let mut printer = Printer::new(&options.format, debug)?;
    if let Some(path) = &options.select.input_file {
        let mut out = BufWriter::new(out);
        input::read(path, request, |response| printer.print(response, &mut out, &mut std::io::stderr()))?;
        printer.finish(&mut out)?;
        return Ok(out.flush()?);
    }
    let mut client = ObserverClient::new(connect(server).await?).max_decoding_message_size(64 << 20);
    let mut stream = client.get_flows(request).await.map_err(told)?.into_inner();
    // Someone may watch while flows come; otherwise one write for many is quicker.
    let mut out = BufWriter::with_capacity(if follow { 0 } else { 64 << 10 }, out);
    loop {
        tokio::select! {
            message = stream.message() => match message.map_err(told)? {
                Some(response) => printer.print(response, &mut out, &mut std::io::stderr())?,
                None => break,
            },
            stopped = tokio::signal::ctrl_c(), if follow => {
                stopped.context("cannot wait for Ctrl-C")?;
                break;
            }
        }
        if follow {
            out.flush()?;
        }
    }
    printer.finish(&mut out)?;
    Ok(out.flush()?)
}

/// What the server said, without the wrapping.
pub(crate) fn told(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        Code::InvalidArgument | Code::Unimplemented => anyhow!("the server refused: {}", status.message()),
        _ => anyhow::Error::new(status).context("the server broke off"),
    }
}

fn print_filters(name: &str, filters: &[FlowFilter], out: &mut dyn Write) -> anyhow::Result<()> {
    if filters.is_empty() {
        return Ok(());
    }
    writeln!(out, "{name}:")?;
    for filter in filters {
        writeln!(out, "    - '{}'", serde_json::to_string(filter)?.replace('\'', "''"))?;
    }
    Ok(())
}
