//! Flows: how many a core decodes and names, whether a live reader loses any, and what a reader that stands still costs.
//!
//! Everything is in this process and counted in time on the processor, so that a busy machine changes little. What flows cost
//! a packet is `pod-path`'s matter.

mod decode;
mod readers;

use anyhow::Result;
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
