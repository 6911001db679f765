//! A program's own metrics, as Prometheus reads them.
//!
//! What is known at any time is written to a [`Page`] when somebody asks; what happens in between is counted in
//! [`Counters`] and [`Timings`], whose labels must come from small sets: what outsiders name (pods, addresses) does not
//! belong there. Deliberately absent: serving over HTTP, and metrics made of flows (`flow-metrics`).
#![forbid(unsafe_code)]

mod kept;
mod page;
mod process;

pub use kept::{Counters, Timings};
pub use page::{CONTENT_TYPE, Kind, Page, Samples, Selection};
pub use process::write_process;
