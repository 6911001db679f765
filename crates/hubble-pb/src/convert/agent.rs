//! Events of agents as messages.

use crate::{flow as pb, wkt};
use flow::{AgentEvent, AgentNews};
use pb::AgentEventType as Type;
use pb::agent_event::Notification;

impl From<AgentEvent> for pb::AgentEvent {
    fn from(event: AgentEvent) -> Self {
        let (kind, notification) = match event.what {
            AgentNews::Started(time) => {
                let time = Some(wkt::Timestamp::from_unix_nanos(time));
                (Type::AgentStarted, Notification::AgentStart(pb::TimeNotification { time }))
            }
            AgentNews::Policy { deleted, labels, revision, rules } => {
                let rule_count = i64::try_from(rules).unwrap_or(i64::MAX);
                let update = pb::PolicyUpdateNotification { labels, revision, rule_count };
                let kind = if deleted { Type::PolicyDeleted } else { Type::PolicyUpdated };
                (kind, Notification::PolicyUpdate(update))
            }
            AgentNews::Regenerated { id, labels, error } => {
                let kind = match error {
                    None => Type::EndpointRegenerateSuccess,
                    Some(_) => Type::EndpointRegenerateFailure,
                };
                let error = error.unwrap_or_default();
                let regenerated = pb::EndpointRegenNotification { id: id.into(), labels, error };
                (kind, Notification::EndpointRegenerate(regenerated))
            }
            AgentNews::Endpoint { deleted, id, namespace, pod, labels } => {
                let update = pb::EndpointUpdateNotification {
                    id: id.into(),
                    labels,
                    error: String::new(),
                    pod_name: pod,
                    namespace,
                };
                let kind = if deleted { Type::EndpointDeleted } else { Type::EndpointCreated };
                (kind, Notification::EndpointUpdate(update))
            }
        };
        Self { r#type: kind.into(), notification: Some(notification) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_hubble_prints_them() {
        let check = |what: AgentNews, json: &str| {
            let message = pb::AgentEvent::from(AgentEvent { time: 1, what });
            assert_eq!(serde_json::to_string(&message).unwrap(), json);
        };
        check(
            AgentNews::Started(1_136_214_245_000_000_000),
            r#"{"type":"AGENT_STARTED","agent_start":{"time":"2006-01-02T15:04:05Z"}}"#,
        );
        let labels = vec!["k8s:app=web".to_owned()];
        check(
            AgentNews::Policy { deleted: true, labels: labels.clone(), revision: 7, rules: 2 },
            r#"{"type":"POLICY_DELETED","policy_update":{"labels":["k8s:app=web"],"revision":"7","rule_count":"2"}}"#,
        );
        check(
            AgentNews::Regenerated { id: 9, labels, error: Some("no room".into()) },
            r#"{"type":"ENDPOINT_REGENERATE_FAILURE","endpoint_regenerate":{"id":"9","labels":["k8s:app=web"],"error":"no room"}}"#,
        );
        let (namespace, pod) = ("shop".into(), "web".into());
        check(
            AgentNews::Endpoint { deleted: false, id: 9, namespace, pod, labels: vec![] },
            r#"{"type":"ENDPOINT_CREATED","endpoint_update":{"id":"9","pod_name":"web","namespace":"shop"}}"#,
        );
    }
}
