//! The stream behind `GetFlows`: first what is there, then, if asked, what comes.

use crate::history::Past;
use crate::query::Query;
use crate::store::Entry;
use crate::{Shared, now};
use flow::{Cursor, LostEvents, LostSource};
use futures::Stream;
use hubble_pb::Mask;
use hubble_pb::observer::{GetFlowsResponse, get_flows_response::ResponseTypes};
use hubble_pb::wkt::Timestamp;
use std::sync::Arc;
use std::vec::IntoIter;
use tonic::Status;

/// Entries read under one lock.
const BATCH: usize = 256;

/// One reader. It asks the ring when its client has room for more, so a slow client holds up nobody and costs no memory
/// beyond one batch.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    query: Query,
    /// What is told before anything else, in pieces.
    past: Option<Past>,
    /// How many flows may still be told; `None`: any number.
    left: Option<u64>,
    /// Of what is in the ring, what is told after the past.
    present: Vec<Entry>,
    /// Chosen, but not told yet.
    ready: IntoIter<Entry>,
    /// The place to go on from; `None` if nothing is to follow.
    cursor: Option<Cursor>,
}

impl Reader {
    pub(crate) async fn new(shared: Arc<Shared>, query: Query) -> Self {
        let (entries, end) = if query.follow && query.number.is_none() && query.since == 0 {
            (Vec::new(), shared.store.end())
        } else {
            shared.store.snapshot()
        };
        let cursor = query.follow.then_some(end);
        let past = shared.history.get().and_then(|history| Past::new(history, &query, &entries));
        let mut reader = Self {
            past: None,
            left: None,
            present: Vec::new(),
            ready: Vec::new().into_iter(),
            cursor,
            query,
            shared,
        };
        match (past, reader.query.number) {
            (None, _) => reader.ready = reader.query.choose(entries).into_iter(),
            // The last ones: those of the ring count first, and what is missing comes from the past.
            (Some(mut past), Some(number)) if !reader.query.first => {
                let present = reader.query.choose(entries);
                let flows = present.iter().filter(|entry| matches!(entry, Entry::Flow(_))).count();
                if number < u64::MAX {
                    let number = usize::try_from(number).unwrap_or(usize::MAX);
                    past.shorten(number.saturating_sub(flows)).await;
                }
                (reader.past, reader.present) = (Some(past), present);
            }
            (Some(past), number) => {
                let all = Query { number: None, ..reader.query.clone() };
                (reader.past, reader.left, reader.present) = (Some(past), number, all.choose(entries));
            }
        }
        reader
    }

    /// Everything there is to tell. Ends when all is told, or when the server closes.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<GetFlowsResponse, Status>> + Send {
        futures::stream::unfold(self, |mut reader| async move {
            let entry = reader.next().await?;
            let response = response(&reader.shared.config.node_name, entry, reader.query.mask.as_ref());
            Some((response, reader))
        })
    }

    async fn next(&mut self) -> Option<Entry> {
        let shared = self.shared.clone();
        loop {
            if let Some(entry) = self.ready.next() {
                if let (Some(left), Entry::Flow(_)) = (&mut self.left, &entry) {
                    *left = left.checked_sub(1)?;
                }
                return Some(entry);
            }
            if let Some(past) = &mut self.past {
                let entries = past.next().await;
                if entries.is_empty() {
                    self.past = None;
                    self.ready = std::mem::take(&mut self.present).into_iter();
                } else {
                    self.ready = entries.into_iter();
                }
                continue;
            }
            let cursor = self.cursor.as_mut()?;
            // Asked to be woken before looking, so that nothing written in between is slept through.
            let written = shared.written.notified();
            let mut batch = Vec::new();
            let missed = shared.store.read(cursor, BATCH, &mut batch);
            if missed > 0 {
                let now = now();
                let lost = LostEvents {
                    source: LostSource::FlowRing,
                    count: missed,
                    cpu: None,
                    first: now,
                    last: now,
                };
                batch.insert(0, Entry::Lost(lost));
            }
            if batch.is_empty() {
                tokio::select! {
                    () = written => continue,
                    () = shared.closing.cancelled() => return None,
                }
            }
            if batch.iter().any(|entry| entry.time() > self.query.until) {
                self.cursor = None;
            }
            batch.retain(|entry| self.query.wants(entry));
            self.ready = batch.into_iter();
            if self.ready.len() == 0 {
                // A filter that lets nothing through must not keep this thread from others.
                tokio::task::yield_now().await;
            }
        }
    }
}

fn response(node_name: &str, entry: Entry, mask: Option<&Mask>) -> Result<GetFlowsResponse, Status> {
    let time = entry.time();
    let (node_name, told) = match entry {
        Entry::Flow(flow) => {
            let flow = Arc::unwrap_or_clone(flow);
            let node_name = flow.node_name.to_string();
            let mut flow = flow.into();
            if let Some(mask) = mask {
                flow = mask.apply(&flow).map_err(|error| Status::internal(error.to_string()))?;
            }
            (node_name, ResponseTypes::Flow(flow))
        }
        Entry::Lost(lost) => (node_name.to_owned(), ResponseTypes::LostEvents(lost.into())),
    };
    let time = Some(Timestamp::from_unix_nanos(time));
    Ok(GetFlowsResponse { node_name, time, response_types: Some(told) })
}
