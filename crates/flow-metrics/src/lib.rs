//! Metrics made of flows, under the names and with the options of Hubble (Cilium 1.19).
//!
//! [`Metrics::parse`] reads what an operator wants (`drop:sourceContext=pod;destinationContext=pod`),
//! [`Metrics::observe`] counts flows, [`Metrics::write`] prints what Prometheus reads. Pure: no IO, no clock. The number of
//! series is bounded, whatever names flows carry: of each metric those that nothing was counted in for a while go, and
//! new ones beyond [`LIMIT`] are refused and counted. Deliberately absent: serving over HTTP.
#![forbid(unsafe_code)]

mod context;
mod handlers;
mod options;
mod series;
mod text;

pub use options::OptionError;
pub use series::{LIFETIME, LIMIT};
pub use text::Format;

use flow::{Flow, LostSource};
use handlers::Handler;
use series::{Family, Kind};

/// The metrics that somebody wants.
#[derive(Debug)]
pub struct Metrics {
    handlers: Vec<Handler>,
    lost: Family,
}

impl Metrics {
    /// The metrics of a list, each `NAME[:OPTION[=VALUE];...]`.
    ///
    /// # Errors
    /// A metric or an option that there is not; the text names it, and what there is.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, OptionError> {
        let handlers = list.into_iter().map(Handler::parse).collect::<Result<Vec<_>, _>>()?;
        for (index, handler) in handlers.iter().enumerate() {
            if handlers[..index].iter().any(|other| other.name() == handler.name()) {
                return Err(OptionError::Twice { name: handler.name().to_owned() });
            }
        }
        let help = "Number of lost events";
        let lost = Family::new("lost_events_total", help, Kind::Counter, vec!["source".to_owned()]);
        Ok(Self { handlers, lost })
    }

    /// Counts a flow. `now`: ns of any clock that does not go backwards.
    pub fn observe(&mut self, flow: &Flow, now: u64) {
        for handler in &mut self.handlers {
            handler.observe(flow, now);
        }
    }

    /// Counts events that were lost.
    pub fn lost(&mut self, source: LostSource, count: u64, now: u64) {
        let source = match source {
            LostSource::Unknown => "unknown",
            LostSource::KernelRing => "perf_event_ring_buffer",
            LostSource::Queue => "observer_events_queue",
            LostSource::FlowRing => "hubble_ring_buffer",
        };
        self.lost.add(&[source], count, None, now);
    }

    /// Lets series go in which nothing was counted for [`LIFETIME`].
    pub fn expire(&mut self, now: u64) {
        self.handlers.iter_mut().flat_map(Handler::families_mut).for_each(|family| family.expire(now));
    }

    /// All of it, as text.
    pub fn write(&self, format: Format) -> String {
        let families = self.handlers.iter().flat_map(Handler::families).chain([&self.lost]);
        text::write(families, format)
    }
}

#[cfg(test)]
mod tests;
