//! Every field of `flow.FlowFilter` against the same flows; what fits was found out with another implementation.

use axoneme_hubble_pb::flow as pb;
use axoneme_hubble_pb::observer::GetFlowsResponse;
use axoneme_hubble_pb::observer::get_flows_response::ResponseTypes;
use flow::{Filter, Flow};
use std::collections::BTreeSet;

fn flows() -> Vec<Flow> {
    let read = |line: &str| {
        let response: GetFlowsResponse = serde_json::from_str(line).expect("a response in JSON");
        let Some(ResponseTypes::Flow(flow)) = response.response_types else { panic!("no flow: {line}") };
        Flow::try_from(flow).expect("a flow")
    };
    include_str!("filters/flows.json").lines().map(read).collect()
}

/// `1-3 7 none` as numbers.
fn numbers(text: &str) -> BTreeSet<usize> {
    let read = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<usize>().expect("a number")..=last.parse().expect("a number")
    };
    text.split(' ').filter(|part| *part != "none").flat_map(read).collect()
}

fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = include_str!("filters/cases.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split_once(" => ").expect("FILTER => NUMBERS"))
}

#[test]
fn filters_choose_as_other_implementations_do() {
    let flows = flows();
    for (filter, expected) in cases() {
        let wire: pb::FlowFilter = serde_json::from_str(filter).expect("a filter in JSON");
        let read = Filter::try_from(wire).unwrap_or_else(|error| panic!("{filter}: {error}"));
        let fits = flows.iter().enumerate().filter(|(_, flow)| read.matches(flow));
        let fits: BTreeSet<usize> = fits.map(|(index, _)| index + 1).collect();
        assert_eq!(fits, numbers(expected), "{filter}");
    }
}

#[test]
fn every_field_has_a_case() {
    let names: BTreeSet<String> = cases()
        .flat_map(|(filter, _)| {
            let value: serde_json::Value = serde_json::from_str(filter).expect("JSON");
            value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>()
        })
        .collect();
    let set: prost_types::FileDescriptorSet =
        prost::Message::decode(axoneme_hubble_pb::DESCRIPTORS).expect("descriptors");
    let messages = set.file.iter().flat_map(|file| &file.message_type);
    let filter = messages.into_iter().find(|message| message.name() == "FlowFilter").expect("FlowFilter");
    for field in filter.field.iter().map(|field| field.name()).filter(|name| *name != "experimental") {
        assert!(names.contains(field), "no case has {field}");
    }
}
