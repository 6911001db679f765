//! The text that is answered.

use std::collections::BTreeSet;
use std::fmt::Write;

/// What to serve a page as.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations, counted by size.
    Histogram,
}

/// Which metrics are wanted: all but some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    without: BTreeSet<String>,
}

impl Selection {
    /// Reads a list as Cilium writes it: `-NAME` leaves a metric out, `+NAME` takes it in again, the later one counts.
    ///
    /// # Errors
    /// The word that begins with neither.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut without = BTreeSet::new();
        for word in list {
            if let Some(name) = word.strip_prefix('-') {
                without.insert(name.to_owned());
            } else if let Some(name) = word.strip_prefix('+') {
                without.remove(name);
            } else {
                return Err(word.to_owned());
            }
        }
        Ok(Self { without })
    }

    fn wants(&self, name: &str) -> bool {
        !self.without.contains(name)
    }
}

/// A page under way. Each metric is written once, with all its samples.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    selection: Selection,
}

/// The samples of one metric, to be added.
#[derive(Debug)]
pub struct Samples<'a> {
    /// `None`: nobody wants it.
    text: Option<&'a mut String>,
    name: &'a str,
}

impl Page {
    /// An empty page for metrics that are wanted.
    pub fn new(selection: Selection) -> Self {
        Self { text: String::new(), selection }
    }

    /// Begins a metric.
    pub fn metric<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Samples<'a> {
        if !self.selection.wants(name) {
            return Samples { text: None, name };
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Samples { text: Some(&mut self.text), name }
    }

    /// A gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, Kind::Gauge, help).add(&[], value);
    }

    /// A counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, Kind::Counter, help).add(&[], value);
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// Adds a sample.
    pub fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.line("", labels, None, value);
    }

    pub(crate) fn line(&mut self, ending: &str, labels: &[(&str, &str)], bound: Option<&str>, value: f64) {
        let Some(text) = &mut self.text else { return };
        let _ = write!(text, "{}{ending}", self.name);
        let mut open = '{';
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(text, "{open}{name}=\"");
            for letter in value.chars() {
                match letter {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
            open = ',';
        }
        let _ = writeln!(text, "{} {value}", if open == ',' { "}" } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_prometheus_wants_it() {
        let mut page = Page::default();
        let mut states = page.metric("cilium_endpoint_state", Kind::Gauge, "Endpoints by state");
        states.add(&[("endpoint_state", "ready")], 2.0);
        states.add(&[("endpoint_state", "a\"b\\c\nd"), ("x", "")], 0.5);
        page.counter("cilium_lost_total", "Lost", 3.0);
        assert_eq!(
            page.finish(),
            "# HELP cilium_endpoint_state Endpoints by state\n# TYPE cilium_endpoint_state gauge\n\
             cilium_endpoint_state{endpoint_state=\"ready\"} 2\n\
             cilium_endpoint_state{endpoint_state=\"a\\\"b\\\\c\\nd\",x=\"\"} 0.5\n\
             # HELP cilium_lost_total Lost\n# TYPE cilium_lost_total counter\ncilium_lost_total 3\n"
        );
    }

    #[test]
    fn what_is_not_wanted_is_left_out() {
        let selection = Selection::parse(["-a", "-b", "+b"]).expect("a list");
        let mut page = Page::new(selection);
        for name in ["a", "b", "c"] {
            page.gauge(name, "x", 1.0);
        }
        let text = page.finish();
        assert!(!text.contains("\na ") && text.contains("\nb 1\n") && text.contains("\nc 1\n"), "{text}");
        assert_eq!(Selection::parse(["a"]), Err("a".to_owned()));
    }
}
