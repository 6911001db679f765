//! Recorded flows: from files, or from servers that keep them.

use crate::files;
use anyhow::{Context, Result, bail, ensure};
use flow::Flow;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::observer_client::ObserverClient;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse};
use hubble_pb::wkt::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::transport::Endpoint;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The flows of files.
pub(crate) fn of_files(paths: &[PathBuf]) -> Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for path in paths {
        flows.extend(of_text(&files::text(path)?, path)?);
    }
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    ensure!(
        !flows.is_empty(),
        "{} holds no flow: write some with `hubble observe -o json --last 1000`",
        names.join(", ")
    );
    Ok(flows)
}

fn of_text(text: &str, path: &Path) -> Result<Vec<Flow>> {
    let mut flows = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    while let Some(value) = stream.next() {
        let line = text[..stream.byte_offset()].lines().count();
        let at = || format!("{}, line {line}", path.display());
        let mut value =
            value.with_context(|| format!("{}, after line {line}: this is no JSON", path.display()))?;
        // News about nodes and losses stand between the flows.
        if value.get("node_status").is_some() || value.get("lost_events").is_some() {
            continue;
        }
        let inner = value.get_mut("flow").map(Value::take).unwrap_or(value);
        let message: hubble_pb::flow::Flow =
            serde_json::from_value(inner).with_context(|| format!("{}: this is no flow", at()))?;
        flows.push(Flow::try_from(message).with_context(at)?);
    }
    Ok(flows)
}

/// The flows of a last while that servers keep.
pub(crate) async fn of_servers(servers: &[String], since: Duration) -> Result<Vec<Flow>> {
    let mut flows = Vec::new();
    for server in servers {
        let of_one =
            of_server(server, since).await.with_context(|| format!("flows of {server} (--server)"))?;
        flows.extend(of_one);
    }
    ensure!(!flows.is_empty(), "the servers keep no flow of that while (--since)");
    Ok(flows)
}

async fn of_server(server: &str, since: Duration) -> Result<Vec<Flow>> {
    let address = match server.split_once("://") {
        Some(("unix", _)) => server.to_owned(),
        Some(("tcp" | "http", rest)) => format!("http://{rest}"),
        None if server.starts_with('/') => format!("unix://{server}"),
        None => format!("http://{server}"),
        Some((scheme, _)) => bail!("{scheme} is not spoken here: write unix://PATH or HOST:PORT"),
    };
    let endpoint = Endpoint::from_shared(address).context("this is no address")?;
    let channel = tokio::time::timeout(PATIENCE, endpoint.connect())
        .await
        .context("no answer")?
        .context("cannot connect: is the agent running, and is this its node?")?;
    let then = SystemTime::now().checked_sub(since).unwrap_or(UNIX_EPOCH);
    let nanos = then.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let request = GetFlowsRequest {
        since: Some(Timestamp::from_unix_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))),
        ..GetFlowsRequest::default()
    };
    let mut client = ObserverClient::new(channel).max_decoding_message_size(64 << 20);
    let mut stream =
        client.get_flows(request).await.map_err(|e| anyhow::anyhow!("{}", e.message()))?.into_inner();
    let mut flows = Vec::new();
    while let Some(response) = stream.message().await.context("the flow of flows broke off")? {
        if let GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), .. } = response {
            flows.push(Flow::try_from(flow).context("the server sent a flow that makes no sense")?);
        }
    }
    Ok(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_read_with_and_without_their_envelope() {
        let text = "{\"flow\":{\"verdict\":\"FORWARDED\"},\"node_name\":\"n1\"}\n{\"lost_events\":{}}\n{\"verdict\":\"DROPPED\",\"later\":1}\n";
        let flows = of_text(text, Path::new("f")).expect("flows");
        let verdicts: Vec<_> = flows.iter().map(|flow| flow.verdict).collect();
        assert_eq!(verdicts, [flow::Verdict::Forwarded, flow::Verdict::Dropped]);
        for (bad, place) in
            [("{}\n{\"verdict\":7.5}", "f, line 2"), ("{}\n{", "f, after line"), ("[1]", "f, line 1")]
        {
            let error = format!("{:#}", of_text(bad, Path::new("f")).expect_err("no flow"));
            assert!(error.starts_with(place), "{error}");
        }
    }
}
