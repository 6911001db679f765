//! From options to a request.

use crate::cli::{Observe, Output, Select};
use crate::when::moment;
use anyhow::{Context, bail, ensure};
use flow::{
    EVENT_ACCESS_LOG, EVENT_CAPTURE, EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE, EVENT_TRACE_SOCK, Point,
};
use hubble_pb::flow::FlowFilter;
use hubble_pb::observer::GetFlowsRequest;
use hubble_pb::wkt::FieldMask;
use std::time::SystemTime;

/// Flows shown when nobody says how many.
const LAST: u64 = 20;

/// The request that the options ask for.
pub(crate) fn request(options: &Observe, now: SystemTime) -> anyhow::Result<GetFlowsRequest> {
    let select = &options.select;
    let (mut whitelist, mut blacklist) = options.filters.filters()?;
    whitelist.extend(raw_filters(&select.allowlist).context("--allowlist")?);
    blacklist.extend(raw_filters(&select.denylist).context("--denylist")?);
    let time = |text: &Option<String>| text.as_deref().map(|text| moment(text, now)).transpose();
    let since = time(&select.since).context("--since")?;
    // What is still to come has no end.
    let until = if select.follow { None } else { time(&select.until).context("--until")? };
    let spans = since.is_some() || until.is_some();
    Ok(GetFlowsRequest {
        number: number(select, spans),
        first: select.first.is_some(),
        follow: select.follow,
        whitelist,
        blacklist,
        since,
        until,
        field_mask: field_mask(options)?,
        ..GetFlowsRequest::default()
    })
}

/// What is printed in all formats but JSON.
const PRINTED: [&str; 25] = [
    "time",
    "verdict",
    "auth_type",
    "ethernet",
    "IP",
    "l4",
    "source.identity",
    "source.namespace",
    "source.pod_name",
    "destination.identity",
    "destination.namespace",
    "destination.pod_name",
    "Type",
    "node_name",
    "source_names",
    "destination_names",
    "l7",
    "event_type",
    "source_service",
    "destination_service",
    "traffic_direction",
    "policy_match_type",
    "is_reply",
    "Summary",
    "ip_trace_id",
];

/// What is printed of events that this datapath does not have, and of policies.
const PRINTED_SELDOM: [&str; 2] = ["debug_capture_point", "sock_xlate_point"];
const POLICIES: [&str; 4] =
    ["egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"];

/// The less is asked for, the less a server has to send.
fn field_mask(options: &Observe) -> anyhow::Result<Option<FieldMask>> {
    let (select, format) = (&options.select, &options.format);
    let json = matches!(format.output, Output::Json | Output::Jsonpb);
    let owned = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
    ensure!(
        json || select.field_mask.is_empty(),
        "--field-mask leaves out what this output needs: use it with --output json"
    );
    let mut paths = select.field_mask.clone();
    if !json && select.use_default_field_masks {
        paths = owned(&PRINTED);
        paths.extend(owned(&PRINTED_SELDOM));
        if format.print_policy_names {
            paths.extend(owned(&POLICIES));
        }
    }
    Ok((!paths.is_empty()).then_some(FieldMask { paths }))
}

fn number(select: &Select, spans: bool) -> u64 {
    match (select.first, select.last) {
        (Some(first), _) => first,
        (None, Some(last)) => last,
        (None, None) if select.all && !spans => u64::MAX,
        (None, None) if !select.follow && !spans && select.input_file.is_none() => LAST,
        (None, None) => 0,
    }
}

/// Filters as JSON objects, one or many in a text.
fn raw_filters(texts: &[String]) -> anyhow::Result<Vec<FlowFilter>> {
    let mut filters = Vec::new();
    for text in texts {
        for filter in serde_json::Deserializer::from_str(text).into_iter::<FlowFilter>() {
            filters.push(filter.with_context(|| format!("{text:?} is no FlowFilter in JSON"))?);
        }
    }
    Ok(filters)
}

/// Reads `TYPE[:SUBTYPE]`, names or numbers.
pub(crate) fn event_type(text: &str) -> anyhow::Result<(i32, Option<i32>)> {
    const NAMES: [(&str, i32); 8] = [
        ("drop", EVENT_DROP),
        ("debug", 2),
        ("capture", EVENT_CAPTURE),
        ("trace", EVENT_TRACE),
        ("policy-verdict", EVENT_POLICY_VERDICT),
        ("trace-sock", EVENT_TRACE_SOCK),
        ("l7", EVENT_ACCESS_LOG),
        ("agent", 130),
    ];
    let (name, sub) = match text.split_once(':') {
        Some((name, sub)) => (name, Some(sub)),
        None => (text, None),
    };
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let Some(kind) = known.or_else(|| name.parse().ok()) else {
        bail!(
            "{name:?} is no event type: write drop, trace, policy-verdict, l7, capture, trace-sock or a number"
        );
    };
    let Some(sub) = sub else { return Ok((kind, None)) };
    let point = || Point::ALL.iter().find(|point| kind == EVENT_TRACE && point.text() == sub);
    match point().map(|point| point.subtype()).or_else(|| sub.parse().ok()) {
        Some(sub) => Ok((kind, Some(sub))),
        None => {
            bail!("{sub:?} is no subtype of {name}: write a trace point such as to-endpoint, or a number")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types() {
        for (text, expected) in [
            ("drop", (1, None)),
            ("trace:to-endpoint", (4, Some(0))),
            ("trace:from-network", (4, Some(10))),
            ("5:3", (5, Some(3))),
            ("drop:133", (1, Some(133))),
        ] {
            assert_eq!(event_type(text).unwrap(), expected, "{text}");
        }
        for text in ["", "drops", "trace:", "drop:to-endpoint", "trace:nowhere"] {
            assert!(event_type(text).is_err(), "{text}");
        }
    }
}
