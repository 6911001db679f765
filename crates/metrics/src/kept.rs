//! What is counted as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::page::{Kind, Page};

/// Series that one metric keeps at most; labels come from small sets, so more is a mistake that must not cost memory.
const LIMIT: usize = 2000;
/// Upper bounds of buckets, seconds: from a write to a kernel table to a minute of waiting.
const BOUNDS: [(&str, f64); 13] = [
    ("0.0005", 0.0005),
    ("0.001", 0.001),
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1", 1.0),
    ("5", 5.0),
    ("10", 10.0),
    ("60", 60.0),
];

/// A counter for each combination of `N` labels. Clones count together.
#[derive(Clone, Debug)]
pub struct Counters<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    series: Arc<Mutex<BTreeMap<[String; N], u64>>>,
}

impl<const N: usize> Counters<N> {
    /// A counter that stands at nothing.
    pub fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, help, labels, series: Arc::default() }
    }

    /// Counts.
    pub fn add(&self, values: [&str; N], count: u64) {
        let mut series = lock(&self.series);
        let key = values.map(str::to_owned);
        if series.len() < LIMIT || series.contains_key(&key) {
            *series.entry(key).or_default() += count;
        }
    }

    /// Writes it.
    pub fn write(&self, page: &mut Page) {
        let mut samples = page.metric(self.name, Kind::Counter, self.help);
        for (values, count) in &*lock(&self.series) {
            samples.add(&pairs(&self.labels, values), *count as f64);
        }
    }
}

/// A histogram of durations for each combination of `N` labels. Clones measure together.
#[derive(Clone, Debug)]
pub struct Timings<const N: usize> {
    name: &'static str,
    help: &'static str,
    labels: [&'static str; N],
    series: Arc<Mutex<BTreeMap<[String; N], Timing>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    /// Each without those below.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl<const N: usize> Timings<N> {
    /// A histogram of nothing.
    pub fn new(name: &'static str, help: &'static str, labels: [&'static str; N]) -> Self {
        Self { name, help, labels, series: Arc::default() }
    }

    /// Adds a duration.
    pub fn add(&self, values: [&str; N], duration: Duration) {
        let mut series = lock(&self.series);
        let key = values.map(str::to_owned);
        if series.len() >= LIMIT && !series.contains_key(&key) {
            return;
        }
        let (timing, seconds) = (series.entry(key).or_default(), duration.as_secs_f64());
        timing.count += 1;
        timing.sum += seconds;
        let bucket = BOUNDS.iter().position(|(_, bound)| seconds <= *bound);
        if let Some(bucket) = bucket.and_then(|index| timing.buckets.get_mut(index)) {
            *bucket += 1;
        }
    }

    /// Writes it.
    pub fn write(&self, page: &mut Page) {
        let mut samples = page.metric(self.name, Kind::Histogram, self.help);
        for (values, timing) in &*lock(&self.series) {
            let labels = pairs(&self.labels, values);
            let mut below = 0;
            for ((bound, _), count) in BOUNDS.iter().zip(timing.buckets) {
                below += count;
                samples.line("_bucket", &labels, Some(bound), below as f64);
            }
            samples.line("_bucket", &labels, Some("+Inf"), timing.count as f64);
            samples.line("_sum", &labels, None, timing.sum);
            samples.line("_count", &labels, None, timing.count as f64);
        }
    }
}

fn pairs<'a, const N: usize>(names: &[&'a str; N], values: &'a [String; N]) -> Vec<(&'a str, &'a str)> {
    names.iter().copied().zip(values.iter().map(String::as_str)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every step of counting leaves the numbers whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_durations_are_written_by_label() {
        let counters = Counters::new("c_total", "C", ["what"]);
        counters.add(["b"], 1);
        counters.clone().add(["a"], 2);
        counters.add(["b"], 1);
        let timings = Timings::new("t_seconds", "T", []);
        timings.add([], Duration::from_millis(3));
        timings.add([], Duration::from_secs(100));
        let mut page = Page::default();
        counters.write(&mut page);
        timings.write(&mut page);
        let text = page.finish();
        assert!(text.contains("c_total{what=\"a\"} 2\nc_total{what=\"b\"} 2\n"), "{text}");
        assert!(
            text.contains("t_seconds_bucket{le=\"0.001\"} 0\nt_seconds_bucket{le=\"0.005\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("{le=\"60\"} 1\nt_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.contains("t_seconds_sum 100.003\nt_seconds_count 2\n"), "{text}");
    }

    #[test]
    fn a_mistake_costs_no_memory() {
        let counters = Counters::new("c_total", "C", ["what"]);
        (0..LIMIT + 10).for_each(|n| counters.add([&n.to_string()], 1));
        counters.add(["0"], 1);
        let series = lock(&counters.series);
        assert_eq!((series.len(), series.get(&["0".to_owned()]).copied()), (LIMIT, Some(2)));
    }
}
