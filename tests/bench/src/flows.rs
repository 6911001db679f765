//! Flows: how many a core decodes and names, whether a live reader loses any, and what a reader that stands still costs.
//!
//! Everything is in this process and counted in time on the processor, so that a busy machine changes little. What flows cost
//! a packet is `pod-path`'s matter.

mod decode;
mod readers;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::figure::{Figure, Figures};

/// What can be measured alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// From the kernel's record to a flow with names.
    Decode,
    /// From the ring to readers.
    Readers,
}

impl crate::suite::Part for Part {
    const ALL: &'static [Self] = &[Part::Decode, Part::Readers];

    fn figures(self, _: bool) -> Vec<Figure> {
        match self {
            Part::Decode => decode::figures(),
            Part::Readers => readers::figures(),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Decode => &["decode."],
            Part::Readers => &["readers."],
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Decode => decode::measure(figures, quick),
            Part::Readers => readers::measure(figures, quick),
        }
    }
}

/// How long this thread was on a processor, seconds.
fn processor_time() -> Result<f64> {
    let path = "/proc/thread-self/schedstat";
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    Ok(ns.with_context(|| format!("{path} has no time in it"))? / 1e9)
}
