//! Metrics and their series, bounded.

use std::collections::HashMap;

/// Series that one metric has at most.
pub const LIMIT: usize = 10_000;
/// A series in which nothing was counted for so long goes, ns.
pub const LIFETIME: u64 = 600_000_000_000;
/// What a label's value has at most, bytes.
const LONGEST: usize = 512;
/// Upper bounds of a histogram's buckets, seconds; Prometheus' usual ones.
pub(crate) const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub(crate) struct Family {
    /// Without the prefix `hubble_`.
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: Vec<String>,
    /// By the values of the labels, each closed by NUL.
    series: HashMap<Box<str>, Series>,
    /// Counts in series that were one too many.
    pub(crate) refused: u64,
    /// The key that is looked up, kept for its memory.
    key: String,
}

/// One series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    pub(crate) count: u64,
    /// Of a histogram, seconds.
    pub(crate) sum: f64,
    /// Of a histogram, each without those below.
    pub(crate) buckets: [u64; BUCKETS.len()],
    /// A trace, and what was measured in it.
    pub(crate) exemplar: Option<(Box<str>, f64)>,
    last: u64,
}

impl Family {
    pub(crate) fn new(name: &'static str, help: &'static str, kind: Kind, labels: Vec<String>) -> Self {
        Self { name, help, kind, labels, series: HashMap::new(), refused: 0, key: String::new() }
    }

    /// Counts. `trace` may stand for it.
    pub(crate) fn add(&mut self, values: &[&str], count: u64, trace: Option<&str>, now: u64) {
        let Some(series) = self.series_of(values, now) else { return };
        series.count += count;
        if let Some(trace) = trace {
            series.exemplar = Some((trace.into(), 1.0));
        }
    }

    /// Measures a duration in seconds. `trace` may stand for it.
    pub(crate) fn measure(&mut self, values: &[&str], seconds: f64, trace: Option<&str>, now: u64) {
        let Some(series) = self.series_of(values, now) else { return };
        series.count += 1;
        series.sum += seconds;
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            series.buckets[bucket] += 1;
        }
        if let Some(trace) = trace {
            series.exemplar = Some((trace.into(), seconds));
        }
    }

    fn series_of(&mut self, values: &[&str], now: u64) -> Option<&mut Series> {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        self.key.clear();
        for value in values {
            let end = value.floor_char_boundary(LONGEST);
            self.key.extend(value[..end].chars().map(|c| if c == '\0' { '\u{fffd}' } else { c }));
            self.key.push('\0');
        }
        if !self.series.contains_key(self.key.as_str()) {
            if self.series.len() >= LIMIT {
                self.refused += 1;
                return None;
            }
            self.series.insert(self.key.as_str().into(), Series::default());
        }
        let series = self.series.get_mut(self.key.as_str())?;
        series.last = now;
        Some(series)
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.series.retain(|_, series| now.saturating_sub(series.last) < LIFETIME);
    }

    /// All series with the values of their labels, in the order of these.
    pub(crate) fn sorted(&self) -> Vec<(Vec<&str>, &Series)> {
        let mut all: Vec<_> = self.series.iter().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter().map(|(key, series)| (key.split_terminator('\0').collect(), series)).collect()
    }
}
