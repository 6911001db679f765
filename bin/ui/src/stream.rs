//! What a browser is told while it looks, as server-sent events: `hello` once, then `map`, `rows` and `state`.
//!
//! Everything is made when the connection can take it. A browser that does not read is told less often and misses rows;
//! what it misses is counted, and no queue grows.

use crate::hub::{Batch, Health, Hub, Looker, Seen};
use crate::view::{Filter, Grouping, Map, Row};
use axum::response::sse::Event;
use futures::Stream;
use serde::Serialize;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How often a browser is told of what is new.
const TICK: Duration = Duration::from_millis(200);
/// Rows of one tick, and of the beginning.
const ROWS: usize = 40;
const FIRST_ROWS: usize = 400;

/// What one browser asked for.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) filter: Filter,
    pub(crate) grouping: Grouping,
}

struct View {
    hub: Hub,
    _looker: Looker,
    news: Receiver<Batch>,
    wish: Wish,
    map: Map,
    ticks: Interval,
    /// Events that are ready.
    ready: VecDeque<Event>,
    rows: Vec<Arc<Seen>>,
    second: Instant,
    counts: Counts,
    health: Option<Health>,
}

/// Of the last second.
#[derive(Debug, Default)]
struct Counts {
    flows: u64,
    fitting: u64,
    dropped: u64,
    unlisted: u64,
    missed: u64,
}

/// The events for one browser.
pub(crate) fn events(hub: &Hub, wish: Wish) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
    let (last, news, looker) = hub.look();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut view = View {
        hub: hub.clone(),
        _looker: looker,
        news,
        map: Map::new(wish.grouping),
        wish,
        ticks,
        ready: VecDeque::new(),
        rows: Vec::new(),
        second: Instant::now(),
        counts: Counts::default(),
        health: None,
    };
    view.begin(&last);
    futures::stream::unfold(view, |mut view| async move {
        loop {
            if let Some(event) = view.ready.pop_front() {
                return Some((Ok(event), view));
            }
            view.ticks.tick().await;
            view.tick();
        }
    })
}

impl View {
    fn begin(&mut self, last: &[Arc<Seen>]) {
        let fitting: Vec<_> = last.iter().filter(|seen| self.wish.filter.fits(&seen.flow)).cloned().collect();
        for seen in &fitting {
            self.map.add(&seen.flow, false);
        }
        self.rows = fitting[fitting.len().saturating_sub(FIRST_ROWS)..].to_vec();
        self.say("hello", &json!({ "version": env!("CARGO_PKG_VERSION") }));
        self.tell(true);
    }

    fn tick(&mut self) {
        loop {
            match self.news.try_recv() {
                Ok(batch) => batch.iter().for_each(|seen| self.take(seen)),
                Err(TryRecvError::Lagged(batches)) => {
                    // Numbers of flows are not known any more; that some are missing is.
                    self.counts.missed += batches;
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let second = self.second.elapsed() >= Duration::from_secs(1);
        if second {
            self.second = Instant::now();
            self.map.second();
        }
        self.tell(second);
    }

    fn take(&mut self, seen: &Arc<Seen>) {
        self.counts.flows += 1;
        if !self.wish.filter.fits(&seen.flow) {
            return;
        }
        self.counts.fitting += 1;
        self.counts.dropped += u64::from(seen.flow.verdict == flow::Verdict::Dropped);
        self.map.add(&seen.flow, true);
        if self.rows.len() < ROWS {
            self.rows.push(seen.clone());
            return;
        }
        self.counts.unlisted += 1;
        // What was denied is worth more than what passed.
        let passed = |seen: &Arc<Seen>| seen.flow.verdict == flow::Verdict::Forwarded;
        if !passed(seen)
            && let Some(place) = self.rows.iter().rposition(passed)
        {
            self.rows.remove(place);
            self.rows.push(seen.clone());
        }
    }

    fn tell(&mut self, second: bool) {
        let news = self.map.news(second);
        if !news.is_empty() {
            self.say("map", &news);
        }
        if !self.rows.is_empty() {
            let rows = std::mem::take(&mut self.rows);
            self.hub.list(&rows);
            let rows: Vec<Row> = rows.iter().map(|seen| Row::of(seen)).collect();
            self.say("rows", &rows);
        }
        let health = self.hub.health();
        if second || self.health.as_ref() != Some(&health) {
            let Counts { flows, fitting, dropped, unlisted, missed } = std::mem::take(&mut self.counts);
            let unplaced = self.map.unplaced;
            self.say(
                "state",
                &json!({ "health": &health, "flows": flows, "fitting": fitting, "dropped": dropped,
                    "unlisted": unlisted, "missed": missed, "unplaced": unplaced }),
            );
            self.health = Some(health);
        }
    }

    fn say(&mut self, name: &str, what: &impl Serialize) {
        match Event::default().event(name).json_data(what) {
            Ok(event) => self.ready.push_back(event),
            Err(error) => tracing::warn!(%error, name, "an event cannot be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::{flow, pod};
    use ::flow::{Flow, Verdict};
    use futures::StreamExt;

    fn some(verdict: Verdict, count: usize) -> Vec<Flow> {
        vec![flow(pod("shop", "web", 1001), pod("shop", "db", 1002), verdict); count]
    }

    /// Names and data of the events of a second.
    async fn second(events: &mut (impl Stream<Item = Result<Event, Infallible>> + Unpin)) -> String {
        let mut text = String::new();
        let deadline = tokio::time::sleep(Duration::from_millis(1300));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                event = events.next() => text.push_str(&format!("{event:?}\n")),
                () = &mut deadline => return text,
            }
        }
    }

    #[tokio::test]
    async fn a_flood_is_summed_up_and_denied_flows_are_listed_first() {
        let hub = Hub::new();
        let wish = Wish { filter: Filter::default(), grouping: Grouping::Workload };
        let mut events = Box::pin(events(&hub, wish));
        let _ = second(&mut events).await;
        hub.push(some(Verdict::Forwarded, 5000));
        hub.push(some(Verdict::Dropped, 3));
        let text = second(&mut events).await;
        assert_eq!(text.matches(r#"\"verdict\":\"DROPPED\""#).count(), 3, "{text}");
        assert_eq!(text.matches(r#"\"verdict\":\"FORWARDED\""#).count(), ROWS - 3);
        assert!(text.contains(r#"\"forwarded\":5000"#) && text.contains(r#"\"unlisted\":4963"#), "{text}");
    }

    #[tokio::test]
    async fn who_does_not_read_misses_and_is_told_so() {
        let hub = Hub::new();
        let filter = Filter::parse("verdict:dropped").expect("a filter");
        let mut events = Box::pin(events(&hub, Wish { filter, grouping: Grouping::Namespace }));
        let _ = second(&mut events).await;
        for _ in 0..300 {
            hub.push(some(Verdict::Forwarded, 1));
        }
        hub.push(some(Verdict::Dropped, 1));
        let text = second(&mut events).await;
        assert!(text.contains(r#"\"missed\":45"#), "{text}");
        assert!(text.contains("Namespace//shop") && text.contains(r#"\"fitting\":1"#), "{text}");
    }
}
