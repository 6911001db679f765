//! An answer as one line of JSON, its parts in the order in which Hubble's tools write them.

use crate::observer::GetFlowsResponse;
use crate::observer::get_flows_response::ResponseTypes;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// An answer, to be written: first what it tells, then where and when that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(pub &'a GetFlowsResponse);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let GetFlowsResponse { node_name, time, response_types } = self.0;
        let mut map = serializer.serialize_map(None)?;
        match response_types {
            Some(ResponseTypes::Flow(flow)) => map.serialize_entry("flow", flow)?,
            Some(ResponseTypes::NodeStatus(status)) => map.serialize_entry("node_status", status)?,
            Some(ResponseTypes::LostEvents(lost)) => map.serialize_entry("lost_events", lost)?,
            None => {}
        }
        if !node_name.is_empty() {
            map.serialize_entry("node_name", node_name)?;
        }
        if let Some(time) = time {
            map.serialize_entry("time", time)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow as pb, wkt};

    #[test]
    fn what_is_told_comes_first() {
        let flow = pb::Flow { verdict: 2, ..Default::default() };
        let mut response = GetFlowsResponse {
            node_name: "n".into(),
            time: Some(wkt::Timestamp { seconds: 0, nanos: 0 }),
            response_types: Some(ResponseTypes::Flow(flow)),
        };
        let text = serde_json::to_string(&Line(&response)).unwrap();
        assert_eq!(text, r#"{"flow":{"verdict":"DROPPED"},"node_name":"n","time":"1970-01-01T00:00:00Z"}"#);
        assert_eq!(serde_json::from_str::<GetFlowsResponse>(&text).unwrap(), response);
        response.response_types = None;
        response.node_name.clear();
        response.time = None;
        assert_eq!(serde_json::to_string(&Line(&response)).unwrap(), "{}");
    }
}
