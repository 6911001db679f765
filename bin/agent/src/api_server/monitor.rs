//! The stream of events.

use std::convert::Infallible;

use api::monitor::Event;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::Context;

/// Which events to send; lists separated by commas, empty: all.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Wanted {
    #[serde(rename = "type")]
    kinds: String,
    from: String,
    to: String,
    related_to: String,
}

impl Wanted {
    fn fits(&self, event: &Event) -> bool {
        let numbers =
            |list: &str| list.split(',').filter_map(|n| n.trim().parse().ok()).collect::<Vec<u16>>();
        let any =
            |list: &str, ends: &[u16]| list.is_empty() || numbers(list).iter().any(|n| ends.contains(n));
        event.kind == "lost"
            || (self.kinds.is_empty() || self.kinds.split(',').any(|k| k == event.kind))
                && any(&self.from, &[event.source_endpoint])
                && any(&self.to, &[event.destination_endpoint])
                && any(&self.related_to, &[event.source_endpoint, event.destination_endpoint])
    }
}

/// Events as they come, one a line, without end.
pub(super) async fn stream(State(context): State<Context>, Query(wanted): Query<Wanted>) -> Response {
    let events = BroadcastStream::new(context.monitors.listen());
    let lines = events.filter_map(move |event| {
        let line = match event {
            Ok(event) if wanted.fits(&event) => serde_json::to_vec(event.as_ref()),
            Ok(_) => return None,
            Err(BroadcastStreamRecvError::Lagged(lost)) => {
                serde_json::to_vec(&Event { kind: "lost".to_owned(), lost, ..Event::default() })
            }
        };
        let mut line = line.ok()?;
        line.push(b'\n');
        Some(Ok::<_, Infallible>(line))
    });
    ([("content-type", "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_look_at_the_right_ends() {
        let event =
            Event { kind: "drop".into(), source_endpoint: 5, destination_endpoint: 6, ..Event::default() };
        let wanted = |kinds: &str, from: &str, to: &str, related: &str| Wanted {
            kinds: kinds.into(),
            from: from.into(),
            to: to.into(),
            related_to: related.into(),
        };
        for (query, fits) in [
            (wanted("", "", "", ""), true),
            (wanted("drop,trace", "", "", ""), true),
            (wanted("trace", "", "", ""), false),
            (wanted("", "5,9", "6", ""), true),
            (wanted("", "6", "", ""), false),
            (wanted("", "", "", "6"), true),
            (wanted("", "", "", "7"), false),
        ] {
            assert_eq!(query.fits(&event), fits, "{query:?}");
        }
    }
}
