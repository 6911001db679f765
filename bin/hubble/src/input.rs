//! Flows from a file instead of a server.

use anyhow::{Context, bail};
use flow::Flow;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// A line longer than this is no flow.
const LONGEST_LINE: u64 = 16 << 20;

/// Hands on what of a file the request asks for, in the file's order. Lines are those of `-o json`, or of an exporter's
/// file. A line that makes no sense is an error that names it.
pub(crate) fn read(
    path: &Path,
    request: GetFlowsRequest,
    mut print: impl FnMut(GetFlowsResponse) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let filters = hubble_pb::filters(request.whitelist, request.blacklist)?;
    let since = request.since.map_or(0, |time| time.unix_nanos());
    let until = request.until.map_or(u64::MAX, |time| time.unix_nanos());
    let wants = |response: &GetFlowsResponse| -> anyhow::Result<bool> {
        let time = response.time.map_or(0, |time| time.unix_nanos());
        Ok((since..=until).contains(&time)
            && match &response.response_types {
                Some(ResponseTypes::Flow(flow)) => filters.matches(&Flow::try_from(flow.clone())?),
                Some(_) => true,
                None => false,
            })
    };
    let most = match request.number {
        0 => usize::MAX,
        number => usize::try_from(number).unwrap_or(usize::MAX),
    };
    let (mut last, mut count) = (VecDeque::new(), 0);
    for response in lines(path)? {
        let response = response?;
        if !wants(&response)? {
            continue;
        }
        if request.first || most == usize::MAX {
            if count == most {
                break;
            }
            count += 1;
            print(response)?;
        } else {
            if last.len() == most {
                last.pop_front();
            }
            last.push_back(response);
        }
    }
    last.into_iter().try_for_each(print)
}

fn lines(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<GetFlowsResponse>>> {
    let name = path.display().to_string();
    let input: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(path).with_context(|| format!("cannot open --input-file {name}"))?),
    };
    let mut input = BufReader::new(input);
    let mut number = 0;
    let next = move || -> anyhow::Result<Option<GetFlowsResponse>> {
        loop {
            let mut line = String::new();
            number += 1;
            let read = (&mut input).take(LONGEST_LINE).read_line(&mut line);
            if read.with_context(|| format!("cannot read line {number} of {name}"))? == 0 {
                return Ok(None);
            }
            if line.len() as u64 == LONGEST_LINE {
                bail!("line {number} of {name} is longer than {LONGEST_LINE} bytes");
            }
            if !line.trim().is_empty() {
                let response = serde_json::from_str(&line);
                return response.map(Some).with_context(|| {
                    format!("line {number} of {name} is no flow in JSON (hubble observe -o json)")
                });
            }
        }
    };
    let mut next = next;
    Ok(std::iter::from_fn(move || next().transpose()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hubble_pb::flow::FlowFilter;

    fn times(text: &str, request: GetFlowsRequest) -> anyhow::Result<Vec<u64>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), text)?;
        let mut times = Vec::new();
        read(file.path(), request, |response| {
            times.push(response.time.map_or(0, |time| time.unix_nanos() / 1_000_000_000));
            Ok(())
        })?;
        Ok(times)
    }

    #[test]
    fn files_answer_like_servers() {
        let line = |second: u64, verdict: &str| {
            format!(
                "{{\"flow\":{{\"verdict\":\"{verdict}\",\"of_the_future\":1}},\"time\":\"1970-01-01T00:00:0{second}Z\"}}\n"
            )
        };
        let text: String =
            (1..=6).map(|n| line(n, if n % 2 == 0 { "DROPPED" } else { "FORWARDED" })).collect();
        let lost = "\n{\"lost_events\":{\"num_events_lost\":\"3\"},\"time\":\"1970-01-01T00:00:07Z\"}\n";
        let text = text + lost;
        let request = GetFlowsRequest::default;
        assert_eq!(times(&text, request()).unwrap(), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(times(&text, GetFlowsRequest { number: 2, ..request() }).unwrap(), [6, 7]);
        assert_eq!(times(&text, GetFlowsRequest { number: 2, first: true, ..request() }).unwrap(), [1, 2]);
        let dropped = FlowFilter { verdict: vec![2], ..Default::default() };
        let only = GetFlowsRequest { whitelist: vec![dropped], ..request() };
        assert_eq!(times(&text, only).unwrap(), [2, 4, 6, 7]);
        let time = |second| Some(hubble_pb::wkt::Timestamp { seconds: second, nanos: 0 });
        let span = GetFlowsRequest { since: time(2), until: time(3), ..request() };
        assert_eq!(times(&text, span).unwrap(), [2, 3]);
    }

    #[test]
    fn a_broken_line_is_named() {
        let error = times("{}\n\n{\"flow\":\n", GetFlowsRequest::default()).unwrap_err();
        assert!(error.to_string().starts_with("line 3 of "), "{error}");
        assert!(read(Path::new("/no/file"), GetFlowsRequest::default(), |_| Ok(())).is_err());
    }
}
