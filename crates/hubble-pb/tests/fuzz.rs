//! Filters and flows from hostile clients: whatever the bytes, an answer comes and nothing ends.

use axoneme_hubble_pb::flow as pb;
use axoneme_hubble_pb::observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes};
use flow::{Filters, Flow};
use proptest::prelude::*;
use prost::Message;

fn known_filters() -> Vec<pb::FlowFilter> {
    let lines = include_str!("filters/cases.txt").lines().filter(|line| !line.starts_with('#'));
    let filter = |line: &str| line.split_once(" => ").and_then(|(json, _)| serde_json::from_str(json).ok());
    lines.filter_map(filter).collect()
}

fn known_flows() -> Vec<pb::Flow> {
    let read = |line: &str| match serde_json::from_str::<GetFlowsResponse>(line).ok()?.response_types? {
        ResponseTypes::Flow(flow) => Some(flow),
        _ => None,
    };
    include_str!("filters/flows.json").lines().filter_map(read).collect()
}

/// Texts that look like members of filters, and texts that look like nothing.
fn text() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "shop",
        "/",
        "web-",
        "*",
        "**",
        ".",
        "10.0.0.1",
        "/24",
        "fd00::/8",
        ":",
        "=",
        "!",
        " in (a, b)",
        "k8s:",
        "reserved:world",
        "5xx",
        "200",
        "80",
        "99999",
        "-1",
        "tcp",
        "icmp",
        "(",
        ")",
        "[",
        "\\",
        "a{1000}{1000}",
        "(?:",
        "\u{1b}[2J",
        "\n",
        "\0",
        "é",
        "\u{202e}",
        "",
    ]);
    prop_oneof![prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat()), ".{0,40}"]
}

/// Changes bytes of a message, and cuts it.
fn damaged(message: &impl Message, changes: &[(usize, u8)], keep: usize) -> Vec<u8> {
    let mut bytes = message.encode_to_vec();
    let length = bytes.len().max(1);
    for (at, byte) in changes {
        if let Some(place) = bytes.get_mut(at % length) {
            *place = *byte;
        }
    }
    bytes.truncate(keep.max(bytes.len() / 2));
    bytes
}

/// What is let in by a filter is kept out by the same filter, and the other way around.
fn judge(filter: &pb::FlowFilter, flows: &[Flow]) {
    let Ok(allow) = axoneme_hubble_pb::filters(vec![filter.clone()], vec![]) else { return };
    let deny = axoneme_hubble_pb::filters(vec![], vec![filter.clone()]).expect("it was read a moment ago");
    let both = Filters { allow: allow.allow.clone(), deny: deny.deny.clone() };
    for flow in flows {
        assert_eq!(allow.matches(flow), !deny.matches(flow), "{filter:?} and {flow:?}");
        assert!(!both.matches(flow), "{filter:?} and {flow:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_requests_and_flows_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
        changes in prop::collection::vec((0..4096_usize, any::<u8>()), 0..6),
        keep in 0..4096_usize,
    ) {
        let (filters, flows) = (known_filters(), known_flows());
        let request = GetFlowsRequest {
            whitelist: vec![filters[which.index(filters.len())].clone()],
            blacklist: vec![filters[other.index(filters.len())].clone()],
            ..GetFlowsRequest::default()
        };
        let sound: Vec<Flow> = flows.iter().cloned().filter_map(|flow| Flow::try_from(flow).ok()).collect();
        if let Ok(read) = GetFlowsRequest::decode(&*damaged(&request, &changes, keep)) {
            for filter in read.whitelist.iter().chain(&read.blacklist) {
                judge(filter, &sound);
            }
        }
        let flow = &flows[which.index(flows.len())];
        if let Ok(flow) = pb::Flow::decode(&*damaged(flow, &changes, keep)).map_err(drop).and_then(|f| Flow::try_from(f).map_err(drop)) {
            filters.iter().for_each(|filter| judge(filter, std::slice::from_ref(&flow)));
            // And back: what was read can be sent again.
            prop_assert!(Flow::try_from(pb::Flow::from(flow)).is_ok());
        }
    }

    #[test]
    fn any_text_in_a_filter_is_followed_or_refused(texts in prop::collection::vec(text(), 4), field in 0..22_usize) {
        let flows: Vec<Flow> = known_flows().into_iter().filter_map(|flow| Flow::try_from(flow).ok()).collect();
        let mut filter = pb::FlowFilter::default();
        let list = match field {
            0 => &mut filter.uuid,
            1 => &mut filter.source_ip,
            2 => &mut filter.source_ip_xlated,
            3 => &mut filter.source_pod,
            4 => &mut filter.source_fqdn,
            5 => &mut filter.source_label,
            6 => &mut filter.source_service,
            7 => &mut filter.source_cluster_name,
            8 => &mut filter.destination_ip,
            9 => &mut filter.destination_pod,
            10 => &mut filter.destination_fqdn,
            11 => &mut filter.destination_label,
            12 => &mut filter.destination_service,
            13 => &mut filter.http_status_code,
            14 => &mut filter.protocol,
            15 => &mut filter.source_port,
            16 => &mut filter.destination_port,
            17 => &mut filter.dns_query,
            18 => &mut filter.http_path,
            19 => &mut filter.http_url,
            20 => &mut filter.node_name,
            _ => &mut filter.node_labels,
        };
        list.extend(texts.iter().take(1 + field % 3).cloned());
        judge(&filter, &flows);
    }
}
