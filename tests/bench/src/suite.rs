//! A suite: parts that are measured one after the other into one file.

use std::fmt::Debug;

use anyhow::{Result, ensure};

use crate::figure::{Figure, Figures};

/// A part of a suite, which succeeds or fails alone.
pub(crate) trait Part: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// All parts, in the order in which they are measured.
    const ALL: &'static [Self];

    /// What it shall give.
    fn figures(self, quick: bool) -> Vec<Figure>;
    /// How the names of its figures begin.
    fn prefixes(self) -> &'static [&'static str];
    /// Measures it.
    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()>;
}

/// What to measure.
pub(crate) struct Suite<'a, P> {
    /// Name of the file.
    pub(crate) name: &'a str,
    /// None: all parts.
    pub(crate) only: Vec<P>,
    /// Few rounds.
    pub(crate) quick: bool,
}

impl<P: Part> Suite<'_, P> {
    /// Measures, writes the file, prints the table.
    pub(crate) fn measure(&self) -> Result<()> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "measuring makes namespaces and loads programs: it needs root"
        );
        let path = crate::root().join(format!("target/bench/{}.json", self.name));
        let mut figures =
            Figures::new(path, P::ALL.iter().flat_map(|part| part.figures(self.quick)).collect());
        let (wanted, others): (Vec<P>, Vec<P>) =
            P::ALL.iter().partition(|part| self.only.is_empty() || self.only.contains(part));
        for part in others {
            figures.keep(part.prefixes())?;
            figures.give_up(part.prefixes(), "left out by --only")?;
        }
        for part in wanted {
            eprintln!("{part:?}:");
            if let Err(error) = part.measure(&mut figures, self.quick) {
                let reason = format!("{error:#}");
                eprintln!("{part:?} could not be measured in full: {reason}");
                figures.give_up(part.prefixes(), &reason)?;
            }
            // Nothing is left without a value or a reason.
            figures.give_up(part.prefixes(), "the measurement ended without it")?;
        }
        figures.write()?;
        figures.print();
        Ok(())
    }
}
