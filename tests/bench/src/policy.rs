//! The parts of `policy`.

mod engine;

use anyhow::Result;
use clap::ValueEnum;

use crate::figure::{Figure, Figures};
use crate::{kernel, suite, thin};

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The engine alone: identities, pods and prefixes beside many rules
    Engine,
    /// Programs alone, by test runs, with small and large tables
    Lookup,
    /// From the API server to the packets of 100 pods
    Apply,
}

impl suite::Part for Part {
    const ALL: &'static [Self] = &[Part::Engine, Part::Lookup, Part::Apply];

    fn figures(self, _: bool) -> Vec<Figure> {
        match self {
            Part::Engine => engine::figures(),
            Part::Lookup => kernel::lookup::figures(),
            Part::Apply => thin::policy_figures(),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Engine => engine::PREFIXES,
            Part::Lookup => kernel::lookup::PREFIXES,
            Part::Apply => thin::POLICY_PREFIXES,
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Engine => engine::measure(figures, if quick { 50 } else { 500 }),
            Part::Lookup => {
                let (rounds, turns) = if quick { (3, 20) } else { (31, 100) };
                kernel::lookup::measure(figures, rounds, kernel::Effort { turns, packets: 50 })
            }
            Part::Apply => {
                let changes = if quick { 10 } else { 200 };
                thin::measure(figures, thin::Effort { adds: 0, changes, restarts: 0 })
            }
        }
    }
}
