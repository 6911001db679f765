//! Names and lists of a bearable length: what a flow may cost is bounded, whoever named the things in it.

use hubble_pb::flow as pb;

/// Bytes that a text keeps. Names of pods have at most 253, values of labels 63.
const TEXT: usize = 256;
/// Entries that a list keeps.
const LIST: usize = 64;

/// Cuts what is too long.
#[expect(deprecated, reason = "the only place of the summary")]
pub(crate) fn clip(flow: &mut pb::Flow) {
    for end in [&mut flow.source, &mut flow.destination].into_iter().flatten() {
        list(&mut end.labels);
        [&mut end.namespace, &mut end.pod_name, &mut end.cluster_name].into_iter().for_each(text);
        end.workloads.truncate(LIST);
        for workload in &mut end.workloads {
            [&mut workload.name, &mut workload.kind].into_iter().for_each(text);
        }
    }
    for service in [&mut flow.source_service, &mut flow.destination_service].into_iter().flatten() {
        [&mut service.name, &mut service.namespace].into_iter().for_each(text);
    }
    for policies in [
        &mut flow.egress_allowed_by,
        &mut flow.ingress_allowed_by,
        &mut flow.egress_denied_by,
        &mut flow.ingress_denied_by,
    ] {
        policies.truncate(LIST);
        for policy in policies {
            [&mut policy.name, &mut policy.namespace, &mut policy.kind].into_iter().for_each(text);
            list(&mut policy.labels);
        }
    }
    for names in
        [&mut flow.source_names, &mut flow.destination_names, &mut flow.node_labels, &mut flow.policy_log]
    {
        list(names);
    }
    [&mut flow.summary, &mut flow.node_name, &mut flow.uuid].into_iter().for_each(text);
    if let Some(interface) = &mut flow.interface {
        text(&mut interface.name);
    }
    if let Some(emitter) = &mut flow.emitter {
        [&mut emitter.name, &mut emitter.version].into_iter().for_each(text);
    }
    // Messages of layer 7 are shown by their summary.
    flow.l7 = None;
    flow.trace_context = None;
    flow.extensions = None;
}

fn list(texts: &mut Vec<String>) {
    texts.truncate(LIST);
    texts.iter_mut().for_each(text);
}

fn text(text: &mut String) {
    if text.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        let mut flow = pb::Flow {
            source: Some(pb::Endpoint {
                pod_name: "é".repeat(1 << 15),
                labels: vec!["l".repeat(1 << 16); 1000],
                ..pb::Endpoint::default()
            }),
            node_name: "n".repeat(256),
            ..pb::Flow::default()
        };
        clip(&mut flow);
        let source = flow.source.expect("a source");
        assert_eq!(source.pod_name, format!("{}…", "é".repeat(128)));
        assert_eq!((source.labels.len(), source.labels[9].len()), (64, 256 + "…".len()));
        assert_eq!(flow.node_name, "n".repeat(256));
    }
}
