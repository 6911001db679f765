//! Measures the pod path and writes `target/bench/pod-path.json`: pairs in one run, medians of ratios, never an
//! assertion. It ends with 0 once all was measured, whatever the values; what could not be measured is in the file too,
//! without a value and with the reason.

mod figure;
mod kernel;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};

use figure::{Figure, Figures};

#[derive(Parser)]
#[command(about = "Measures the pod path", version)]
struct Cli {
    /// What to measure
    #[arg(value_enum)]
    bench: Bench,
    /// Only these parts; figures of the others are there without a value
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Few rounds: to see that everything works
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Bench {
    PodPath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Programs alone, by test runs
    Kernel,
}

const ALL: &[Part] = &[Part::Kernel];

impl Part {
    fn figures(self) -> Vec<Figure> {
        match self {
            Part::Kernel => kernel::figures(),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Kernel => kernel::PREFIXES,
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Kernel => {
                let effort = if quick { (60, 50) } else { (1500, 50) };
                kernel::measure(figures, kernel::Effort { turns: effort.0, packets: effort.1 })
            }
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn run(cli: &Cli) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "measuring makes namespaces and loads programs: it needs root");
    let Bench::PodPath = cli.bench;
    let path = root().join("target/bench/pod-path.json");
    let mut figures = Figures::new(path, ALL.iter().flat_map(|part| part.figures()).collect());
    for part in ALL {
        if !cli.only.is_empty() && !cli.only.contains(part) {
            figures.give_up(part.prefixes(), "left out by --only")?;
            continue;
        }
        eprintln!("{part:?}:");
        if let Err(error) = part.measure(&mut figures, cli.quick) {
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
