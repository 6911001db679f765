//! The parts of `pod-path`.

use anyhow::Result;
use clap::ValueEnum;

use crate::figure::{Figure, Figures};
use crate::{kernel, pairs, suite, thin};

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Programs alone, by test runs
    Kernel,
    /// Pods against pods, beside the same over a bridge
    Pairs,
    /// Pods made one by one and all at once, policy, and the agent, on a thin node
    Thin,
}

impl suite::Part for Part {
    const ALL: &'static [Self] = &[Part::Kernel, Part::Thin, Part::Pairs];

    fn figures(self, _: bool) -> Vec<Figure> {
        match self {
            Part::Kernel => kernel::figures(),
            Part::Pairs => pairs::figures(),
            Part::Thin => thin::figures(),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Kernel => kernel::PREFIXES,
            Part::Pairs => pairs::PREFIXES,
            Part::Thin => thin::PREFIXES,
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Kernel => {
                let effort = if quick { (60, 50) } else { (1500, 50) };
                kernel::measure(figures, kernel::Effort { turns: effort.0, packets: effort.1 })
            }
            Part::Pairs => {
                let (rounds, seconds) = if quick { (3, 1.0) } else { (15, 3.0) };
                pairs::measure(figures, pairs::Effort { rounds, seconds })
            }
            Part::Thin => {
                let (adds, changes, restarts) = if quick { (10, 10, 2) } else { (200, 200, 9) };
                thin::measure(figures, thin::Effort { adds, changes, restarts })
            }
        }
    }
}
