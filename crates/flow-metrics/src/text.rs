//! What Prometheus reads.

use crate::series::{BUCKETS, Family, Kind, Series};
use std::fmt::Write;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0, which has exemplars.
    OpenMetrics,
}

impl Format {
    /// The content type to serve it as.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(crate) fn write<'a>(families: impl Iterator<Item = &'a Family>, format: Format) -> String {
    let (mut text, mut refused) = (String::new(), Vec::new());
    for family in families {
        head(&mut text, family.name, family.help, family.kind, format);
        for (values, series) in family.sorted() {
            let labels = labels(&family.labels, &values);
            match family.kind {
                Kind::Counter => {
                    let exemplar = exemplar(series, format);
                    let _ = writeln!(
                        text,
                        "hubble_{}{} {}{exemplar}",
                        family.name,
                        braced(&labels),
                        series.count
                    );
                }
                Kind::Histogram => histogram(&mut text, family.name, &labels, series, format),
            }
        }
        if family.refused > 0 {
            refused.push((family.name, family.refused));
        }
    }
    let help = "Counts that would have made one series too many";
    head(&mut text, "metrics_refused_total", help, Kind::Counter, format);
    for (name, count) in refused {
        let _ = writeln!(text, "hubble_metrics_refused_total{{metric=\"hubble_{name}\"}} {count}");
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn head(text: &mut String, name: &str, help: &str, kind: Kind, format: Format) {
    // OpenMetrics names the metric of a counter without the ending of its samples.
    let name = match format {
        Format::OpenMetrics if kind == Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let kind = if kind == Kind::Counter { "counter" } else { "histogram" };
    let _ = write!(text, "# HELP hubble_{name} {help}\n# TYPE hubble_{name} {kind}\n");
}

fn histogram(text: &mut String, name: &str, labels: &str, series: &Series, format: Format) {
    let mut below = 0;
    let with = |bound: &str| {
        let comma = if labels.is_empty() { "" } else { "," };
        format!("{{{labels}{comma}le=\"{bound}\"}}")
    };
    let value = series.exemplar.as_ref().map(|(_, value)| *value);
    let mut told = false;
    for (bound, count) in BUCKETS.iter().zip(series.buckets) {
        below += count;
        let here = !told && value.is_some_and(|value| value <= *bound);
        told |= here;
        let exemplar = if here { exemplar(series, format) } else { String::new() };
        // OpenMetrics writes bounds as floats.
        let bound = if bound.fract() == 0.0 && format == Format::OpenMetrics {
            format!("{bound:.1}")
        } else {
            bound.to_string()
        };
        let _ = writeln!(text, "hubble_{name}_bucket{} {below}{exemplar}", with(&bound));
    }
    let _ = writeln!(text, "hubble_{name}_bucket{} {}", with("+Inf"), series.count);
    let braced = braced(labels);
    let _ = writeln!(text, "hubble_{name}_sum{braced} {}", series.sum);
    let _ = writeln!(text, "hubble_{name}_count{braced} {}", series.count);
}

fn exemplar(series: &Series, format: Format) -> String {
    match (&series.exemplar, format) {
        (Some((trace, value)), Format::OpenMetrics) => {
            format!(" # {{traceID=\"{}\"}} {value}", escaped(trace))
        }
        _ => String::new(),
    }
}

fn labels(names: &[String], values: &[&str]) -> String {
    let pairs = names.iter().zip(values).map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    pairs.collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// Whatever a pod is called, its name ends where it ends.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
