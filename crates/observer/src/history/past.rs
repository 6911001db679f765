//! What of a question lies in the past, beyond the ring.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use flow::Flow;

use super::{History, Part};
use crate::query::Query;
use crate::store::Entry;

/// The flows of a history that a question is about, oldest first.
#[derive(Debug)]
pub(crate) struct Past {
    history: History,
    parts: VecDeque<Part>,
    /// Names of flows that are in the ring, too.
    known: Arc<HashSet<String>>,
    query: Query,
    /// Flows of the first part that are left out.
    skip: usize,
}

impl Past {
    /// `None`, if the ring has all that is asked for: no time is named, or it goes back far enough.
    pub(crate) fn new(history: &History, query: &Query, ring: &[Entry]) -> Option<Self> {
        let oldest = ring.first().map_or(u64::MAX, Entry::time);
        if query.since == 0 || query.since >= oldest {
            return None;
        }
        // Flows are not quite in the order of their times, so the ring's oldest time is no sharp edge.
        let newest = ring.iter().map(Entry::time).max().unwrap_or(u64::MAX);
        let known = ring.iter().filter_map(|entry| match entry {
            Entry::Flow(flow) => Some(flow.uuid.clone()),
            Entry::Lost(_) => None,
        });
        let known = Arc::new(known.collect());
        let parts = history.parts(query.since, query.until.min(newest)).into();
        Some(Self { history: history.clone(), parts, known, query: query.clone(), skip: 0 })
    }

    /// The next flows; empty when there are no more.
    pub(crate) async fn next(&mut self) -> Vec<Entry> {
        while let Some(part) = self.parts.pop_front() {
            let mut flows = self.read(part).await;
            flows.drain(..std::mem::take(&mut self.skip).min(flows.len()));
            if !flows.is_empty() {
                return flows;
            }
        }
        Vec::new()
    }

    /// Leaves only the last `number` flows. Counts them backwards, a part at a time, and keeps none: however many are
    /// asked for, memory holds one part.
    pub(crate) async fn shorten(&mut self, number: usize) {
        let (mut found, mut kept) = (0, VecDeque::new());
        while let Some(part) = self.parts.pop_back().filter(|_| found < number) {
            found += self.read(part.clone()).await.len();
            kept.push_front(part);
        }
        (self.parts, self.skip) = (kept, found.saturating_sub(number));
    }

    async fn read(&self, part: Part) -> Vec<Entry> {
        let (history, known, query) = (self.history.clone(), self.known.clone(), self.query.clone());
        let work = move || {
            let flows = history.read(part).into_iter().filter_map(|flow| Flow::try_from(flow).ok());
            let entries =
                flows.filter(|flow| !known.contains(&flow.uuid)).map(|flow| Entry::Flow(Arc::new(flow)));
            entries.filter(|entry| query.wants(entry)).collect::<Vec<_>>()
        };
        // Only a panic or the end of the runtime could keep it from answering.
        tokio::task::spawn_blocking(work).await.unwrap_or_default()
    }
}
