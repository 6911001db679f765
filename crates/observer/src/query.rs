//! What a `GetFlows` request asks for.

use crate::store::Entry;
use flow::Filters;
use hubble_pb::Mask;
use hubble_pb::observer::GetFlowsRequest;
use tonic::Status;

/// A request that was understood.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Which flows.
    pub(crate) filters: Filters,
    /// How many, at most; lost events do not count.
    pub(crate) number: Option<u64>,
    /// The first ones, not the last.
    pub(crate) first: bool,
    /// Go on with what comes.
    pub(crate) follow: bool,
    /// From here on, ns since the Unix epoch.
    pub(crate) since: u64,
    /// Up to here, ns since the Unix epoch.
    pub(crate) until: u64,
    /// Which fields of a flow.
    pub(crate) mask: Option<Mask>,
}

impl Query {
    /// Reads a request. Errors name the field.
    pub(crate) fn read(request: GetFlowsRequest) -> Result<Self, Status> {
        if request.first && request.follow {
            return Err(Status::invalid_argument("first and follow cannot be combined: leave one out"));
        }
        let filters = hubble_pb::filters(request.whitelist, request.blacklist).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|c| format!(": {c}")).unwrap_or_default();
            Status::invalid_argument(format!("{error}{cause}"))
        })?;
        Ok(Self {
            filters,
            number: (request.number > 0).then_some(request.number),
            first: request.first,
            follow: request.follow,
            since: request.since.map_or(0, |time| time.unix_nanos()),
            until: request.until.map_or(u64::MAX, |time| time.unix_nanos()),
            mask: Mask::read(&request.field_mask.unwrap_or_default())
                .map_err(|error| Status::invalid_argument(error.to_string()))?,
        })
    }

    /// Whether an entry is to be told. Lost events fit every filter: what was lost may have been what was asked for.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        (self.since..=self.until).contains(&entry.time())
            && match entry {
                Entry::Flow(flow) => self.filters.matches(flow),
                Entry::Lost(_) => true,
            }
    }

    /// Of what is there, what is to be told first, in order.
    pub(crate) fn choose(&self, entries: Vec<Entry>) -> Vec<Entry> {
        // Following without a number or a time means: from now on.
        if self.follow && self.number.is_none() && self.since == 0 {
            return Vec::new();
        }
        let mut left = self.number.unwrap_or(u64::MAX);
        let mut take = |entry: &Entry| {
            if left == 0 || !self.wants(entry) {
                return false;
            }
            left -= u64::from(matches!(entry, Entry::Flow(_)));
            true
        };
        if self.first {
            return entries.into_iter().filter(|entry| take(entry)).collect();
        }
        let mut chosen: Vec<_> = entries.into_iter().rev().filter(|entry| take(entry)).collect();
        chosen.reverse();
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::{Flow, LostEvents, LostSource, Verdict};
    use std::sync::Arc;

    /// Flows at times 1 to 6, every other one dropped, and a loss at time 4.
    fn entries() -> Vec<Entry> {
        let flow = |time: u64| {
            let verdict = if time.is_multiple_of(2) { Verdict::Dropped } else { Verdict::Forwarded };
            Entry::Flow(Arc::new(Flow { time, verdict, ..Flow::default() }))
        };
        let lost = LostEvents { source: LostSource::Queue, count: 1, cpu: None, first: 4, last: 4 };
        let mut entries: Vec<_> = (1..=6).map(flow).collect();
        entries.insert(4, Entry::Lost(lost));
        entries
    }

    fn check(query: Query, times: &[u64]) {
        let chosen: Vec<_> = query.choose(entries()).iter().map(Entry::time).collect();
        assert_eq!(chosen, times, "{query:?}");
    }

    #[test]
    fn the_right_flows_are_chosen() {
        let all = Query { until: u64::MAX, ..Query::default() };
        check(all.clone(), &[1, 2, 3, 4, 4, 5, 6]);
        check(Query { number: Some(2), ..all.clone() }, &[5, 6]);
        check(Query { number: Some(3), ..all.clone() }, &[4, 4, 5, 6]);
        check(Query { number: Some(2), first: true, ..all.clone() }, &[1, 2]);
        check(Query { since: 3, until: 5, ..all.clone() }, &[3, 4, 4, 5]);
        check(Query { since: 3, number: Some(1), ..all.clone() }, &[6]);
        check(Query { follow: true, ..all.clone() }, &[]);
        check(Query { follow: true, since: 5, ..all.clone() }, &[5, 6]);
        check(Query { follow: true, number: Some(1), ..all }, &[6]);
    }

    #[test]
    fn filters_count_before_numbers() {
        let dropped = flow::Filter { verdicts: vec![Verdict::Dropped], ..Default::default() };
        let filters = Filters { allow: vec![dropped.clone()], deny: vec![] };
        let last = Query { filters, number: Some(2), until: u64::MAX, ..Query::default() };
        check(last, &[4, 4, 6]);
        let filters = Filters { allow: vec![], deny: vec![dropped] };
        check(Query { filters, number: Some(2), until: u64::MAX, ..Query::default() }, &[3, 4, 5]);
    }
}
