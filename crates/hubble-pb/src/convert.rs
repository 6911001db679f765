//! From and to our own words.

mod agent;
mod filter;
mod from_pb;
mod to_pb;

pub use filter::{FilterError, filters};
pub use from_pb::FlowError;

use crate::{flow as pb, wkt};
use flow::{LostEvents, LostSource};

impl From<LostEvents> for pb::LostEvent {
    fn from(lost: LostEvents) -> Self {
        let time = |time: u64| (time != 0).then(|| wkt::Timestamp::from_unix_nanos(time));
        Self {
            source: lost.source.number(),
            num_events_lost: lost.count,
            cpu: lost.cpu.and_then(|cpu| i32::try_from(cpu).ok()).map(|value| wkt::Int32Value { value }),
            first: time(lost.first),
            last: time(lost.last),
        }
    }
}

impl From<pb::LostEvent> for LostEvents {
    fn from(lost: pb::LostEvent) -> Self {
        let time = |time: Option<wkt::Timestamp>| time.map_or(0, |time| time.unix_nanos());
        Self {
            source: LostSource::from_number(lost.source).unwrap_or(LostSource::Unknown),
            count: lost.num_events_lost,
            cpu: lost.cpu.and_then(|cpu| u32::try_from(cpu.value).ok()),
            first: time(lost.first),
            last: time(lost.last),
        }
    }
}

#[cfg(test)]
mod tests;
